"""ENV018 to ENV022: each fires, and not where it must not."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Exchange, Request
from envelope.rate_limit.headers import FieldWriter
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.verdicts import Verdict
from tests.conformance.judged import broken, exchange, failure, success

NOW = 1_800_000_000
DATE = {"Date": formatdate(NOW, usegmt=True)}


def failed(status: int, **fields: str) -> list[str]:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return broken(exchange(status, failure(status), headers))


NAMES = {
    "limit": "X-RateLimit-Limit",
    "remaining": "x-ratelimit-remaining",
    "reset": "X-RateLimit-Reset",
    "policy": "RateLimit-Policy",
    "quota": "RateLimit",
}


def limited(date: bool = True, **fields: str) -> list[str]:
    headers = {NAMES[name]: value for name, value in fields.items()}
    return broken(exchange(200, success(), headers | (DATE if date else {})))


@pytest.mark.parametrize("status", [423, 429, 503])
def test_failure_without_retry_after_is_env018(status: int) -> None:
    """The three that say: later."""
    assert failed(status) == ["ENV018"]
    assert failed(status, retry_after="1") == []
    assert failed(500) == []


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "²", "1" * 5000])
def test_other_retry_after_is_env019(value: str) -> None:
    """Whole seconds from 1, on any failure."""
    assert failed(503, Retry_After=value) == ["ENV019"]
    assert failed(413, Retry_After=value) == ["ENV019"]


def test_retry_after_of_a_redirect_is_not_judged() -> None:
    """HTTP allows a date."""
    assert broken(exchange(301, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})) == []


def test_401_without_challenge_is_env020() -> None:
    """An empty one is none."""
    assert failed(401) == ["ENV020"]
    assert failed(401, WWW_Authenticate="") == ["ENV020"]
    assert failed(401, WWW_Authenticate="Bearer") == []
    assert failed(403) == []


def test_405_without_allow_is_env021() -> None:
    """An empty one says that there is no method now (RFC 9110, 10.2.1)."""
    assert failed(405) == ["ENV021"]
    assert failed(405, Allow="") == []
    assert failed(405, Allow="GET, HEAD") == []


def test_failure_of_another_form_has_fields_all_the_same() -> None:
    """Both are to be mended."""
    assert broken(exchange(401, b"no", {"Content-Type": "text/plain"})) == ["ENV010", "ENV020"]


def test_figures_that_can_be_true_are_right() -> None:
    """Each alone and all together, several policies, other parameters."""
    assert limited() == []
    assert limited(limit="10") == []
    assert limited(limit="10", remaining="10", reset=str(NOW)) == []
    assert limited(limit="10", remaining="0", reset=str(NOW - 30)) == []
    assert limited(limit="10", remaining="0", reset=str(NOW), date=False) == []
    assert (
        limited(policy='"day";q=100;w=86400, "a\\"b" ; q=5;w=1;qu="requests";pk=:cHI=:;x', quota='"a\\"b";r=5;t=1')
        == []
    )
    assert limited(limit="10", policy='"a";q=10;w=60', quota='"a";r=0;t=60', reset=str(NOW + 60)) == []
    assert limited(limit="10", remaining="7", policy='"a";q=10, "b";q=5', quota='"a";r=7, "b";r=3') == []
    assert limited(limit="10", remaining="3", policy='"a";q=10, "b";q=5', quota='"b";r=4') == []
    assert limited(policy='"a";q=10') == []
    assert limited(quota='"a";r=10') == []


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": "10", "remaining": "11"},
        {"limit": "ten"},
        {"limit": "10, 10;w=60"},
        {"remaining": "-1"},
        {"remaining": "1.5"},
        {"reset": "60"},
        {"reset": str(NOW - 61)},
        {"reset": str(NOW * 1000)},
        {"reset": str(NOW * 1000), "date": False},
        {"reset": "60", "date": False},
        {"reset": str(NOW + 7200), "policy": '"a";q=10;w=60'},
        {"limit": "10", "policy": '"a";q=20;w=60'},
        {"policy": '"a";q=10;w=60', "quota": '"b";r=1;t=1'},
        {"policy": '"a";q=10;w=60', "quota": '"a";r=11;t=1'},
        {"policy": '"a";q=10;w=60', "quota": '"a";r=1;t=61'},
        {"policy": '"a";w=60'},
        {"policy": '"a";q=ten'},
        {"policy": "10;w=60"},
        {"policy": '"a";q=10 "b";q=10'},
        {"policy": ""},
        {"quota": "limit=100, remaining=50, reset=30"},
        {"quota": '"a";t=1'},
        {"limit": "10", "remaining": "3", "policy": '"a";q=10;w=60', "quota": '"a";r=7;t=60'},
        {"quota": '"a";r=1;t=-1'},
    ],
)
def test_figures_that_contradict_themselves_are_env022(fields) -> None:
    """One finding for a response, whatever else is wrong."""
    assert limited(**fields) == ["ENV022"]


def test_field_that_comes_twice_is_one_value() -> None:
    """Two layers that count apart contradict each other; a repeated value does not."""

    def twice(name: str, *values: str) -> list[str]:
        request = Request(method="GET", url="http://h/", path="/")
        headers = [("Content-Type", "application/json"), *((name, value) for value in values)]
        return broken(Exchange(request, 200, tuple(headers), b'{"status":"success","content":1}'), Contract(None))

    assert twice("X-RateLimit-Limit", "10", "10") == []
    assert twice("X-RateLimit-Limit", "10", "20") == ["ENV022"]
    assert twice("RateLimit-Policy", '"a";q=1;w=1', '"b";q=2;w=1') == []


def test_date_that_is_none_is_no_date() -> None:
    """Then only what no instant can be is wrong."""
    headers = {"Date": "yesterday", "X-RateLimit-Reset": str(NOW)}

    assert broken(exchange(200, success(), headers)) == []


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=8),
            st.integers(1, 10**6),
            st.integers(1, 86400),
            st.floats(0, 1),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda row: row[0],
    )
)
def test_what_our_limiter_writes_is_right(rows) -> None:
    """Whatever the quotas are called and however much is left."""
    quotas = [Quota(amount, window, scope) for scope, amount, window, _, _ in rows]
    remaining = [int(left * amount) for _, amount, _, left, _ in rows]
    resets_ms = [int(part * window * 1000) for _, _, window, _, part in rows]
    verdict = Verdict(MemoryStorage("fixed-window"), [], remaining, resets_ms, None, 0, None)
    fields = FieldWriter(quotas, "both").write(verdict)
    headers = {name.decode(): value.decode() for name, value in fields} | {"Date": formatdate(usegmt=True)}

    assert broken(exchange(200, success(), headers)) == []
