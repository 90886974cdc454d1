"""The header fields: their exact form, what their figures mean, and the responses that carry none."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import http_sf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.routing import Mount, Route
from starlette.types import Message

from envelope import RateLimiter, RouteLimit
from envelope.rate_limit.headers import Style
from tests.rate_limit.asking import (
    DRAFT,
    LEGACY,
    STRATEGIES,
    Answer,
    FakeClock,
    RawApp,
    ScriptedStorage,
    app_of,
    ask,
    cost_by_header,
    limiter_of,
    one,
    read_list,
)
from tests.wire.apps import exchange

#: An instant with a fraction, so that rounding shows.
NOW_S = 1_700_000_000.25


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Hold the wall clock, from which ``X-RateLimit-Reset`` is reckoned."""
    held = SimpleNamespace(now_s=NOW_S)
    monkeypatch.setattr("envelope.rate_limit.headers.time", lambda: held.now_s)
    return held


def _told(
    limits: Sequence[str | RouteLimit],
    remaining: Sequence[int],
    resets_ms: Sequence[int],
    waits_ms: Sequence[int] | None = None,
    *,
    style: Style = "both",
) -> Answer:
    """Give the response to a request about which a storage said this."""
    storage = ScriptedStorage(remaining, resets_ms, waits_ms)
    return ask(app_of(RateLimiter(*limits, storage=storage, headers=style)))


def _fields(answer: Answer) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.fields if name in (*LEGACY, *DRAFT)]


# The exact form


def test_fields_of_an_admitted_request_are_these() -> None:
    """Golden: the legacy triple is of the limit with the least remaining, the draft's lists are of all."""
    answer = _told(["20/second", "1000/hour", "5000/day"], [19, 998, 998], [700, 1_800_001, 40_000_000])

    assert answer.status == 200
    assert _fields(answer) == [
        ("x-ratelimit-limit", "20"),
        ("x-ratelimit-remaining", "19"),
        ("x-ratelimit-reset", "1700000001"),
        ("ratelimit-policy", '"20/second";q=20;w=1, "1000/hour";q=1000;w=3600, "5000/day";q=5000;w=86400'),
        ("ratelimit", '"20/second";r=19;t=1, "1000/hour";r=998;t=1801, "5000/day";r=998;t=40000'),
    ]


def test_fields_of_a_refused_request_are_these() -> None:
    """Golden: the legacy triple is of the violated limit with the longest wait."""
    answer = _told(["20/second", "1000/hour", "5000/day"], [0, 3, 0], [700, 9_000, 500], [650, 0, 7_000])

    assert answer.status == 429
    assert sorted(_fields(answer)) == [
        ("ratelimit", '"20/second";r=0;t=1, "1000/hour";r=3;t=9, "5000/day";r=0;t=1'),
        ("ratelimit-policy", '"20/second";q=20;w=1, "1000/hour";q=1000;w=3600, "5000/day";q=5000;w=86400'),
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1700000008"),
    ]
    assert (answer.retry_after, answer.cache_control) == ("7", "no-store")


