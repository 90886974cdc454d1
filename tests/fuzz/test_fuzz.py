"""The whole service under any request and any endpoint, for some seconds."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.cases import PATHS, make_case
from tests.fuzz.oracle import Broken, Outcome, judge
from tests.fuzz.running import Runner

#: A thing that hypothesis does not have to find first: cases that a run of an hour has found once.
_SEEDS = range(4)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as made:
        yield made


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")  # of streams that nobody finishes
@settings(max_examples=1500, deadline=None, suppress_health_check=[*HealthCheck])
@given(source=st.binary(min_size=1, max_size=200))
def test_whatever_comes_every_invariant_holds(runner: Runner, source: bytes) -> None:
    """Hypothesis makes the cases, and makes the one that breaks something small."""
    runner.run(source)


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", _SEEDS)
def test_random_cases_keep_every_invariant(runner: Runner, seed: int) -> None:
    """The same with bytes of all lengths, which reach further into a case."""
    chosen = random.Random(seed)
    for _ in range(1000):
        runner.run(chosen.randbytes(chosen.choice((48, 160, 320))))


def test_cases_reach_every_route() -> None:
    """The random bytes make requests of all kinds."""
    chosen = random.Random(1)
    cases = [make_case(chosen.randbytes(200)) for _ in range(2000)]

    assert {case.scope["path"] for case in cases} >= set(PATHS)
    assert {case.scope["type"] for case in cases} == {"http", "websocket"}
    assert {len(case.incoming) for case in cases} >= {1, 2, 3}
    assert {case.send_fails_at for case in cases} >= {None, 1, 2}


def _case(path: str = "/json") -> tuple[object, dict[str, object]]:
    case = make_case(b"")
    case.scope["path"] = path
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    return case, start


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        ([{"status": 200}, {"status": 200}, b"{}"], "2 starts"),
        ([{"status": 200}, b"[1]"], "no success"),
        ([{"status": 404}, b'{"code":400,"message":"x","status":"failure"}'], "no failure"),
        ([{"status": 404}, b'{"code":404,"message":"x","status":"failure","more":1}'], "other keys"),
        ([{"status": 423}, b'{"code":423,"message":"x","status":"failure"}'], "Retry-After"),
        ([{"status": 404}, b'{"code":404,"message":"hush-4711","status":"failure"}'], "a secret"),
        ([{"status": 200}, b'{"status":"success","content":NaN}'], "NaN"),
        ([], "no answer"),
    ],
)
def test_oracle_sees(sent: list[object], what: str) -> None:
    """What breaks an invariant is told: the oracle itself can fail."""
    case, start = _case()
    messages = [
        {"type": "http.response.body", "body": each} if isinstance(each, bytes) else {**start, **each}  # type: ignore[dict-item]
        for each in sent
    ]

    with pytest.raises(Broken, match=what):
        judge(case, Outcome(messages, None, was_cut=False))  # type: ignore[arg-type]


def test_oracle_sees_a_wrong_length() -> None:
    """Of a body that is the service's own."""
    case, start = _case()
    start["headers"] = [(b"content-type", b"application/json"), (b"content-length", b"3")]
    messages = [start, {"type": "http.response.body", "body": b'{"status":"success","content":1}'}]

    with pytest.raises(Broken, match="Content-Length"):
        judge(case, Outcome(messages, None, was_cut=False))  # type: ignore[arg-type]
