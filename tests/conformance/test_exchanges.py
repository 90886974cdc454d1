"""What a report shows of a request."""

from __future__ import annotations

import pytest

from envelope.conformance.exchanges import Request

URL = "http://127.0.0.1/e?q=1"


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (Request(method="GET", url=URL, path="/e"), "curl -i 'http://127.0.0.1/e?q=1'"),
        (Request(method="HEAD", url=URL, path="/e"), "curl -i -I 'http://127.0.0.1/e?q=1'"),
        (Request(method="DELETE", url=URL, path="/e"), "curl -i -X DELETE 'http://127.0.0.1/e?q=1'"),
        (
            Request(method="POST", url=URL, path="/e", headers=(("A", "b c"),), body=b'{"it\'s": 1}'),
            """curl -i -X POST -H 'A: b c' --data-binary '{"it'"'"'s": 1}' 'http://127.0.0.1/e?q=1'""",
        ),
        (
            Request(
                method="GET",
                url=URL,
                path="/e",
                headers=(("Authorization", "Bearer t0ken"), ("X-Mine", "t0ken")),
                secrets=frozenset({"x-mine"}),
            ),
            "curl -i -H 'Authorization: ...' -H 'X-Mine: ...' 'http://127.0.0.1/e?q=1'",
        ),
    ],
)
def test_curl_sends_the_request_again_without_credentials(request_: Request, command: str) -> None:
    """One line for a shell; values that are secrets are left out."""
    assert request_.as_curl() == command
