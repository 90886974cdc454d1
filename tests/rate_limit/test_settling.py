"""Work whose cost is known afterwards: settle and refund, by request and by verdict."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from envelope import RateLimitedError, RateLimiter, RouteLimit, UnauthorizedError, install
from envelope.rate_limit.verdicts import Verdict
from tests.rate_limit.asking import (
    STRATEGIES,
    FakeClock,
    ScriptedStorage,
    app_of,
    ask,
    by_header,
    cost_by_header,
    limiter_of,
    read_list,
    request_of,
)


def _check(limiter: RateLimiter, *args: Any, **options: Any) -> Verdict:
    return asyncio.run(limiter.check(*args, **options))


def _left(limiter: RateLimiter, subject: Any, *limits: Any) -> dict[str, int]:
    try:
        return {figure.name: figure.remaining for figure in _check(limiter, subject, *limits, cost=0).figures}
    except RateLimitedError as error:  # more than the limit was settled
        assert error.headers is not None
        return {name: params["r"] for name, params in read_list(error.headers["ratelimit"])}


def _settling(limiter: RateLimiter, *costs: int) -> Any:
    async def endpoint(request: Request) -> Response:
        for cost in costs:
            await limiter.settle(request, cost)
        return JSONResponse(1)

    return endpoint


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("costs", "left"),
    [((), 8), ((1,), 8), ((4,), 5), ((0,), 9), ((4, 2), 7), ((4, 0, 3), 6), ((9,), 0), ((12,), 0)],
)
def test_settled_cost_is_what_counts(strategy: Any, costs: tuple[int, ...], left: int) -> None:
    """The last one said, in the figures of the response and for the next request."""
    limiter = limiter_of("9/minute", strategy=strategy)
    app = app_of(limiter, Route("/", _settling(limiter, *costs)))

    answer = ask(app)

    assert (answer.left, answer.x_ratelimit_remaining) == ({"9/minute": left}, str(left))
    assert _left(limiter, "127.0.0.1") == {"9/minute": left}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_figures_of_a_refunded_request_are_those_of_an_untouched_budget(strategy: Any) -> None:
    """Nothing was taken, so there is nothing to wait for."""
    limiter = limiter_of("9/minute", strategy=strategy)
    app = app_of(limiter, Route("/", _settling(limiter, 0)))

    assert ask(app).figures == {"9/minute": (9, 0)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_than_the_limit_is_charged_all_the_same(strategy: Any) -> None:
    """The work was done; whoever did too much waits until it is worked off."""
    clock = FakeClock()
    limiter = limiter_of("5/minute", clock=clock, strategy=strategy)
    verdict = _check(limiter, "a")

    asyncio.run(limiter.settle(verdict, 7))

    assert _left(limiter, "a") == {"5/minute": 0}
    with pytest.raises(RateLimitedError) as refused:
        _check(limiter, "a")
    clock.advance(s=int(refused.value.retry_after or 0))
    _check(limiter, "a")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_failures_only_are_counted_where_successes_are_refunded(strategy: Any) -> None:
    """Logging in right is free, guessing is not, and the refused guess takes nothing back."""
    limiter = limiter_of(strategy=strategy)

    async def login(request: Request) -> Response:
        await limiter.check(request, "3/minute", scope="failed logins")
        if request.headers["x-password"] != "right":
            raise UnauthorizedError
        await limiter.refund(request)
        return JSONResponse(1)

    app = app_of(limiter, Route("/", login))

    def log_in(password: str) -> int:
        return ask(app, headers={"x-password": password}).status

    assert [log_in("right") for _ in range(9)] == [200] * 9
    assert [log_in(word) for word in ("a", "right", "b", "right", "c")] == [401, 200, 401, 200, 401]
    assert [log_in("right"), log_in("d")] == [429, 429]


def test_concurrent_guesses_are_reserved_before_they_are_known_to_fail() -> None:
    """Reserve and refund, not test and hit: no more than the limit are tried at once."""
    limiter = limiter_of()
    tried: list[str] = []

    async def log_in() -> None:
        verdict = await limiter.check("a", "3/minute")
        tried.append("guess")
        await asyncio.sleep(0)
        await limiter.refund(verdict)

    async def attack() -> list[Any]:
        return await asyncio.gather(*(log_in() for _ in range(20)), return_exceptions=True)

    results = asyncio.run(attack())

    assert len(tried) == 3
    assert [type(result) for result in results].count(RateLimitedError) == 17
    assert _left(limiter, "a", "3/minute") == {"3/minute": 3}


def test_request_settles_everything_that_was_taken_from_it() -> None:
    """Global limits, the route's and what ``check`` took; each by its own key."""
    limiter = limiter_of(
        "9/minute", RouteLimit("8/minute", key=by_header("x-account")), routes={"GET /": ["7/minute"]}
    )

    async def endpoint(request: Request) -> Response:
        await limiter.check(request, "6/minute", scope="work")
        await limiter.check("other", "5/minute")
        await limiter.settle(request, 3)
        return JSONResponse(1)

    answer = ask(app_of(limiter, Route("/", endpoint)), headers={"x-account": "a"})

    assert answer.left == {"9/minute": 6, "8/minute": 5, "7/minute GET /": 4, "6/minute work": 3}
    assert _left(limiter, "a", "8/minute") == {"8/minute": 5}
    # What was taken from somebody else is settled by its own verdict.
    assert _left(limiter, "other", "5/minute") == {"5/minute": 4}


