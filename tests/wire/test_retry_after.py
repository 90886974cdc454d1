"""Retry-After: always on 423, 429 and 503, in whole seconds, never below 1."""

import datetime as dt
from email.utils import format_datetime

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from envelope import (
    ApiError,
    ConflictError,
    ErrorMap,
    ObjectLockedError,
    RateLimitedError,
    ServiceUnavailableError,
    install,
)
from tests.wire.apps import client_of, exchange, serve, strict_json, throw

OURS = [ObjectLockedError, RateLimitedError, ServiceUnavailableError]


def _retry_after(app: Starlette, path: str = "/") -> str:
    (value,) = [value for name, value in exchange(app, path).headers if name == b"retry-after"]
    return value.decode()


@pytest.mark.parametrize("status", [423, 429, 503])
@pytest.mark.parametrize("way", ["raised", "raised by fastapi", "text", "json", "empty", "detail"])
def test_retry_after_is_always_there(status: int, way: str) -> None:
    """Whoever made the failure, a client knows when to come back."""
    endpoints = {
        "raised": throw(HTTPException(status)),
        "raised by fastapi": throw(fastapi.HTTPException(status, {"a": 1})),
        "text": serve(PlainTextResponse("no", status)),
        "json": serve(JSONResponse({"error": "no"}, status)),
        "empty": serve(Response(status_code=status)),
        "detail": serve(JSONResponse({"detail": "no"}, status)),
    }
    app = fastapi.FastAPI(routes=[Route("/", endpoints[way])])
    install(app)

    value = _retry_after(app)

    assert value.isdigit()
    assert int(value) >= 1


@pytest.mark.parametrize("status", [423, 429, 503])
def test_retry_after_is_added_to_a_failure_that_is_ours_already(status: int) -> None:
    """The body passes; the header is part of the convention, too."""
    body = {"code": status, "message": "by hand", "status": "failure"}
    app = Starlette(routes=[Route("/", serve(JSONResponse(body, status)))])
    install(app)

    done = exchange(app)

    assert strict_json(done.body) == body
    assert b"retry-after" in dict(done.headers)


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_retry_after_of_our_errors_has_a_default(cls: type[ApiError]) -> None:
    """An error that was raised without a figure has the class's."""
    app = Starlette(routes=[Route("/", throw(cls()))])
    install(app)

    assert int(_retry_after(app)) >= 1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(7, "7"), (1, "1"), (0.2, "1"), (0, "1"), (-3, "1"), (1.01, "2"), (90.1, "91"), (3600, "3600")],
)
@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_retry_after_of_our_errors_is_rounded_up(cls: type[ApiError], seconds: float, expected: str) -> None:
    """A client that waits as long as it was told has waited long enough."""
    app = Starlette(routes=[Route("/", throw(cls(retry_after=seconds)))])
    install(app)

    assert _retry_after(app) == expected


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300])
def test_retry_after_that_is_no_number_does_not_crash(seconds: float) -> None:
    """A limiter that divides by zero still refuses with its status."""
    app = Starlette(routes=[Route("/", throw(RateLimitedError(retry_after=seconds)))])
    install(app)

    done = exchange(app)

    assert done.status == 429
    assert done.raised is None
    assert int(dict(done.headers)[b"retry-after"]) >= 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0", "1"), ("0.2", "1"), ("2.5", "3"), ("-5", "1"), ("7", "7"), (" 8 ", "8"), ("120", "120")],
)
@pytest.mark.parametrize("way", ["raised", "returned"])
@pytest.mark.parametrize("status", [423, 429, 503])
def test_given_retry_after_is_whole_seconds(status: int, way: str, given: str, expected: str) -> None:
    """What was given is kept, as whole seconds of at least 1."""
    headers = {"Retry-After": given}
    raised, returned = (
        throw(HTTPException(status, headers=headers)),
        serve(PlainTextResponse("no", status, headers)),
    )
    app = Starlette(routes=[Route("/", raised if way == "raised" else returned)])
    install(app)

    assert _retry_after(app) == expected


@pytest.mark.parametrize("given", ["soon", "", "1e999", "nan", "inf", "٣", "99999999999999999999999999"])
@pytest.mark.parametrize("way", ["raised", "returned"])
def test_given_retry_after_that_means_nothing_is_replaced(way: str, given: str) -> None:
    """A value that no client can read is worth less than a default."""
    response = PlainTextResponse("no", 503)
    response.raw_headers.append((b"retry-after", given.encode()))
    raised = throw(HTTPException(503, headers={"Retry-After": given.encode().decode("latin-1")}))
    app = Starlette(routes=[Route("/", raised if way == "raised" else serve(response))])
    install(app)

    done = exchange(app)

    assert done.status == 503
    assert dict(done.headers)[b"retry-after"].isdigit()
    assert int(dict(done.headers)[b"retry-after"]) >= 1


