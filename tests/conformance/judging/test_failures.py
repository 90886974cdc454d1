"""ENV010 to ENV017, ENV006 and ENV007 of failures: each fires, and not where it must not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.conformance.contracts.contract import Contract
from envelope.conformance.judging import judge
from envelope.errors.tree import TABLE
from envelope.wire.bodies import Shape
from tests.conformance.judged import JSON, broken, exchange, failure, success

FIELDS = {"Retry-After": "1", "WWW-Authenticate": "Bearer", "Allow": "GET"}
PLAIN = {"Content-Type": "text/plain"}
PAGE = {"Content-Type": "text/html; charset=utf-8"}


def came(status: int, body, **more) -> str:
    (finding,) = judge(exchange(status, body, **more), Contract(None))
    return finding.came


@pytest.mark.parametrize("status", [*TABLE, 418, 599])
def test_failure_of_the_convention_is_right(status: int) -> None:
    """Every status, with its own text and with an error code."""
    text = str(TABLE[status].message) if status in TABLE else "Error"

    assert broken(exchange(status, failure(status, text), FIELDS)) == []
    assert broken(exchange(status, failure(status, {"error_code": "a", "message": text}), FIELDS)) == []
    assert broken(exchange(status, failure(status, {"error_code": "a", "message": [text, text]}), FIELDS)) == []


@given(st.text(alphabet=st.characters(categories=["Ll", "Zs"])))
def test_lower_case_words_are_no_leak(message: str) -> None:
    """Any sequence of words in lower case is a message."""
    assert broken(exchange(404, failure(404, message))) == []


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Not Found"},
        [],
        "Not Found",
        None,
        {"error": {"code": 404, "message": "x"}},
        {"message": "x"},
        {"code": "not_found", "message": "x"},
    ],
)
def test_other_form_is_env010(body) -> None:
    """JSON that is not the convention's."""
    assert broken(exchange(404, body)) == ["ENV010"]


def test_text_page_and_nothing_are_env010() -> None:
    """Whatever is not JSON, and problem+json, which is another convention."""
    assert broken(exchange(404)) == ["ENV010"]
    assert broken(exchange(404, b"", JSON)) == ["ENV010"]
    assert broken(exchange(404, b"Not Found", PLAIN)) == ["ENV010"]
    assert broken(exchange(404, b"Not Found")) == ["ENV010"]
    assert broken(exchange(404, b"<h1>", PAGE)) == ["ENV010"]
    assert broken(exchange(404, b"<h1>", PAGE, sent={"Accept": "*/*"})) == ["ENV010"]
    assert broken(exchange(404, b'{"title": "x"}', {"Content-Type": "application/problem+json"})) == ["ENV010"]


def test_page_for_a_browser_passes() -> None:
    """Who asks for HTML by name may get it; the header fields stay."""
    browser = {"Accept": "text/html, */*"}

    assert broken(exchange(500, b"<h1>Traceback (most recent call last)", PAGE, sent=browser)) == []
    assert broken(exchange(503, b"<h1>", PAGE, sent=browser)) == ["ENV018"]
    assert broken(exchange(404, b"Not Found", PLAIN, sent=browser)) == ["ENV010"]


@pytest.mark.parametrize("code", [500, "404", 404.0, None, True, {"a": 1}])
def test_other_code_is_env011(code) -> None:
    """The number of the status, as a whole number."""
    assert broken(exchange(404, failure(404) | {"code": code})) == ["ENV011"]


def test_other_word_is_env012() -> None:
    """Also the success's."""
    assert broken(exchange(404, failure(404) | {"status": "error"})) == ["ENV012"]
    assert broken(exchange(404, failure(404) | {"status": "success"})) == ["ENV012"]


@pytest.mark.parametrize(
    "message",
    [
        None,
        5,
        ["x"],
        {},
        {"error_code": "a"},
        {"message": "x"},
        {"error_code": 1, "message": "x"},
        {"error_code": "a", "message": {}},
        {"error_code": "a", "message": ["x", 1]},
        {"reason": "x"},
    ],
)
def test_other_message_is_env013(message) -> None:
    """A text, or error code and text or texts."""
    assert broken(exchange(400, failure(400, message))) == ["ENV013"]


def test_message_may_say_more() -> None:
    """Beside error code and message an object may have members of its own."""
    assert broken(exchange(400, failure(400, {"error_code": "a", "message": [], "field": "x"}))) == []


