"""install(): checks everything at once and puts the parts in their places.

The framework builds its middleware stack at the first request or at start-up. ``install`` takes part in
that moment, so it does not matter what is added to the application before or after it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from envelope.errors.error_map import ErrorMap
from envelope.errors.failures import EchoValues
from envelope.errors.tree import ConfigurationError
from envelope.locks.endpoints import check_guarded
from envelope.locks.middleware import LocksMiddleware
from envelope.locks.object_locks import ObjectLocks
from envelope.maintenance.maintenance import Maintenance
from envelope.maintenance.middleware import MaintenanceMiddleware
from envelope.openapi.serving import Describer
from envelope.rate_limit.limiter import RateLimiter
from envelope.rate_limit.middleware import RateLimitMiddleware
from envelope.wire.answers import Answers
from envelope.wire.bodies import Shape
from envelope.wire.convention import Convention, SuccessStatus
from envelope.wire.failure_net import CrashHandler, FailureNet
from envelope.wire.middleware import EnvelopeMiddleware

_installed: WeakSet[Starlette] = WeakSet()


def install(
    app: Starlette,
    *,
    errors: ErrorMap | None = None,
    rate_limiter: RateLimiter | None = None,
    locks: ObjectLocks | None = None,
    maintenance: Maintenance | None = None,
    exempt: Sequence[str] = (),
    success_status: SuccessStatus = "always-200",
    shape: Shape = Shape(),  # noqa: B008 - frozen
    echo_values: EchoValues = "safe",
) -> None:
    """Make a Starlette or FastAPI application speak the convention.

    Every JSON success is sent as ``{"status": "success", "content": ...}``, every failure as
    ``{"code": ..., "message": ..., "status": "failure"}``, and FastAPI's OpenAPI document says so. Works before
    or after middleware, routes and exception handlers are added, until the application starts.

    Args:
        app: The application; its routes are not touched.
        errors: Domain exception -> failure.
        rate_limiter: Answers 429 above its limits, and says on every answer how much is left.
        locks: Answers 423 while an object is being changed; its guards stand at the endpoints.
        maintenance: Answers 503 while it is on.
        exempt: Paths, relative to the root path, whose output is sent as it is: ``"/oauth/token"`` is
            that path, ``"/hooks/*"`` all below it.
        success_status: ``"always-200"`` sends 201, 202 and the like as 200, and a 204 as 200 with
            ``"content": null``; ``"keep"`` keeps the status, and a 204 empty.
        shape: Key names and words, for near relatives of the convention.
        echo_values: ``"safe"`` lets validation messages quote short values that are no secrets;
            ``"never"`` keeps every value out.

    Raises:
        ConfigurationError: An option is not what it should be, or the application has started or was
            installed before.
    """
    _check_app(app)
    if rate_limiter is not None and not isinstance(rate_limiter, RateLimiter):
        raise ConfigurationError(f"rate_limiter is {rate_limiter!r}; give a RateLimiter('20/second')")
    if locks is not None and not isinstance(locks, ObjectLocks):
        raise ConfigurationError(f"locks is {locks!r}; give an ObjectLocks()")
    if maintenance is not None and not isinstance(maintenance, Maintenance):
        raise ConfigurationError(f"maintenance is {maintenance!r}; give a Maintenance()")
    convention = Convention(
        errors=errors, exempt=exempt, success_status=success_status, shape=shape, echo_values=echo_values
    )
    describer = Describer(app, convention, rate_limiter, maintenance, _installed.__contains__)
    describer.stand_in()
    build = app.build_middleware_stack

    def guards() -> list[Middleware]:
        found = []
        if maintenance is not None:
            found.append(Middleware(MaintenanceMiddleware, maintenance, convention.writer))
        if rate_limiter is not None:
            found.append(Middleware(RateLimitMiddleware, rate_limiter, convention.writer, app.routes))
        if locks is not None:
            found.append(Middleware(LocksMiddleware, locks))
        return found

    def build_stack() -> ASGIApp:
        describer.stand_in()  # around what the application has put there since
        try:
            return _build_stack(app, convention, guards(), build)
        except ConfigurationError as error:
            return _refusing(error)

    app.build_middleware_stack = build_stack  # type: ignore[method-assign]
    _installed.add(app)


def _check_app(app: object) -> None:
    if isinstance(app, type):
        raise ConfigurationError(f"install() takes an application, not the class {app.__name__}; call it")
    if not isinstance(app, Starlette):
        raise ConfigurationError(
            f"install() takes a Starlette or FastAPI application, not {type(app).__name__};"
            " around any other ASGI application, use EnvelopeMiddleware(app)"
        )
    if app.middleware_stack is not None:
        raise ConfigurationError("the application has started; call install(app) where it is created")
    if app in _installed:
        raise ConfigurationError("install() was called for this application before; call it once")
    _check_middleware(app)


def _check_middleware(app: Starlette) -> None:
    if _classes(app.user_middleware, EnvelopeMiddleware):
        raise ConfigurationError(
            "EnvelopeMiddleware is added to the application as well; remove it, install(app) is enough"
        )


def _build_stack(
    app: Starlette, convention: Convention, guards: Sequence[Middleware], build: Callable[[], ASGIApp]
) -> ASGIApp:
    """Build the framework's own stack with our layers and handlers in it, leaving the application as it was."""
    _check_middleware(app)
    check_guarded(app.routes)  # whether or not locks= was given: such an endpoint would be served unguarded
    user_middleware, user_handlers = app.user_middleware, app.exception_handlers
    answers = _answers(app, convention)
    built: list[EnvelopeMiddleware] = []

    def inner_layer(inside: ASGIApp) -> EnvelopeMiddleware:
        built.append(EnvelopeMiddleware(inside, _answers=answers))
        return built[-1]

    app.user_middleware = [*user_middleware, *guards, Middleware(inner_layer)]
    app.exception_handlers = {**answers.handlers, Exception: CrashHandler(convention)}
    try:
        stack = build()
    finally:
        app.user_middleware, app.exception_handlers = user_middleware, user_handlers
    if not built:
        raise ConfigurationError(
            f"{type(app).__qualname__}.build_middleware_stack does not use app.user_middleware,"
            " so install() has no place in it; wrap the router with EnvelopeMiddleware there"
        )

    def net(inside: ASGIApp, *, sends_crashes: bool) -> FailureNet:
        return FailureNet(inside, convention, answers, _cors(user_middleware), sends_crashes=sends_crashes)

    return _cast_net(stack, net)


