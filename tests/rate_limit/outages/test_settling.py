"""Corrections and resets while the storage is away, and after it came back."""

import contextlib
from collections.abc import Callable
from contextlib import aclosing

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from envelope import RateLimiter, install
from envelope.errors.tree import ServiceUnavailableError
from envelope.rate_limit.storages.outage import OnOutage
from envelope.rate_limit.verdicts import Change
from tests.rate_limit.outages.watching import (
    PATIENCE_S,
    Clock,
    counted,
    demand,
    guarded,
    is_local,
    remaining,
    run,
    settle,
    timed,
)
from tests.servers.server import Server


@pytest.mark.parametrize("on_outage", ["local", "allow", "deny"])
def test_refund_during_an_outage(own_valkey: Server, on_outage: OnOutage):
    """What the server took cannot be given back while it hangs: nobody waits long or sees an exception."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage=on_outage)
        async with aclosing(limiter):
            verdict = await limiter.check("ada", cost=3)
            own_valkey.suspend()
            try:
                for cost in (0, 5, 0, 2, 0, 1, 0):
                    wait_s, _ = await timed(limiter.settle(verdict, cost))
                    assert wait_s < PATIENCE_S
            finally:
                own_valkey.resume()

    run(main())


def test_refund_during_an_outage_in_an_endpoint(own_valkey: Server):
    """An endpoint that counts failures only still answers when the server dies behind its back."""
    limiter = RateLimiter("20/minute", storage=own_valkey.url)

    async def endpoint(request: Request) -> JSONResponse:
        own_valkey.suspend()
        try:
            await limiter.refund(request)
        finally:
            own_valkey.resume()
        return JSONResponse({})

    async def main() -> None:
        app = Starlette(routes=[Route("/", endpoint)])
        install(app, rate_limiter=limiter)
        async with (
            aclosing(limiter),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            assert (await client.get("/")).status_code == 200

    run(main())


def test_refunds_that_fail_open_the_breaker(own_valkey: Server):
    """A failure is a failure, whatever was asked; a storage that is spared is spared corrections too."""
    clock = Clock()

    async def main() -> None:
        guard = guarded(own_valkey.url, clock)
        async with aclosing(guard):
            verdicts = [await guard.decide(demand()) for _ in range(6)]
            own_valkey.stop()
            for verdict in verdicts[:5]:
                await settle(verdict, 0)
            with pytest.raises(ServiceUnavailableError):
                await guard.decide(demand())
            own_valkey.start()
            with own_valkey.counting() as traffic:
                await settle(verdicts[5], 0)
                with pytest.raises(ServiceUnavailableError):
                    await guard.decide(demand())
            assert not traffic.commands

    run(main())


def test_refund_after_the_storage_recovered(own_valkey: Server):
    """What the server took before an outage is given back after it."""
    clock = Clock()

    async def main() -> None:
        guard = guarded(own_valkey.url, clock, on_outage="local")
        async with aclosing(guard):
            verdict = await guard.decide(demand("ada", cost=7))
            own_valkey.suspend()
            for _ in range(6):
                assert is_local(await guard.decide(demand("grace")))
            own_valkey.resume()
            clock.pass_ms(1000)
            assert not is_local(await guard.decide(demand("grace")))
            await settle(verdict, 2)
            assert remaining(await guard.decide(demand("ada", cost=0))) == 18

    run(main())


def test_refund_when_the_pause_is_over(own_valkey: Server):
    """A correction may find out that the storage is back, as a request may."""
    clock = Clock()

    async def main() -> None:
        guard = guarded(own_valkey.url, clock, on_outage="local")
        async with aclosing(guard):
            verdict = await guard.decide(demand("ada", cost=7))
            own_valkey.suspend()
            for _ in range(6):
                await guard.decide(demand("grace"))
            own_valkey.resume()
            clock.pass_ms(1000)
            (charged,) = demand("ada")
            await guard.settle([Change("ada", charged.quotas[0], -5)], verdict.taken_at)
            found = await guard.decide(demand("ada", cost=0))
            assert not is_local(found)
            assert remaining(found) == 18

    run(main())


def test_local_verdict_is_settled_locally(own_valkey: Server):
    """What this process counted during the outage is given back here, and the server knows nothing of it."""
    clock = Clock()

    async def main() -> None:
        guard = guarded(own_valkey.url, clock, on_outage="local")
        async with aclosing(guard):
            assert not is_local(await guard.decide(demand("ada", cost=4)))
            own_valkey.suspend()
            local = [await guard.decide(demand("ada", cost=2)) for _ in range(7)]
            assert all(map(is_local, local))
            await settle(local[0], 0)
            own_valkey.resume()
            clock.pass_ms(1000)
            assert not is_local(await guard.decide(demand("grace", cost=0)))
            before = counted(own_valkey)
            await settle(local[1], 0)
            await settle(local[2], 9)
            assert counted(own_valkey) == before
            own_valkey.suspend()
            for _ in range(6):
                found = await guard.decide(demand("ada", cost=0))
            own_valkey.resume()
            assert is_local(found)
            assert remaining(found) == 20 - (4 * 2 + 9)

    run(main())


def test_admitted_without_counting_is_settled_without_harm(own_valkey: Server):
    """There is nothing to give back of what ``allow`` admitted."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="allow")
        async with aclosing(limiter):
            own_valkey.stop()
            verdict = await limiter.check("ada", cost=3)
            own_valkey.start()
            await limiter.refund(verdict)
            await limiter.settle(verdict, 9)
            assert remaining(await limiter.check("ada")) == 19

    run(main())


def _suspended(server: Server) -> Callable[[], None]:
    server.suspend()
    return server.resume


def _stopped(server: Server) -> Callable[[], None]:
    server.stop()
    return server.start


@pytest.mark.parametrize("trouble", [_suspended, _stopped])
def test_reset_during_an_outage(own_valkey: Server, trouble: Callable[[Server], Callable[[], None]]):
    """An operator is told that nothing is known, in time; what this process counted is forgotten all the same."""

    async def main() -> None:
        limiter = RateLimiter("20/minute", storage=own_valkey.url, on_outage="local")
        async with aclosing(limiter), contextlib.AsyncExitStack() as stack:
            await limiter.check("ada")
            stack.callback(trouble(own_valkey))
            for _ in range(6):
                await limiter.check("ada")
            wait_s, outcome = await timed(limiter.reset("ada"))
            assert wait_s < PATIENCE_S
            assert isinstance(outcome, ServiceUnavailableError)
            assert remaining(await limiter.check("ada")) == 19

    run(main())


def test_reset_after_an_outage(own_valkey: Server):
    """A reset reaches both counts, and nothing of an outage remains."""
    clock = Clock()

    async def main() -> None:
        guard = guarded(own_valkey.url, clock, on_outage="local")
        async with aclosing(guard):
            await guard.decide(demand("ada", cost=5))
            own_valkey.suspend()
            for _ in range(6):
                await guard.decide(demand("ada"))
            own_valkey.resume()
            clock.pass_ms(1000)
            await guard.reset("ada")
            assert counted(own_valkey) == 0
            found = await guard.decide(demand("ada"))
            assert not is_local(found)
            assert remaining(found) == 19

    run(main())
