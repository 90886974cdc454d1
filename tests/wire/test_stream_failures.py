"""Streams that die: before their first byte, and in the middle."""

from collections.abc import AsyncIterator, Iterator

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from envelope import ConflictError, ErrorMap, NotFoundError, install
from tests.wire.apps import CRASH, exchange, failure, serve, strict_json


class DomainError(Exception):
    """Knows nothing of HTTP."""


ANSWERS = [
    (HTTPException(404, "gone"), failure(404, "gone")),
    (fastapi.HTTPException(418, {"tea": "pot"}), failure(418, {"tea": "pot"})),
    (ConflictError("busy", error_code="busy"), failure(409, {"error_code": "busy", "message": "busy"})),
    (DomainError("secret"), failure(404, NotFoundError.message)),
]


async def _stream(*chunks: bytes, then: Exception) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise then


@pytest.mark.parametrize(("exc", "body"), ANSWERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("empty", [(), (b"",), (b"", b"")], ids=len)
def test_stream_that_fails_before_its_first_byte_has_the_status_of_the_error(
    exc: Exception, body: dict[str, object], empty: tuple[bytes, ...]
) -> None:
    """Cases 49 and 51: nothing was sent yet, so the client gets the real failure instead of an empty 200."""

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(_stream(*empty, then=exc), media_type="application/json")

    app = Starlette(routes=[Route("/", endpoint)])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert strict_json(done.body) == body
    assert done.status == body["code"]
    assert done.is_complete
    assert done.raised is None


@pytest.mark.parametrize(("exc", "body"), ANSWERS, ids=lambda value: type(value).__name__)
def test_fastapi_stream_that_fails_before_its_first_byte_has_the_status_of_the_error(
    exc: Exception, body: dict[str, object]
) -> None:
    """Case 51: FastAPI turns it into its own RuntimeError; the client gets the status all the same."""
    app = fastapi.FastAPI()
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    @app.get("/")
    async def root() -> Response:
        return StreamingResponse(_stream(then=exc), media_type="application/json")

    done = exchange(app)

    assert strict_json(done.body) == body
    assert done.status == body["code"]
    assert done.raised is None


@pytest.mark.parametrize("media_type", ["application/json", "text/csv", "application/octet-stream", "text/plain"])
def test_stream_of_any_type_that_crashes_before_its_first_byte_is_a_500(media_type: str) -> None:
    """Case 51: a start message is held for every ordinary type, so no empty 200 is sent for a crash."""
    crash = ZeroDivisionError("secret")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(_stream(then=crash), media_type=media_type)

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    done = exchange(app)

    assert done.status == 500
    assert strict_json(done.body) == CRASH
    assert done.raised is crash


def test_sync_stream_that_fails_before_its_first_byte_has_the_status_of_the_error() -> None:
    """Case 51: a generator that runs in a thread fails like any other."""

    def generate() -> Iterator[bytes]:
        raise HTTPException(404, "gone")
        yield b""

    app = Starlette(routes=[Route("/", serve(StreamingResponse(generate(), media_type="application/json")))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(404, "gone")
    assert done.raised is None


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson", "application/jsonl"])
def test_event_stream_is_not_held(media_type: str) -> None:
    """Case 25: a client of events is connected before the first one, so its failure can only be raised."""
    crash = ZeroDivisionError()

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(_stream(then=crash), media_type=media_type)

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start"]
    assert done.status == 200
    assert done.raised is crash


@pytest.mark.parametrize(
    "exc", [ZeroDivisionError("x"), HTTPException(409, "no"), ConflictError("no"), DomainError("no")]
)
def test_stream_that_fails_in_the_middle_is_never_closed(exc: Exception) -> None:
    """Case 50: no suffix, no final message, and the server hears of it, so that it cuts the connection."""

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(_stream(b"[1", then=exc), media_type="application/json")

    app = Starlette(routes=[Route("/", endpoint)])
    install(app, errors=ErrorMap({DomainError: NotFoundError}))

    done = exchange(app)

    assert done.status == 200
    assert done.body == b'{"status":"success","content":[1'
    assert not done.is_complete
    assert done.raised is not None
    assert exc in (done.raised, done.raised.__cause__)


def test_stream_that_crashes_in_the_middle_raises_the_crash_itself() -> None:
    """Case 50: trackers see the exception that happened."""
    crash = ZeroDivisionError("x")
    app = Starlette(
        routes=[
            Route("/", serve(StreamingResponse(_stream(b"[1", b",2", then=crash), media_type="application/json")))
        ]
    )
    install(app)

    done = exchange(app)

    assert done.raised is crash


def test_failure_stream_that_fails_in_its_middle_is_answered() -> None:
    """Case 49: a foreign failure is held whole, so what happens meanwhile still gets its own answer."""
    app = Starlette(
        routes=[
            Route(
                "/",
                serve(
                    StreamingResponse(
                        _stream(b'{"det', then=ConflictError("no")), 404, media_type="application/json"
                    )
                ),
            )
        ]
    )
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == failure(409, "no")
    assert done.raised is None


def test_http_exception_after_a_start_message_is_the_response() -> None:
    """Case 49: an ASGI endpoint that sent its start and then fails has sent nothing yet."""

    async def endpoint(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
        )
        raise HTTPException(403, "not yours")

    app = Starlette()
    app.mount("/", endpoint)
    install(app)

    done = exchange(app)

    assert done.types() == ["http.response.start", "http.response.body"]
    assert strict_json(done.body) == failure(403, "not yours")
    assert done.raised is None


def test_stream_behind_base_http_middleware_that_fails_first_has_the_status_of_the_error() -> None:
    """Case 51: the framework's own middleware between the stream and the server changes nothing."""

    async def dispatch(request, call_next):
        return await call_next(request)

    app = fastapi.FastAPI()
    install(app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)

    @app.get("/")
    async def root() -> Response:
        return StreamingResponse(_stream(then=fastapi.HTTPException(404, "gone")), media_type="application/json")

    done = exchange(app)

    assert strict_json(done.body) == failure(404, "gone")
    assert done.raised is None


def test_stream_behind_base_http_middleware_that_fails_in_the_middle_is_not_complete_json() -> None:
    """Case 50: a broken stream never becomes a whole envelope."""

    async def dispatch(request, call_next):
        return await call_next(request)

    app = fastapi.FastAPI()
    install(app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)

    @app.get("/")
    async def root() -> Response:
        return StreamingResponse(_stream(b"[1", then=ZeroDivisionError()), media_type="application/json")

    done = exchange(app)

    assert done.body == b'{"status":"success","content":[1'
    assert isinstance(done.raised, ZeroDivisionError)


def test_generator_endpoint_that_fails_before_its_first_item_raises() -> None:
    """Case 51: FastAPI streams items as JSON lines, which are not held."""
    app = fastapi.FastAPI()
    install(app)

    @app.get("/")
    async def root() -> AsyncIterator[int]:
        raise ZeroDivisionError
        yield 1

    done = exchange(app)

    assert isinstance(done.raised, ZeroDivisionError)
    assert not done.is_complete or done.status == 500


def test_generator_endpoint_with_a_json_response_class_fails_with_its_status() -> None:
    """Case 51: a generator endpoint with a StreamingResponse class dies before its first byte like a stream."""

    class JsonStream(StreamingResponse):
        media_type = "application/json"

    app = fastapi.FastAPI()
    install(app)

    @app.get("/", response_class=JsonStream)
    async def root():
        raise fastapi.HTTPException(404, "gone")
        yield b""

    done = exchange(app)

    assert strict_json(done.body) == failure(404, "gone")
    assert done.raised is None


def test_missing_file_is_a_crash_with_an_envelope(tmp_path) -> None:
    """Case 49: a FileResponse whose file is not there fails before its first byte."""
    app = Starlette(routes=[Route("/", serve(FileResponse(tmp_path / "none.bin")))])
    install(app)

    done = exchange(app)

    assert done.status == 500
    assert strict_json(done.body) == CRASH
    assert isinstance(done.raised, RuntimeError)


def test_application_that_sends_nothing_is_left_to_the_server() -> None:
    """Case 57: an application without an answer is either a 500 envelope or the server's own 500."""

    async def nothing(scope, receive, send):
        return None

    app = Starlette()
    app.mount("/", nothing)
    install(app)

    done = exchange(app)

    assert done.raised is None
    assert done.sent == [] or strict_json(done.body) == CRASH


def test_second_request_is_not_affected_by_a_broken_stream() -> None:
    """Case 50: the state of a response lives as long as the response."""

    async def endpoint(request: Request) -> Response:
        if "fail" in request.query_params:
            return StreamingResponse(_stream(b"[1", then=ZeroDivisionError()), media_type="application/json")
        return JSONResponse([1])

    app = Starlette(routes=[Route("/", endpoint)])
    install(app)

    exchange(app, query_string=b"fail=1")
    done = exchange(app)

    assert done.body == b'{"status":"success","content":[1]}'


def _chain(exc: BaseException) -> list[BaseException]:
    """Walk causes and contexts as a log formatter without a memory would, but stop at a circle."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [exc]
    while todo:
        each = todo.pop()
        if each is not None:
            assert all(each is not known for known in seen), "a circle"
            seen.append(each)
            todo += [each.__cause__] if each.__cause__ is not None else [each.__context__]
    return seen


@pytest.mark.parametrize("late", [ConflictError("late"), fastapi.HTTPException(409), LookupError()], ids=repr)
def test_exception_that_comes_too_late_has_a_chain_without_circles(late: Exception) -> None:
    """Case 50: log formatters walk from an exception to its cause and context, and must come to an end."""
    told: list[Exception] = []

    async def handler(request: Request, exc: Exception) -> Response:
        told.append(exc)
        return JSONResponse({}, 500)

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"[1"
            raise late

        return StreamingResponse(parts(), media_type="application/json")

    app = Starlette(routes=[Route("/", endpoint)], exception_handlers={Exception: handler})
    install(app, errors=ErrorMap({LookupError: NotFoundError}))

    done = exchange(app)

    assert done.raised is not None
    assert _chain(done.raised)
    assert told == [done.raised]
