"""Who is charged what: keys, costs, limits computed for a request, routes, and ``check``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Message

from envelope import ClientAddress, RateLimitedError, RateLimiter, RouteLimit
from envelope.rate_limit.verdicts import Verdict
from tests.rate_limit.asking import (
    REFUSED,
    STRATEGIES,
    TEXT,
    FakeClock,
    ScriptedStorage,
    app_of,
    ask,
    by_header,
    cost_by_header,
    crash,
    limiter_of,
    one,
    request_of,
)
from tests.servers.memcached import Memcached
from tests.wire.apps import CRASH, failure, scope_of, success


def _check(limiter: RateLimiter, *args: Any, **options: Any) -> Verdict:
    return asyncio.run(limiter.check(*args, **options))


def _left(limiter: RateLimiter, *args: Any, **options: Any) -> dict[str, int]:
    return {figure.name: figure.remaining for figure in _check(limiter, *args, **options).figures}


def _from(host: str) -> dict[str, Any]:
    return {"client": (host, 1)}


# Keys


def test_clients_are_told_by_address() -> None:
    """The default key: each address has its own budget, and what a client writes changes nothing."""
    app = app_of(limiter_of("1/minute"))

    answers = [ask(app, **_from(host)) for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "::ffff:192.0.2.1")]
    forged = ask(app, headers={"x-forwarded-for": "192.0.2.9", "forwarded": "for=1.1.1.1"}, **_from("192.0.2.1"))

    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert forged.status == 429


async def _async_key(request: Request) -> str | None:
    await asyncio.sleep(0)
    return request.headers.get("x-account")


class _Key:
    def __call__(self, request: Request) -> str | None:
        return request.headers.get("x-account")

    async def method(self, request: Request) -> str | None:
        return request.headers.get("x-account")


@pytest.mark.parametrize("key", [by_header("x-account"), _async_key, _Key(), _Key().method], ids=range(4))
def test_key_may_be_any_callable_sync_or_async(key: Any) -> None:
    """What it returns is the subject; None is not limited and told nothing."""
    app = app_of(limiter_of("1/minute", key=key))

    a, b, again = (ask(app, headers={"x-account": account}) for account in "aba")
    nobody = [ask(app) for _ in range(3)]

    assert [a.status, b.status, again.status] == [200, 200, 429]
    assert [(answer.status, answer.ratelimit) for answer in nobody] == [(200, None)] * 3


@pytest.mark.parametrize("given", [1, b"a", True, ["a"], 0, 1.5, object()])
def test_key_that_is_no_string_is_a_crash(given: object) -> None:
    """Whoever returns a number has forgotten that ``None`` and 0 are not the same; nobody is let in uncounted."""
    app = app_of(limiter_of("1/minute", key=lambda request: given))

    answer, raised = crash(app)

    assert isinstance(raised, TypeError)
    assert f"the key function gave {type(given).__name__}" in str(raised)
    assert (answer.status, answer.json) == (500, CRASH)


def test_empty_string_is_a_subject() -> None:
    """Only None is nobody."""
    app = app_of(limiter_of("1/minute", key=lambda request: ""))

    assert [ask(app).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    "subject", ["ä", "\ud800", "a b\r\nc: d", "%s%d{}", "x" * 10_000, "1/60:0::a", "\0overflow"]
)
def test_subject_may_be_any_text_and_is_told_nobody(subject: str) -> None:
    """Subjects are data: they neither break anything nor reach the client."""
    app = app_of(limiter_of("2/minute", RouteLimit("5/hour", name="n"), key=lambda request: subject))

    answers = [ask(app) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].ratelimit == '"2/minute";r=0;t=' + str(answers[2].figures["2/minute"][1]) + (
        ', "5/hour n";r=3;t=' + str(answers[2].figures["5/hour n"][1])
    )


def test_subject_that_looks_like_another_quota_is_its_own() -> None:
    """Whatever a client can make its key, it does not write into somebody else's counter."""
    limiter = limiter_of("1/minute", routes={"GET /a": ["1/minute"]}, key=by_header("x-account"))
    app = app_of(limiter, Route("/", one), Route("/a", one))
    for subject in ("a", "GET /a:a", "6:GET /a:a", ":a", "0::a", "1/60:0::a"):
        assert ask(app, headers={"x-account": subject}).status == 200

    assert ask(app, "/a", headers={"x-account": "b"}).status == 200


