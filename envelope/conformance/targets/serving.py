"""Serves an application for as long as it is checked: uvicorn, a thread, a free port of the loopback interface."""

from __future__ import annotations

import importlib
import inspect
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

#: Seconds that an application has to start, that requests have for their end, and the application for its own.
_START_S = 60
_GRACE_S = 2
_END_S = 10


class TargetError(Exception):
    """There is nothing to check; the text is one line that says what to do."""


def import_app(text: str) -> Callable[..., Any]:
    """Import ``"module:app"``, ``"module:factory"`` or ``"module:factory()"``, as uvicorn does.

    Raises:
        TargetError: There is no such thing.
    """
    module_name, path = _split(text)
    app = _import_module(module_name)
    is_call = path.endswith("()")
    for name in path.removesuffix("()").split("."):
        if not hasattr(app, name):
            raise TargetError(f"module {module_name!r} has no {name!r}; what is the application called there?")
        app = getattr(app, name)
    if is_call or (inspect.isfunction(app) and _takes(app, 0)):
        app = _made(app, text)
    if not _takes(app, 3):
        # Its type and not itself: settings hold secrets.
        kind = type(app).__qualname__
        raise TargetError(f"{text} is no ASGI application, nor a factory without arguments: its type is {kind}")
    return app  # type: ignore[no-any-return]


def _split(text: str) -> tuple[str, str]:
    module_name, colon, path = text.partition(":")
    if not (module_name and colon and path):
        raise TargetError(f"{text!r} is no target; give a URL (http://127.0.0.1:8000) or module:app")
    if "/" in module_name or module_name.endswith(".py"):
        dotted = module_name.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
        raise TargetError(f"{module_name!r} is a file, not a module; give {dotted}:{path}")
    return module_name, path


def _import_module(module_name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as uvicorn does
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _not_importable(module_name, error) from error
        raise TargetError(f"there is no module {module_name!r} (looked in {here} and in sys.path)") from error
    except (Exception, SystemExit) as error:
        raise _not_importable(module_name, error) from error


def _not_importable(module_name: str, error: BaseException) -> TargetError:
    return TargetError(f"importing {module_name!r} raised {type(error).__name__}: {first_line(error)}")


def _takes(app: Any, count: int) -> bool:
    """Tell whether something can be called with so many arguments."""
    try:
        inspect.signature(app).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _made(factory: Any, text: str) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:
        call = text.removesuffix("()") + "()"
        raise TargetError(f"calling {call} raised {type(error).__name__}: {first_line(error)}") from error


@contextmanager
def served(app: Callable[..., Any], name: str) -> Iterator[str]:
    """Serve an application until the block ends, its lifespan included; gives its URL.

    Raises:
        TargetError: It does not start.
    """
    # With the protocol's number, by which asyncio knows where to set TCP_NODELAY: 40 ms of each response.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener, _quiet() as log:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=_run, args=(server, listener), name="envelope-check-target", daemon=True)
        thread.start()
        start_by = time.monotonic() + _START_S
        while not server.started and thread.is_alive() and time.monotonic() < start_by:
            thread.join(0.01)
        if not server.started:
            server.should_exit = True
            reason = f"it took more than {_START_S} s" if thread.is_alive() else log.reason or "it gave no reason"
            raise TargetError(f"{name} did not start: {reason}")
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_GRACE_S + _END_S)  # a daemon: an application that does not end keeps nobody


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    except (SystemExit, OSError):
        return  # how uvicorn says that the application did not start; or nobody waited for it any more


class _Log(logging.Handler):
    """Keeps what uvicorn said first of an application that does not start."""

    reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not self.reason and record.levelno >= logging.ERROR:
            # Starlette's message is a traceback, whose last line names the exception.
            self.reason = (record.getMessage().strip().splitlines() or [""])[-1]


@contextmanager
def _quiet() -> Iterator[_Log]:
    """Keep uvicorn's words to ourselves: a crash is reported as what the client saw of it."""
    logger, log = logging.getLogger("uvicorn.error"), _Log()
    propagates = logger.propagate
    logger.propagate = False
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.propagate = propagates


def first_line(error: BaseException) -> str:
    """Give as much of an error's words as fits into a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
