"""What lies on the server, and what only the scripts can get wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import LeaseLostError, ObjectLockedError
from tests.locks.storages.overhearing import Overheard
from tests.locks.storages.places import (
    TOMBSTONE_MS,
    TTL_S,
    Place,
    die,
    elsewhere,
    eventually,
    holds_of,
    on_one_server,
    on_servers,
    server_ms,
    slot_of,
)
from tests.locks.storages.test_contract import NAMES

pytestmark = pytest.mark.anyio

TTL_MS = int(TTL_S * 1000)
DAY_MS = 86_400_000
SLACK_MS = 10_000


def lives_ms(place: Place, key: str) -> int:
    return int(place.call("PTTL", slot_of(key)))


# What lies there


@on_servers
async def test_record_of_a_lease(place):
    """Version 1 of the layout, which other versions of this library on the same server read."""
    now = server_ms(place.server_of(slot_of("entity:1")))
    lease = await place.locks.acquire("entity:1", "entity:2", operation="rename")
    assert set(place.keys()) == {slot_of("entity:1"), slot_of("entity:2")}
    for key in ("entity:1", "entity:2"):
        record = place.record(key)
        assert set(record) == set("tfelsahown")
        assert int(record["f"]) == lease.fence
        assert int(record["l"]) == TTL_MS
        assert record["s"] == "0"
        assert record["o"] == "rename"
        assert record["n"] == key
        assert 0 <= int(record["a"]) - now < SLACK_MS
        assert record["h"] == record["a"]
        assert int(record["e"]) == int(record["a"]) + TTL_MS
        assert len(record["t"]) == 32
        assert TTL_MS + TOMBSTONE_MS - SLACK_MS < lives_ms(place, key) <= TTL_MS + TOMBSTONE_MS


@on_servers
async def test_tombstone_of_a_lease(place):
    """The fence and the last token stay for a minute, and nothing else; the object is free."""
    lease = await place.locks.acquire("a")
    token = place.record("a")["t"]
    await lease.release()
    assert place.record("a") == {"f": str(lease.fence), "r": token}
    assert TOMBSTONE_MS - SLACK_MS < lives_ms(place, "a") <= TOMBSTONE_MS


@on_servers
async def test_tombstone_of_a_broken_lock(place):
    """As of a release, without the token: it released nothing."""
    lease = await place.locks.acquire("a")
    assert await place.locks.break_lock("a", fence=lease.fence)
    assert "t" not in place.record("a")
    assert place.record("a")["f"] == str(lease.fence)
    assert TOMBSTONE_MS - SLACK_MS < lives_ms(place, "a") <= TOMBSTONE_MS


@on_one_server
async def test_names_have_keys_of_their_own(place):
    """Short ones, whatever the name; the name itself is shortened."""
    for name in NAMES:
        await place.locks.acquire(name)
    assert set(place.keys()) == set(map(slot_of, NAMES))
    assert len(place.keys()) == len(NAMES)
    assert all(len(key) < 80 for key in place.keys())
    assert all(len(place.record(name)["n"]) <= 2000 for name in NAMES)


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["", "a", "a:1", "b/c"]))
def test_keys_are_injective(one: str, other: str, namespace: str):
    """The layout's, by which the other tests look things up."""
    assert (slot_of(one) == slot_of(other)) == (one == other)
    assert slot_of(one, namespace) == slot_of(one) or namespace


@on_servers
async def test_namespaces(place):
    """Services that share a server do not meet; each has a slot of its own."""
    other = place.open(namespace="orders:v1")
    mine = await place.locks.acquire("a", operation="x")
    theirs = await other.acquire("a", operation="x")
    assert set(place.keys()) == {slot_of("a"), slot_of("a", "orders:v1")}
    with pytest.raises(ObjectLockedError):
        await place.open(namespace="orders:v1").acquire("a")
    await mine.release()
    info = await other.inspect("a")
    assert info is not None
    assert info.fence == theirs.fence
    assert await place.locks.inspect("a") is None
    assert not await place.locks.break_lock("a", fence=theirs.fence)
    await theirs.release()
    assert set(place.keys()) == {slot_of("a"), slot_of("a", "orders:v1"), holds_of(), holds_of("orders:v1")}


