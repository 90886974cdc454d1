"""Running a case: the server's side of one request, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any, Self

from starlette.types import Message

from tests.fuzz.cases import Case, make_case
from tests.fuzz.oracle import Broken, Outcome, judge
from tests.fuzz.service import AMOUNT, CLIENT, Service

#: More than any case takes.
_PATIENCE_S = 10


class Runner:
    """Runs cases against one service, in one event loop."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self._loop = asyncio.Runner()
        self._service = Service()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()
        logging.disable(logging.NOTSET)

    def run(self, source: bytes) -> None:
        """Run the case that these bytes stand for.

        Raises:
            Broken: An invariant does not hold.
        """
        case = make_case(source)
        outcome = self._loop.run(self._talk(case))
        try:
            judge(case, outcome)
            self._judge_rest(case, outcome)
        finally:
            self._loop.run(self._forget(case.scope))

    async def _talk(self, case: Case) -> Outcome:
        outcome = Outcome([], None, was_cut=False)
        incoming = iter(case.incoming)
        is_over = asyncio.Event()

        async def receive() -> Message:
            message = next(incoming, None)
            if message is None:
                await is_over.wait()
                return {"type": "http.disconnect"}
            if isinstance(message, BaseException):
                outcome.was_cut = True
                raise message
            outcome.was_cut = outcome.was_cut or message["type"] == "http.disconnect"
            return message

        async def send(message: Message) -> None:
            if case.send_fails_at is not None and len(outcome.sent) >= case.send_fails_at:
                outcome.was_cut = True
                raise OSError("the client is gone")
            _check_types(message)
            outcome.sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                is_over.set()

        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._service.app(case.scope, receive, send)
        except TimeoutError as error:
            if not any(error is each for each in case.script.raised):
                raise Broken("it hangs") from error
            outcome.raised = error
        except Exception as error:
            outcome.raised = error
        return outcome

    def _judge_rest(self, case: Case, outcome: Outcome) -> None:
        if self._find_rest():
            # A generator that nobody finishes ends when nothing refers to it, as the exception's traceback does.
            outcome.raised = None
            case.script.raised.clear()
            gc.collect()
            self._loop.run(asyncio.sleep(0.001))
        if rest := self._find_rest():
            raise Broken(rest)
        self._loop.run(self._judge_budget(case.scope))

    def _find_rest(self) -> str | None:
        """Find what a request has left behind."""
        storage: Any = self._service.locks.storage
        if len(storage):
            return f"locked still: {list(storage._held)}"
        tasks = [task for task in asyncio.all_tasks(self._loop.get_loop()) if not task.done()]
        return f"tasks still: {tasks}" if tasks else None

    async def _judge_budget(self, scope: Any) -> None:
        """Check that a request has taken what it should: 1 of its client's budget, unless its route is exempt."""
        subject = CLIENT.of_scope(scope)
        if subject is None:
            return
        verdict = await self._service.limiter.check(subject, f"{AMOUNT}/hour", cost=0)
        taken = AMOUNT - verdict.figures[0].remaining
        if taken not in (0, 1):
            raise Broken(f"{taken} requests were counted")

    async def _forget(self, scope: Any) -> None:
        subject = CLIENT.of_scope(scope)
        if subject is not None:
            await self._service.limiter.reset(subject)


def _check_types(message: Message) -> None:
    if message["type"] != "http.response.start":
        return
    for name, value in message.get("headers", ()):
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise Broken(f"a field is no bytes: {name!r}: {value!r}")
