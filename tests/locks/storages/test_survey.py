"""Who has which object: everything that is locked, once, and nothing else."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from envelope import ServiceUnavailableError
from envelope.locks.grants import LockInfo
from tests.locks.storages.overhearing import Overheard
from tests.locks.storages.places import (
    Place,
    by_every_link,
    everywhere,
    in_memory,
    on_one_server,
    on_servers,
    slot_of,
)
from tests.locks.storages.test_contract import NAMES
from tests.servers.server import Server

pytestmark = pytest.mark.anyio

#: Records that one step looks at, at the most: the budget, and what its last SCAN may bring beyond.
MOST_AT_ONCE = 400


async def survey(place: Place, **options: Any) -> list[LockInfo]:
    locks = place.open(**options) if options else place.locks
    return [info async for info in locks.survey()]


async def names(place: Place, **options: Any) -> list[str]:
    return sorted(info.key for info in await survey(place, **options))


@by_every_link
async def test_all_that_is_locked_is_told(place):
    """As inspect tells it; what is free, or was, is not."""
    lease = await place.locks.acquire("entity:1", "entity:2", operation="rename")
    other = await place.other.acquire("entity:3")
    await (await place.locks.acquire("entity:4")).release()

    found = {info.key: info for info in await survey(place)}

    assert sorted(found) == ["entity:1", "entity:2", "entity:3"]
    for key, info in found.items():
        alone = await place.locks.inspect(key)
        assert alone is not None
        assert (info.fence, info.operation, info.holder, info.state, info.is_cut) == (
            *(alone.fence, alone.operation, alone.holder, alone.state),
            False,
        )
        assert info.expires_in_s >= alone.expires_in_s
    assert found["entity:1"].fence == lease.fence
    assert found["entity:3"].fence == other.fence


@everywhere
async def test_nothing_is_locked(place):
    """Nothing is told."""
    assert await survey(place) == []


@everywhere
async def test_what_has_expired_is_not_told(place):
    """Nor is what was broken."""
    lease = await place.locks.acquire("broken")
    await place.locks.acquire("a", "b")
    await place.locks.break_lock("broken", fence=lease.fence)
    assert await names(place) == ["a", "b"]
    place.expire("a", "b")
    assert await names(place) == []


@on_servers
async def test_what_waits_to_be_claimed_is_told(place):
    """With its state."""
    await (await place.locks.acquire("a")).hand_off(claim_within_s=60)
    await place.locks.acquire("b")
    assert {info.key: info.state for info in await survey(place)} == {"a": "handed_off", "b": "held"}


@everywhere
async def test_names_come_back(place):
    """Of a long one its beginning, which is marked."""
    for name in NAMES:
        await place.locks.acquire(name)

    found = await survey(place)

    assert sorted(info.key for info in found if not info.is_cut) == sorted(
        name for name in NAMES if place.is_memory or len(name) <= 200
    )
    cut = [info for info in found if info.is_cut]
    assert len(found) == len(NAMES)
    assert all(any(name.startswith(info.key) and len(info.key) == 200 for name in NAMES) for info in cut)


@on_servers
async def test_namespaces_are_told_apart(place):
    """What others on the same server have is not told."""
    await place.locks.acquire("a")
    await place.open(namespace="orders:v1").acquire("b")
    await place.open(namespace="orders").acquire("c")
    assert [await names(place, namespace=each) for each in ("", "orders:v1", "orders", "order")] == [
        *(["a"], ["b"], ["c"]),
        [],
    ]


@on_servers
async def test_what_is_not_ours_is_left_out(place, caplog):
    """And told in the log, once: another type, a record that makes no sense, one with a word too many."""
    await place.locks.acquire("a", "b", "c", "d", "e")
    place.call("SET", slot_of("other"), "a text")
    place.edit("a", e="soon")
    place.edit("b", o="two words")
    place.edit("c", n="%ff")
    place.edit("d", f="none")

    with caplog.at_level(logging.WARNING, "envelope.locks"):
        assert await names(place) == ["e"]

    records = [record for record in caplog.records if record.event_name == "envelope.lock.foreign_keys"]
    assert [record.count for record in records] == [5]


@on_servers
async def test_experience_is_no_object(place, caplog):
    """Of operations, which lies beside the objects; one of them has the name of a record's field."""
    await (await place.locks.acquire("a", operation="t")).release()
    await place.locks.acquire("b")
    assert await names(place) == ["b"]
    assert caplog.records == []