def test_verdict_settles_what_it_took_only() -> None:
    """And the figures of the response say so."""
    limiter = limiter_of("9/minute")

    async def endpoint(request: Request) -> Response:
        verdict = await limiter.check(request, "6/minute", scope="work", cost=2)
        await limiter.settle(verdict, 5)
        assert [figure.remaining for figure in verdict.figures] == [1]
        return JSONResponse(1)

    assert ask(app_of(limiter, Route("/", endpoint))).left == {"9/minute": 8, "6/minute work": 1}


def test_limit_of_a_route_is_settled_with_its_request() -> None:
    """The dependency's verdict belongs to the request."""
    limiter = limiter_of("9/minute")
    app = FastAPI()
    install(app, rate_limiter=limiter)

    @app.get("/")
    async def endpoint(request: Request, verdict: Verdict = Depends(limiter.limit("5/hour"))) -> int:  # noqa: B008
        await limiter.settle(verdict, 4)
        await limiter.refund(request)
        await limiter.settle(verdict, 2)
        return 1

    assert ask(app).left == {"9/minute": 9, "5/hour /": 3}


def test_decorated_sync_endpoint_is_settled_by_a_background_task() -> None:
    """After the response the figures are out; the next one knows."""
    limiter = limiter_of("9/minute")

    def endpoint(request: Request) -> Response:
        async def task() -> None:
            await limiter.settle(request, 6)

        return JSONResponse(1, background=BackgroundTask(task))

    app = app_of(limiter, Route("/", limiter.limited("8/hour")(endpoint)))

    assert ask(app).left == {"9/minute": 8, "8/hour /": 7}
    assert ask(app).left == {"9/minute": 2, "8/hour /": 1}


def test_settling_before_anything_was_taken_does_nothing() -> None:
    """An exempt request, one that nobody counted, or one that no application saw."""
    limiter = limiter_of("9/minute", routes={"GET /": None})
    app = app_of(limiter, Route("/", _settling(limiter, 0, 5)))

    assert ask(app).status == 200
    asyncio.run(limiter.refund(request_of()))

    assert _left(limiter, "127.0.0.1") == {"9/minute": 9}


def test_refused_check_cannot_be_settled() -> None:
    """It took nothing, so there is nothing to give back, nor to charge."""
    limiter = limiter_of("9/minute")

    async def endpoint(request: Request) -> Response:
        for _ in range(3):
            try:
                await limiter.check(request, "2/hour", scope="work")
            except RateLimitedError:
                break
        await limiter.refund(request)
        verdict = await limiter.check(request, "2/hour", scope="work", cost=0)
        return JSONResponse([figure.remaining for figure in verdict.figures])

    answer = ask(app_of(limiter, Route("/", endpoint)))

    assert answer.json["content"] == [2]
    assert answer.left["9/minute"] == 9


