"""Swagger UI, in a real browser, shows what is on the wire."""

from __future__ import annotations

import html
import json
import re
from typing import Any, NamedTuple

import pytest

from envelope.errors.tree import TABLE
from tests.openapi.proofs.swagger_ui import browse, page_of, service_with_page

pytestmark = pytest.mark.timeout(90)


class Shown(NamedTuple):
    """A response as the page shows it: its text, and its example value."""

    text: str
    example: Any


@pytest.fixture(scope="module")
def page(browser: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the browser has made of the page, with the update of an entity unfolded."""
    with service_with_page() as service:
        return browse(page_of(service), "dump-dom", folder=tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def responses(page: str) -> dict[str, Shown]:
    """The responses that the page shows, by status."""
    shown: dict[str, Shown] = {}
    for row in page.split('<tr class="response ')[1:]:
        [(code, rest)] = re.findall(r'^" data-code="(\w+)">(.*)', row, re.DOTALL)
        example, *_ = re.findall(r'<code class="language-json"[^>]*>(.*?)</code>', rest, re.DOTALL)
        shown[code] = Shown(_text(rest), json.loads(_text(example)))
    return shown


def test_page_shows_the_envelope_around_the_content(responses: dict[str, Shown]) -> None:
    """The example value of the success has status and content, and the model is the content."""
    example = responses["200"].example

    assert list(example) == ["status", "content"]
    assert example["status"] == "success"
    assert list(example["content"]) == ["id", "name", "status", "checks_done", "risk_score"]


def test_page_shows_400_in_the_place_of_422(page: str, responses: dict[str, Shown]) -> None:
    """FastAPI's own validation error is nowhere on the page."""
    assert list(responses) == ["200", "400", "404", "409", "423", "500", "503"]
    assert "422" not in _text(page)
    assert "ValidationError" not in page


def test_page_shows_the_failures_in_the_words_of_the_table(responses: dict[str, Shown]) -> None:
    """Each has its description, and an example value in the form of a failure."""
    failures = {int(code): shown for code, shown in responses.items() if code not in ("200", "409")}

    for status, shown in failures.items():
        assert str(TABLE[status].message) in shown.text
        assert list(shown.example) == ["code", "message", "status"]
        assert (shown.example["code"], shown.example["status"]) == (status, "failure")
    assert {status for status, shown in failures.items() if "Retry-After" in shown.text} == {423, 503}


def test_page_shows_declared_failures_by_error_code(responses: dict[str, Shown]) -> None:
    """What ``failures()`` declared has its own example."""
    shown = responses["409"]

    assert "lease_lost" in shown.text
    assert shown.example == {
        "code": 409,
        "message": {
            "error_code": "lease_lost",
            "message": "Conflict -- The object was given to somebody else meanwhile.",
        },
        "status": "failure",
    }


def _text(part: str) -> str:
    """Leave out the tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", part))
