"""Answers: the response to an exception, from the application's own handlers or from ours.

A failure that has an answer is never raised again. A crash is answered too, with the opaque 500, but
the layer that asked raises it again, for the server's log, error trackers and test clients.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from envelope.errors.failures import only_leaf
from envelope.errors.tree import ApiError, ConfigurationError
from envelope.events import ERROR_HANDLER_FAILED, log_event
from envelope.wire.convention import Convention
from envelope.wire.exchange import KEY, Exchange
from envelope.wire.failure_response import FailureResponse, render_failure
from envelope.wire.websockets import deny
from envelope.wire.witness import WITNESS

logger = logging.getLogger("envelope.wire")

Connection = Request | WebSocket
AsyncHandler = Callable[[Any, Any], Awaitable[Response | None]]

#: How Starlette words it when an exception that has a handler comes after ``http.response.start``.
_HIDING = ("Caught handled exception, but response already started.",)


class Answer(NamedTuple):
    """What to send, and what to raise after it.

    Attributes:
        response: None: leave the answer to the framework.
        crash: None: the exception was an answer, and is not raised again.
    """

    response: Response | None
    crash: Exception | None


class Answers:
    """Answers exceptions for one application.

    Args:
        convention: How failures look.
        handlers: The application's own handlers, by exception class or status, as Starlette keeps them.
        framework_errors: Framework exceptions that get our handler unless the application has its own.
        framework_handler: How the framework answers an ``HTTPException`` that is no failure.
        debug: Leave crashes to the framework's page when the client accepts HTML.

    Raises:
        ConfigurationError: ``Exception`` has both a handler and a rule of the ``ErrorMap``.
    """

    def __init__(
        self,
        convention: Convention,
        *,
        handlers: Mapping[Any, Callable[..., Any]] | None = None,
        framework_errors: tuple[type[Exception], ...] = (HTTPException,),
        framework_handler: AsyncHandler | None = None,
        debug: bool = False,
    ) -> None:
        own = {key: _as_raised(handler) for key, handler in (handlers or {}).items()}
        rules = set(convention.finder.errors)
        if Exception in rules and own.keys() & {Exception, 500}:
            raise ConfigurationError("Exception has a handler and an ErrorMap rule; remove one of them")
        by_class, by_status = own.pop(Exception, None), own.pop(500, None)
        self.convention = convention
        self._crash_handler: AsyncHandler | None = by_class or by_status
        self._debug = debug
        own_framework: Any = ExceptionMiddleware(_no_app).http_exception
        self._framework_handler: AsyncHandler = framework_handler or own_framework
        self._framework_errors = framework_errors
        self._ours: tuple[AsyncHandler | None, ...] = (None, self._handle, self._handle_group)
        #: What Starlette's ``ExceptionMiddleware`` is given.
        self.handlers: dict[Any, AsyncHandler] = own
        for cls in (*framework_errors, ApiError, *rules - {Exception}):
            own.setdefault(cls, self._handle)
        own.setdefault(ExceptionGroup, self._handle_group)

    async def answer(self, exc: Exception, exchange: Exchange, scope: Scope, receive: Receive) -> Answer:
        """Answer an exception that reached a layer of ours."""
        request = Request(scope, receive)
        leaf = leaf_of(exc)
        if not exchange.is_unanswered(leaf):
            try:
                response = await self._answer_leaf(request, leaf)
            except Exception as raised:  # noqa: BLE001 - a handler may pass on what it got, or translate by raising
                if raised is not leaf:
                    exc = raised
                response = self._render(exc, scope)
            if response is not None:
                return Answer(response, None)
        return Answer(await self._answer_crash(request, exc, exchange), exc)

    def have_answer(self, exc: Exception, scope: Scope) -> bool:
        """Tell whether an exception is an answer, not a crash."""
        return (
            self._handler_for(exc) not in self._ours
            or self.convention.finder.from_exception(exc, scope) is not None
        )

    def would_be_hidden(self, exc: Exception) -> bool:
        """Tell whether Starlette without us had a handler for an exception, and so would hide one that is late."""
        return isinstance(exc, self._framework_errors) or self._handler_for(exc) not in self._ours

    async def report(
        self, crash: Exception, exchange: Exchange, scope: Scope, receive: Receive
    ) -> Response | None:
        """Call the application's own handler for ``Exception``, if it has one, once a request."""
        if self._crash_handler is None or exchange.reported:
            return None
        exchange.reported = True
        try:
            return await self._crash_handler(Request(scope, receive), crash)
        except Exception:  # noqa: BLE001 - logged with its traceback
            log_event(logger, ERROR_HANDLER_FAILED, exc_info=True, exception=type(crash).__qualname__)
            return None

    async def _answer_crash(self, request: Request, crash: Exception, exchange: Exchange) -> Response | None:
        if isinstance(crash, ClientDisconnect):
            return None  # nobody is there to read it
        if self._debug and "text/html" in request.headers.get("accept", ""):
            return None  # the framework's page
        own = await self.report(crash, exchange, request.scope, request.receive)
        return own or FailureResponse(500, self.convention.writer.crash)

    def _handler_for(self, exc: Exception) -> AsyncHandler | None:
        # In the order of Starlette's ExceptionMiddleware.
        if isinstance(exc, HTTPException) and exc.status_code in self.handlers:
            return self.handlers[exc.status_code]
        return next((self.handlers[cls] for cls in type(exc).__mro__ if cls in self.handlers), None)

    async def _answer_leaf(self, request: Request, exc: Exception) -> Response | None:
        handler = self._handler_for(exc)
        if handler is not None and handler not in self._ours:
            return await handler(request, exc)
        response = self._render(exc, request.scope)
        if response is None and isinstance(exc, HTTPException):
            return await self._framework_handler(request, exc)
        return response

    def _render(self, exc: Exception, scope: Scope) -> Response | None:
        failure = self.convention.finder.from_exception(exc, scope)
        return None if failure is None else self._render_failure(failure, exc, scope)

    def _render_failure(self, failure: ApiError, exc: Exception, scope: Scope) -> FailureResponse:
        response = render_failure(self.convention.writer, failure)
        if WITNESS in scope:
            scope[WITNESS].note_raised(response.body, leaf_of(exc), self._framework_handler)
        return response

    async def _handle(self, conn: Connection, exc: Exception) -> Response | None:
        exchange: Exchange | None = conn.scope.get(KEY)
        # Starlette asks twice, around the endpoint and around the router.
        if exchange is None or not (exchange.is_foreign(exc) or exchange.is_unanswered(exc)):
            failure = self.convention.finder.from_exception(exc, conn.scope)
            if isinstance(exc, HTTPException) and (failure is None or isinstance(conn, WebSocket)):
                return await self._framework_handler(conn, exc)
            if failure is not None:
                response = self._render_failure(failure, exc, conn.scope)
                return await deny(conn, failure, response) if isinstance(conn, WebSocket) else response
            if exchange is not None:
                exchange.unanswered += (exc,)
        try:
            raise exc
        finally:
            del exc, conn  # this frame is in the traceback: a cycle otherwise

    async def _handle_group(self, conn: Connection, group: Exception) -> Response | None:
        leaf = leaf_of(group)
        handler = self._handler_for(leaf)
        try:
            if handler is None or handler in self._ours:
                return await self._handle(conn, group)
            return await handler(conn, leaf)
        finally:
            del conn, group, leaf  # as in _handle