def _refusing(error: ConfigurationError) -> ASGIApp:
    """Give an application that does not start, and says why."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            # An exception alone stands for an application that knows no lifespan (ASGI, Lifespan); servers go on.
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise error

    return refuse


def _answers(app: Starlette, convention: Convention) -> Answers:
    own: dict[Any, Any] = dict(app.exception_handlers)
    framework_errors: tuple[type[Exception], ...] = (HTTPException,)
    framework_handler = None
    fastapi = sys.modules.get("fastapi.exception_handlers")
    if fastapi is not None:
        # FastAPI registers its own handlers as an application would; ours stand in for those two.
        framework_errors += (fastapi.RequestValidationError,)
        if own.get(HTTPException) is fastapi.http_exception_handler:
            framework_handler = own.pop(HTTPException)
        if own.get(fastapi.RequestValidationError) is fastapi.request_validation_exception_handler:
            del own[fastapi.RequestValidationError]
    return Answers(
        convention,
        handlers=own,
        framework_errors=framework_errors,
        framework_handler=framework_handler,
        debug=app.debug,
    )


def _cors(user_middleware: Sequence[Middleware]) -> Callable[[ASGIApp], ASGIApp]:
    """Give what wraps an answer in the application's CORS headers."""
    cors = _classes(user_middleware, CORSMiddleware)

    def around(app: ASGIApp) -> ASGIApp:
        for middleware in cors:
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app

    return around


def _classes(user_middleware: Sequence[Middleware], base: type) -> list[Middleware]:
    # A middleware may also be made by a function.
    return [each for each in user_middleware if isinstance(each.cls, type) and issubclass(each.cls, base)]


def _cast_net(stack: ASGIApp, net: Callable[..., FailureNet]) -> ASGIApp:
    """Put the net directly inside the innermost ``ServerErrorMiddleware``; instrumentation may have added some."""
    innermost = None
    layer: Any = stack
    while layer is not None and not isinstance(layer, EnvelopeMiddleware):
        if isinstance(layer, ServerErrorMiddleware):
            innermost = layer
        layer = getattr(layer, "app", None)
    if innermost is None:
        return net(stack, sends_crashes=True)
    # In debug mode ServerErrorMiddleware asks no handler.
    asks_us = isinstance(innermost.handler, CrashHandler) and not innermost.debug
    innermost.app = net(innermost.app, sends_crashes=not asks_us)
    return stack
