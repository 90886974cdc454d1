"""The subjects: the same application, limited by us, by hand, and by what people use today.

The peers are those of the dependency group ``benchmarks``; each is imported when it is built. Each has the strategy
that it has by default, and the headers that it can send.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import RateLimiter, install
from tests.benchmarks.rate_limits.apps import Limit, fastapi_of, starlette_of
from tests.benchmarks.rate_limits.drive import FlawedError
from tests.benchmarks.rate_limits.floors import CountingFloor, refuse

MEMORY = "memory://"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a subject is built for.

    Attributes:
        limits: All hold for every route and each client.
        url: ``memory://``, or the URL of a server.
        routes: How many the application has.
        table: Limits of single routes, for those who have such a table.
    """

    limits: tuple[Limit, ...]
    url: str = MEMORY
    routes: int = 1
    table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def notations(self) -> list[str]:
        """Give the limits as text."""
        return [limit.notation for limit in self.limits]


Build = Callable[[Setup, AsyncExitStack], Awaitable[ASGIApp]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Somebody who limits.

    Attributes:
        build: Makes the application; what is to be closed goes to the stack.
        bare: The same application without anything.
        unable: Why there are no figures in memory or on a server, if there are none.
    """

    build: Build
    bare: str
    unable: Mapping[str, str] = field(default_factory=dict)


STARLETTE, FASTAPI, INSTALLED = "bare Starlette", "bare FastAPI", "install(), no limits"
FLOOR, OURS = "floor", "ours"


async def build_bare(name: str, routes: int = 1) -> ASGIApp:
    """Make an application that nobody limits."""
    if name == FASTAPI:
        return fastapi_of(routes)
    app = starlette_of(routes)
    if name == INSTALLED:
        install(app)
    return app


async def build(name: str, setup: Setup, stack: AsyncExitStack) -> ASGIApp:
    """Make the application of a subject.

    Raises:
        FlawedError: It cannot be made.
    """
    try:
        return await SUBJECTS[name].build(setup, stack)
    except Exception as error:
        raise FlawedError(f"{type(error).__name__}: {error}") from error


async def _counting(setup: Setup, _stack: AsyncExitStack) -> ASGIApp:
    app = starlette_of(setup.routes)
    app.add_middleware(CountingFloor, limits=setup.limits)
    return app


async def _ours(setup: Setup, stack: AsyncExitStack) -> ASGIApp:
    app = starlette_of(setup.routes)
    limiter = RateLimiter(*setup.notations, storage=setup.url, routes=setup.table)
    install(app, rate_limiter=limiter)
    stack.push_async_callback(limiter.aclose)
    return app


class _PlainLimits:
    """``limits`` as its documentation uses it: a hit for each limit, then the figures for the headers."""

    def __init__(self, app: ASGIApp, notations: list[str], url: str) -> None:
        limits = importlib.import_module("limits")
        storages = importlib.import_module("limits.aio.storage")
        strategies = importlib.import_module("limits.aio.strategies")
        self.app = app
        self._items = [limits.parse(notation) for notation in notations]
        self.storage = (
            storages.MemoryStorage()
            if url == MEMORY
            else storages.RedisStorage(f"async+{url}", implementation="redispy")
        )
        self._strategy = strategies.SlidingWindowCounterRateLimiter(self.storage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        key = scope["client"][0]
        for item in self._items:
            if not await self._strategy.hit(item, key):
                stats = await self._strategy.get_window_stats(item, key)
                await refuse(send, _triple(item.amount, stats), stats.reset_time)
                return
        figures = [(await self._strategy.get_window_stats(item, key), item.amount) for item in self._items]
        stats, amount = min(figures, key=lambda figure: figure[0].remaining)
        headers = _triple(amount, stats)

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self.app(scope, receive, add)


def _triple(amount: int, stats: Any) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit", b"%d" % amount),
        (b"x-ratelimit-remaining", b"%d" % stats.remaining),
        (b"x-ratelimit-reset", b"%d" % stats.reset_time),
    ]


async def _limits(setup: Setup, _stack: AsyncExitStack) -> ASGIApp:
    return _PlainLimits(starlette_of(setup.routes), setup.notations, setup.url)


async def _slowapi(setup: Setup, _stack: AsyncExitStack) -> ASGIApp:
    slowapi = importlib.import_module("slowapi")
    middleware = importlib.import_module("slowapi.middleware")
    app = starlette_of(setup.routes)
    app.state.limiter = slowapi.Limiter(
        key_func=importlib.import_module("slowapi.util").get_remote_address,
        # Not default_limits, whose buckets are those of single URLs.
        application_limits=setup.notations,
        headers_enabled=True,
        storage_uri=setup.url,
    )
    app.state.limiter.logger.disabled = True
    app.add_exception_handler(slowapi.errors.RateLimitExceeded, slowapi._rate_limit_exceeded_handler)
    app.add_middleware(middleware.SlowAPIASGIMiddleware)
    return app


async def _fastapi_limiter_of_readme(setup: Setup, stack: AsyncExitStack) -> ASGIApp:
    """Limit as the first page of its documentation does it: one bucket a limit."""
    pyrate = importlib.import_module("pyrate_limiter")
    limiters = []
    for limit in setup.limits:
        rates = [pyrate.Rate(limit.amount, limit.window_s * 1000)]
        if setup.url == MEMORY:
            limiters.append(pyrate.Limiter(rates))
        else:
            client = _redis_client(setup.url, stack)
            limiters.append(pyrate.Limiter(await pyrate.RedisBucket.init(rates, client, limit.notation)))
    return _with_dependencies(setup, limiters, stack)


async def _fastapi_limiter(setup: Setup, stack: AsyncExitStack) -> ASGIApp:
    """Limit each client on its own, with the factory that pyrate-limiter leaves to its users."""
    pyrate = importlib.import_module("pyrate_limiter")
    limiters = []
    for limit in setup.limits:
        rates = [pyrate.Rate(limit.amount, limit.window_s * 1000)]
        client = None if setup.url == MEMORY else _redis_client(setup.url, stack)
        limiters.append(pyrate.Limiter(_bucket_per_client(pyrate, rates, client, limit.notation)))
    return _with_dependencies(setup, limiters, stack)


def _bucket_per_client(pyrate: Any, rates: list[Any], client: Any, name: str) -> Any:
    buckets: dict[str, Any] = {}

    def wrap_item(self: Any, name: str, weight: int = 1) -> Any:
        clock = importlib.import_module("time")
        return pyrate.RateItem(name, clock.time_ns() // 1_000_000, weight=weight)

    def get(self: Any, item: Any) -> Any:
        bucket = buckets.get(item.name)
        if bucket is not None:
            return bucket
        if client is None:
            buckets[item.name] = bucket = self.create(pyrate.InMemoryBucket, rates)
            return bucket
        return create_on_server(self, item.name)

    async def create_on_server(self: Any, key: str) -> Any:
        bucket = await pyrate.RedisBucket.init(rates, client, f"{name}:{key}")
        self.schedule_leak(bucket)
        return buckets.setdefault(key, bucket)

    return type("BucketPerClient", (pyrate.BucketFactory,), {"wrap_item": wrap_item, "get": get})()


def _with_dependencies(setup: Setup, limiters: list[Any], stack: AsyncExitStack) -> ASGIApp:
    depends = importlib.import_module("fastapi_limiter.depends")
    for limiter in limiters:
        stack.callback(limiter.close)
    return fastapi_of(
        setup.routes, dependencies=[Depends(depends.RateLimiter(limiter=limiter)) for limiter in limiters]
    )


async def _throttled(setup: Setup, _stack: AsyncExitStack) -> ASGIApp:
    throttled = importlib.import_module("throttled.asyncio")
    contrib = importlib.import_module("throttled.asyncio.contrib.fastapi")
    units = {1: "s", 3600: "h", 86400: "d"}
    store = throttled.MemoryStore() if setup.url == MEMORY else throttled.RedisStore(server=setup.url)

    def limit(limit: Limit) -> Any:
        # Stacked limits of one route share a bucket unless their keys differ.
        def key(request: Any) -> str:
            return f"{request.client.host}/{limit.window_s}"

        quota = (
            f"{limit.amount}/{units[limit.window_s]}"
            if limit.window_s in units
            else throttled.rate_limiter.per_duration(
                importlib.import_module("datetime").timedelta(seconds=limit.window_s), limit.amount
            )
        )
        return contrib.Limiter(quota, store=store, key_func=key).limit()

    def decorate(endpoint: Any) -> Any:
        for one in setup.limits:
            endpoint = limit(one)(endpoint)
        return endpoint

    app = fastapi_of(setup.routes, decorate=decorate)
    app.add_exception_handler(contrib.RateLimitExceededError, contrib.rate_limit_exceeded_handler)
    app.add_middleware(contrib.RateLimitMiddleware)
    return app


async def _fastapi_redis_sdk(setup: Setup, stack: AsyncExitStack) -> ASGIApp:
    sdk = importlib.import_module("redis_fastapi")
    os.environ["REDIS_URL"] = setup.url
    importlib.import_module("redis_fastapi.config").get_settings.cache_clear()
    limits = importlib.import_module("redis_fastapi.ratelimit")
    app = fastapi_of(
        setup.routes,
        dependencies=[
            Depends(limits.rate_limit((limit.amount, limit.window_s), scope=limit.notation))
            for limit in setup.limits
        ],
    )
    sdk.FastAPIRedis(app).lifespan().rate_limiting()
    await stack.enter_async_context(app.router.lifespan_context(app))
    return app


def _redis_client(url: str, stack: AsyncExitStack) -> Any:
    client = importlib.import_module("redis.asyncio").from_url(url)
    stack.push_async_callback(client.aclose)
    return client


#: All but the floor of the server, which needs a script.
SUBJECTS: dict[str, Subject] = {
    FLOOR: Subject(build=_counting, bare=STARLETTE),
    OURS: Subject(build=_ours, bare=STARLETTE),
    "limits, plainly": Subject(build=_limits, bare=STARLETTE),
    "slowapi": Subject(build=_slowapi, bare=STARLETTE),
    "fastapi-limiter, README": Subject(build=_fastapi_limiter_of_readme, bare=FASTAPI),
    "fastapi-limiter, own buckets": Subject(build=_fastapi_limiter, bare=FASTAPI),
    "throttled-py": Subject(build=_throttled, bare=FASTAPI),
    "fastapi-redis-sdk": Subject(
        build=_fastapi_redis_sdk, bare=FASTAPI, unable={"memory": "it has no memory store"}
    ),
}
