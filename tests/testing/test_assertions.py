"""assert_success and assert_failure: they pass for what keeps the convention, and say what came for the rest."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import requests
from fastapi import FastAPI
from fastapi.testclient import TestClient

from envelope import ConflictError, NotFoundError, ObjectLockedError, Shape, install
from envelope.testing import assert_failure, assert_success
from tests.wire.asgi import served

JSEND = Shape(content="data", failure="error")


def response_of(status: int, body: Any, **headers: str) -> httpx.Response:
    """Make a response with a JSON body."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=fields)


def success(content: Any = None, status: int = 200) -> httpx.Response:
    return response_of(status, {"status": "success", "content": content})


def failure(code: int, message: Any = "no", **headers: str) -> httpx.Response:
    return response_of(code, {"code": code, "message": message, "status": "failure"}, **headers)


def service() -> FastAPI:
    """Make an installed application with a success and some failures."""
    app = FastAPI()
    install(app)

    @app.get("/items/{number}")
    async def get_item(number: int) -> dict[str, int]:
        if number == 2:
            raise ConflictError("taken", error_code="item_taken")
        if number == 3:
            raise ObjectLockedError
        return {"id": number}

    return app


def test_both_pass_for_responses_of_the_library() -> None:
    """And give what stands in the envelope."""
    client = TestClient(service())

    assert assert_success(client.get("/items/1"), {"id": 1}) == {"id": 1}
    assert assert_success(client.get("/items/1"))["id"] == 1
    assert assert_failure(client.get("/nowhere"), 404) == "Not Found"
    assert assert_failure(client.get("/items/2"), 409, error_code="item_taken", message="taken") == {
        "error_code": "item_taken",
        "message": "taken",
    }
    assert assert_failure(client.get("/items/3"), 423) == ObjectLockedError.message
    assert_failure(client.get("/items/x"), 400, message=["'x' is not of type 'integer'"])
    assert_failure(client.post("/items/1"), 405, message="Method Not Allowed")


def test_both_pass_for_responses_of_other_clients() -> None:
    """httpx and requests, over a network."""
    with served(service()) as (host, port):
        url = f"http://{host}:{port}/items"

        for get in (httpx.get, requests.get):
            assert assert_success(get(f"{url}/1")) == {"id": 1}
            assert_failure(get(f"{url}/2"), 409, error_code="item_taken")


def test_both_know_other_shapes() -> None:
    """The keys and words of JSend."""
    assert assert_success(response_of(200, {"status": "success", "data": 1}), 1, shape=JSEND) == 1
    body = {"code": 404, "message": "no", "status": "error"}
    assert assert_failure(response_of(404, body), 404, shape=JSEND) == "no"
    with pytest.raises(AssertionError, match='"status": "error"'):
        assert_failure(failure(404), 404, shape=JSEND)