@pytest.mark.parametrize("way", ["raised", "returned"])
def test_given_date_becomes_the_seconds_until_then(way: str) -> None:
    """A date is a promise about the client's clock; seconds are not."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    headers = {"Retry-After": format_datetime(at, usegmt=True)}
    app = Starlette(
        routes=[
            Route(
                "/",
                throw(HTTPException(503, headers=headers))
                if way == "raised"
                else serve(PlainTextResponse("no", 503, headers)),
            )
        ]
    )
    install(app)

    assert 90 <= int(_retry_after(app)) <= 100


@pytest.mark.parametrize(
    "given",
    [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wednesday, 21-Oct-15 07:28:00 GMT",
        "Wed Oct 21 07:28:00 2015",
        "Wed, 21 Oct 2015 07:28:00 -0000",
    ],
)
def test_given_date_of_the_past_is_one_second(given: str) -> None:
    """A date that has passed means at once, and at once is 1; also in the old formats (RFC 9110, 5.6.7)."""
    app = Starlette(routes=[Route("/", serve(PlainTextResponse("no", 503, {"Retry-After": given})))])
    install(app)

    assert _retry_after(app) == "1"


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_header_of_an_error_wins_over_the_default_of_its_class(cls: type[ApiError], name: str) -> None:
    """There is one Retry-After, and it is the one that was given."""
    app = Starlette(routes=[Route("/", throw(cls(headers={name: "77"})))])
    install(app)

    assert _retry_after(app) == "77"


def test_retry_after_of_a_reused_error_stays() -> None:
    """Case 64: the headers of a shared instance are not changed."""
    shared = RateLimitedError(headers={"X-One": "1"}, retry_after=4)
    app = Starlette(routes=[Route("/", throw(shared))])
    install(app)

    assert [_retry_after(app) for _ in range(2)] == ["4", "4"]
    assert shared.headers == {"X-One": "1"}


def test_several_retry_after_headers_become_one() -> None:
    """Case 29: a failure has one Retry-After, however many were written."""
    response = PlainTextResponse("no", 429, {"Retry-After": "5"})
    response.raw_headers.append((b"Retry-After", b"9"))
    app = Starlette(routes=[Route("/", serve(response))])
    install(app)

    assert _retry_after(app) in {"5", "9"}


@pytest.mark.parametrize("status", [400, 404, 409, 413, 500, 502])
def test_other_failures_have_none_of_their_own(status: int) -> None:
    """Only statuses that pass by themselves promise that a later call may succeed."""
    app = Starlette(routes=[Route("/", throw(HTTPException(status, "no")))])
    install(app)

    assert b"retry-after" not in dict(exchange(app).headers)


def test_given_retry_after_of_another_failure_is_kept() -> None:
    """Case 30: 413 and 409 may say when to come back."""
    app = Starlette(
        routes=[
            Route("/header", throw(HTTPException(413, "no", headers={"Retry-After": "120"}))),
            Route("/ours", throw(ConflictError("no", retry_after=9))),
        ]
    )
    install(app)

    assert _retry_after(app, "/header") == "120"
    assert _retry_after(app, "/ours") == "9"


def test_retry_after_of_a_mapped_error_is_sent() -> None:
    """A rule may say how long."""
    app = Starlette(routes=[Route("/", throw(LookupError()))])
    install(app, errors=ErrorMap({LookupError: lambda exc: ServiceUnavailableError(retry_after=12)}))

    assert _retry_after(app) == "12"


def test_retry_after_is_added_in_the_net() -> None:
    """Case 48: a limiter outside the inner layer that answers with text."""

    class Limiter:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await PlainTextResponse("slow down", 429)(scope, receive, send)

    app = Starlette(middleware=[Middleware(Limiter)])
    install(app)

    assert int(_retry_after(app)) >= 1


def test_retry_after_of_a_mounted_application_is_added() -> None:
    """Case 69: a mounted application's 503 is the service's 503."""
    app = Starlette(routes=[Mount("/sub", Starlette(routes=[Route("/x", throw(HTTPException(503)))]))])
    install(app)

    assert int(_retry_after(app, "/sub/x")) >= 1


def test_retry_after_of_an_exempt_answer_is_its_own() -> None:
    """Case 71: what an exempt endpoint returns is untouched."""
    app = Starlette(routes=[Route("/", serve(PlainTextResponse("no", 503)))])
    install(app, exempt=["/"])

    assert b"retry-after" not in dict(exchange(app).headers)


def test_retry_after_of_a_success_is_kept() -> None:
    """A 202 may say when the result is there."""
    app = Starlette(routes=[Route("/", serve(JSONResponse({}, 202, {"Retry-After": "0"})))])
    install(app)

    response = client_of(app).get("/")

    assert response.status_code == 200
    assert response.headers["retry-after"] == "0"


def test_retry_after_of_an_impossible_date_does_not_crash() -> None:
    """A backend's header is read with care."""
    headers = {"retry-after": "Mon, 01 Jan 2001 00:00:00 +99999999999999"}
    app = Starlette(routes=[Route("/", serve(JSONResponse({"detail": "busy"}, 503, headers=headers)))])
    install(app)

    done = exchange(app)

    assert done.status == 503
    assert int(dict(done.headers)[b"retry-after"]) >= 1
