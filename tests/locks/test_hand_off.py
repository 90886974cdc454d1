"""Leases that are passed on: to a worker, in another task, thread or process, at most once."""

from __future__ import annotations

import asyncio
import base64
import logging
import queue
import subprocess
import sys
import threading
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import ConfigurationError, Lease, LeaseLostError, ObjectLockedError, ObjectLocks
from tests.locks.storages import fixtures
from tests.locks.storages.overhearing import Overheard
from tests.locks.storages.places import Place, elsewhere, on_one_server, on_servers, run, slot_of
from tests.servers.server import Server

anyio_backend, place = fixtures.anyio_backend, fixtures.place
by_links = pytest.mark.parametrize(
    "place", ["redis", "valkey", "rediss", "redis+sentinel", "redis+cluster"], indirect=True
)


async def is_busy(place: Place, key: str = "a") -> bool:
    return await place.locks.inspect(key) is not None


async def hand_off(place: Place, *keys: str, operation: str | None = None) -> tuple[Lease, str]:
    lease = await place.locks.acquire(*(keys or ("a",)), operation=operation)
    return lease, await lease.hand_off(claim_within_s=60)


async def claim(locks: ObjectLocks, token: Any) -> Lease:
    """Claim, and do nothing else."""
    async with locks.claim(token) as lease:
        return lease


@pytest.mark.anyio
@by_links
async def test_handed_off_and_claimed(place):
    """The object is locked from the one to the other, and free after the block."""
    lease, token = await hand_off(place, operation="create")
    assert isinstance(token, str)
    assert (lease.is_held, lease.lost, lease.remaining_s()) == (False, False, 0)
    with pytest.raises(ObjectLockedError):
        await place.locks.acquire("a")
    async with place.other.claim(token) as claimed:
        assert claimed.is_held
        assert not claimed.lost
        assert (claimed.key, claimed.operation) == ("a", "create")
        assert claimed.fence > lease.fence
        with pytest.raises(ObjectLockedError):
            await elsewhere(place.other.acquire("a"))
    assert not await is_busy(place)
    assert not claimed.lost


@pytest.mark.anyio
@on_servers
async def test_several_objects(place):
    """All are passed on together, in their order."""
    names = ("a", "größe:☃", "line\nbreak", "x" * 10_000)
    lease, token = await hand_off(place, *names)
    async with place.other.claim(token) as claimed:
        assert claimed.keys == names
        assert claimed.fence > lease.fence
        assert [await is_busy(place, name) for name in names] == [True] * 4
    assert [await is_busy(place, name) for name in names] == [False] * 4


@pytest.mark.anyio
@on_servers
async def test_delivered_twice(place):
    """A job runs once: while the first runs, and after it."""
    _, token = await hand_off(place)
    async with place.other.claim(token) as claimed:
        for locks in (place.locks, place.open()):
            with pytest.raises(LeaseLostError):
                await claim(locks, token)
        assert claimed.is_held
    assert not claimed.lost
    with pytest.raises(LeaseLostError):
        await claim(place.locks, token)
    assert not await is_busy(place)


@pytest.mark.anyio
@on_servers
async def test_of_many_deliveries_at_once_one_runs(place):
    """Whoever they are."""
    _, token = await hand_off(place, "a", "b")
    clients = [place.open() for _ in range(4)]
    ran = 0

    async def work(number: int) -> None:
        nonlocal ran
        async with clients[number % 4].claim(token):
            ran += 1
            await asyncio.sleep(0.01)

    outcomes = await asyncio.gather(*(work(number) for number in range(20)), return_exceptions=True)
    assert ran == 1
    assert sum(isinstance(outcome, LeaseLostError) for outcome in outcomes) == 19


@pytest.mark.anyio
@on_servers
async def test_claimed_too_late(place):
    """The object is free by then, and may be somebody else's."""
    _, token = await hand_off(place, "a", "b")
    place.expire("a", "b")
    with pytest.raises(LeaseLostError):
        await claim(place.locks, token)
    other = await place.other.acquire("a")
    with pytest.raises(LeaseLostError):
        await claim(place.locks, token)
    assert other.is_held
    await other.release()
    assert not other.lost


