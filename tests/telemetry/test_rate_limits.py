"""Every decision of a rate limit is counted, with what became of the request."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from envelope import RateLimitedError, RateLimiter, RouteLimit, ServiceUnavailableError, install
from tests.servers.server import Server
from tests.telemetry.conftest import Metrics


def decisions(metrics: Metrics) -> dict[Any, int]:
    return metrics.read("rate_limit.decisions", "policy", "outcome", "local")


async def check(limiter: RateLimiter, times: int, *limits: Any) -> None:
    for _ in range(times):
        try:
            await limiter.check("somebody", *limits)
        except (RateLimitedError, ServiceUnavailableError):
            pass


@pytest.mark.anyio
async def test_limits_of_a_decision_are_counted_one_by_one(metrics: Metrics):
    """Of a refused request only those that refused: from the others nothing was taken."""
    limiter = RateLimiter("2/hour", "10/day")
    await check(limiter, 3)
    assert decisions(metrics) == {
        ("2/hour", "admitted", False): 2,
        ("10/day", "admitted", False): 2,
        ("2/hour", "refused", False): 1,
    }


@pytest.mark.anyio
async def test_shadow_is_told_apart(metrics: Metrics):
    """What would have been refused is none of the refusals."""
    limiter = RateLimiter()
    await check(limiter, 3, RouteLimit("1/hour", shadow=True), "10/day")
    assert decisions(metrics) == {
        ("1/hour", "admitted", False): 1,
        ("1/hour", "shadow", False): 2,
        ("10/day", "admitted", False): 3,
    }


@pytest.mark.anyio
async def test_what_is_left_is_recorded_as_a_share(metrics: Metrics):
    """Of 4 there are 3, 2, 1 and none left, and none again for whoever was refused."""
    await check(RateLimiter("4/hour"), 5)
    (point,) = metrics.points("rate_limit.remaining")
    assert (point.count, point.sum, point.min, point.max) == (5, 1.5, 0, 0.75)
    assert dict(point.attributes) == {"envelope.rate_limit.policy": "4/hour"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("on_outage", "outcome", "is_local"),
    [("local", "admitted", True), ("allow", "unchecked", False), ("deny", "unavailable", False)],
)
async def test_decisions_without_the_storage(metrics: Metrics, on_outage: Any, outcome: str, is_local: bool):
    """It says who decided, while the storage does not answer."""
    limiter = RateLimiter("9/hour", "90/day", storage="redis://127.0.0.1:1", on_outage=on_outage)
    await check(limiter, 2)
    await limiter.aclose()
    assert decisions(metrics) == {
        ("9/hour", outcome, is_local): 2,
        ("90/day", outcome, is_local): 2,
    }


@pytest.mark.anyio
async def test_decisions_of_the_storage_are_not_local(metrics: Metrics, valkey: Server):
    """Nor is a refusal that is repeated without asking."""
    valkey.flush()
    limiter = RateLimiter("1/hour", storage=valkey.url, timeout_s=2)
    await check(limiter, 3)
    await limiter.aclose()
    assert decisions(metrics) == {("1/hour", "admitted", False): 1, ("1/hour", "refused", False): 2}


def test_requests_of_a_service_are_counted(metrics: Metrics):
    """By the middleware, by a dependency and by a decorator, each decision once."""
    app = FastAPI()
    limiter = RateLimiter("3/hour", routes={"GET /free": None})
    install(app, rate_limiter=limiter)

    @app.get("/free")
    async def free() -> int:
        return 1

    @app.get("/", dependencies=[Depends(limiter.limit("9/day"))])
    @limiter.limited("90/day")
    async def root() -> int:
        return 1

    client = TestClient(app)
    statuses = [client.get("/").status_code for _ in range(4)] + [client.get("/free").status_code]

    assert statuses == [200, 200, 200, 429, 200]
    assert metrics.read("rate_limit.decisions", "policy", "outcome") == {
        ("3/hour", "admitted"): 3,
        ("3/hour", "refused"): 1,
        ("9/day /", "admitted"): 3,
        ("90/day /", "admitted"): 3,
    }
    assert metrics.read("failures", "status_code") == {429: 1}
