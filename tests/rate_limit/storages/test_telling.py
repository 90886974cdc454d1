"""What is counted for a subject, found without being told where to look."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import RateLimiter, RouteLimit, ServiceUnavailableError
from envelope.rate_limit.quotas import Quota, read_field
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.verdicts import TellingStorage
from envelope.storage.errors import ForeignKeyError
from tests.rate_limit.storages.clocks import STRATEGIES
from tests.rate_limit.storages.test_contract import (  # noqa: F401 - fixtures
    Place,
    anyio_backend,
    day,
    place,
    take,
    where_exact,
)
from tests.servers.memcached import Memcached
from tests.servers.server import Server

pytestmark = pytest.mark.anyio

SCOPES = [
    "",
    "POST /entities/{entity_id}",
    "größe ☃",
    "\ud800",
    "a:b:",
    "~",
    "%41",
    "line\nbreak\0",
    "x" * 128,
    "'\"\\",
]


async def told(place: Place, subject: str = "ada") -> list[str]:  # noqa: F811
    assert isinstance(place.storage, TellingStorage)
    return sorted(quota.field for quota in await place.storage.quotas_of(subject))


@where_exact
async def test_quotas_that_count_are_told(place):  # noqa: F811
    """With scope, window and shadow; none of another subject."""
    quotas = [day(5, scope) for scope in SCOPES] + [day(3, is_shadow=True), Quota(7, 60)]
    for quota in quotas:
        await take(place.storage, quota)
    await take(place.storage, day(9), subject="bob")

    assert await told(place) == sorted(quota.field for quota in quotas)
    assert await told(place, "bob") == [day(9).field]
    assert await told(place, "eve") == []


@where_exact
async def test_told_quotas_count_on(place):  # noqa: F811
    """They are those that were charged: a look through them sees the same."""
    await take(place.storage, day(5, "größe ☃"), cost=3)
    (quota,) = await place.storage.quotas_of("ada")
    verdict = await take(place.storage, quota, cost=0)
    assert (verdict.remaining, quota.amount, quota.window_ms, quota.scope) == ([2], 5, 86_400_000, "größe ☃")


@where_exact
async def test_nothing_is_told_after_a_reset(place):  # noqa: F811
    """Nor is anything there."""
    await take(place.storage, day(5))
    await place.storage.reset("ada")
    assert await told(place) == []


@pytest.fixture
async def redis_storage(valkey: Server, anyio_backend: str) -> AsyncIterator[RedisStorage]:  # noqa: F811
    valkey.flush()
    storage = RedisStorage(valkey.url, "sliding-window-counter", timeout_s=10)
    yield storage
    await storage.aclose()


async def test_fields_of_others_are_left_out(valkey, redis_storage):
    """Whatever they are called."""
    await take(redis_storage, day(5))
    (key,) = valkey.call("KEYS", "*")
    for field in ("x", "", "5/0:0::", "0/60:0::", "5/60:1::", b"5/60:1:\xff:", "5/60:0:: ", "9" * 40 + "/60:0::"):
        valkey.call("HSET", key, field, "1 2 3")
    assert [quota.field for quota in await redis_storage.quotas_of("ada")] == [day(5).field]


async def test_key_of_somebody_else_is_no_outage(valkey, redis_storage, caplog):
    """Only about this subject nothing is known."""
    await take(redis_storage, day(5))
    (key,) = valkey.call("KEYS", "*")
    valkey.call("DEL", key)
    valkey.call("SET", key, "a text")
    with pytest.raises(ForeignKeyError):
        await redis_storage.quotas_of("ada")
    assert [record.event_name for record in caplog.records] == ["envelope.rate_limit.foreign_key"]


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.text() | st.sampled_from(SCOPES), st.booleans())
def test_field_is_read_as_it_was_written(amount: int, window_s: int, scope: str, is_shadow: bool):
    """Whatever the scope."""
    quota = Quota(amount, window_s, scope, is_shadow=is_shadow)
    read = read_field(quota.field)
    assert read is not None
    assert (read.field, read.scope, read.is_shadow, read.name) == (quota.field, scope, is_shadow, quota.name)


@given(st.text() | st.from_regex(r"\d/\d~?:\d:.{0,3}:"))
def test_field_of_somebody_else_is_none(field: str):
    """Or it is exactly one of ours."""
    quota = read_field(field)
    assert quota is None or quota.field == field


# Through the limiter


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_limiter_tells_what_is_left(valkey, strategy):
    """Of all limits, and takes nothing."""
    valkey.flush()
    limiter = RateLimiter("20/minute", storage=valkey.url, strategy=strategy, timeout_s=10)
    await limiter.check("ada", cost=3)
    await limiter.check("ada", "5/hour", RouteLimit("4/hour", shadow=True), scope="reports")
    for _ in range(2):
        verdict = await limiter.inspect("ada")
        assert sorted((each.name, each.remaining) for each in verdict.figures) == [
            *(("20/minute", 17), ("4/hour reports", 3)),
            ("5/hour reports", 4),
        ]
    await limiter.aclose()


async def test_limiter_in_memory_tells_too(anyio_backend):  # noqa: F811
    """A long subject is shortened as everywhere; nothing is told of nobody."""
    limiter = RateLimiter("20/minute")
    await limiter.check("a" * 1000)
    assert [(each.name, each.remaining) for each in (await limiter.inspect("a" * 1000)).figures] == [
        ("20/minute", 19)
    ]
    assert (await limiter.inspect("nobody")).figures == []


async def test_many_limits(valkey):
    """Computed limits may be many."""
    valkey.flush()
    limiter = RateLimiter(storage=valkey.url, timeout_s=10)
    for number in range(1, 251):
        await limiter.check("ada", f"{number}/hour")
    assert sorted(each.amount for each in (await limiter.inspect("ada")).figures) == list(range(1, 251))
    await limiter.aclose()


async def test_storage_that_finds_nothing_says_so(memcached_server: Memcached):
    """What to ask instead."""
    limiter = RateLimiter("20/minute", storage=memcached_server.url)
    with pytest.raises(ValueError, match="cost=0"):
        await limiter.inspect("ada")
    await limiter.aclose()


async def test_outage_is_told(own_valkey: Server):
    """Whatever the limiter does about one."""
    own_valkey.kill()
    limiter = RateLimiter("20/minute", storage=own_valkey.url)
    with pytest.raises(ServiceUnavailableError):
        await limiter.inspect("ada")
    await limiter.aclose()