@pytest.mark.parametrize(
    "body",
    [
        failure(404) | {"detail": "x"},
        {"code": 404, "message": "x"},
        {"code": 404, "status": "failure"},
        {"message": "x", "status": "failure", "data": None},
    ],
)
def test_other_keys_are_env014(body) -> None:
    """One too many or too few: meant to be the convention's."""
    assert broken(exchange(404, body)) == ["ENV014"]


def test_each_departure_of_one_failure_is_told() -> None:
    """They are mended one by one."""
    body = {"code": 500, "message": None, "status": "error", "id": 1}

    assert broken(exchange(404, body)) == ["ENV014", "ENV011", "ENV012", "ENV013"]


LEAKS = [
    "Traceback (most recent call last):\n  File ...",
    'File "/srv/app/main.py", line 3, in get',
    "crashed at line 12, in handler",
    "boom\n    at com.example.Service.run(Service.java:42)",
    "goroutine 1 [running]:",
    "KeyError('name')",
    "ValueError: not enough values to unpack",
    "(sqlite3.OperationalError) database is locked",
    "java.lang.NullPointerException",
    "<class 'app.models.User'>",
    "<User object at 0x7f6040c86070>",
    "SELECT id, password\nFROM users WHERE id = 1",
    "INSERT INTO users VALUES (1)",
    "UPDATE users SET name = 'x'",
    "DELETE FROM users",
    "UNIQUE constraint failed: users.email",
    'duplicate key value violates unique constraint "users_email_key"',
    "no such table: users",
    "Duplicate entry 'x' for key 'email'",
    "cannot open /srv/app/settings/production.env",
    "permission denied: /etc/passwd",
    "cannot read /var/lib/postgresql/15",
    "C:\\Users\\svc\\app\\main.txt is missing",
    "[Errno 111] Connection refused",
    "no answer from /srv/app/data",
    "Error 111 connecting to 10.0.3.17:6379",
    "Connect call failed ('192.168.0.17', 5432)",
    "cannot connect to postgresql://admin:hunter2@db/app",
]


@pytest.mark.parametrize("message", LEAKS)
def test_message_that_tells_of_the_inside_is_env015(message: str) -> None:
    """In a text, in a list of problems, in a body of another form."""
    assert broken(exchange(500, failure(500, message))) == ["ENV015"]
    assert broken(exchange(400, failure(400, {"error_code": "a", "message": ["fine", message]}))) == ["ENV015"]
    assert broken(exchange(500, message.encode(), PLAIN)) == ["ENV010", "ENV015"]
    assert broken(exchange(500, {"detail": message})) == ["ENV010", "ENV015"]
    assert broken(exchange(500, message.encode(), JSON)) == ["ENV006", "ENV015"]
    assert broken(exchange(500, json.dumps({"detail": [message]}).encode(), PLAIN)) == ["ENV010", "ENV015"]


@pytest.mark.parametrize(
    "message",
    [
        "'NoneType' object has no attribute 'id'",
        "unsupported operand type(s) for +: 'int' and 'str'",
        "division by zero",
        "list index out of range",
        "invalid literal for int() with base 10: 'x'",
    ],
)
def test_text_of_an_exception_is_a_leak_in_crashes_only(message: str) -> None:
    """A calculator may say that a request divides by zero."""
    assert broken(exchange(500, failure(500, message))) == ["ENV015"]
    assert broken(exchange(400, failure(400, message))) == []


@pytest.mark.parametrize(
    "message",
    [
        "Internal Server Error -- We had a problem with our server. Try again later.",
        "Error: please select an item from the list",
        "Please select one from these, update your profile and set a name, or delete from your cart",
        "The file report.py was refused",
        "/users/42 was not found",
        "see https://example.com/home/user/help.log and https://docs.example.com/errors",
        "no route /app/entities/1/files",
        "'x' is not of type 'integer'",
        "'a/b/c.py' does not match '^[a-z]+$'",
        "the exception is granted until line 12",
        "A constraint failed, the traceback of the parcel is line 3 on the label",
        "cannot pay at shop (closed)",
        "Object is at 0x0",
        "either/or",
        "version 10.0.3.17 of 2026",
        "192.168.0.1 is not public",
        "ratio is 1/2/3.5",
        "mail to ftp://example.com/a@b",
    ],
)
def test_innocent_message_is_no_leak(message: str) -> None:
    """Words that programs and people share."""
    assert broken(exchange(500, failure(500, message))) == []
    assert broken(exchange(400, failure(400, {"error_code": "EntityError: x", "message": [message]}))) == []