@pytest.mark.parametrize(
    ("wait_ms", "expected"),
    [(1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (59_999, "60"), (86_400_000, "86400")],
)
def test_retry_after_is_whole_seconds_rounded_up(wait_ms: int, expected: str) -> None:
    """RFC 9110, 10.2.3: digits only; a fraction less would be too early."""
    assert _told(["5/day"], [0], [wait_ms], [wait_ms]).retry_after == expected


@pytest.mark.parametrize(
    ("style", "names"),
    [("both", [*LEGACY, *DRAFT]), ("legacy", [*LEGACY]), ("draft", [*DRAFT]), ("none", [])],
)
@pytest.mark.parametrize("waits_ms", [None, [0, 5000]])
def test_style_chooses_the_fields(style: Style, names: list[str], waits_ms: list[int] | None) -> None:
    """Each style has its fields, on successes and refusals, with the values that they have in the others."""
    figures = [3, 0], [1000, 5000], waits_ms
    answer = _told(["4/second", "1/hour"], *figures, style=style)

    assert [name for name, _ in _fields(answer)] == names
    assert set(_fields(answer)) <= set(_fields(_told(["4/second", "1/hour"], *figures)))


@pytest.mark.parametrize(
    ("now_s", "reset_ms", "expected"),
    [
        (1_700_000_000.0, 0, "1700000000"),
        (1_700_000_000.0, 1, "1700000001"),
        (1_700_000_000.0, 1000, "1700000001"),
        (1_700_000_000.0, 1001, "1700000002"),
        (1_700_000_000.25, 750, "1700000001"),
        (1_700_000_000.25, 751, "1700000002"),
        (1_700_000_000.999, 0, "1700000001"),
    ],
)
def test_legacy_reset_is_epoch_seconds_rounded_up(
    wall_clock: SimpleNamespace, now_s: float, reset_ms: int, expected: str
) -> None:
    """A client that waits until then is never early."""
    wall_clock.now_s = now_s

    assert _told(["20/second"], [0], [reset_ms]).x_ratelimit_reset == expected
    if reset_ms:
        assert _told(["20/second"], [0], [1], [reset_ms]).x_ratelimit_reset == expected


@pytest.mark.parametrize(("reset_ms", "t"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (86_400_000, 86_400)])
def test_draft_reset_is_whole_seconds_rounded_up(reset_ms: int, t: int) -> None:
    """RFC 9651 has integers, and early is wrong."""
    assert read_list(_told(["20/day"], [3], [reset_ms]).ratelimit) == [("20/day", {"r": 3, "t": t})]


@pytest.mark.parametrize(
    ("notation", "name", "params"),
    [
        ("1/second", "1/second", {"q": 1, "w": 1}),
        ("10 per 2 hours", "10/2 hours", {"q": 10, "w": 7200}),
        ("60/60 seconds", "60/minute", {"q": 60, "w": 60}),
        ("3/90 seconds", "3/90 seconds", {"q": 3, "w": 90}),
        ("7/month", "7/month", {"q": 7, "w": 2_592_000}),
        ("7/year", "7/year", {"q": 7, "w": 31_104_000}),
        ("7/7 days", "7/7 days", {"q": 7, "w": 604_800}),
    ],
)
def test_policy_is_named_after_its_notation(notation: str, name: str, params: dict[str, int]) -> None:
    """The name says what the numbers say, whichever way it was written."""
    assert read_list(_told([notation], [1], [1]).ratelimit_policy) == [(name, params)]


def test_notation_of_several_limits_is_several_policies() -> None:
    """The separators of ``limits`` make one policy each."""
    answer = _told(["1/second; 30/minute, 40/hour|50/day"], [1, 2, 3, 4], [1, 2, 3, 4])

    assert [name for name, _ in read_list(answer.ratelimit_policy)] == [
        "1/second",
        "30/minute",
        "40/hour",
        "50/day",
    ]


# The syntax of RFC 9651

_NAMES = st.text(st.characters(exclude_categories=()), max_size=40) | st.text(
    '"\\%;=,:{}/ ?ä\x7f\t\r\n\0', max_size=20
)
_FIGURES = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12))