@on_servers
async def test_nothing_lives_for_ever(place):
    """Every key has its end at every moment, whatever was done."""

    def check() -> None:
        keys = place.keys()
        assert keys
        assert {key: ms for key, ms in keys.items() if not 0 < ms <= DAY_MS} == {}

    spied = Overheard(place.locks)
    lease = await place.locks.acquire("a", "b")
    check()
    with pytest.raises(ObjectLockedError):
        await place.other.acquire("a", "c")
    check()
    await place.locks.inspect("a")
    assert await place.locks.storage.renew(lease, TTL_S)
    check()
    token = await lease.hand_off(claim_within_s=60)
    check()
    with pytest.raises(LeaseLostError):
        async with place.locks.claim(token) as claimed:
            check()
            await place.locks.break_lock("b", fence=claimed.fence)
            check()
            other = await elsewhere(place.other.acquire("b"))
    check()
    await spied.again("release")  # also the other's key is not made eternal
    check()
    place.edit("b", e=server_ms(place.server_of(slot_of("b"))) + 10**9)
    await place.locks.inspect("b")
    check()
    await other.release()
    check()
    place.server.flush()
    await spied.again("release")  # of what nobody knows
    check()
    await spied.again("acquire")
    check()
    for name in ("renew", "hand_off", "claim", "inspect", "break_"):
        await spied.again(name)
        check()


@on_servers
async def test_hand_off_lives_as_long_as_it_may_be_claimed(place):
    """Longer or shorter than a lease, and its tombstone after it."""
    for seconds in (1, 3600):
        lease = await place.locks.acquire("a")
        await lease.hand_off(claim_within_s=seconds)
        record = place.record("a")
        assert record["s"] == "1"
        assert int(record["l"]) == seconds * 1000
        assert -SLACK_MS < lives_ms(place, "a") - seconds * 1000 - TOMBSTONE_MS <= 0
        await lease.release()
        assert "t" not in place.record("a")


# Each script can be asked twice


@on_servers
async def test_answers_that_were_lost(place):
    """Whatever is sent twice is done once: everything works as if it were sent once."""
    spied = Overheard(place.locks, times=2)
    lease = await place.locks.acquire("a", "b", operation="rename")
    with pytest.raises(ObjectLockedError):
        await elsewhere(place.other.acquire("b"))
    token = await lease.hand_off(claim_within_s=60)
    async with place.locks.claim(token) as claimed:
        assert claimed.fence > lease.fence
        assert claimed.is_held
        assert claimed.operation == "rename"
        assert int(place.record("a")["f"]) == claimed.fence
    assert not claimed.lost
    for name in ("acquire", "hand_off", "claim", "release"):
        first, second = spied.answers(name)
        assert first == second, name
    assert place.call("HGET", holds_of(), "rename").count(",") == 0
    again = await place.locks.acquire("a", "b")
    assert again.fence > claimed.fence
    assert await place.locks.break_lock("a", fence=again.fence) is False  # the second finds it broken


@on_servers
async def test_acquire_that_is_repeated_changes_nothing(place):
    """Not the fence, not since when it is held."""
    spied = Overheard(place.locks)
    await place.locks.acquire("a", "b")
    place.edit("a", a=12345)
    before = place.record("a"), place.record("b")
    for _ in range(2):
        assert await spied.again("acquire") == spied.answers("acquire")[0]
    assert (place.record("a"), place.record("b")) == before


@on_servers
async def test_release_that_is_repeated(place):
    """It says the same, and does nothing to whoever has the object now."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire("a", "b", operation="rename")
    await lease.release()
    assert await spied.again("release") == [b"1"]
    other = await place.other.acquire("a", operation="other")
    token = place.record("a")["t"]
    await spied.again("release")
    assert place.record("a")["t"] == token
    assert place.call("HGET", holds_of(), "rename").count(",") == 0
    await other.release()
    assert not other.lost


@on_servers
async def test_claim_that_is_repeated(place):
    """The same fence, and no second claim for another."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire("a", "b")
    token = await lease.hand_off(claim_within_s=60)
    async with place.locks.claim(token) as claimed:
        before = place.record("a")
        assert await spied.again("claim") == spied.answers("claim")[0]
        assert place.record("a") == before
        with pytest.raises(LeaseLostError):
            async with place.other.claim(token):
                raise AssertionError
        assert claimed.is_held


@on_servers
async def test_hand_off_that_is_repeated_after_the_claim(place):
    """It takes nothing back."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire("a")
    token = await lease.hand_off(claim_within_s=60)
    async with place.other.claim(token) as claimed:
        before = place.record("a")
        assert await spied.again("hand_off") == [b"0"]
        assert place.record("a") == before
    assert not claimed.lost


# What arrives late


@on_servers
@pytest.mark.parametrize("keys", [("a",), ("a", "b", "c")])
async def test_late_acquire_takes_nothing(place, keys):
    """Whoever asked has given up, and has released what it might take."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire(*keys)
    await lease.release()
    await spied.again("acquire")
    assert ["t" in place.record(key) for key in keys] == [False] * len(keys)
    async with place.other.hold(*keys):
        pass