def test_what_the_client_sent_is_no_leak() -> None:
    """A message that quotes the request tells nothing new."""
    assert broken(exchange(404, failure(404, "no /srv/app/main.py here"), path="/srv/app/main.py")) == []
    assert broken(exchange(404, failure(404, "no SELECT a FROM b"), path="/x?q=SELECT+a%20FROM%20b")) == []
    assert broken(exchange(400, failure(400, "not ValueError('x')"), sent_body=b"ValueError('x')")) == []
    assert broken(exchange(400, failure(400, "not a://b:c@d"), sent={"X-Target": "a://b:c@d"})) == []
    sent = json.dumps("C:\\Users\\me\\x").encode()
    assert broken(exchange(400, failure(400, "not C:\\Users\\me\\x"), sent_body=sent)) == []
    both = "KeyError('x') and OSError('y')"
    assert broken(exchange(400, failure(400, both), sent_body=b"KeyError('x')")) == ["ENV015"]


def test_leak_is_found_however_deep_it_is() -> None:
    """Deeper than Python would call itself."""
    seen = exchange(500, b"{}", JSON)
    nested: list[object] = ["KeyError: 'x'"]
    for _ in range(5000):
        nested = [nested]
    seen.__dict__["json"] = {"detail": nested}

    assert broken(seen) == ["ENV010", "ENV015"]


def test_leak_is_quoted_in_part_and_credentials_never() -> None:
    """The report must not leak it again."""
    assert came(500, failure(500, LEAKS[-1])) == "a URL with a password"
    assert (
        came(500, failure(500, "SELECT " + "a, " * 50 + "b FROM c ")) == f"SQL: {('SELECT ' + 'a, ' * 50)[:40]!r}"
    )


def test_failure_that_is_no_json_is_env006() -> None:
    """It says JSON, and is a text."""
    assert broken(exchange(404, b"Not Found", JSON)) == ["ENV006"]
    assert broken(exchange(404, b'{"code": 404', JSON)) == ["ENV006"]


def test_failure_of_another_type_is_env007() -> None:
    """The convention's body as text, or as nothing."""
    body = json.dumps(failure(404)).encode()

    assert broken(exchange(404, body, PLAIN)) == ["ENV007"]
    assert broken(exchange(404, body)) == ["ENV007"]


def test_success_with_status_of_a_failure_is_env017() -> None:
    """The envelope, and what was meant to be it."""
    assert broken(exchange(404, success())) == ["ENV017"]
    assert broken(exchange(500, {"status": "success"})) == ["ENV017"]
    assert broken(exchange(500, {"status": "success", "message": "x"})) == ["ENV010"]


def test_names_of_a_shape_are_the_rules() -> None:
    """What is right in one shape is wrong in another."""
    shape = Contract(None, shape=Shape(failure="error", code="errno", message="text"))

    assert broken(exchange(404, {"errno": 404, "text": "x", "status": "error"}), shape) == []
    assert broken(exchange(404, {"errno": 404, "text": "x", "status": "failure"}), shape) == ["ENV012"]
    assert broken(exchange(404, failure(404)), shape) == ["ENV010"]


def test_failure_of_head_has_no_body_to_judge() -> None:
    """Its fields are judged."""
    assert broken(exchange(404, method="HEAD")) == []
    assert broken(exchange(405, method="HEAD")) == ["ENV021"]


def test_refused_preflight_passes() -> None:
    """Browsers read its fields only; any other OPTIONS is a request."""
    preflight = {"Access-Control-Request-Method": "GET"}

    assert broken(exchange(400, b"Disallowed CORS origin", PLAIN, method="OPTIONS", sent=preflight)) == []
    assert broken(exchange(400, b"x", PLAIN, method="OPTIONS")) == ["ENV010"]


def test_exempt_failure_is_judged_if_it_claims_to_be_ours() -> None:
    """What is returned there has a form of its own, what is raised has the convention's."""
    exempt = Contract(None, exempt=["/things"])

    assert broken(exchange(400, {"error": "invalid_grant"}), exempt) == []
    assert broken(exchange(401, b"no", PLAIN), exempt) == []
    assert broken(exchange(503, failure(503)), exempt) == ["ENV018"]
    assert broken(exchange(404, failure(500)), exempt) == ["ENV011"]
    assert broken(exchange(404, failure(404)), exempt) == []