def test_figures_of_a_quota_that_was_charged_twice_are_right_after_a_refund() -> None:
    """Both verdicts gave back, so the budget is whole again, and the response says so."""
    limiter = limiter_of()

    async def endpoint(request: Request) -> Response:
        for _ in range(2):
            await limiter.check(request, "9/hour")
        await limiter.refund(request)
        return JSONResponse(1)

    answer = ask(app_of(limiter, Route("/", endpoint)))

    assert _left(limiter, "127.0.0.1", "9/hour") == {"9/hour": 9}
    assert answer.left == {"9/hour": 9}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cost_zero_only_looks_also_above_the_limit(strategy: Any) -> None:
    """Whoever asks for nothing is not refused it."""
    limiter = limiter_of(strategy=strategy)
    verdict = _check(limiter, "a", "5/minute")
    asyncio.run(limiter.settle(verdict, 7))

    (figure,) = _check(limiter, "a", "5/minute", cost=0).figures

    assert figure.remaining == 0


def test_work_is_settled_and_requests_stay_counted() -> None:
    """Limits that have a cost are about work; one that counts requests has counted one."""
    limiter = limiter_of("9/minute", RouteLimit("100/hour", cost=cost_by_header))
    app = app_of(limiter, Route("/", _settling(limiter, 30)))

    assert ask(app, headers={"x-cost": "50"}).left == {"9/minute": 8, "100/hour": 70}


def test_refund_gives_back_work_and_requests() -> None:
    """As if the request had not been."""
    limiter = limiter_of("9/minute", RouteLimit("100/hour", cost=cost_by_header))

    async def endpoint(request: Request) -> Response:
        await limiter.refund(request)
        return JSONResponse(1)

    assert ask(app_of(limiter, Route("/", endpoint)), headers={"x-cost": "50"}).left == {
        "9/minute": 9,
        "100/hour": 100,
    }


def test_work_at_a_route_is_settled_and_the_globals_stay_counted() -> None:
    """Which limits stand for work is a question about the request, not about each decision."""
    limiter = limiter_of("9/minute")
    app = FastAPI()
    install(app, rate_limiter=limiter)

    @app.get("/", dependencies=[Depends(limiter.limit("100/hour", cost=cost_by_header))])
    async def endpoint(request: Request) -> int:
        await limiter.settle(request, 7)
        return 1

    assert ask(app, headers={"x-cost": "50"}).left == {"9/minute": 8, "100/hour /": 93}


def test_explicit_cost_of_one_stands_for_work() -> None:
    """Whoever writes ``cost=`` means work, also if the first guess is 1."""
    limiter = limiter_of("9/minute", RouteLimit("100/hour", cost=1))

    assert ask(app_of(limiter, Route("/", _settling(limiter, 7)))).left == {"9/minute": 8, "100/hour": 93}


def test_refused_check_gives_nothing_back_of_the_limits_that_had_room() -> None:
    """All or nothing: the limit that did not refuse was not charged either."""
    limiter = limiter_of()

    async def endpoint(request: Request) -> Response:
        try:
            await limiter.check(request, "1/hour", "9/day")
            await limiter.check(request, "1/hour", "9/day")
        except RateLimitedError:
            verdicts = request.scope[limiter.scope_key].verdicts
            assert [bool(verdict.wait_ms) for verdict in verdicts] == [False, True]
            await limiter.settle(verdicts[-1], 5)
            await limiter.refund(verdicts[-1])
        return JSONResponse(1)

    ask(app_of(limiter, Route("/", endpoint)))

    assert _left(limiter, "127.0.0.1", "1/hour", "9/day") == {"1/hour": 0, "9/day": 8}


def test_shadow_limit_that_did_not_count_gives_nothing_back() -> None:
    """A refund must not free what others used."""
    shadow = RouteLimit("2/minute", shadow=True)
    limiter = limiter_of("9/minute", shadow)
    for _ in range(2):
        _check(limiter, "a")
    over = _check(limiter, "a")

    asyncio.run(limiter.refund(over))

    assert _left(limiter, "a", "9/minute", shadow) == {"9/minute": 7, "2/minute": 0}


@pytest.mark.parametrize("cost", [-1, 1.5, True, None, "1"])
def test_cost_that_is_none_is_a_value_error(cost: Any) -> None:
    """Whoever is settled; a negative cost would be a gift."""
    limiter = limiter_of("5/minute")
    request = request_of()
    verdict = _check(limiter, request)

    for taken in (verdict, request):
        with pytest.raises(ValueError, match="cost"):
            asyncio.run(limiter.settle(taken, cost))

    assert _left(limiter, request) == {"5/minute": 4}