@pytest.mark.anyio
@on_servers
async def test_one_of_several_is_too_late(place):
    """All or none."""
    _, token = await hand_off(place, "a", "b")
    place.expire("b")
    before = place.record("a")
    with pytest.raises(LeaseLostError):
        await claim(place.locks, token)
    assert place.record("a") == before


@pytest.mark.anyio
@on_servers
async def test_withdrawn(place):
    """Whoever could not pass the token on releases the lease: the object is free, the token is worth nothing."""
    lease, token = await hand_off(place, "a", "b")
    await lease.release()
    assert not await is_busy(place, "a")
    assert not await is_busy(place, "b")
    assert not lease.lost
    with pytest.raises(LeaseLostError):
        await claim(place.locks, token)
    await lease.release()


@pytest.mark.anyio
@on_servers
async def test_withdrawn_too_late(place, caplog):
    """Whoever has claimed it keeps it."""
    lease, token = await hand_off(place)
    with caplog.at_level(logging.WARNING, "envelope.locks"):
        async with place.other.claim(token) as claimed:
            await elsewhere(lease.release())
            assert await is_busy(place)
        await lease.release()
    assert not claimed.lost
    assert not lease.lost
    assert not await is_busy(place)


@pytest.mark.anyio
@on_servers
async def test_block_that_hands_off_does_not_take_it_back(place):
    """The end of the block leaves alone what is not its own any more."""
    async with place.locks.hold("a") as lease:
        token = await lease.hand_off(claim_within_s=60)
        assert not lease.is_held
    assert await is_busy(place)
    async with place.locks.claim(token) as claimed:
        assert claimed.is_held
    assert not await is_busy(place)


@pytest.mark.anyio
@on_servers
async def test_handed_off_inside_of_two_blocks(place):
    """Both ends leave it alone."""
    async with place.locks.hold("a"), place.locks.hold("a") as lease:
        token = await lease.hand_off(claim_within_s=60)
    assert await is_busy(place)
    async with place.locks.claim(token):
        pass
    assert not await is_busy(place)


@pytest.mark.anyio
@on_servers
async def test_handed_off_is_not_held_here(place):
    """Inside of the block that gave it away, the object is busy like anywhere else."""
    async with place.locks.hold("a") as lease:
        await lease.hand_off(claim_within_s=60)
        with pytest.raises(ObjectLockedError):
            await place.locks.acquire("a")
        with pytest.raises(ObjectLockedError):
            async with place.locks.hold("a"):
                raise AssertionError


@pytest.mark.anyio
@on_servers
async def test_exception_after_a_hand_off(place):
    """It stays handed off, and the exception what it is."""
    with pytest.raises(ZeroDivisionError):
        async with place.locks.hold("a") as lease:
            token = await lease.hand_off(claim_within_s=60)
            raise ZeroDivisionError
    async with place.locks.claim(token):
        pass


@pytest.mark.anyio
@on_servers
@pytest.mark.parametrize("end", ["released", "handed off", "expired", "broken", "somebody else's"])
async def test_lease_that_has_ended_is_not_handed_off(place, end):
    """Nothing is passed on that is not there."""
    lease = await place.locks.acquire("a")
    if end == "released":
        await lease.release()
    elif end == "handed off":
        await lease.hand_off(claim_within_s=60)
    elif end == "broken":
        await place.locks.break_lock("a", fence=lease.fence)
    else:
        place.expire("a")
    if end == "somebody else's":
        await place.other.acquire("a")
    before = place.record("a")
    with pytest.raises(LeaseLostError):
        await lease.hand_off(claim_within_s=60)
    assert place.record("a") == before
    assert lease.lost is (end not in ("released", "handed off"))


@pytest.mark.anyio
@on_servers
async def test_claim_is_handed_on(place):
    """From worker to worker, each with another token and a greater fence."""
    lease, token = await hand_off(place)
    fences = [lease.fence]
    for _ in range(3):
        async with place.locks.claim(token) as claimed:
            fences.append(claimed.fence)
            spent, token = token, await claimed.hand_off(claim_within_s=60)
        assert spent != token
        with pytest.raises(LeaseLostError):
            await claim(place.locks, spent)
    assert fences == sorted(set(fences))
    assert await is_busy(place)