def test_several_keys_are_charged_in_one_decision() -> None:
    """By address and by account at once, all or nothing."""
    limiter = limiter_of("3/minute", RouteLimit("2/hour", key=by_header("x-account")))
    app = app_of(limiter)

    both = ask(app, headers={"x-account": "a"})
    address_only = ask(app)
    account_from_elsewhere = ask(app, headers={"x-account": "a"}, **_from("192.0.2.7"))
    refused = ask(app, headers={"x-account": "a"})
    after = ask(app)

    assert both.left == {"3/minute": 2, "2/hour": 1}
    assert address_only.left == {"3/minute": 1}
    assert account_from_elsewhere.left == {"3/minute": 2, "2/hour": 0}
    assert (refused.status, refused.left) == (429, {"3/minute": 1, "2/hour": 0})
    assert refused.x_ratelimit_limit == "2"
    assert (after.status, after.left) == (200, {"3/minute": 0})


def test_storage_is_asked_once_for_all_limits() -> None:
    """Global limits, a route's, several keys and costs: one decision."""
    storage = ScriptedStorage([9] * 5, [1] * 5)
    limiter = RateLimiter(
        "10/minute",
        RouteLimit("20/hour", key=by_header("x-account")),
        RouteLimit(lambda request: ["30/hour", "40/day"]),
        routes={"GET /": [RouteLimit("50/day", cost=2)]},
        storage=storage,
    )

    assert ask(app_of(limiter), headers={"x-account": "a"}).status == 200

    (demands,) = storage.decided
    assert [(demand.subject, [quota.amount for quota in demand.quotas], demand.cost) for demand in demands] == [
        ("127.0.0.1", [10, 30, 40], 1),
        ("a", [20], 1),
        ("127.0.0.1", [50], 2),
    ]


def test_key_is_asked_once_for_all_its_limits() -> None:
    """A key may look something up; it costs once a request."""
    asked: list[str] = []

    async def key(request: Request) -> str:
        asked.append(request.url.path)
        return "a"

    limiter = limiter_of(
        "9/minute",
        RouteLimit("9/hour", key=key),
        RouteLimit("9/day", cost=2),
        key=key,
        routes={"GET /": ["8/day"]},
    )

    assert len(ask(app_of(limiter)).left) == 4
    assert asked == ["/"]


def test_key_may_not_swallow_the_body() -> None:
    """The body is the endpoint's: a key that reads it here is told so, and nothing is served without its body."""
    served: list[bytes] = []

    async def endpoint(request: Request) -> Response:
        served.append(await request.body())
        return JSONResponse(1)

    async def key(request: Request) -> str:
        return (await request.body()).decode()

    app = app_of(limiter_of("9/minute", key=key), Route("/", endpoint, methods=["POST"]))
    incoming = [{"type": "http.request", "body": b"abc", "more_body": False}]

    answer, raised = crash(app, method="POST", incoming=incoming)

    assert (answer.status, type(raised)) == (500, RuntimeError)
    assert served == []


def test_key_sees_what_the_applications_middleware_found_out() -> None:
    """Authentication stands outside the limits, so its result can be the key."""

    class Authenticating:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["user"] = "bob"
            scope.setdefault("state", {})["tenant"] = "acme"
            await self.app(scope, receive, send)

    seen: list[object] = []

    def key(request: Request) -> str:
        seen.append((request.scope["user"], request.state.tenant, request.app, request.method))
        return "a"

    app = app_of(limiter_of("9/minute", key=key))
    app.add_middleware(Authenticating)
    ask(app)

    assert seen == [("bob", "acme", app, "GET")]


# Clients without an address


@pytest.mark.parametrize("client", [None, ("", 0), ("unknown", 0)])
def test_client_without_address_is_not_limited_by_default(client: Any) -> None:
    """There is no bucket for all whom nobody can tell apart."""
    app = app_of(limiter_of("1/minute", key=ClientAddress(ipv6_prefix=101)))

    assert [(answer.status, answer.ratelimit) for answer in (ask(app, client=client) for _ in range(3))] == [
        (200, None)
    ] * 3


def test_client_without_address_can_be_refused() -> None:
    """403, for those who serve addresses only."""
    app = app_of(limiter_of("1/minute", key=ClientAddress(unidentified="deny", ipv6_prefix=102)))

    answers = [ask(app, client=None), ask(app)]

    assert [answer.status for answer in answers] == [403, 200]
    assert answers[0].json["code"] == 403