@settings(deadline=None, max_examples=150)
@given(named=st.dictionaries(_NAMES, _FIGURES, min_size=1, max_size=4))
@example(named={"/100%/%d/%s/%(a)s/%%": (1, 2), '"quoted\\"': (3, 4), "ä/\x7f/\r\nset-cookie: a=b": (5, 6)})
def test_fields_are_lists_of_rfc_9651_whatever_the_names(named: dict[str, tuple[int, int]]) -> None:
    """An independent parser reads every policy, its quota, window, remainder and seconds."""
    # Different numbers: names that differ in half a character (a lone surrogate) only look the same.
    limits = [RouteLimit(f"{number + 7}/{number + 1} minutes", name=name) for number, name in enumerate(named)]
    remaining, resets_ms = zip(*named.values(), strict=True)

    answer = _told(limits, remaining, resets_ms)

    policy, ratelimit = read_list(answer.ratelimit_policy), read_list(answer.ratelimit)
    assert all(type(name) is str for name, _ in policy)
    plain = [
        "".join(char if " " <= char <= "~" else quote(char, errors="replace") for char in name) for name in named
    ]
    assert all(told.endswith(name) for (told, _), name in zip(policy, plain, strict=True))
    assert [name for name, _ in ratelimit] == [name for name, _ in policy]
    assert [params for _, params in policy] == [
        {"q": number + 7, "w": 60 * number + 60} for number in range(len(named))
    ]
    assert [params for _, params in ratelimit] == [
        {"r": left, "t": -(-reset_ms // 1000)} for left, reset_ms in zip(remaining, resets_ms, strict=True)
    ]


@settings(deadline=None)
@given(window_s=st.integers(1, 40_000_000), data=st.data())
def test_integers_of_every_limit_that_is_accepted_fit_into_rfc_9651(window_s: int, data: Any) -> None:
    """No limit that can be configured writes an integer of more than 15 digits."""
    amount = data.draw(st.integers(1, 2**53 // (window_s * 1000)))

    answer = _told([f"{amount}/{window_s} seconds"], [amount], [window_s * 1000])

    assert [read_list(answer.ratelimit_policy)[0][1], read_list(answer.ratelimit)[0][1]] == [
        {"q": amount, "w": window_s},
        {"r": amount, "t": window_s},
    ]


@pytest.mark.parametrize("text", ['"a"b";q=1', '"\xe4";q=1', '"a\\d";q=1', '"a";q=1234567890123456'])
def test_oracle_refuses_what_is_no_list(text: str) -> None:
    """The parser of the tests above can say no."""
    with pytest.raises(http_sf.StructuredFieldError):
        read_list(text)


def test_template_with_a_percent_sign_and_quotes_reaches_the_wire() -> None:
    """A route's template is the scope of its policy, whatever characters it has."""
    limiter = limiter_of("9/hour", routes={'GET /100%/"a"/\\/{x}': ["5/minute"]})
    app = app_of(limiter, Route('/100%/"a"/\\/{x}', one))

    answer = ask(app, '/100%/"a"/\\/1')

    assert answer.left == {"9/hour": 8, '5/minute GET /100%/"a"/\\/{x}': 4}


# What the figures mean


@pytest.mark.parametrize("shadow_first", [True, False])
def test_names_of_shadow_limits_are_nowhere(shadow_first: bool) -> None:
    """What never refuses is nobody's business, and its figures are not mixed up with the others'."""
    shadow, visible = (RouteLimit("3/minute", name="secret", shadow=True), (2, 60_000)), ("20/second", (19, 700))
    limits, figures = zip(*([shadow, visible] if shadow_first else [visible, shadow]), strict=True)
    remaining, resets_ms = zip(*figures, strict=True)

    answer = _told(limits, remaining, resets_ms)

    assert _fields(answer) == [
        ("x-ratelimit-limit", "20"),
        ("x-ratelimit-remaining", "19"),
        ("x-ratelimit-reset", "1700000001"),
        ("ratelimit-policy", '"20/second";q=20;w=1'),
        ("ratelimit", '"20/second";r=19;t=1'),
    ]


@pytest.mark.parametrize("style", ["both", "legacy", "draft"])
def test_only_shadow_limits_write_nothing(style: Style) -> None:
    """There is nothing to tell."""
    app = app_of(limiter_of(RouteLimit("1/minute", shadow=True), headers=style))

    assert [(answer.status, _fields(answer)) for answer in (ask(app), ask(app))] == [(200, []), (200, [])]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_policy_is_on_successes_and_refusals(strategy: Any) -> None:
    """The lists are complete whichever limit refuses, and a refusal takes nothing."""
    limiter = limiter_of("2/second", "3/minute", "100/hour", strategy=strategy)
    app = app_of(limiter)

    answers = [ask(app) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.left for answer in answers] == [
        {"2/second": 1, "3/minute": 2, "100/hour": 99},
        {"2/second": 0, "3/minute": 1, "100/hour": 98},
        {"2/second": 0, "3/minute": 1, "100/hour": 98},
    ]
    assert {answer.ratelimit_policy for answer in answers} == {
        '"2/second";q=2;w=1, "3/minute";q=3;w=60, "100/hour";q=100;w=3600'
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_legacy_triple_of_a_refusal_is_of_the_longest_wait(strategy: Any, wall_clock: SimpleNamespace) -> None:
    """Of two violated limits, waiting for the shorter one would be in vain."""
    wall_clock.now_s = 1_700_000_000.0
    app = app_of(limiter_of("2/second", "2/minute", "100/hour", strategy=strategy))

    answers = [ask(app) for _ in range(3)]

    refused = answers[-1]
    assert (refused.status, refused.x_ratelimit_limit, refused.x_ratelimit_remaining) == (429, "2", "0")
    assert refused.wait_s > 29
    assert refused.x_ratelimit_reset == str(1_700_000_000 + refused.wait_s)


def test_legacy_triple_of_a_success_is_of_the_least_remaining() -> None:
    """Whichever limit stands first."""
    app = app_of(limiter_of("100/hour", "3/minute", "20/second"))

    answer = ask(app)

    assert (answer.x_ratelimit_limit, answer.x_ratelimit_remaining) == ("3", "2")


def test_refusal_of_a_large_cost_tells_that_something_remains() -> None:
    """Remaining is not 0 only because this cost does not fit."""
    app = app_of(limiter_of("5/minute", cost=cost_by_header))
    ask(app, headers={"x-cost": "3"})

    refused = ask(app, headers={"x-cost": "3"})

    assert (refused.status, refused.x_ratelimit_remaining, refused.left) == (429, "2", {"5/minute": 2})


def test_shadow_limit_is_invisible_through_the_application() -> None:
    """Neither its name nor its figures, also where it would have refused."""
    app = app_of(limiter_of(RouteLimit("1/minute", shadow=True), "9/hour"))

    answers = [ask(app) for _ in range(3)]

    assert [(answer.status, answer.left, answer.x_ratelimit_limit) for answer in answers] == [
        (200, {"9/hour": 8}, "9"),
        (200, {"9/hour": 7}, "9"),
        (200, {"9/hour": 6}, "9"),
    ]
    assert all(answer.x_ratelimit_reset == answers[0].x_ratelimit_reset for answer in answers)


@pytest.mark.parametrize("style", ["both", "legacy", "draft", "none"])
def test_style_holds_for_successes_refusals_and_errors(style: Style) -> None:
    """``headers=`` is about figures; Retry-After and no-store stay."""
    app = app_of(limiter_of("2/minute", headers=style))
    shown = {"both": {*LEGACY, *DRAFT}, "legacy": {*LEGACY}, "draft": {*DRAFT}, "none": set()}[style]

    answers = [ask(app), ask(app, "/nowhere"), ask(app)]

    assert [answer.status for answer in answers] == [200, 404, 429]
    for answer in answers:
        assert {name for name, _ in answer.fields} & {*LEGACY, *DRAFT} == shown
    assert (answers[2].wait_s > 0, answers[2].cache_control) == (True, "no-store")


# Retry-After


class _Steps:
    costs = st.integers(0, 5)
    pauses_ms = st.one_of(st.integers(0, 40), st.integers(0, 3000), st.integers(0, 130_000))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.tuples(_Steps.pauses_ms, _Steps.costs), min_size=1, max_size=25), cost=st.integers(1, 5))
def test_retry_after_is_never_too_early_nor_a_second_too_late(
    strategy: Any, steps: list[tuple[int, int]], cost: int
) -> None:
    """Whoever waits exactly that long is admitted, and a second earlier is not."""
    clock = FakeClock()
    app = app_of(limiter_of("5/10 seconds", "8/minute", clock=clock, strategy=strategy, cost=cost_by_header))
    for pause_ms, step_cost in steps:
        clock.advance(ms=pause_ms)
        ask(app, headers={"x-cost": str(step_cost)})
    headers = {"x-cost": str(cost)}
    while (refused := ask(app, headers=headers)).status == 200:
        pass

    wait_s = refused.wait_s
    assert wait_s >= 1
    if wait_s > 1:
        clock.advance(s=wait_s - 1)
        assert ask(app, headers=headers).status == 429
        clock.advance(s=1)
    else:
        clock.advance(s=wait_s)
    assert ask(app, headers=headers).status == 200


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", range(1, 8))
def test_retry_after_is_true_for_each_cost(strategy: Any, cost: int) -> None:
    """From a full budget, taken piece by piece over the window, each cost waits as long as it has to."""
    clock = FakeClock()
    app = app_of(limiter_of("7/minute", clock=clock, strategy=strategy, cost=cost_by_header))
    for _ in range(7):
        assert ask(app).status == 200
        clock.advance(ms=3_333)
    headers = {"x-cost": str(cost)}

    refused = ask(app, headers=headers)
    clock.advance(s=refused.wait_s)

    assert refused.status == 429
    assert ask(app, headers=headers).status == 200


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_retry_after_is_at_least_one_second(strategy: Any) -> None:
    """A wait of a few milliseconds is a whole second; 0 would be a hot loop."""
    clock = FakeClock()
    app = app_of(limiter_of("1/second", clock=clock, strategy=strategy))
    ask(app)
    clock.advance(ms=999)

    refused = ask(app)

    assert (refused.status, refused.retry_after) == (429, "1")


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.tuples(_Steps.pauses_ms, _Steps.costs), min_size=1, max_size=20))
def test_retry_after_agrees_with_the_other_fields(strategy: Any, steps: list[tuple[int, int]]) -> None:
    """Draft-11: Retry-After is not earlier than a violated policy's t; the legacy reset is the same instant."""
    clock = FakeClock()
    app = app_of(limiter_of("5/10 seconds", "8/minute", clock=clock, strategy=strategy, cost=cost_by_header))
    for pause_ms, cost in steps:
        clock.advance(ms=pause_ms)
        answer = ask(app, headers={"x-cost": str(cost)})
        if answer.status == 429:
            violated = [t for left, t in answer.figures.values() if left < cost]
            assert answer.wait_s >= max(violated)
            assert int(answer.x_ratelimit_reset or "") - NOW_S - answer.wait_s < 1
            assert int(answer.x_ratelimit_reset or "") >= NOW_S


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.tuples(_Steps.pauses_ms, _Steps.costs), min_size=1, max_size=20))
def test_t_is_the_time_until_there_is_more(strategy: Any, steps: list[tuple[int, int]]) -> None:
    """A millisecond after t seconds without requests more remains than now, unless nothing was taken."""
    clock = FakeClock()
    app = app_of(limiter_of("8/minute", clock=clock, strategy=strategy, cost=cost_by_header))
    for pause_ms, cost in steps:
        clock.advance(ms=pause_ms)
        (left, t) = ask(app, headers={"x-cost": str(cost)}).figures["8/minute"]
        assert (t == 0) == (left == 8)

    clock.advance(s=t, ms=1)  # at the turn itself a sliding window's count still weighs in full

    later = ask(app, headers={"x-cost": "0"}).left["8/minute"]
    assert later > left or left == 8


