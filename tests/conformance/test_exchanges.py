"""What a report shows of a request."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from envelope.conformance.exchanges import Exchange, Request

URL = "http://127.0.0.1/e?q=1"


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (Request(method="GET", url=URL, path="/e"), "curl -i 'http://127.0.0.1/e?q=1'"),
        (Request(method="HEAD", url=URL, path="/e"), "curl -i -I 'http://127.0.0.1/e?q=1'"),
        (Request(method="DELETE", url=URL, path="/e"), "curl -i -X DELETE 'http://127.0.0.1/e?q=1'"),
        (
            Request(method="POST", url=URL, path="/e", headers=(("A", "b c"),), body=b'{"it\'s": 1}'),
            """curl -i -X POST -H 'A: b c' --data-raw '{"it'"'"'s": 1}' 'http://127.0.0.1/e?q=1'""",
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


def line_for(body: bytes, url: str = URL, headers: tuple[tuple[str, str], ...] = ()) -> str:
    return Request(method="POST", url=url, path="/e", headers=headers, body=body).as_curl()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"@/etc/passwd",
        b"-x",
        b"caf\xc3\xa9",
        b"\x1b[2J'quoted' \\ \"twice\" $HOME `id` !x %s",
        b"\r\n\t\x07\x7f1",
        "\x85\u202e\u2028".encode(),
        b"\xff\xfeab\xc3",
        b"\x00",
        b"-\x00\x01234'\\n%d\n\xff\xc3\xa9$x",
        bytes(range(256)),
    ],
    ids=repr,
)
def test_curl_line_sends_the_same_bytes_and_is_fit_for_a_terminal(body: bytes, tmp_path: Path) -> None:
    """Bash and a command in curl's place, which writes down what it would send."""
    stand_in = tmp_path / "curl"
    stand_in.write_text(
        '#!/bin/bash\nfor word in "$@"; do if [ "$before" = --data-binary ]; then exec cat; fi\n'
        'if [ "$before" = --data-raw ]; then printf %s "$word"; exit; fi; before=$word; done\n'
    )
    stand_in.chmod(0o755)

    line = line_for(body)
    sent = subprocess.run(
        ["bash", "-c", line], check=True, capture_output=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}
    )

    assert sent.stdout == body
    assert line.isprintable()
    assert line.encode()


def test_curl_takes_a_body_as_it_is() -> None:
    """To --data-binary a body that begins with @ is the name of a file."""
    assert line_for(b"@/etc/passwd") == f"curl -i -X POST --data-raw @/etc/passwd '{URL}'"


def test_curl_reads_a_body_with_nul_from_a_pipe() -> None:
    """No argument of a command holds one."""
    line = line_for(b"a\x00\\")

    assert line == rf"printf %b 'a\0000\0134' | curl -i -X POST --data-binary @- '{URL}'"


def test_curl_shows_other_words_with_control_characters_too() -> None:
    """A field that a test client has sent."""
    line = line_for(b"", headers=(("A", "\x1b[31m"),))

    assert line.startswith(r"curl -i -X POST -H $'A: \x1b[31m' ")


@pytest.mark.parametrize(
    "name",
    ["X-Admin-Key", "X-Session", "X-API-Key", "Private-Token", "X-CSRF-Token", "X-Amz-Signature", "Cookie"],
)
def test_curl_masks_fields_that_sound_like_secrets(name: str) -> None:
    """By the rule of the library's own messages."""
    assert f"-H '{name}: ...'" in line_for(b"", headers=((name, "t0ken"),))


@pytest.mark.parametrize("name", ["Idempotency-Key", "Accept", "X-Request-ID", "X-Author", "Keyboard"])
def test_curl_shows_other_fields(name: str) -> None:
    """The request is to be sent again as it was."""
    assert f"-H '{name}: v 1'" in line_for(b"", headers=((name, "v 1"),))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?access_token=t0ken&q=a+b%20c&password=x=y", "?access_token=...&q=a+b%20c&password=..."),
        ("?pass%77ord=t0ken&&=&q", "?pass%77ord=...&&=&q"),
        ("?user[password]=t0ken", "?user[password]=..."),
        ("?password&token", "?password&token"),
        ("?author=x&next=/a?b=c", "?author=x&next=/a?b=c"),
        ("/password=x", "/password=x"),
        ("?", "?"),
    ],
)
def test_curl_masks_secret_parameters_of_the_query(query: str, shown: str) -> None:
    """All else stays, as it was encoded."""
    assert line_for(b"", f"http://h/e{query}").endswith((f"'http://h/e{shown}'", f" http://h/e{shown}"))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"password": "a\\"b", "name" : "x"}', '{"password": "...", "name" : "x"}'),
        ('[{"a": [{"apiKey":{"x": [1]} , "b":1}]}]', '[{"a": [{"apiKey":"..." , "b":1}]}]'),
        ('{"pass\\u0077ord":\n 12.50,"a":null}', '{"pass\\u0077ord":\n "...","a":null}'),
        ('{"token": NaN, "token": 2, "a": NaN}', '{"token": "...", "token": "...", "a": NaN}'),
        ('{"password": t0ken, "a": 1}', '{"password": "..."'),
        ('{"a": 1, "password": "t0ken', '{"a": 1, "password": "..."'),
        ('{"a": "b", "passwor', '{"a": "b", "passwor'),
        ('{"token\\x": "t0ken", "a\\x": 1}', '{"token\\x": "...", "a\\x": 1}'),
        ('{"a": "password", "b": "\\"password\\": 1"}', '{"a": "password", "b": "\\"password\\": 1"}'),
        ('{"author": "x",  "é" :[ ]}', '{"author": "x",  "é" :[ ]}'),
        ("password", "password"),
        ('{"token": ' + "[" * 100_000, '{"token": "..."'),
    ],
    ids=range(12),
)
def test_curl_masks_secret_members_of_a_json_body(body: str, shown: str) -> None:
    """At any depth, in broken JSON too; all else stays to the letter."""
    assert line_for(body.encode()) == line_for(shown.encode())
    assert "t0ken" not in line_for(body.encode())


@pytest.mark.parametrize("body", [b"{", b"NaN", b"\xff", b"[" * 100_000])
def test_body_that_is_no_json_is_a_value_error(body: bytes) -> None:
    """Also where it is nested so deep that Python gives up."""
    exchange = Exchange(Request(method="GET", url=URL, path="/e"), 200, (), body)

    with pytest.raises(ValueError):
        exchange.json  # noqa: B018


def test_body_is_read_as_json() -> None:
    """What it says."""
    assert Exchange(Request(method="GET", url=URL, path="/e"), 200, (), json.dumps([1]).encode()).json == [1]