@pytest.mark.anyio
@on_servers
async def test_claim_that_was_lost(place):
    """It is told at the block's end, unless the block has its own exception."""
    _, token = await hand_off(place)
    with pytest.raises(LeaseLostError):
        async with place.locks.claim(token) as claimed:
            await place.locks.break_lock("a", fence=claimed.fence)
    _, token = await hand_off(place)
    with pytest.raises(ZeroDivisionError):
        async with place.locks.claim(token) as claimed:
            await place.locks.break_lock("a", fence=claimed.fence)
            raise ZeroDivisionError


@pytest.mark.anyio
@on_one_server
async def test_claim_is_for_one_block(place):
    """As ``hold``."""
    _, token = await hand_off(place)
    block = place.locks.claim(token)
    async with block:
        with pytest.raises(RuntimeError):
            await block.__aenter__()
    with pytest.raises(RuntimeError):
        await block.__aenter__()


@pytest.mark.anyio
@on_servers
async def test_hold_inside_of_a_claim(place):
    """What the worker calls finds what the worker holds."""
    _, token = await hand_off(place, "a", "b")
    async with place.locks.claim(token) as claimed:
        async with place.locks.hold("b") as inner:
            assert inner is claimed
        assert await is_busy(place, "b")
    assert not await is_busy(place, "b")


@pytest.mark.anyio
@on_servers
async def test_token_of_another_namespace(place):
    """Means nothing there, and is not spent by it."""
    _, token = await hand_off(place)
    with pytest.raises(LeaseLostError):
        await claim(place.open(namespace="other"), token)
    await claim(place.locks, token)


@pytest.mark.anyio
@on_servers
@pytest.mark.parametrize("seconds", [0.001, 1, 7 * 24 * 3600, 0.25])
async def test_time_to_claim(place, seconds):
    """As it is said, to the millisecond."""
    lease = await place.locks.acquire("a")
    await lease.hand_off(claim_within_s=seconds)
    assert place.record("a")["l"] == str(int(seconds * 1000))


@pytest.mark.anyio
@on_one_server
@pytest.mark.parametrize(
    "seconds", [0, -1, 0.0001, 7 * 24 * 3600 + 1, float("inf"), float("nan"), "60", None, True, [60]]
)
async def test_what_is_no_time_to_claim(place, seconds):
    """No lease is infinite; and nothing has happened."""
    lease = await place.locks.acquire("a")
    with pytest.raises(ValueError, match="claim_within_s"):
        await lease.hand_off(claim_within_s=seconds)
    assert lease.is_held
    assert place.record("a")["s"] == "0"


# Tokens


def bad_tokens(token: str) -> list[Any]:
    prefix, _, rest = token.rpartition(".")
    return [
        *("", " ", "x", prefix, f"{prefix}.", rest, f"x{token}", token.upper(), token[:-9], token[:40]),
        *(
            f"{prefix}.{rest[::-1]}",
            f"{prefix}.{'A' * 40}",
            f"{prefix}.bnVsbA==",
            f"{prefix}.W10=",
            f"{prefix}.e30=",
        ),
        *(f"{prefix}.NQ==", f"{prefix}.WyJhIl0=", f"{prefix}.WyJhIiwgMV0=", f"{prefix}.WyJhIiwgIiJd"),
        # Nothing before, behind or between what was written is overlooked.
        *(f"{token}x", f"{token}\n", f" {token}", f"{prefix}.{rest[:8]}!{rest[8:]}"),
        *(None, 5, token.encode(), [token], "☃" * 50, "\0", "\ud800"),
    ]


@pytest.mark.anyio
@on_one_server
async def test_beginning_of_a_token_says_no_secret(place):
    """Queues log the arguments of jobs, and cut them."""
    lease = await place.locks.acquire("entity:77")
    token = await lease.hand_off(claim_within_s=60)
    beginning = token.removeprefix("envelope-lease-1.")[:16]
    assert base64.urlsafe_b64decode(beginning) == b'["entity:77"'


@pytest.mark.anyio
@on_one_server
async def test_what_is_no_token(place):
    """Is a ``ValueError`` that does not quote it, in either way; and the server is not asked."""
    _, token = await hand_off(place)
    spied = Overheard(place.locks)
    for bad in bad_tokens(token):
        with pytest.raises(ValueError) as refused:
            await claim(place.locks, bad)
        text = f"{refused.value} {refused.value!r} {refused.value.__cause__}"
        assert token[25:60] not in text
        assert not bad or not isinstance(bad, str) or len(bad) < 9 or bad not in text
        assert refused.value.__suppress_context__ or refused.value.__context__ is None
        with pytest.raises(ValueError):
            await asyncio.to_thread(claim_sync, place.locks, bad)
    assert spied.trips == []
    await claim(place.locks, token)