@on_servers
@pytest.mark.parametrize("keys", [("a",), ("a", "b", "c")])
async def test_acquire_after_its_release_takes_nothing(place, keys):
    """Also where the server had never heard of it."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire(*keys)
    await lease.release()
    place.server.flush()
    assert await spied.again("release") == [b"0"]
    await spied.again("acquire")
    assert [set(place.record(key)) for key in keys] == [{"r"}] * len(keys)
    async with place.other.hold(*keys):
        pass


@on_servers
async def test_late_release_of_some(place):
    """A token that has some of its objects gives those back, and touches no other."""
    spied = Overheard(place.locks)
    await place.locks.acquire("a", "b")
    lease = await place.other.acquire("c")
    call = spied.last("acquire").call
    storage: Any = place.locks.storage
    await storage.free(place.record("a")["t"], ("c", "a"))
    assert "t" in place.record("c")
    assert "t" not in place.record("a")
    assert "t" in place.record("b")
    assert len(call) == 3
    await lease.release()
    assert not lease.lost


@on_servers
async def test_late_hand_off_after_its_withdrawal(place):
    """Whoever had no answer has withdrawn it: the object is not locked for somebody who does not know."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire("a")
    first = place.record("a")
    await lease.hand_off(claim_within_s=3600)
    await lease.release()  # withdrawn
    for field, value in first.items():
        place.edit("a", **{field: value})
    assert place.record("a")["t"] == first["t"]  # as if the hand-off had not arrived yet
    await spied.again("hand_off")
    assert place.record("a")["t"] == first["t"]
    assert place.record("a")["s"] == "0"


@on_servers
async def test_late_claim_after_its_release(place):
    """A claim without an answer was given up, and spends nothing when it arrives."""
    spied = Overheard(place.locks)
    lease = await place.locks.acquire("a")
    token = await lease.hand_off(claim_within_s=3600)
    handed_off = place.record("a")
    async with place.locks.claim(token):
        pass
    for field, value in handed_off.items():
        place.edit("a", **{field: value})
    assert await spied.again("claim") == [b"0"]
    assert place.record("a")["t"] == handed_off["t"]


@on_servers
async def test_renewal_creates_nothing(place):
    """After the release, after the end, after a break, after the loss of all data, under somebody else."""
    storage: Any = place.locks.storage
    lease = await place.locks.acquire("a", "b")
    assert await storage.renew(lease, TTL_S)

    place.edit("a", e=1)
    assert not await storage.renew(lease, TTL_S)
    assert place.record("a")["e"] == "1"

    other = await place.other.acquire("a")
    before = place.record("a")
    assert not await storage.renew(lease, TTL_S)
    assert place.record("a") == before
    await other.release()

    assert await place.locks.break_lock("b", fence=lease.fence)
    assert not await storage.renew(lease, TTL_S)
    assert "t" not in place.record("b")

    place.server.flush()
    assert not await storage.renew(lease, TTL_S)
    assert place.keys() == {}

    released = await place.locks.acquire("a")
    await released.release()
    before = place.record("a")
    assert not await storage.renew(released, TTL_S)
    assert place.record("a") == before


@on_servers
async def test_renewal_renews(place):
    """The end, the sign of life and the key's own end; neither the fence nor since when it is held."""
    lease = await place.locks.acquire("a", "b")
    for key in "ab":
        place.edit(key, e=int(place.record(key)["e"]) - 10_000, a=1, h=2)
        place.call("PEXPIRE", slot_of(key), 5000)
    storage: Any = place.locks.storage
    assert await storage.renew(lease, 7.5)
    for key in "ab":
        record = place.record(key)
        assert (record["a"], record["l"], int(record["f"])) == ("1", "7500", lease.fence)
        assert int(record["e"]) == int(record["h"]) + 7500
        assert abs(int(record["h"]) - server_ms(place.server_of(slot_of(key)))) < SLACK_MS
        assert lives_ms(place, key) > TOMBSTONE_MS - SLACK_MS


# Clocks that step


