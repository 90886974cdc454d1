"""Any order of steps by several clients, against locks that are a dictionary."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from envelope import Lease, LeaseLostError, ObjectLockedError, ObjectLocks
from envelope.locks.grants import LockInfo
from tests.locks.storages.places import Place
from tests.servers.server import Server

KEYS = ("a", "b", "c:1", "☃")
CLIENTS = 3

keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3)


class Taken:
    """A lease as the model knows it: whoever has a key has this object."""

    def __init__(self, lease: Lease, block: Any = None) -> None:
        self.lease, self.block = lease, block
        self.is_handed_off = self.is_over = self.knows_loss = False
        self.token = ""


class Machine(RuleBasedStateMachine):
    server: Server | None = None

    leases: Bundle[Taken] = Bundle("leases")
    tokens: Bundle[Taken] = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        if self.server is not None:
            self.server.flush()
        self.place = Place("memory") if self.server is None else Place("redis", self.server.url, self.server)
        self.clients = [self.place.open() for _ in range(CLIENTS)]
        self.owner: dict[str, Taken] = {}
        #: Whose time is over on the server, without anybody having had the object since.
        self.last: dict[str, Taken] = {}
        self.fences = dict.fromkeys(KEYS, 0)

    def do(self, work: Any) -> Any:
        return self.runner.run(work, context=Context())

    def client(self, number: int) -> ObjectLocks:
        return self.clients[number]

    def note(self, lease: Lease, names: tuple[str, ...]) -> None:
        for key in names:
            assert lease.fence > self.fences[key]
            self.fences[key] = lease.fence
            self.last.pop(key, None)

    def drop(self, taken: Taken) -> bool:
        """Free what a lease has, and tell whether that was all of it."""
        mine = [key for key in taken.lease.keys if taken in (self.owner.get(key), self.last.get(key))]
        for key in mine:
            self.owner.pop(key, None)
            self.last.pop(key, None)
        return len(mine) == len(taken.lease.keys) and not taken.knows_loss

    @rule(target=leases, client=st.integers(0, CLIENTS - 1), names=keys)
    def acquire(self, client: int, names: list[str]) -> Any:
        busy = [key for key in names if key in self.owner]
        try:
            lease = self.do(self.client(client).acquire(*names))
        except ObjectLockedError as refused:
            assert busy
            assert (refused.retry_after or 0) >= 1
            return multiple()
        assert not busy
        assert lease.keys == tuple(dict.fromkeys(names))
        self.note(lease, lease.keys)
        taken = Taken(lease)
        self.owner |= dict.fromkeys(lease.keys, taken)
        return taken

    @rule(taken=leases)
    def release(self, taken: Taken) -> None:
        was_over, was_handed_off = taken.is_over, taken.is_handed_off
        if taken.block is not None:
            is_whole = self.drop(taken)
            if was_over:
                self.do(taken.lease.release())
            elif is_whole:
                self.do(taken.block.__aexit__(None, None, None))
                assert not taken.lease.lost
            else:
                with pytest.raises(LeaseLostError):
                    self.do(taken.block.__aexit__(None, None, None))
                assert taken.lease.lost
        else:
            self.do(taken.lease.release())
            is_whole = self.drop(taken)
            if not was_over and not was_handed_off:
                assert taken.lease.lost is not is_whole
        taken.is_over = True
        assert not taken.lease.is_held

    @rule(target=tokens, taken=leases, within_s=st.sampled_from([30, 3600]))
    def hand_off(self, taken: Taken, within_s: float) -> Any:
        if self.server is None or taken.block is not None:
            return multiple()
        can = all(self.owner.get(key) is taken for key in taken.lease.keys)
        if not can or taken.is_handed_off or taken.is_over:
            with pytest.raises(LeaseLostError):
                self.do(taken.lease.hand_off(claim_within_s=within_s))
            taken.knows_loss = not taken.is_handed_off and not taken.is_over
            return multiple()
        taken.token = self.do(taken.lease.hand_off(claim_within_s=within_s))
        taken.is_handed_off = True
        return taken

    @rule(target=leases, given=tokens, client=st.integers(0, CLIENTS - 1))
    def claim(self, given: Taken, client: int) -> Any:
        block = self.client(client).claim(given.token)
        can = all(self.owner.get(key) is given for key in given.lease.keys)
        if not can:
            with pytest.raises(LeaseLostError):
                self.do(block.__aenter__())
            return multiple()
        claimed = self.do(block.__aenter__())
        assert claimed.keys == given.lease.keys
        self.note(claimed, claimed.keys)
        taken = Taken(claimed, block)
        self.owner |= dict.fromkeys(claimed.keys, taken)
        return taken

    @rule(taken=leases)
    def expire(self, taken: Taken) -> None:
        if self.server is None:
            self.place.expire()
            self.owner.clear()  # the clock is everybody's
            return
        mine = [key for key in taken.lease.keys if self.owner.get(key) is taken]
        self.place.expire(*mine)
        for key in mine:
            self.last[key] = self.owner.pop(key)

    @rule(key=st.sampled_from(KEYS), client=st.integers(0, CLIENTS - 1), off=st.sampled_from([0, 0, -1, 1]))
    def break_lock(self, key: str, client: int, off: int) -> None:
        is_right = key in self.owner and off == 0
        fence = self.fences[key] + off
        assert self.do(self.client(client).break_lock(key, fence=fence)) is is_right
        if is_right:
            del self.owner[key]

    @rule(key=st.sampled_from(KEYS), client=st.integers(0, CLIENTS - 1))
    def inspect(self, key: str, client: int) -> None:
        info: LockInfo | None = self.do(self.client(client).inspect(key))
        owner = self.owner.get(key)
        if owner is None:
            assert info is None
            return
        assert info is not None
        assert (info.key, info.fence) == (key, owner.lease.fence)
        assert info.state == ("handed_off" if owner.is_handed_off else "held")

    @invariant()
    def held_leases_say_so(self) -> None:
        for key, taken in self.owner.items():
            assert self.fences[key] == taken.lease.fence
            if all(self.owner.get(each) is taken for each in taken.lease.keys):  # else it may know already
                assert taken.is_handed_off or taken.lease.is_held
                assert not taken.lease.lost

    def teardown(self) -> None:
        if self.server is not None:
            assert all(ms > 0 for ms in self.place.keys().values())
        self.do(self.place.aclose())
        self.runner.close()


def test_memory():
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
    )


def test_server(valkey: Server):
    class OnServer(Machine):
        server = valkey

    run_state_machine_as_test(
        OnServer,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