def uncover(exc: Exception) -> Exception:
    """Find what Starlette hides behind "response already started" because there is a handler for it."""
    while type(exc) is RuntimeError and exc.args == _HIDING and isinstance(exc.__cause__, Exception):
        exc = exc.__cause__
    return exc


def covered_error(exc: BaseException) -> OSError | None:
    """Find what Starlette's streams take for a client that has gone: any ``OSError``, also of a database."""
    context = exc.__context__
    return context if isinstance(exc, ClientDisconnect) and isinstance(context, OSError) else None


def leaf_of(exc: Exception) -> Exception:
    """Find the exception that one-leaf groups, and what Starlette hides, stand for."""
    while True:
        inner = only_leaf(uncover(exc))
        if inner is exc or not isinstance(inner, Exception):
            return exc
        exc = inner


def _as_raised(handler: Callable[..., Any]) -> AsyncHandler:
    """Make one of the application's handlers note that what it returns answers an exception."""

    @functools.wraps(handler)
    async def handle(conn: Connection, exc: Exception) -> Response | None:
        exchange: Exchange | None = conn.scope.get(KEY)
        if exchange is not None:
            exchange.raised = True
        try:
            if _is_async(handler):
                return await handler(conn, exc)  # type: ignore[no-any-return]
            return await run_in_threadpool(handler, conn, exc)
        except Exception:
            if exchange is not None:
                exchange.unanswered += (exc,)
            raise

    return handle


def _is_async(handler: Callable[..., Any]) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


async def _no_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand in for the application where only a framework class's method is wanted."""