@pytest.mark.parametrize("costs", [(3, 5), (5, 3), (0, 2), (2, 0, 4)])
@pytest.mark.parametrize("by_request", [True, False])
def test_concurrent_settlements_end_at_one_of_them(costs: tuple[int, ...], by_request: bool) -> None:
    """Each starts where the one before it ended, also while the storage is slow."""

    class Slow:
        """Hands everything on to a storage in memory, after the others had their turn."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def check(self, quota: Any) -> None:
            pass

        async def decide(self, demands: Any) -> Any:
            verdict = await self.inner.decide(demands)
            verdict.storage = self
            return verdict

        async def settle(self, changes: Any, taken_at: Any) -> None:
            await asyncio.sleep(0)
            await self.inner.settle(changes, taken_at)

        async def reset(self, subject: str) -> None:
            raise AssertionError

        async def aclose(self) -> None:
            pass

    limiter = RateLimiter("9/minute", storage=Slow(limiter_of("9/minute").storage))
    request = request_of()

    async def work() -> Verdict:
        verdict = await limiter.check(request, cost=1)
        taken = request if by_request else verdict
        await asyncio.gather(*(limiter.settle(taken, cost) for cost in costs))
        return verdict

    verdict = asyncio.run(work())

    assert _left(limiter, request) == {"9/minute": 9 - costs[-1]}
    assert [figure.remaining for figure in verdict.figures] == [9 - costs[-1]]


def test_settling_to_the_same_cost_asks_nobody() -> None:
    """No round trip for nothing."""
    storage = ScriptedStorage([8], [1000])
    limiter = RateLimiter("9/minute", storage=storage)

    async def work() -> None:
        verdict = await limiter.check("a", cost=2)
        await limiter.settle(verdict, 2)
        await limiter.settle(verdict, 3)
        await limiter.settle(verdict, 3)

    asyncio.run(work())

    (changes,) = storage.settled
    assert [(change.subject, change.quota.name, change.difference) for change in changes] == [("a", "9/minute", 1)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_refund_after_the_window_is_over_frees_nothing_of_the_next(strategy: Any) -> None:
    """Long work ends in another window, whose requests are not its own."""
    clock = FakeClock()
    limiter = limiter_of("5/minute", clock=clock, strategy=strategy)
    long = _check(limiter, "a", cost=4)
    clock.advance(s=121)
    _check(limiter, "a", cost=3)

    asyncio.run(limiter.refund(long))

    assert _left(limiter, "a") == {"5/minute": 2}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_refund_in_the_next_window_frees_what_still_weighs(strategy: Any) -> None:
    """A refund never makes more room than there was before."""
    clock = FakeClock()
    limiter = limiter_of("5/minute", clock=clock, strategy=strategy)
    first = _check(limiter, "a", cost=4)
    clock.advance(s=61)
    before = _left(limiter, "a")["5/minute"]

    asyncio.run(limiter.refund(first))

    assert before <= _left(limiter, "a")["5/minute"] <= 5
    _check(limiter, "a", cost=_left(limiter, "a")["5/minute"])


def test_inner_application_settles_its_own_limiter_only() -> None:
    """Each limiter keeps its own account of a request."""
    outer, inner = limiter_of("9/minute"), limiter_of("8/minute")
    app = app_of(outer, Mount("/inner", app_of(inner, Route("/", _settling(inner, 5)))))

    assert ask(app, "/inner/").left == {"8/minute": 3}
    assert _left(outer, "127.0.0.1") == {"9/minute": 8}


def test_inner_endpoint_settles_the_outer_limiter() -> None:
    """A request of a mounted application is still the outer one's request."""
    outer = limiter_of("9/minute")
    app = app_of(outer, Mount("/inner", app_of(limiter_of("8/minute"), Route("/", _settling(outer, 5)))))

    ask(app, "/inner/")

    assert _left(outer, "127.0.0.1") == {"9/minute": 4}


def test_outage_meanwhile_is_no_failure_of_the_request() -> None:
    """The work is done; a storage that is gone cannot be told, and the client need not know."""
    from envelope.storage.errors import StorageUnavailableError

    class Gone(ScriptedStorage):
        async def settle(self, changes: Any, taken_at: Any) -> None:
            raise StorageUnavailableError("gone")

    limiter = RateLimiter("9/minute", storage=Gone([8], [1000]), on_outage="deny")
    app = app_of(limiter, Route("/", _settling(limiter, 4)))

    assert ask(app).status == 200