@pytest.mark.parametrize(("policy", "bits", "word"), [("allow", 103, "not limited"), ("deny", 104, "refused")])
def test_client_without_address_is_reported_once(
    policy: Any, bits: int, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A service behind a unix socket learns it from its log, and the log is not flooded."""
    app = app_of(limiter_of("1/minute", key=ClientAddress(unidentified=policy, ipv6_prefix=bits)))

    for _ in range(3):
        ask(app, client=None)

    (record,) = [record for record in caplog.records if record.name == "envelope.rate_limit"]
    assert record.levelno == logging.WARNING
    assert word in record.getMessage()
    assert "trusted_proxies" in record.getMessage()


# Costs


async def _async_cost(request: Request) -> int:
    return cost_by_header(request)


@pytest.mark.parametrize("cost", [cost_by_header, _async_cost])
def test_cost_may_be_computed(cost: Any) -> None:
    """Also asynchronously; 0 only looks."""
    app = app_of(limiter_of("5/minute", cost=cost))

    answers = [ask(app, headers={"x-cost": text}) for text in ("0", "3", "0", "3", "2", "0", "1")]

    assert [(answer.status, answer.left["5/minute"]) for answer in answers] == [
        (200, 5),
        (200, 2),
        (200, 2),
        (429, 2),
        (200, 0),
        (200, 0),
        (429, 0),
    ]


@pytest.mark.parametrize(
    ("cost", "word"), [(6, "6"), (-1, "-1"), (True, "True"), (1.0, "1.0"), ("1", "'1'"), (None, "None")]
)
def test_computed_cost_that_makes_no_sense_is_a_crash(cost: object, word: str) -> None:
    """Above the limit it would be an eternal 429; nothing is taken and nobody is refused for it."""
    app = app_of(limiter_of("5/minute", "9/hour", cost=lambda request: cost if "x-bad" in request.headers else 1))

    answer, raised = crash(app, headers={"x-bad": "1"})

    assert (answer.status, answer.json, type(raised)) == (500, CRASH, ValueError)
    assert word in str(raised)
    assert ask(app).left == {"5/minute": 4, "9/hour": 8}


def test_computed_cost_is_asked_once_for_all_its_limits() -> None:
    """Like a key: it may look something up, and all limits have to hear the same."""
    asked: list[str] = []

    async def cost(request: Request) -> int:
        asked.append(request.url.path)
        return len(asked)

    app = app_of(limiter_of("9/minute", "9/hour", RouteLimit("9/day", name="n"), cost=cost))

    assert ask(app).left == {"9/minute": 8, "9/hour": 8, "9/day n": 8}
    assert asked == ["/"]


def test_computed_cost_is_checked_against_each_limit() -> None:
    """It has to fit the smallest of them."""
    app = app_of(limiter_of("9/minute", "5/hour", cost=lambda request: 6))

    assert "5/hour" in str(crash(app)[1])


def test_cost_of_a_rule_is_its_own() -> None:
    """One limit counts requests, another what they weigh."""
    app = app_of(limiter_of("9/minute", RouteLimit("9/hour", cost=cost_by_header), RouteLimit("9/day", cost=0)))

    assert ask(app, headers={"x-cost": "4"}).left == {"9/minute": 8, "9/hour": 5, "9/day": 9}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cost_that_does_not_fit_takes_nothing(strategy: Any) -> None:
    """A large cost that is refused leaves the budget to smaller ones."""
    app = app_of(limiter_of("5/minute", strategy=strategy, cost=cost_by_header))
    ask(app, headers={"x-cost": "3"})

    assert [ask(app, headers={"x-cost": text}).status for text in ("4", "3", "2", "1")] == [429, 429, 200, 429]


# Limits for a request


def _tier(connection: HTTPConnection) -> str | None:
    return {"free": "1/minute", "paid": "3/minute"}.get(connection.headers.get("x-tier", ""))


async def _async_tier(connection: HTTPConnection) -> str | None:
    await asyncio.sleep(0)
    return _tier(connection)


@pytest.mark.parametrize("tier", [_tier, _async_tier])
@pytest.mark.parametrize("wrap", [lambda limit: limit, RouteLimit])
def test_limits_may_be_computed(tier: Any, wrap: Callable[[Any], Any]) -> None:
    """Tiers: each client has the limit of what it pays; None is no limit."""
    app = app_of(limiter_of(wrap(tier)))

    paid = [ask(app, headers={"x-tier": "paid"}).status for _ in range(4)]
    free = [ask(app, headers={"x-tier": "free"}, **_from("192.0.2.9")).status for _ in range(2)]
    staff = [(answer.status, answer.ratelimit) for answer in (ask(app) for _ in range(5))]

    assert paid == [200, 200, 200, 429]
    assert free == [200, 429]
    assert staff == [(200, None)] * 5


@pytest.mark.parametrize("given", [["5/minute", "9/hour"], ("5/minute; 9/hour",), "5/minute | 9/hour"])
def test_computed_limits_may_be_several(given: Any) -> None:
    """A list, a tuple, or one text of several."""
    app = app_of(limiter_of(lambda request: given))

    assert ask(app).left == {"5/minute": 4, "9/hour": 8}


@pytest.mark.parametrize("given", [None, [], ()])
def test_computed_limits_may_be_none(given: Any) -> None:
    """Then the others still hold."""
    app = app_of(limiter_of("2/minute", lambda request: given))

    assert ask(app).left == {"2/minute": 1}


def test_computed_limit_that_stands_already_is_charged_once() -> None:
    """A tier may have the global limit as its own."""
    app = app_of(limiter_of("5/minute", lambda request: ["5/minute", "5/minute"]))

    assert ask(app).left == {"5/minute": 4}


@pytest.mark.parametrize("given", ["often", "", "0/minute", 5, [5], {"a": 1}, True])
def test_computed_limit_that_is_none_is_a_crash(given: Any) -> None:
    """A limit that cannot be read limits nothing, so nothing is served (STYLE.md, habit 4)."""
    app = app_of(limiter_of(lambda request: given))

    answer, _ = crash(app)

    assert (answer.status, answer.json) == (500, CRASH)


def test_computed_limit_above_ten_thousand_of_a_moving_window_is_a_crash() -> None:
    """What is refused at install is refused later too."""
    app = app_of(limiter_of(lambda request: "10001/minute", strategy="moving-window"))

    assert "sliding-window-counter" in str(crash(app)[1])


def test_changed_tier_is_another_budget() -> None:
    """Who upgrades starts with what he has bought."""
    app = app_of(limiter_of(_tier))
    ask(app, headers={"x-tier": "free"})

    assert ask(app, headers={"x-tier": "free"}).status == 429
    assert ask(app, headers={"x-tier": "paid"}).left == {"3/minute": 2}


def test_any_number_of_different_limits_is_told_rightly() -> None:
    """Limits of tenants come in more combinations than there are routes; each has its own fields."""
    app = app_of(limiter_of(by_header("x-limit")))
    told: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.append(dict(message["headers"])[b"ratelimit-policy"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask_all() -> None:
        for amount in [*range(1, 1101), 1, 1100]:
            await app(scope_of(headers={"x-limit": f"{amount}0/hour"}), receive, send)

    asyncio.run(ask_all())

    assert told == [b'"%d0/hour";q=%d0;w=3600' % (amount, amount) for amount in [*range(1, 1101), 1, 1100]]


# Shadow


def _shadow_log(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "envelope.rate_limit"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shadow_limit_logs_exactly_what_it_would_have_refused(
    strategy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as if it refused: the third request of two is logged, and the fourth."""
    caplog.set_level(logging.INFO, "envelope")
    clock = FakeClock()
    app = app_of(limiter_of(RouteLimit("2/minute", shadow=True), clock=clock, strategy=strategy))

    logged = []
    for _ in range(4):
        assert ask(app).status == 200
        logged.append(len(_shadow_log(caplog)))
    clock.advance(s=120, ms=1)
    ask(app)

    assert logged == [0, 0, 1, 2]
    assert len(_shadow_log(caplog)) == 2
    assert all("2/minute" in message and "shadow" in message for message in _shadow_log(caplog))


def test_shadow_limit_beside_one_that_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """A refused request takes nothing, also from the limit in shadow."""
    caplog.set_level(logging.INFO, "envelope")
    clock = FakeClock()
    app = app_of(limiter_of("1/minute", RouteLimit("2/hour", shadow=True), clock=clock))

    statuses = []
    for _ in range(3):
        statuses += [ask(app).status, ask(app).status]
        clock.advance(s=121)

    assert statuses == [200, 429] * 3
    # From the second that was admitted on, the hour is used up, whatever else happens to a request.
    assert len(_shadow_log(caplog)) == 3


def test_shadow_limit_of_check_and_of_a_route_logs_too(caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a limit stands it can be tried out."""
    caplog.set_level(logging.INFO, "envelope")
    limiter = limiter_of(routes={"GET /": [RouteLimit("1/minute", shadow=True, name="trial")]})
    app = app_of(limiter)

    for _ in range(2):
        ask(app)
        _check(limiter, "a", RouteLimit("1/hour", shadow=True))

    messages = sorted(_shadow_log(caplog))
    assert len(messages) == 2
    assert messages[0].startswith("1/hour ")
    assert messages[1].startswith("1/minute GET / trial ")


# Names


def test_names_tell_equal_limits_apart() -> None:
    """Five a minute for the address and five for the account are two budgets with two names."""
    limiter = limiter_of("2/minute", RouteLimit("2/minute", key=by_header("x-account"), name="per account"))
    app = app_of(limiter)

    answers = [ask(app, headers={"x-account": account}) for account in ("a", "b", "a")]

    assert [answer.left for answer in answers[:2]] == [
        {"2/minute": 1, "2/minute per account": 1},
        {"2/minute": 0, "2/minute per account": 1},
    ]
    assert answers[2].status == 429


# Routes


def _routes_app(limiter: RateLimiter) -> Any:
    return app_of(
        limiter,
        Route("/a", one, methods=["GET", "POST"]),
        Route("/b/{n}", one),
        Route("/free", one),
        Mount("/sub", routes=[Route("/c", one)]),
    )


def test_limits_of_a_route_are_added_to_the_global_ones() -> None:
    """Both hold; a refusal by either takes from neither."""
    app = _routes_app(limiter_of("4/minute", routes={"GET /b/{n}": ["2/minute"]}))

    answers = [ask(app, f"/b/{n}") for n in range(3)]
    other = ask(app, "/a")

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].left == {"4/minute": 3, "2/minute GET /b/{n}": 1}
    assert answers[2].left == {"4/minute": 2, "2/minute GET /b/{n}": 0}
    assert other.left == {"4/minute": 1}


def test_exempt_route_is_free_of_all_limits() -> None:
    """``None``: a health check is never refused, and uses nothing."""
    app = _routes_app(limiter_of("1/minute", routes={"GET /free": None}))

    answers = [ask(app, "/free") for _ in range(3)]

    assert [(answer.status, answer.ratelimit) for answer in answers] == [(200, None)] * 3
    assert [ask(app, "/a").status, ask(app, "/free").status, ask(app, "/a").status] == [200, 200, 429]


def test_methods_of_a_route_have_their_own_entries() -> None:
    """Reading is cheaper than writing."""
    app = _routes_app(limiter_of(routes={"GET /a": ["2/minute"], "POST /a": ["1/minute"]}))

    statuses = [ask(app, "/a", method=method).status for method in ("POST", "POST", "GET", "HEAD", "GET")]

    assert statuses == [200, 429, 200, 200, 429]


def test_unmatched_paths_are_limited_by_the_global_limits() -> None:
    """Scanners for ``/wp-login.php`` use their budget up, all paths together."""
    app = _routes_app(limiter_of("3/minute", routes={"GET /a": ["1/minute"]}))

    answers = [ask(app, "/x"), ask(app, "/y"), ask(app, "/a", method="DELETE"), ask(app, "/z")]

    assert [answer.status for answer in answers] == [404, 404, 405, 429]
    assert answers[2].left == {"3/minute": 0}
    assert answers[3].json == REFUSED


@pytest.mark.parametrize("path", ["/b/1", "/b/2", "/b/%2e", "/b/ä", "/b/a%2Fb"])
def test_budget_of_a_route_does_not_depend_on_its_parameters(path: str) -> None:
    """The template is the bucket, not the path."""
    app = _routes_app(limiter_of(routes={"GET /b/{n}": ["1/minute"]}))
    ask(app, "/b/x")

    assert ask(app, path).status == 429


def test_entry_of_a_mounted_route_holds() -> None:
    """Named with the prefix of its mount."""
    app = _routes_app(limiter_of(routes={"GET /sub/c": ["1/minute"]}))

    assert [ask(app, path).status for path in ("/sub/c", "/a", "/sub/c")] == [200, 200, 429]


def test_route_limit_of_a_route_has_key_cost_and_name() -> None:
    """A single ``RouteLimit`` needs no list."""
    limit = RouteLimit("5/minute", key=by_header("x-account"), cost=2, name="runs")
    app = _routes_app(limiter_of("9/minute", routes={"POST /a": limit}))

    answer = ask(app, "/a", method="POST", headers={"x-account": "a"})

    assert answer.left == {"9/minute": 8, "5/minute POST /a runs": 3}
    assert ask(app, "/a", method="POST").left == {"9/minute": 7}


def test_equal_limits_of_two_routes_are_two_budgets() -> None:
    """Five a minute for each."""
    app = _routes_app(limiter_of(routes={"GET /a": ["1/minute"], "GET /b/{n}": ["1/minute"]}))

    assert [ask(app, path).status for path in ("/a", "/b/1", "/a", "/b/1")] == [200, 200, 429, 429]


def test_computed_limits_of_a_route() -> None:
    """Tiers of one route, beside a constant one."""
    app = _routes_app(limiter_of("9/minute", routes={"GET /a": [_tier, "8/hour"]}))

    assert ask(app, "/a", headers={"x-tier": "free"}).left == {
        "9/minute": 8,
        "1/minute GET /a": 0,
        "8/hour GET /a": 7,
    }


# check


def test_check_charges_a_subject() -> None:
    """The same namespace as the key: what code charges the next request finds charged."""
    limiter = limiter_of("3/minute", key=by_header("x-account"))
    app = app_of(limiter)

    assert _left(limiter, "a") == {"3/minute": 2}
    assert ask(app, headers={"x-account": "a"}).left == {"3/minute": 1}
    assert _left(limiter, "b") == {"3/minute": 2}


def test_check_gives_the_figures() -> None:
    """Name, amount, what remains, and the seconds until there is more, with fractions."""
    clock = FakeClock()
    limiter = limiter_of(clock=clock, strategy="fixed-window")
    _check(limiter, "a", "5/minute", cost=2)
    clock.advance(ms=1_500)

    (figure,) = _check(limiter, "a", "5/minute").figures

    assert tuple(figure) == ("5/minute", 5, 2, 58.5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reset_of_a_figure_is_exact_to_the_millisecond(strategy: Any) -> None:
    """A millisecond later there is more, and a millisecond before there is not."""
    clock = FakeClock()
    limiter = limiter_of(clock=clock, strategy=strategy)
    (figure,) = _check(limiter, "a", "5/minute", cost=3).figures

    clock.advance(ms=round(figure.reset_s * 1000) - 1)
    before = _left(limiter, "a", "5/minute", cost=0)
    clock.advance(ms=2)

    assert before == {"5/minute": 2}
    assert _left(limiter, "a", "5/minute", cost=0)["5/minute"] > 2


def test_check_charges_the_key_of_a_request() -> None:
    """A request stands for its subject."""
    limiter = limiter_of("3/minute")

    assert [_left(limiter, request_of(host))["3/minute"] for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [
        2,
        2,
        1,
    ]


def test_check_of_a_request_without_subject_charges_nobody() -> None:
    """The key says so."""
    limiter = limiter_of("1/minute", key=lambda request: None)

    assert [_check(limiter, request_of()).figures for _ in range(3)] == [[], [], []]


def test_check_asks_no_storage_for_nothing() -> None:
    """No limit applies, so there is no round trip, nor an empty one that a server would refuse."""
    storage = ScriptedStorage((), ())
    limiter = RateLimiter("1/minute", key=lambda request: None, storage=storage)

    assert _check(limiter, request_of()).figures == []
    assert storage.decided == []


def test_check_with_limits_of_its_own() -> None:
    """They stand beside the limiter's; a scope tells them apart from equal ones."""
    limiter = limiter_of("3/minute")

    assert _left(limiter, "a") == {"3/minute": 2}
    assert _left(limiter, "a", "3/minute") == {"3/minute": 1}
    assert _left(limiter, "a", "3/minute", scope="reports") == {"3/minute reports": 2}
    assert _left(limiter, "a", "3/minute", "9/hour", scope="login") == {"3/minute login": 2, "9/hour login": 8}


def test_check_refuses_with_what_the_client_is_told() -> None:
    """The error is the whole answer: status, Retry-After, figures, no-store."""
    limiter = limiter_of(strategy="fixed-window")
    _check(limiter, "a", "2/minute", cost=2)

    with pytest.raises(RateLimitedError) as refused:
        _check(limiter, "a", "2/minute", "9/hour")

    error = refused.value
    assert (error.status_code, error.message, error.retry_after) == (429, TEXT, 60)
    assert error.headers is not None
    told = {name.lower(): value for name, value in error.headers.items()}
    assert told.pop("x-ratelimit-reset").isdecimal()
    assert told.pop("retry-after", "60") == "60"
    assert told == {
        "x-ratelimit-limit": "2",
        "x-ratelimit-remaining": "0",
        "ratelimit-policy": '"2/minute";q=2;w=60, "9/hour";q=9;w=3600',
        "ratelimit": '"2/minute";r=0;t=60, "9/hour";r=9;t=0',
        "cache-control": "no-store",
    }
    assert _left(limiter, "a", "9/hour", cost=0) == {"9/hour": 9}


def test_check_of_cost_zero_only_looks() -> None:
    """Also at the limit it does not refuse."""
    limiter = limiter_of("2/minute")
    _check(limiter, "a", cost=2)

    assert [_left(limiter, "a", cost=0) for _ in range(2)] == [{"2/minute": 0}] * 2


@pytest.mark.parametrize("subject", ["a", request_of()])
@pytest.mark.parametrize("limits", [(), ("5/minute",)])
@pytest.mark.parametrize("cost", [6, -1, 1.5])
def test_check_of_a_cost_that_never_fits_is_a_value_error(
    subject: Any, limits: tuple[str, ...], cost: Any
) -> None:
    """Whoever is charged and by whatever limits: below 0 would be a gift, above the limit an eternal 429."""
    limiter = limiter_of("5/minute")
    _check(limiter, subject)

    with pytest.raises(ValueError, match="cost"):
        _check(limiter, subject, *limits, cost=cost)

    assert _left(limiter, subject, cost=0) == {"5/minute": 4}


def test_check_of_a_subject_needs_limits_that_are_known() -> None:
    """A function of the request has no request to look at; no limits at all is a slip."""
    for limiter in (limiter_of(), limiter_of(_tier)):
        with pytest.raises(ValueError, match="limits"):
            _check(limiter, "a")


def test_check_of_a_request_computes_limits_and_keys() -> None:
    """What ``RateLimiter`` takes, ``check`` takes."""
    limiter = limiter_of()
    request = request_of(headers={"x-tier": "paid", "x-account": "a"})

    assert _left(limiter, request, _tier) == {"3/minute": 2}
    assert _left(limiter, request, RouteLimit("5/hour", key=by_header("x-account"), name="n")) == {"5/hour n": 4}
    assert _left(limiter, "a", RouteLimit("5/hour", name="n")) == {"5/hour n": 3}


def test_check_of_a_rule_with_a_cost_charges_that() -> None:
    """``cost`` of the call is for the limits that have none of their own."""
    limiter = limiter_of()
    limits = ("9/minute", RouteLimit("9/hour", cost=3))

    assert _left(limiter, "a", *limits, cost=2) == {"9/minute": 7, "9/hour": 6}
    assert _left(limiter, request_of(), *limits, cost=2) == {"9/minute": 7, "9/hour": 6}


def test_check_of_the_limiters_own_limits_in_a_scope() -> None:
    """A scope without limits is the same numbers, counted apart."""
    limiter = limiter_of("9/minute")
    _check(limiter, "a")

    assert _left(limiter, "a", scope="reports") == {"9/minute reports": 8}
    assert _left(limiter, "a") == {"9/minute": 7}


def test_check_with_a_limit_that_cannot_be_read_is_a_value_error() -> None:
    """The configuration is right, the call is not."""
    limiter = limiter_of("9/minute")

    for limits in (("often",), ("5/minute", "5/minute"), (RouteLimit("5/minute", cost=6),)):
        with pytest.raises(ValueError, match="often|twice|cost"):
            _check(limiter, "a", *limits)


def test_check_of_a_subject_cannot_compute_costs() -> None:
    """There is no request to look at."""
    limiter = limiter_of(RouteLimit("9/minute", cost=cost_by_header))

    with pytest.raises(ValueError, match="request"):
        _check(limiter, "a")


def test_check_in_an_endpoint_is_answered_with_429() -> None:
    """Raised where it is called; the figures of what was taken before stand beside those that refuse."""
    limiter = limiter_of("9/minute")

    async def endpoint(request: Request) -> Response:
        await limiter.check(request, "1/hour", scope="reports")
        return JSONResponse(1)

    app = app_of(limiter, Route("/", endpoint))

    admitted, refused = ask(app), ask(app)

    assert (admitted.status, admitted.left) == (200, {"9/minute": 8, "1/hour reports": 0})
    assert (refused.status, refused.json) == (429, REFUSED)
    assert refused.left == {"9/minute": 7, "1/hour reports": 0}
    assert (refused.x_ratelimit_limit, refused.cache_control) == ("1", "no-store")
    assert refused.wait_s > 3600


def test_check_of_another_subject_in_an_endpoint_does_not_tell_its_figures() -> None:
    """On success the headers are about the client, not about whom it asked for."""
    limiter = limiter_of("9/minute")

    async def endpoint(request: Request) -> Response:
        await limiter.check("victim", "5/hour")
        return JSONResponse(1)

    assert ask(app_of(limiter, Route("/", endpoint))).left == {"9/minute": 8}


def test_refusal_that_the_endpoint_handles_is_its_own() -> None:
    """``except RateLimitedError``: a cheaper answer instead, and a 200."""
    limiter = limiter_of("9/minute")

    async def endpoint(request: Request) -> Response:
        try:
            await limiter.check(request, "1/hour", scope="thorough")
        except RateLimitedError as error:
            return JSONResponse(f"quick, {error.retry_after}")
        return JSONResponse("thorough")

    app = app_of(limiter, Route("/", endpoint))
    ask(app)

    answer = ask(app)

    assert (answer.status, answer.json) == (200, success("quick, 3601"))
    assert answer.left == {"9/minute": 7, "1/hour thorough": 0}
    assert (answer.retry_after, answer.cache_control) == (None, None)


def test_check_by_another_limiter_is_told_by_its_refusal() -> None:
    """A second limiter, which is not installed, has its own figures."""
    installed, other = limiter_of("9/minute"), limiter_of("1/hour")

    async def endpoint(request: Request) -> Response:
        await other.check(request)
        return JSONResponse(1)

    app = app_of(installed, Route("/", endpoint))

    admitted, refused = ask(app), ask(app)

    assert admitted.left == {"9/minute": 8}
    assert (refused.status, refused.left) == (429, {"1/hour": 0})


def test_check_works_in_many_event_loops() -> None:
    """A limiter is made once, at import, and used by tests, workers and threads."""
    limiter = limiter_of("3/minute")

    assert [_left(limiter, "a")["3/minute"] for _ in range(3)] == [2, 1, 0]


def test_failure_body_of_a_check_has_the_shape_of_failures() -> None:
    """The error of the limiter is an ``ApiError`` like any other."""
    assert failure(429, TEXT) == REFUSED


# reset


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reset_forgets_a_subject_everywhere(strategy: Any) -> None:
    """All its limits and scopes, and nobody else's."""
    clock = FakeClock()
    limiter = limiter_of("2/minute", "5/hour", clock=clock, strategy=strategy, routes={"GET /": ["2/day"]})
    app = app_of(limiter)
    for _ in range(2):
        ask(app)
        ask(app, **_from("192.0.2.9"))
    assert ask(app).status == 429
    clock.advance(s=61)  # in the sliding window it now lies in the window before

    asyncio.run(limiter.reset("127.0.0.1"))

    assert ask(app).left == {"2/minute": 1, "5/hour": 4, "2/day GET /": 1}
    assert ask(app, **_from("192.0.2.9")).status == 429


def test_reset_of_somebody_unknown_does_nothing() -> None:
    """Tests call it before they begin."""
    limiter = limiter_of("2/minute")

    asyncio.run(limiter.reset("a"))

    assert _left(limiter, "a") == {"2/minute": 1}


def test_reset_does_not_take_a_subject_for_a_pattern() -> None:
    """Nor for the end of another."""
    limiter = limiter_of("2/minute")
    for subject in ("a", "ba", "*", ""):
        _check(limiter, subject)

    for subject in ("*", ""):
        asyncio.run(limiter.reset(subject))

    assert [_left(limiter, subject)["2/minute"] for subject in ("a", "ba", "*", "")] == [0, 0, 1, 1]


def test_limits_given_in_code_are_kept_in_a_bounded_place() -> None:
    """Scopes that clients choose make plans, which do not stay for ever."""
    limiter = limiter_of()

    for number in range(1100):
        _check(limiter, "a", "5/minute", scope=f"{number}")

    assert len(limiter._plans) <= 1024
    assert _left(limiter, "a", "5/minute", scope="0", cost=0) == {"5/minute 0": 4}


def test_memcached_counts_through_limits(memcached_server: Memcached) -> None:
    """By its URL, with the deadline and the breaker around it."""
    memcached_server.flush()
    limiter = RateLimiter("2/minute", storage=memcached_server.url, timeout_s=2, on_outage="deny")

    async def main() -> list[bool]:
        admitted = []
        for _ in range(3):
            try:
                await limiter.check("a")
                admitted.append(True)
            except RateLimitedError:
                admitted.append(False)
        await limiter.aclose()
        return admitted

    assert asyncio.run(main()) == [True, True, False]
