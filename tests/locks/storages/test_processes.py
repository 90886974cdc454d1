"""Threads, event loops and processes: all exclude each other, and each knows what is its own."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from typing import Any

import pytest

from envelope import Lease, ObjectLockedError, ObjectLocks
from tests.locks.storages.places import eventually, run
from tests.servers.server import Server


def open_locks(url: str) -> ObjectLocks:
    return ObjectLocks(url, timeout_s=2)


@pytest.mark.parametrize("is_shared", [True, False])
def test_eight_threads(valkey: Server, is_shared: bool):
    """Each with an event loop of its own, with one client for all or one for each: never two inside."""
    valkey.flush()
    shared, entered = open_locks(valkey.url), [0] * 8
    inside = {"a": 0, "b": 0, "c": 0}
    fences: list[int] = []
    problems: list[object] = []

    async def work(number: int) -> None:
        chance = random.Random(number)
        locks = shared if is_shared else open_locks(valkey.url)
        async with aclosing(locks):
            while entered[number] < 8:
                keys = chance.sample("abc", chance.randint(1, 2))
                try:
                    async with locks.hold(*keys) as lease:
                        for key in keys:
                            inside[key] += 1
                        problems.extend(key for key in keys if inside[key] != 1)
                        if "a" in keys:
                            fences.append(lease.fence)
                        await asyncio.sleep(0)
                        for key in keys:
                            inside[key] -= 1
                        entered[number] += 1
                except ObjectLockedError:
                    await asyncio.sleep(0.001)

    def begin(number: int) -> None:
        try:
            asyncio.run(work(number))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert entered == [8] * 8
    assert fences == sorted(set(fences))


def test_loops_one_after_another(valkey: Server):
    """The same locks serve each; what one has taken, the next finds busy, and can release."""
    valkey.flush()
    locks = open_locks(valkey.url)

    async def first() -> None:
        async with aclosing(locks):
            async with locks.hold("a"):
                pass
            held.append(await locks.acquire("b"))

    async def second() -> None:
        async with aclosing(locks):
            async with locks.hold("a"):
                pass
            with pytest.raises(ObjectLockedError):
                await locks.acquire("b")
            await held[0].release()
            async with locks.hold("b"):
                pass

    held: list[Lease] = []
    run(first())
    run(second())
    assert not held[0].lost


def test_loops_side_by_side(valkey: Server):
    """A lease that one loop has taken is released by another."""
    valkey.flush()
    locks = open_locks(valkey.url)

    async def main() -> None:
        async with aclosing(locks):
            lease = await locks.acquire("a")

            async def elsewhere() -> None:
                async with aclosing(locks):
                    with pytest.raises(ObjectLockedError):
                        await locks.acquire("a")
                    await lease.release()

            await asyncio.to_thread(asyncio.run, elsewhere())
            async with locks.hold("a"):
                pass

    run(main())


def in_a_fork(work: object) -> int:
    """Run a function in a forked process, and give its exit code: 0 if it returned True."""
    process = os.fork()
    if process == 0:
        code = 3
        try:
            code = 0 if work() else 1  # type: ignore[operator]
        finally:
            os._exit(code)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return -1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later Pythons: there are threads
def test_fork(valkey: Server):
    """The child locks by itself, renews what is its own, and its parent's leases are nothing to it."""
    valkey.flush()
    locks = ObjectLocks(valkey.url, ttl_s=1.2, timeout_s=0.39)

    async def take() -> None:
        held.append(await locks.acquire("parents"))
        storage: Any = locks.storage
        await storage.close_line()  # of this loop; the thread goes on

    async def child() -> bool:
        try:
            await locks.acquire("parents")
        except ObjectLockedError:
            pass
        else:
            return False
        async with locks.hold("a") as lease:
            await asyncio.sleep(1.6)
            found = await locks.inspect("a")
            return lease.is_held and found is not None and found.holder.endswith(f":{os.getpid()}")

    async def after() -> None:
        async with aclosing(locks):
            assert held[0].is_held
            found = await locks.inspect("parents")
            assert found is not None
            assert found.fence == held[0].fence
            assert found.holder.endswith(f":{os.getpid()}")
            async with locks.hold("a"):
                pass
            await held[0].release()

    held: list[Lease] = []
    run(take())
    assert in_a_fork(lambda: asyncio.run(child())) == 0
    run(after())
    assert not held[0].lost


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_inside_of_a_block(valkey: Server):
    """What the parent holds is not what the child holds, although it is forked where it is held."""
    valkey.flush()
    locks = open_locks(valkey.url)

    async def take() -> str:
        async with aclosing(locks):
            lease = await locks.acquire("parents")
            return await lease.hand_off(claim_within_s=60)

    async def child() -> bool:
        try:
            async with locks.hold("parents"):
                return False
        except ObjectLockedError:
            return True

    with locks.claim_sync(run(take())) as lease:
        code = in_a_fork(lambda: asyncio.run(child()))
        assert lease.is_held
    run(locks.aclose())
    assert code == 0


def test_fork_does_not_renew_what_is_its_parents(valkey: Server):
    """A child that outlives its parent does not keep the parent's objects locked."""
    valkey.flush()
    locks = ObjectLocks(valkey.url, ttl_s=0.6, timeout_s=0.19)
    program = """
import asyncio, os, sys, time
from envelope import ObjectLocks
locks = ObjectLocks(sys.argv[1], ttl_s=0.6, timeout_s=0.19)
asyncio.run(locks.acquire("a"))
if os.fork():
    os._exit(0)  # as one that is killed
async def child():
    async with locks.hold("b"):
        print("ready", flush=True)
        await asyncio.sleep(2)
    await locks.aclose()
asyncio.run(child())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, valkey.url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        async def main() -> None:
            async with aclosing(locks):

                async def is_free() -> bool:
                    return await locks.inspect("a") is None

                await eventually(is_free, within_s=1.2)
                assert await locks.inspect("b") is not None

        run(main())


def test_process_that_ends_gives_back_what_is_on_its_way(valkey: Server):
    """Whoever is cancelled at the very end of a process leaves no object locked for its lease."""
    valkey.flush()
    program = """
import asyncio, sys
from envelope import ObjectLocks
locks = ObjectLocks(sys.argv[1], timeout_s=2)
async def main():
    async with locks.hold("x"):
        pass
    task = asyncio.create_task(locks.acquire("a"))
    for _ in range(4):
        await asyncio.sleep(0)
    task.cancel()
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program, valkey.url], check=True, timeout=10, stderr=subprocess.DEVNULL)
    locks = open_locks(valkey.url)

    async def main() -> None:
        async with aclosing(locks), locks.hold("a"):
            pass

    run(main())