def test_what_an_outage_admitted_needs_no_settling() -> None:
    """Nothing was counted anywhere."""
    from envelope.storage.errors import StorageUnavailableError

    class Silent(ScriptedStorage):
        async def decide(self, demands: Any) -> Any:
            raise StorageUnavailableError("silent")

    storage = Silent((), ())
    limiter = RateLimiter("9/minute", storage=storage, on_outage="allow")
    app = app_of(limiter, Route("/", _settling(limiter, 4, 0)))

    answer = ask(app)

    assert (answer.status, answer.ratelimit, storage.settled) == (200, None, [])


def test_unavailable_storage_does_not_keep_other_verdicts_from_being_settled() -> None:
    """Each is tried; then the error is told."""
    from envelope.rate_limit.quotas import Quota
    from envelope.rate_limit.verdicts import Demand, Verdict, refund
    from envelope.storage.errors import StorageUnavailableError

    class Gone(ScriptedStorage):
        async def settle(self, changes: Any, taken_at: Any) -> None:
            raise StorageUnavailableError("gone")

    gone, there = Gone([8], [1000]), ScriptedStorage([8], [1000])
    demands = [Demand("a", (Quota(9, 60),), 1)]
    verdicts = [Verdict(storage, demands, [8], [1000], None, 0, 0) for storage in (gone, there)]

    with pytest.raises(StorageUnavailableError):
        asyncio.run(refund(verdicts))

    assert len(there.settled) == 1


def test_settling_in_memory_that_has_forgotten_begins_anew() -> None:
    """A process that was restarted, or another one, may be told of what this one never took."""
    clock = FakeClock()
    taken = _check(limiter_of("9/minute", clock=clock), "a")
    other = limiter_of("9/minute", clock=clock)
    taken.storage = other.storage

    asyncio.run(other.settle(taken, 4))

    assert _left(other, "a") == {"9/minute": 6}


def test_limit_that_is_not_exposed_is_charged_and_refuses_unseen() -> None:
    """What is left of somebody else's budget tells nobody what he does."""
    limiter = limiter_of("9/minute", RouteLimit("1/minute", key=by_header("x-account"), expose=False))
    app = app_of(limiter, Route("/", _settling(limiter, 1)))

    admitted, refused = (ask(app, headers={"x-account": "a"}) for _ in range(2))

    assert (admitted.status, admitted.left) == (200, {"9/minute": 8})
    assert (refused.status, refused.left) == (429, {"9/minute": 8})
    assert dict(refused.fields)["retry-after"]


def test_shadow_limit_below_a_computed_cost_refuses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It would never fit, which is told to operators only."""
    caplog.set_level("INFO", logger="envelope.rate_limit")
    limiter = limiter_of("90/minute", RouteLimit("5/minute", shadow=True), cost=cost_by_header)

    answer = ask(app_of(limiter, Route("/", _settling(limiter, 10))), headers={"x-cost": "10"})

    assert (answer.status, answer.left) == (200, {"90/minute": 80})
    assert [record.getMessage() for record in caplog.records] == [
        "5/minute is in shadow and would have refused a request"
    ]


def test_long_subjects_are_kept_as_digests() -> None:
    """What clients choose does not fill the memory, and is told apart all the same."""
    limiter = limiter_of("9/minute")
    _check(limiter, "a" * 30_000)
    _check(limiter, "a" * 30_001)

    assert _left(limiter, "a" * 30_000) == {"9/minute": 8}
    asyncio.run(limiter.reset("a" * 30_000))
    assert _left(limiter, "a" * 30_000) == {"9/minute": 9}


def test_more_is_charged_to_the_time_when_it_was_taken() -> None:
    """In a log it leaves with what it belongs to, though others came in between."""
    clock = FakeClock()
    limiter = limiter_of("9/minute", clock=clock, strategy="moving-window")
    first = _check(limiter, "a")
    clock.advance(s=30)
    _check(limiter, "a")

    asyncio.run(limiter.settle(first, 5))

    assert _left(limiter, "a") == {"9/minute": 3}
    clock.advance(s=31)
    assert _left(limiter, "a") == {"9/minute": 8}
