"""When a shared switch is read, who waits for it, and what becomes of those who do not come back."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envelope import Maintenance
from envelope.maintenance import background
from envelope.maintenance.readings import Reading
from envelope.storage.errors import ForeignKeyError, StorageUnavailableError
from tests.locks.storages.places import run
from tests.locks.storages.test_processes import in_a_fork
from tests.maintenance.switches import GONE, ON, Watched, until

Make = Callable[..., Watched]


def threads() -> set[threading.Thread]:
    """Give the threads in which switches are read."""
    return {thread for thread in threading.enumerate() if thread.name == "envelope-maintenance"}


def test_first_request_waits_for_the_reading(watched: Make):
    """Nothing is known before."""
    here = watched(ON)

    assert here.catch_up()
    assert here.switch.asked == 1


def test_those_who_wait_share_a_reading(watched: Make):
    """However many come before the answer."""
    here = watched(ON)
    here.switch.gate.clear()

    async def main() -> None:
        waiting = [asyncio.create_task(here.watch.catch_up()) for _ in range(50)]
        await asyncio.sleep(0)
        assert not here.is_on
        here.switch.gate.set()
        await asyncio.gather(*waiting)
        assert here.is_on

    run(main())
    assert here.switch.asked == 1


def test_young_reading_is_used_as_it_is(watched: Make):
    """For a second."""
    here = watched()
    here.catch_up()
    here.settle()
    here.switch.reading = ON

    here.clock.pass_s(0.999)

    assert not here.is_due
    assert here.watch.look() is None
    assert (here.switch.asked, here.is_on) == (1, False)


def test_older_reading_is_used_too_and_another_is_begun(watched: Make):
    """Nobody waits for it; one at a time."""
    here = watched()
    here.catch_up()
    here.settle()
    here.switch.reading = ON
    here.switch.gate.clear()

    here.clock.pass_s(1)
    begun = time.monotonic()
    assert not here.catch_up()
    assert not here.is_due  # the next requests do not even look
    for _ in range(5):
        here.clock.pass_s(0.5)
        assert not here.catch_up()

    assert time.monotonic() - begun < 1
    until(lambda: here.switch.asked == 2)
    here.switch.gate.set()
    here.settle()
    assert here.is_on
    assert here.switch.asked == 2


def test_after_a_quiet_time_the_request_waits(watched: Make):
    """What was known two seconds ago may be long over."""
    here = watched()
    here.catch_up()
    here.settle()
    here.switch.reading = ON

    here.clock.pass_s(2)

    assert here.catch_up()


def test_just_before_it_does_not(watched: Make):
    """1.9 seconds are not yet quiet."""
    here = watched()
    here.catch_up()
    here.settle()
    here.switch.reading = ON
    here.switch.gate.clear()

    here.clock.pass_s(1.9)

    assert not here.catch_up()


def test_failure_leaves_the_last_known_state(watched: Make, caplog: pytest.LogCaptureFixture):
    """On stays on, off stays off; one record for the first failure and one for the recovery."""
    for reading in (ON, None):
        caplog.clear()
        here = watched(reading)
        here.catch_up()
        here.settle()
        here.switch.reading = GONE
        for _ in range(20):
            here.clock.pass_s(1)
            assert here.catch_up() is (reading is not None)
            here.settle()
        here.switch.reading = None
        here.clock.pass_s(1)
        here.catch_up()
        here.settle()

        assert here.switch.asked == 22
        assert not here.is_on
        events = [record.__dict__["event_name"] for record in caplog.records]
        began, ended = (["envelope.maintenance.begun"], ["envelope.maintenance.ended"]) if reading else ([], [])
        assert events == [*began, "envelope.storage.unavailable", "envelope.storage.recovered", *ended]


def test_in_an_outage_nobody_waits_again_and_again(watched: Make):
    """Also if nothing was ever known: the service was up. The next attempt comes a second later."""
    here = watched(GONE)
    assert not here.catch_up()
    here.settle()
    assert not here.is_due
    here.switch.gate.clear()
    here.switch.reading = ON

    here.clock.pass_s(1)
    begun = time.monotonic()
    assert not here.catch_up()
    assert time.monotonic() - begun < 1
    here.switch.gate.set()
    here.settle()

    assert here.is_on
    assert here.switch.asked == 2


def test_nobody_waits_longer_than_the_timeout(watched: Make):
    """Whatever the switch does; afterwards it goes by what is known."""
    here = watched(ON, timeout_s=0.05)
    here.switch.gate.clear()
    begun = time.monotonic()

    assert not here.catch_up()

    assert 0.04 < time.monotonic() - begun < 1
    here.switch.gate.set()
    here.settle()
    assert here.is_on


def test_request_that_is_cancelled_harms_no_other(watched: Make):
    """Neither the reading, nor those who wait beside it."""
    here = watched(ON)
    here.switch.gate.clear()

    async def main() -> None:
        waiting = [asyncio.create_task(here.watch.catch_up()) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        here.switch.gate.set()
        await asyncio.gather(*waiting[1:])
        assert here.is_on

    run(main())
    assert here.switch.asked == 1


def test_event_loop_that_ends_while_its_request_waits(watched: Make, caplog: pytest.LogCaptureFixture):
    """The answer finds nobody, and nobody complains; the next loop is served by it."""
    here = watched(ON)
    here.switch.gate.clear()

    async def leave() -> None:
        waiting = asyncio.create_task(here.watch.catch_up())
        await asyncio.sleep(0.01)
        assert not waiting.done()

    run(leave())
    loop = asyncio.new_event_loop()
    task = loop.create_task(here.watch.catch_up())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()  # without any farewell
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    here.switch.gate.set()
    here.settle()
    del task
    gc.collect()

    assert here.is_on
    assert here.switch.asked == 1
    assert [record.name for record in caplog.records] == ["envelope.maintenance"]


def test_loops_in_many_threads_share_a_reading(watched: Make):
    """One at a time in a process."""
    here = watched(ON)
    here.switch.gate.clear()
    seen: list[bool] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        seen.append(here.catch_up())

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for thread in asking:
        thread.start()
    until(lambda: here.switch.asked == 1)
    here.switch.gate.set()
    for thread in asking:
        thread.join()

    assert seen == [True] * 8
    assert here.switch.asked == 1


def test_latecomer_finds_that_somebody_was_faster(watched: Make):
    """Between its look at the clock and the lock another thread has read."""
    here = watched(ON)
    here.catch_up()
    here.settle()

    assert here.watch.look() is None
    assert here.switch.asked == 1


def test_switching_here_is_not_undone_by_a_reading_on_its_way(watched: Make):
    """What was read before it was switched is taken over before it, too."""
    here = watched()
    here.catch_up()
    here.settle()
    here.switch.gate.clear()
    here.clock.pass_s(1)
    here.catch_up()
    until(lambda: here.switch.asked == 2)  # it will say: off

    starting = threading.Thread(target=lambda: here.watch.do(lambda: here.switch.begin(None)))
    starting.start()
    here.switch.gate.set()
    starting.join()
    here.settle()

    assert here.is_on


def test_what_was_switched_here_is_known(watched: Make):
    """No request waits for what this process has just done."""
    here = watched()

    here.watch.do(lambda: here.switch.begin(None))

    assert here.is_on
    assert not here.is_due
    assert here.switch.asked == 0


def test_those_who_ask_before_a_reading_begins_share_it(watched: Make):
    """And nobody shares one that had begun before it was asked: it may not know of what was just switched."""
    here = watched()
    here.switch.gate.clear()
    answers: list[Reading | None] = []

    def ask() -> None:
        answers.append(here.watch.read())

    asking = [threading.Thread(target=ask) for _ in range(8)]
    asking[0].start()
    until(lambda: here.switch.asked == 1)
    here.switch.reading = ON
    for thread in asking[1:]:
        thread.start()
    until(lambda: here.watch._asked is not None)
    until(lambda: all(thread.is_alive() for thread in asking))
    here.switch.gate.set()
    for thread in asking:
        thread.join()

    assert answers.count(None) == 1
    assert answers.count(ON) == 7
    assert 2 <= here.switch.asked <= 3  # one more for who was slow to ask


@pytest.mark.parametrize("is_writing", [False, True])
def test_deadline_counts_from_the_call(watched: Make, is_writing: bool):
    """Also behind something that hangs; who has given up has not switched later."""
    here = watched(patience_s=0.05)
    here.switch.gate.clear()
    here.watch.look()
    begun = time.monotonic()

    with pytest.raises(StorageUnavailableError, match=r"no answer within 0\.05 s"):
        here.watch.do(lambda: here.switch.begin(None)) if is_writing else here.watch.read()

    assert time.monotonic() - begun < 2
    here.switch.gate.set()
    here.settle()
    assert here.watch.read() is None


def test_closed_while_somebody_asks(watched: Make):
    """It is told as every other silence."""
    here = watched()
    here.switch.gate.clear()
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            here.watch.read()
        except BaseException as error:
            raised.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: here.switch.asked == 1)
    here.watch.close()
    asking.join()

    assert [type(each) for each in raised] == [StorageUnavailableError]
    assert str(raised[0]) == "it was closed meanwhile"


@pytest.mark.parametrize("question", ["read", "do"])
def test_log_handler_that_asks(watched: Make, question: str):
    """It would wait for itself: it is told so at once, and the switch goes on. What is known it may ask for."""
    here = watched(ON)
    maintenance = Maintenance()
    maintenance._known, maintenance._watch = here.known, here.watch
    seen: list[object] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            here.known.due_at = 0
            seen.append(maintenance.is_on)
            try:
                here.watch.read() if question == "read" else here.watch.do(here.switch.end)
            except RuntimeError as error:
                seen.append(str(error))

    logger, handler = logging.getLogger("envelope.maintenance"), Handler()
    logger.addHandler(handler)
    try:
        assert here.catch_up()
    finally:
        logger.removeHandler(handler)
    here.settle()

    assert seen[0] is True
    assert "use maintenance.is_on" in str(seen[1])
    assert here.watch.read() == ON


@pytest.mark.parametrize("missing", ["thread", "descriptor"])
def test_no_thread_to_be_had(watched: Make, missing: str, monkeypatch: Any, caplog: pytest.LogCaptureFixture):
    """Requests are served as before, nothing leaks, the log tells it, and who asks is told."""
    here = watched(ON)
    loops: list[asyncio.AbstractEventLoop] = []
    make_loop, start = asyncio.new_event_loop, threading.Thread.start

    def new_event_loop() -> asyncio.AbstractEventLoop:
        if missing == "descriptor":
            raise OSError(24, "Too many open files")
        loops.append(make_loop())
        return loops[-1]

    def begin(thread: threading.Thread) -> None:
        if thread.name == "envelope-maintenance":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def main() -> None:  # its own loop is made before none is to be had
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "new_event_loop", new_event_loop)
            patched.setattr(threading.Thread, "start", begin)
            for _ in range(3):
                await here.watch.catch_up()
                here.clock.pass_s(1)
            for question in (here.watch.read, lambda: here.watch.do(here.switch.end)):
                with pytest.raises(StorageUnavailableError, match="this process gets no thread"):
                    question()

    run(main())

    assert not here.is_on
    assert all(loop.is_closed() for loop in loops)
    assert [record.__dict__["event_name"] for record in caplog.records] == ["envelope.storage.unavailable"]
    assert here.watch.read() == ON


def test_unexpected_failure_is_one_of_the_storage(watched: Make):
    """Whatever it is: nothing is known."""
    here = watched(ValueError("hunter2"))

    with pytest.raises(StorageUnavailableError, match=r"^an unexpected ValueError$"):
        here.watch.read()


def test_key_that_is_not_ours_is_an_outage_of_the_switch(watched: Make, caplog: pytest.LogCaptureFixture):
    """There is no other key that the storage could answer for; so the log tells it."""
    here = watched(ForeignKeyError("what lies under a key is not ours"))

    with pytest.raises(StorageUnavailableError, match="not ours"):
        here.watch.read()

    assert [record.__dict__["event_name"] for record in caplog.records] == ["envelope.storage.unavailable"]


def test_signal_while_it_looks(watched: Make):
    """A handler that looks comes in the middle of a look, and waits for no lock of the thread that it is in."""
    here = watched(ON)
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(here.watch.look() is None))
    try:
        for lock in (here.watch._lock, here.watch._background._lock):
            with lock:
                here.clock.pass_s(9)
                signal.raise_signal(signal.SIGALRM)
            here.settle()
    finally:
        signal.signal(signal.SIGALRM, before)

    assert len(seen) == 2
    assert here.is_on


def test_closed_and_begun_again(watched: Make):
    """The thread ends with the application, and begins with the next request."""
    here, before = watched(ON), threads()

    async def live() -> None:
        await here.watch.catch_up()
        assert len(threads() - before) == 1
        await here.watch.aclose()
        assert threads() <= before
        await here.watch.aclose()

    for number in range(3):
        run(live())
        here.settle()
        here.clock.pass_s(9)
        assert here.switch.closed == number + 1


def test_forgotten_without_a_farewell():
    """Its thread ends by itself: suites that make an application for each test never close one."""
    before = threads()
    here = Watched(ON)
    here.catch_up()
    here.settle()
    assert len(threads() - before) == 1

    del here
    gc.collect()

    until(lambda: threads() <= before)


def test_end_of_the_process(watched: Make):
    """All that still goes on is closed, and waited for."""
    here, before = watched(ON), threads()
    here.catch_up()

    background._end()

    assert threads() <= before
    assert here.switch.closed == 1


def test_closed_while_the_switch_hangs(watched: Make):
    """A moment is waited for it; whoever waits goes by what is known, and the next loop can read again."""
    here = watched(ON)
    here.switch.gate.clear()

    async def live() -> None:
        waiting = asyncio.create_task(here.watch.catch_up())
        await asyncio.sleep(0.01)
        await here.watch.aclose()
        await waiting

    begun = time.monotonic()
    run(live())
    assert time.monotonic() - begun < 5
    here.settle()
    assert not here.is_on
    assert here.switch.closed == 1
    here.switch.gate.set()
    here.clock.pass_s(1)
    here.catch_up()
    here.settle()
    assert here.is_on


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later Pythons: there are threads
def test_forked_process_reads_by_itself(watched: Make):
    """It has no thread and no reading under way; what was known at the fork is known."""
    here = watched(ON)
    here.catch_up()
    here.settle()
    here.switch.gate.clear()
    here.switch.reading = None
    here.clock.pass_s(1)
    here.catch_up()  # never finished in the child

    def child() -> bool:
        was_on = here.is_on
        here.switch.gate.set()
        here.clock.pass_s(9)
        is_on = here.catch_up()
        asyncio.run(here.watch.aclose())
        return was_on and not is_on

    code = in_a_fork(child)
    here.switch.gate.set()
    here.settle()

    assert code == 0
    assert not here.is_on


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.01, 8), st.sampled_from([ON, None, GONE, Reading(5, 500)]), st.integers(1, 4)),
        max_size=30,
    )
)
def test_never_more_than_one_reading_a_second(
    moments: list[tuple[float, Reading | Exception | None, int]],
):
    """Whenever requests come, and whatever the switch says."""
    here = Watched()
    logging.getLogger("envelope.maintenance").disabled = True
    last: float | None = None
    try:
        for passed_s, answer, requests in moments:
            here.clock.pass_s(passed_s)
            here.switch.reading, asked = answer, here.switch.asked
            for _ in range(requests):
                here.catch_up()
            here.settle()
            read = here.switch.asked - asked
            assert read == (last is None or here.clock.now >= last + 1)
            last = here.clock.now if read else last
            assert not read or answer is GONE or here.is_on is (answer is not None)
    finally:
        logging.getLogger("envelope.maintenance").disabled = False
        here.watch.close()


def test_process_that_ends_says_nothing(tmp_path: Path):
    """Neither of its thread nor of tasks, loops or files; also if nobody closed anything."""
    program = """
import asyncio, sys
from envelope import Maintenance
maintenance = Maintenance(sys.argv[1])
maintenance.start()
maintenance.is_on
asyncio.run(maintenance._watch.catch_up())
maintenance.read()
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, f"file://{tmp_path}/maintenance"],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert done.returncode == 0
    assert done.stderr == "maintenance has begun: requests are answered with 503\n"
    assert os.listdir(tmp_path) == ["maintenance"]