def claim_sync(locks: ObjectLocks, token: Any) -> Any:
    with locks.claim_sync(token) as lease:
        return lease


@given(st.text() | st.text().map(lambda text: f"envelope-lease-1.{text}"))
def test_any_text_is_a_token_or_a_value_error(text: str):
    """Before anything else happens."""
    from envelope.locks.storages.redis.storage import _read_token

    try:
        token, keys = _read_token(text)
    except ValueError as refused:
        assert len(text) < 9 or text not in str(refused)
    else:
        assert token
        assert keys


def test_deeply_nested_text_is_a_value_error():
    """Also what no hand-off ever wrote."""
    from envelope.locks.storages.redis.storage import _read_token

    with pytest.raises(ValueError):
        _read_token("envelope-lease-1." + base64.urlsafe_b64encode(b"[" * 200_000).decode())


@pytest.mark.anyio
@on_one_server
async def test_token_of_nobody(place):
    """Well written, and worth nothing; it leaves nothing on the server."""
    lease, token = await hand_off(place)
    await lease.release()
    place.server.flush()
    with pytest.raises(LeaseLostError):
        await claim(place.locks, token)
    assert place.keys() == {}


@pytest.mark.anyio
@on_one_server
async def test_token_of_a_lease_is_no_token_of_a_hand_off(place):
    """What was not handed off cannot be claimed, even by whoever can read the server."""
    lease, token = await hand_off(place)
    await lease.release()
    await place.locks.acquire("a")
    held = place.record("a")["t"]
    import json

    forged = token.rpartition(".")[0] + "." + base64.urlsafe_b64encode(json.dumps(["a", held]).encode()).decode()
    with pytest.raises(LeaseLostError):
        await claim(place.locks, forged)
    assert place.record("a")["t"] == held


@pytest.mark.anyio
@on_one_server
async def test_token_is_text_for_every_queue(place):
    """Printable ASCII without spaces, whatever the names are."""
    _, token = await hand_off(place, "größe:☃", "a b\n", "\ud800")
    assert token.isascii()
    assert token.isprintable()
    assert " " not in token
    async with place.locks.claim(token) as claimed:
        assert claimed.keys == ("größe:☃", "a b\n", "\ud800")


# In code that is not asynchronous


def test_claim_sync_in_a_thread(valkey: Server):
    """As a worker does it, and a ``hold`` of what it calls finds it there."""
    valkey.flush()
    giver, worker = ObjectLocks(valkey.url, timeout_s=2), ObjectLocks(valkey.url, timeout_s=2)
    answers: queue.Queue[Any] = queue.Queue()

    async def give() -> str:
        async with aclosing(giver):
            lease = await giver.acquire("a", operation="create")
            return await lease.hand_off(claim_within_s=60)

    async def look() -> bool:
        async with aclosing(giver):
            return await giver.inspect("a") is not None

    async def call() -> bool:
        async with aclosing(worker), worker.hold("a") as inner:
            return inner is answers.queue[-1]

    def work(token: str) -> None:
        try:
            with worker.claim_sync(token) as claimed:
                answers.put(claimed)
                answers.put((claimed.is_held, claimed.operation, asyncio.run(look())))
            answers.put((claimed.is_held, claimed.lost, asyncio.run(look())))
            with worker.claim_sync(token):
                raise AssertionError
        except BaseException as error:
            answers.put(error)

    thread = threading.Thread(target=work, args=(run(give()),))
    thread.start()
    thread.join(10)
    found = list(answers.queue)
    assert found[1:3] == [(True, "create", True), (False, False, False)]
    assert isinstance(found[3], LeaseLostError)
    run(worker.aclose())


def test_hold_inside_of_claim_sync(valkey: Server):
    """An event loop that is begun inside of the block finds the lease."""
    valkey.flush()
    locks = ObjectLocks(valkey.url, timeout_s=2)

    async def give() -> str:
        async with aclosing(locks):
            return await (await locks.acquire("a")).hand_off(claim_within_s=60)

    async def call() -> Any:
        async with locks.hold("a") as inner:
            return inner

    with locks.claim_sync(run(give())) as lease:
        assert asyncio.run(call()) is lease
        assert lease.is_held
    assert not lease.lost
    run(locks.aclose())