@on_servers
async def test_server_clock_set_back(place):
    """The rest of a lease is never longer than what it was given for, and the object becomes free."""
    now = server_ms(place.server_of(slot_of("a")))
    dead = place.open(ttl_s=0.5, timeout_s=0.16)
    await dead.acquire("a")
    await die(dead)
    place.edit("a", e=now + 3_600_000, a=now + 3_600_000, h=now + 3_600_000)
    info = await place.locks.inspect("a")
    assert info is not None
    assert 0 < info.expires_in_s <= 0.5
    assert info.age_s == 0
    await eventually(lambda: is_free(place, "a"), within_s=5)
    async with place.locks.hold("a") as lease:
        assert lease.fence > info.fence


async def is_free(place: Place, key: str) -> bool:
    return await place.locks.inspect(key) is None


@on_servers
@pytest.mark.parametrize("look", ["acquire", "break_lock", "inspect", "renew", "hand_off"])
async def test_clock_set_back_is_noticed_by_every_script(place, look):
    """Whoever looks first."""
    now = server_ms(place.server_of(slot_of("a")))
    lease = await place.locks.acquire("a")
    place.edit("a", e=now + 3_600_000)
    if look == "acquire":
        with pytest.raises(ObjectLockedError):
            await place.other.acquire("a")
    elif look == "break_lock":
        assert await place.locks.break_lock("a", fence=lease.fence)
    elif look == "inspect":
        await place.locks.inspect("a")
    elif look == "renew":
        storage: Any = place.locks.storage
        assert await storage.renew(lease, TTL_S)
    else:
        await lease.hand_off(claim_within_s=TTL_S)
    assert int(place.record("a").get("e", 0)) <= now + TTL_MS + SLACK_MS


@on_servers
async def test_hold_in_the_future_lasted_no_time(place):
    """What is learned from a hold over which the clock was set back is nothing negative."""
    lease = await place.locks.acquire("a", operation="rename")
    place.edit("a", a=server_ms(place.server_of(slot_of("a"))) + 3_600_000)
    with pytest.raises(ObjectLockedError) as refused:
        await elsewhere(place.other.acquire("a"))
    assert 1 <= (refused.value.retry_after or 0) <= 3
    await lease.release()
    assert place.call("HGET", holds_of(), "rename") == "0"


@on_servers
async def test_server_clock_set_forward(place):
    """Leases end early, and their holders learn it."""
    lease = await place.locks.acquire("a", "b")
    for key in "ab":
        place.edit(key, e=server_ms(place.server_of(slot_of(key))) - 1)
    other = await place.other.acquire("a", "b")
    assert other.fence > lease.fence
    await lease.release()
    assert lease.lost
    assert other.is_held


# Scripts that the server forgot


@on_servers
async def test_server_forgets_the_scripts(place):
    """At any time: they are sent again."""

    def forget() -> None:
        for server in place.server.servers if place.name.endswith("cluster") else [place.server]:
            server.call("SCRIPT", "FLUSH")

    storage: Any = place.locks.storage
    forget()
    lease = await place.locks.acquire("a")
    forget()
    with pytest.raises(ObjectLockedError):
        await place.locks.acquire("a")
    forget()
    assert await place.locks.inspect("a") is not None
    forget()
    assert await storage.renew(lease, TTL_S)
    forget()
    token = await lease.hand_off(claim_within_s=60)
    forget()
    async with place.locks.claim(token) as claimed:
        forget()
    assert not claimed.lost
    again = await place.locks.acquire("a")
    forget()
    assert await place.locks.break_lock("a", fence=again.fence)


# What is learned