@on_servers
async def test_many_are_told_in_short_steps(place):
    """Each once, among keys of others; no step looks at more than a few."""
    keys = [f"entity:{number}" for number in range(2000)]
    await place.locks.acquire(*keys[:1000])
    await place.locks.acquire(*keys[1000:])
    for number in range(300):
        place.call("SET", f"{{locks:}}{number}", "of somebody else")
    overheard = Overheard(place.locks)

    found = await survey(place)

    assert sorted(info.key for info in found) == sorted(keys)
    steps = overheard.answers("list_")
    assert len(steps) >= 2000 / MOST_AT_ONCE
    assert max(map(len, steps)) <= 2 + 11 * MOST_AT_ONCE
    assert sum((len(step) - 2) // 11 for step in steps) >= 2000


@on_one_server
async def test_server_is_asked_for_no_list_of_keys(place):
    """KEYS would stop it for all others; SCAN is a few keys."""
    await place.locks.acquire("a")
    with place.server.counting() as traffic:
        await survey(place)
    assert traffic.in_scripts["keys"] == 0
    assert traffic.in_scripts["scan"] >= 1


@on_servers
async def test_what_stays_is_told_while_others_come_and_go(place):
    """Also when the server's tables grow and shrink between two steps, and nothing is told twice."""
    stay = [f"stays:{number}" for number in range(300)]
    await place.locks.acquire(*stay)
    found: list[str] = []
    leases: list[Any] = []
    async for info in place.locks.survey():
        if len(found) % 50 == 0:
            if len(leases) < 4:
                leases.append(await place.other.acquire(*(f"comes:{len(leases)}:{n}" for n in range(400))))
            else:
                await leases.pop().release()
        found.append(info.key)

    assert len(found) == len(set(found))
    assert sorted(key for key in found if key.startswith("stays:")) == sorted(stay)


@on_one_server
async def test_key_that_a_server_comes_to_twice_is_told_once(place):
    """SCAN promises to come to each, not to come once."""
    await place.locks.acquire("a", "b")
    storage: Any = place.locks.storage
    ask, turns = storage._ask, []

    async def twice(*question: Any) -> Any:
        (cursor, *rest), is_repeated = await ask(*question)
        turns.append(cursor)
        return [b"0" if len(turns) > 1 else b"7", *rest], is_repeated

    storage._ask = twice
    first = [info.key async for info in place.locks.survey()]

    assert len(turns) == 2
    assert sorted(first) == ["a", "b"]


@in_memory
async def test_survey_of_memory_is_of_one_moment(place):
    """What happens while it is read changes nothing of it."""
    lease = await place.locks.acquire("a", "b")
    found: list[str] = []
    async for info in place.locks.survey():
        if lease.is_held:
            await lease.release()
        found.append(info.key)
    assert found == ["a", "b"]
    assert await names(place) == []


async def test_server_that_ends_in_the_middle(own_valkey: Server):
    """Is no list that looks complete."""
    place = Place("redis", own_valkey.url)
    keys = [f"entity:{number}" for number in range(2000)]
    await place.locks.acquire(*keys)
    found: list[str] = []
    with pytest.raises(ServiceUnavailableError) as raised:
        async for info in place.locks.survey():
            if not found:
                own_valkey.kill()
            found.append(info.key)
    assert raised.value.retry_after == 1
    assert 0 < len(found) < 2000
    for _ in range(5):  # the breaker opens
        with pytest.raises(ServiceUnavailableError):
            await survey(place)
    await place.aclose()


@everywhere
async def test_survey_may_be_left(place):
    """In the middle; the next one begins anew."""
    await place.locks.acquire("a", "b")
    async for _ in place.locks.survey():
        break
    assert await names(place) == ["a", "b"]