def test_claim_sync_and_exceptions(valkey: Server):
    """The body's own is never replaced; a lease that was lost is told at a clean end."""
    valkey.flush()
    locks = ObjectLocks(valkey.url, timeout_s=2)

    async def give() -> str:
        async with aclosing(locks):
            return await (await locks.acquire("a")).hand_off(claim_within_s=60)

    async def take_away(fence: int) -> None:
        async with aclosing(other):
            assert await other.break_lock("a", fence=fence)

    other = ObjectLocks(valkey.url, timeout_s=2)
    mine = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as raised, locks.claim_sync(run(give())) as lease:
        run(take_away(lease.fence))
        raise mine
    assert raised.value is mine
    with pytest.raises(LeaseLostError), locks.claim_sync(run(give())) as lease:
        run(take_away(lease.fence))
    assert lease.lost
    with pytest.raises(ZeroDivisionError), locks.claim_sync(run(give())):
        raise ZeroDivisionError
    run(locks.aclose())
    assert "t" not in valkey.call("HGETALL", slot_of("a"))


@pytest.mark.anyio
@on_one_server
async def test_claim_sync_in_an_event_loop(place):
    """Is refused: it would stand still; and the token is not spent."""
    _, token = await hand_off(place)
    with pytest.raises(RuntimeError, match="claim"), place.locks.claim_sync(token):
        raise AssertionError
    await claim(place.locks, token)


def test_claim_sync_without_a_server(own_valkey: Server):
    """It is told within its time."""
    from envelope import ServiceUnavailableError

    locks = ObjectLocks(own_valkey.url)

    async def give() -> str:
        async with aclosing(locks):
            return await (await locks.acquire("a")).hand_off(claim_within_s=60)

    token = run(give())
    own_valkey.kill()
    with pytest.raises(ServiceUnavailableError) as refused, locks.claim_sync(token):
        raise AssertionError
    assert refused.value.retry_after == 1
    assert token not in str(refused.value)
    run(locks.aclose())


PROGRAM = """
import asyncio, sys
from envelope import LeaseLostError, ObjectLocks
locks = ObjectLocks(sys.argv[1], timeout_s=2)

async def claim(token):
    async with locks.claim(token) as lease:
        return f"{lease.fence} {lease.key} {lease.operation} {lease.is_held}"

def claim_sync(token):
    with locks.claim_sync(token) as lease:
        return f"{lease.fence} {lease.key} {lease.operation} {lease.is_held}"

for line in sys.stdin:
    way, token = line.split()
    try:
        print(asyncio.run(claim(token)) if way == "async" else claim_sync(token), flush=True)
    except LeaseLostError:
        print("lost", flush=True)
asyncio.run(locks.aclose())
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_claim_in_another_process(valkey: Server):
    """Each token once, in either way; the fence says that it is another's."""
    valkey.flush()

    async def give() -> tuple[int, str]:
        async with aclosing(locks):
            lease = await locks.acquire("entity:1", operation="create")
            return lease.fence, await lease.hand_off(claim_within_s=60)

    locks = ObjectLocks(valkey.url, timeout_s=2)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, valkey.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for way in ("async", "sync"):
            fence, token = run(give())
            answers = []
            for _ in range(2):
                process.stdin.write(f"{way} {token}\n")
                process.stdin.flush()
                answers.append(process.stdout.readline().split())
            assert answers[0][1:] == ["entity:1", "create", "True"]
            assert int(answers[0][0]) > fence
            assert answers[1] == ["lost"]
        process.stdin.close()
        assert process.wait(10) == 0


# Memory


def test_memory_refuses():
    """With the reason, and the lease stays what it is; ``tests/locks/storages/test_memory.py`` has the rest."""

    async def main() -> None:
        locks = ObjectLocks()
        async with locks.hold("a") as lease:
            with pytest.raises(ConfigurationError, match="memory://"):
                await lease.hand_off(claim_within_s=60)
            with pytest.raises(ValueError):
                await lease.hand_off(claim_within_s=-1)
            assert lease.is_held

    run(main())