@on_servers
async def test_last_holds_are_remembered(place):
    """Sixteen of an operation, the newest last, for a day."""
    for number in range(20):
        lease = await place.locks.acquire("a", "b", operation="rename")
        for key in "ab":
            place.edit(key, a=int(place.record(key)["a"]) - number * 1_000_000)
        await lease.release()
    held = [int(ms) // 1_000_000 for ms in place.call("HGET", holds_of(), "rename").split(",")]
    assert held == list(range(4, 20))
    assert 0 < place.call("PTTL", holds_of()) <= DAY_MS


@on_servers
async def test_operations_that_are_remembered_are_bounded(place):
    """A thousand; those that are known go on."""
    place.call("HSET", holds_of(), *(f"{word}" for number in range(999) for word in (f"op{number}", "1")))
    for operation in ("new", "newer", "op5", "new"):
        async with place.locks.hold("a", operation=operation):
            pass
    assert place.call("HLEN", holds_of()) == 1000
    assert place.call("HGET", holds_of(), "new").count(",") == 1
    assert place.call("HGET", holds_of(), "newer") is None
    assert place.call("HGET", holds_of(), "op5").startswith("1,")
    assert place.call("PTTL", holds_of()) > 0


@on_servers
async def test_break_and_expiry_teach_nothing(place):
    """Only what ended by itself says how long it takes."""
    lease = await place.locks.acquire("a", operation="rename")
    await place.locks.break_lock("a", fence=lease.fence)
    await lease.release()
    lease = await place.locks.acquire("a", operation="rename")
    place.expire("a")
    await place.locks.acquire("a", operation="other")
    await lease.release()
    assert place.call("EXISTS", holds_of()) == 0


# What it costs


@on_one_server
@pytest.mark.parametrize("keys", [("a",), ("a", "b", "c")])
async def test_round_trips(place, keys):
    """One for the lock and one for the release, whatever the number of objects; one for a refusal."""
    async with place.locks.hold(*keys):  # connects
        pass
    with place.server.counting() as traffic:
        lease = await place.locks.acquire(*keys)
    assert (dict(traffic.commands), traffic.round_trips) == ({"evalsha": 1}, 1)
    with place.server.counting() as traffic:
        with pytest.raises(ObjectLockedError):
            await place.locks.acquire(*keys)
    assert (dict(traffic.commands), traffic.round_trips) == ({"evalsha": 1}, 1)
    with place.server.counting() as traffic:
        await lease.release()
    assert (dict(traffic.commands), traffic.round_trips) == ({"evalsha": 1}, 1)
    with place.server.counting() as traffic:
        async with place.locks.hold(*keys):
            async with place.locks.hold(*keys):
                await lease.release()  # again
    assert (dict(traffic.commands), traffic.round_trips) == ({"evalsha": 2}, 2)


@on_one_server
async def test_round_trips_of_a_hand_off(place):
    """One for it, one for the claim, one for the release."""

    async def pass_on() -> None:
        lease = await place.locks.acquire("a")
        token = await lease.hand_off(claim_within_s=60)
        async with place.locks.claim(token):
            pass

    await pass_on()  # the server knows the scripts
    with place.server.counting() as traffic:
        await pass_on()
    assert (dict(traffic.commands), traffic.round_trips) == ({"evalsha": 4}, 4)


@on_one_server
async def test_those_in_flight_together_share_round_trips(place):
    """Sixty-four at once cost a few."""
    async with place.locks.hold("x"):
        pass
    with place.server.counting() as traffic:
        leases = await asyncio.gather(*(place.locks.acquire(f"{number}") for number in range(64)))
    assert traffic.commands["evalsha"] == 64
    assert traffic.round_trips <= 8
    with place.server.counting() as traffic:
        await asyncio.gather(*(lease.release() for lease in leases))
    assert traffic.round_trips <= 8


# Secrets


@on_servers
async def test_tokens_are_told_to_nobody(place, caplog):
    """Neither in keys nor in logs nor in texts: whoever has one has the object."""
    secrets: set[str] = set()
    texts: list[str] = []

    def note(lease: Any) -> None:
        secrets.add(place.record("entity:1")["t"])
        texts.extend([repr(lease), str(lease), f"{lease}"])

    with caplog.at_level(logging.DEBUG):
        lease = await place.locks.acquire("entity:1")
        note(lease)
        with pytest.raises(ObjectLockedError) as refused:
            await elsewhere(place.other.acquire("entity:1"))
        texts += [repr(refused.value), str(refused.value), str(refused.value.headers)]
        token = await lease.hand_off(claim_within_s=60)
        assert place.record("entity:1")["t"] not in secrets
        secrets.add(token)
        note(lease)
        texts.append(repr(await place.locks.inspect("entity:1")))
        with pytest.raises(LeaseLostError) as lost:
            async with place.locks.claim(token) as claimed:
                note(claimed)
                with pytest.raises(LeaseLostError) as twice:
                    async with place.other.claim(token):
                        raise AssertionError
                await place.other.break_lock("entity:1", fence=claimed.fence)
        texts += [repr(lost.value), str(lost.value), repr(twice.value), str(twice.value)]
        with pytest.raises(LeaseLostError) as late:
            await claimed.hand_off(claim_within_s=60)
        texts.append(repr(late.value))
    texts += [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    texts += place.keys()
    assert len(secrets) == 4
    assert [text for text in texts for secret in secrets if secret in text] == []
    assert any("entity:1" in text for text in texts)


@on_servers
async def test_tokens_are_never_the_same(place):
    """Each lease has its own, and each hand-off another."""
    tokens = set()
    for _ in range(5):
        lease = await place.locks.acquire("a")
        tokens.add(place.record("a")["t"])
        await lease.hand_off(claim_within_s=60)
        tokens.add(place.record("a")["t"])
        await lease.release()
    assert len(tokens) == 10
