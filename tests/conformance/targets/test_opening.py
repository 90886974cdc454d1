"""Where the service is, and where its document."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from envelope.conformance.targets.opening import open_target
from envelope.conformance.targets.serving import TargetError, served
from tests.conformance.services import answering, document, hang_after

MINIMAL = json.dumps(document({}))


@pytest.fixture
def serve_module(tmp_path, monkeypatch):
    """Make ``a_target:app`` importable."""

    def serve(source: str) -> str:
        (tmp_path / "a_target.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "a_target", raising=False)
        return "a_target:app"

    return serve


@pytest.mark.parametrize("place", ["/openapi.json", "/api/v1/schema"])
def test_application_is_served_and_asked_for_its_document(serve_module, place) -> None:
    """FastAPI says itself where its document is."""
    name = serve_module(f"from fastapi import FastAPI\napp = FastAPI(title='Things', openapi_url={place!r})\n")

    with open_target(name) as target:
        assert target.name == "a_target:app"
        assert target.base_url.startswith("http://127.0.0.1:")
        assert target.document["info"]["title"] == "Things"


def test_application_without_document_is_refused(serve_module, tmp_path) -> None:
    """The message says what to do; and it can be done."""
    name = serve_module("from fastapi import FastAPI\napp = FastAPI(openapi_url=None)\n")
    (tmp_path / "schema.json").write_text(MINIMAL)

    with (
        pytest.raises(TargetError, match="a_target:app serves no OpenAPI document .* --schema FILE"),
        open_target(name),
    ):
        pass
    with open_target(name, schema=str(tmp_path / "schema.json")) as target:
        assert target.document["info"]["title"] == "Things"


def test_starlette_application_is_asked_at_the_usual_place(serve_module) -> None:
    """An application that does not know of documents may serve one."""
    name = serve_module(
        "from starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        f"def schema(_): return PlainTextResponse({MINIMAL!r})\n"
        "app = Starlette(routes=[Route('/openapi.json', schema)])\n"
    )

    with open_target(name) as target:
        assert target.document["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", ["", "/"])
def test_url_is_asked_for_its_document(path) -> None:
    """The user's header fields are sent with it; the base URL has no slash at its end."""

    def schema(request):
        return JSONResponse(json.loads(MINIMAL), 200 if request.headers.get("x-token") == "t" else 401)

    with (
        served(Starlette(routes=[Route("/openapi.json", schema)]), "test") as url,
        open_target(url + path, headers=(("X-Token", "t"),)) as target,
    ):
        assert target.base_url == url
        assert target.name == url + path


def test_schema_from_a_url_is_not_sent_the_users_headers() -> None:
    """A document may be at somebody else's."""

    def schema(request):
        return PlainTextResponse(MINIMAL, 500 if "x-token" in request.headers else 200)

    with (
        served(Starlette(routes=[Route("/there", schema)]), "test") as url,
        open_target("http://127.0.0.1:9", schema=url + "/there", headers=(("X-Token", "t"),)) as target,
    ):
        assert target.base_url == "http://127.0.0.1:9"


def test_schema_can_be_yaml(tmp_path) -> None:
    """With the types of JSON: statuses are names, dates are texts."""
    (tmp_path / "schema.yaml").write_text(
        "openapi: 3.1.0\npaths: {/x: {get: {responses: {200: {description: 2026-11-23}}}}}\n"
    )

    with open_target("http://127.0.0.1:9", schema=str(tmp_path / "schema.yaml")) as target:
        assert target.document["paths"]["/x"]["get"]["responses"] == {"200": {"description": "2026-11-23"}}


@pytest.mark.parametrize(
    ("url", "servers", "base_url"),
    [
        ("http://h:1", None, "http://h:1"),
        ("http://h:1", [], "http://h:1"),
        ("http://h:1", [{"url": "/"}], "http://h:1"),
        ("http://h:1", [{"url": "/api/v1/"}, {"url": "/v2"}], "http://h:1/api/v1"),
        ("http://h:1/own/", [{"url": "/api"}], "http://h:1/own"),
        ("http://h:1", [{"url": "https://production.example/api"}], "http://h:1/api"),
        ("http://h:1", [{"url": "/{v}", "variables": {"v": {"default": "v3"}}}], "http://h:1/v3"),
        ("http://h:1", [{"url": "relative"}], "http://h:1"),
        ("http://h:1", ["/x"], "http://h:1"),
    ],
)
def test_prefix_of_the_documents_server_is_taken_but_never_its_host(tmp_path, url, servers, base_url) -> None:
    """Requests go to the host that the user named, below the prefix that the user or the document gave."""
    more = {} if servers is None else {"servers": servers}
    (tmp_path / "schema.json").write_text(json.dumps(document({}, **more)))

    with open_target(url, schema=str(tmp_path / "schema.json")) as target:
        assert target.base_url == base_url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{: ]", "is neither JSON nor YAML"),
        ("[1]", "is not an OpenAPI 3 document"),
        ('{"swagger": "2.0"}', "is not an OpenAPI 3 document"),
    ],
)
def test_file_that_is_no_document_is_refused(tmp_path, text, words) -> None:
    """One line, with the file's name."""
    (tmp_path / "schema").write_text(text)

    with (
        pytest.raises(TargetError, match=words) as raised,
        open_target("http://h", schema=str(tmp_path / "schema")),
    ):
        pass

    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_that_is_not_there_is_refused(tmp_path) -> None:
    """The system's own words stand behind ours."""
    with (
        pytest.raises(TargetError, match="cannot read --schema .*No such file"),
        open_target("http://h", schema=str(tmp_path / "nothing")),
    ):
        pass


def test_url_without_document_is_refused() -> None:
    """The status that came is named; a schema of the user's is another matter than one of the service's."""
    with served(FastAPI(openapi_url=None), "test") as url:
        with pytest.raises(TargetError, match="openapi.json answers 404, .* --schema FILE"), open_target(url):
            pass
        with (
            pytest.raises(TargetError, match="there answers 404, .* another --schema"),
            open_target(url, schema=url + "/there"),
        ):
            pass


def test_url_where_nobody_listens_is_refused() -> None:
    """The service may not have been started."""
    with answering(b"") as url:
        pass

    with (
        pytest.raises(TargetError, match=f"nobody answers at {url}/openapi.json; start the service"),
        open_target(url),
    ):
        pass


def test_service_that_hangs_is_refused() -> None:
    """After the time that was given for a response."""
    with (
        answering(hang_after(b"")) as url,
        pytest.raises(TargetError, match="did not answer within 0.1 s"),
        open_target(url, timeout_s=0.1),
    ):
        pass


def test_credentials_in_a_url_are_refused() -> None:
    """They would stand in every curl line; they are not in the message either."""
    with pytest.raises(TargetError, match="the URL of h contains credentials; give --header") as raised:
        with open_target("http://user:s3cret@h"):
            pass

    assert "s3cret" not in str(raised.value)