# Which headers they are added to


def _behind(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Give the headers of a response to which an application of no framework gave these."""
    start: Message = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain"), *headers],
    }
    app = app_of(limiter_of("5/minute"), Mount("/", RawApp(start, {"type": "http.response.body", "body": b"x"})))
    (message, _) = exchange(app).sent
    return [(bytes(name), bytes(value)) for name, value in message["headers"]]


def test_fields_are_appended() -> None:
    """What the application said stays, in its order."""
    given = [(b"vary", b"a"), (b"vary", b"b"), (b"x-thing", b"1")]

    names = [name.decode() for name, _ in _behind(*given)]

    assert names == ["content-type", "vary", "vary", "x-thing", *LEGACY, *DRAFT]


@pytest.mark.parametrize("value", [b"public", b"PUBLIC, max-age=60", b"max-age=5,s-maxage=60", b"S-MaxAge=1"])
@pytest.mark.parametrize("name", [b"cache-control", b"Cache-Control"])
def test_response_that_a_shared_cache_may_keep_has_no_figures(name: bytes, value: bytes) -> None:
    """RFC 9111, 3: they would be given to other clients; a name in capitals is the same name."""
    given = [(name, b"no-transform"), (name, value)]

    assert _behind(*given) == [(b"content-type", b"text/plain"), *given]


@pytest.mark.parametrize("value", [b"private", b"no-store", b"max-age=60", b"private, max-age=60", b""])
def test_response_that_is_the_clients_own_has_figures(value: bytes) -> None:
    """Most responses that say something of caches are not for all."""
    assert b"ratelimit" in dict(_behind((b"cache-control", value)))


@pytest.mark.parametrize("name", [*LEGACY, *DRAFT])
@pytest.mark.parametrize("spell", [str.lower, str.title])
def test_figures_of_the_application_stay_alone(name: str, spell: Any) -> None:
    """Two answers to one question are none, whatever the capitals of the names."""
    given = (spell(name).encode(), b"mine")

    assert _behind(given) == [(b"content-type", b"text/plain"), given]


def test_headers_that_only_look_like_ours_change_nothing() -> None:
    """Names are compared whole."""
    assert b"ratelimit" in dict(
        _behind((b"x-ratelimit", b"1"), (b"ratelimit-policy-x", b"1"), (b"x-ratelimit-used", b"1"))
    )