def test_success_may_keep_its_status() -> None:
    """With install(success_status="keep"), and then a 204 has no body."""
    assert assert_success(success(1, 201), 1, status=201) == 1
    assert assert_success(httpx.Response(204), None, status=204) is None
    with pytest.raises(AssertionError, match="The content 1 was expected"):
        assert_success(httpx.Response(204), 1, status=204)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (success(status=201), "A success with the status 200 was expected"),
        (failure(404), "A success with the status 200 was expected"),
        (response_of(200, {"id": 1}), "The body of a success was expected"),
        (response_of(200, {"status": "ok", "content": 1}), "The body of a success was expected"),
        (response_of(200, {"status": "success", "content": 1, "more": 1}), "The body of a success was expected"),
        (response_of(200, [1]), "A JSON object was expected"),
        (httpx.Response(200, text="text"), "The Content-Type application/json was expected"),
        (httpx.Response(200), "The Content-Type application/json was expected"),
        (httpx.Response(200, content=b"{", headers={"content-type": "application/json"}), "JSON was expected"),
        (success(1), "The content 2 was expected"),
        (success(None), "The content 2 was expected"),
    ],
)
def test_success_that_is_none_is_told(response: httpx.Response, said: str) -> None:
    """What was expected, then what came."""
    with pytest.raises(AssertionError) as told:
        assert_success(response, 2)

    assert str(told.value).startswith(said)
    assert f"Status {response.status_code} came" in str(told.value)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (failure(404), "A failure with the status 409 was expected"),
        (success(), "A failure with the status 409 was expected"),
        (response_of(409, {"detail": "no"}), "The body of a failure was expected"),
        (response_of(409, {"code": 409, "message": "no"}), "The body of a failure was expected"),
        (
            response_of(409, {"code": 409, "message": "no", "status": "error"}),
            "The body of a failure was expected",
        ),
        (response_of(409, {"code": 400, "message": "no", "status": "failure"}), "A body that repeats the status"),
        (
            response_of(409, {"code": 409.0, "message": "no", "status": "failure"}),
            "A body that repeats the status",
        ),
        (
            response_of(409, {"code": "409", "message": "no", "status": "failure"}),
            "A body that repeats the status",
        ),
        (failure(409, ["no"]), "A text or an object was expected as 'message'"),
        (failure(409, None), "A text or an object was expected as 'message'"),
        (failure(409), "The error code 'taken' was expected"),
        (failure(409, {"error_code": "busy", "message": "no"}), "The error code 'taken' was expected"),
        (failure(409, {"error_code": "taken", "message": "no"}), "The message 'yes' was expected"),
    ],
)
def test_failure_that_is_none_is_told(response: httpx.Response, said: str) -> None:
    """What was expected, then what came."""
    with pytest.raises(AssertionError) as told:
        assert_failure(response, 409, error_code="taken", message="yes")

    assert str(told.value).startswith(said)
    assert f"Status {response.status_code} came" in str(told.value)


@pytest.mark.parametrize(
    ("code", "headers", "said"),
    [
        (401, {}, "WWW-Authenticate was expected with a 401"),
        (405, {}, "Allow was expected with a 405"),
        (423, {}, "Retry-After was expected with a 423, whole seconds from 1; its value is None"),
        (429, {"Retry_After": "0"}, "its value is '0'"),
        (503, {"Retry_After": "1.5"}, "its value is '1.5'"),
    ],
)
def test_failure_without_its_field_is_told(code: int, headers: dict[str, str], said: str) -> None:
    """Which field, and what it says."""
    with pytest.raises(AssertionError, match=said):
        assert_failure(failure(code, **headers), code)


def test_failure_with_its_field_passes() -> None:
    """Also an empty list of methods (RFC 9110, 10.2.1)."""
    assert_failure(failure(401, WWW_Authenticate="Bearer"), 401)
    assert_failure(failure(405, Allow=""), 405)
    assert_failure(failure(429, Retry_After="10"), 429)


def test_message_compares_with_the_whole_and_with_its_text() -> None:
    """Both are called the message."""
    response = failure(404, {"error_code": "gone", "message": "m"})

    assert_failure(response, 404, message="m")
    assert_failure(response, 404, message={"error_code": "gone", "message": "m"})
    assert assert_failure(failure(404, NotFoundError.message), 404, message=NotFoundError.message)


def test_long_body_is_told_in_short() -> None:
    """The beginning, and how long it is."""
    with pytest.raises(AssertionError) as told:
        assert_failure(success(["long"] * 1000), 404)

    assert len(str(told.value)) < 700
    assert "characters)" in str(told.value)


@pytest.mark.parametrize("given", [{"status": "success", "content": 1}, None, 200, "text"])
def test_what_is_no_response_is_refused(given: Any) -> None:
    """A body, as `response.json()` gives it, is the usual mistake."""
    words = f"A response of .* was expected, not an object of the type {type(given).__name__}$"

    with pytest.raises(TypeError, match=words) as told:
        assert_success(given)
    with pytest.raises(TypeError, match=words):
        assert_failure(given, 404)

    assert [entry.name for entry in told.traceback.filter(told)] == ["test_what_is_no_response_is_refused"]


def test_traceback_ends_in_the_test() -> None:
    """The lines that pytest shows are the test's."""
    with pytest.raises(AssertionError) as told:
        assert_success(failure(404))

    assert [entry.name for entry in told.traceback.filter(told)] == ["test_traceback_ends_in_the_test"]
