"""Where the service is, and where its document."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import contextmanager, suppress

import pytest
import trustme
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

from envelope.conformance.targets.opening import open_target
from envelope.conformance.targets.serving import TargetError, served
from tests.conformance.services import OK, answering, document, drip, hang_after

MINIMAL = json.dumps(document({}))


@pytest.fixture
def serve_module(tmp_path, monkeypatch):
    """Make ``a_target:app`` importable."""

    def serve(source: str) -> str:
        (tmp_path / "a_target.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "a_target", raising=False)
        return "a_target:app"

    return serve


@pytest.mark.parametrize("place", ["/openapi.json", "/api/v1/schema"])
def test_application_is_served_and_asked_for_its_document(serve_module, place) -> None:
    """FastAPI says itself where its document is."""
    name = serve_module(f"from fastapi import FastAPI\napp = FastAPI(title='Things', openapi_url={place!r})\n")

    with open_target(name) as target:
        assert target.name == "a_target:app"
        assert target.base_url.startswith("http://127.0.0.1:")
        assert target.document["info"]["title"] == "Things"


def test_application_without_document_is_refused(serve_module, tmp_path) -> None:
    """The message says what to do; and it can be done."""
    name = serve_module("from fastapi import FastAPI\napp = FastAPI(openapi_url=None)\n")
    (tmp_path / "schema.json").write_text(MINIMAL)

    with (
        pytest.raises(TargetError, match="a_target:app serves no OpenAPI document .* --schema FILE"),
        open_target(name),
    ):
        pass
    with open_target(name, schema=str(tmp_path / "schema.json")) as target:
        assert target.document["info"]["title"] == "Things"


def test_starlette_application_is_asked_at_the_usual_place(serve_module) -> None:
    """An application that does not know of documents may serve one."""
    name = serve_module(
        "from starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        f"def schema(_): return PlainTextResponse({MINIMAL!r})\n"
        "app = Starlette(routes=[Route('/openapi.json', schema)])\n"
    )

    with open_target(name) as target:
        assert target.document["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", ["", "/"])
def test_url_is_asked_for_its_document(path) -> None:
    """The user's header fields are sent with it; the base URL has no slash at its end."""

    def schema(request):
        return JSONResponse(json.loads(MINIMAL), 200 if request.headers.get("x-token") == "t" else 401)

    with (
        served(Starlette(routes=[Route("/openapi.json", schema)]), "test") as url,
        open_target(url + path, headers=(("X-Token", "t"),)) as target,
    ):
        assert target.base_url == url
        assert target.name == url + path


def test_schema_from_a_url_is_not_sent_the_users_headers() -> None:
    """A document may be at somebody else's."""

    def schema(request):
        return PlainTextResponse(MINIMAL, 500 if "x-token" in request.headers else 200)

    with (
        served(Starlette(routes=[Route("/there", schema)]), "test") as url,
        open_target("http://127.0.0.1:9", schema=url + "/there", headers=(("X-Token", "t"),)) as target,
    ):
        assert target.base_url == "http://127.0.0.1:9"


def test_schema_can_be_yaml(tmp_path) -> None:
    """With the types of JSON: statuses are names, dates are texts."""
    (tmp_path / "schema.yaml").write_text(
        "openapi: 3.1.0\npaths: {/x: {get: {responses: {200: {description: 2026-11-23}}}}}\n"
    )

    with open_target("http://127.0.0.1:9", schema=str(tmp_path / "schema.yaml")) as target:
        assert target.document["paths"]["/x"]["get"]["responses"] == {"200": {"description": "2026-11-23"}}


@pytest.mark.parametrize(
    ("url", "servers", "base_url"),
    [
        ("http://h:1", None, "http://h:1"),
        ("http://h:1", [], "http://h:1"),
        ("http://h:1", [{"url": "/"}], "http://h:1"),
        ("http://h:1", [{"url": "/api/v1/"}, {"url": "/v2"}], "http://h:1/api/v1"),
        ("http://h:1/own/", [{"url": "/api"}], "http://h:1/own"),
        ("http://h:1", [{"url": "https://production.example/api"}], "http://h:1/api"),
        ("http://h:1", [{"url": "/{v}", "variables": {"v": {"default": "v3"}}}], "http://h:1/v3"),
        ("http://h:1", [{"url": "relative"}], "http://h:1"),
        ("http://h:1", ["/x"], "http://h:1"),
    ],
)
def test_prefix_of_the_documents_server_is_taken_but_never_its_host(tmp_path, url, servers, base_url) -> None:
    """Requests go to the host that the user named, below the prefix that the user or the document gave."""
    more = {} if servers is None else {"servers": servers}
    (tmp_path / "schema.json").write_text(json.dumps(document({}, **more)))

    with open_target(url, schema=str(tmp_path / "schema.json")) as target:
        assert target.base_url == base_url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{: ]", "cannot be read as JSON or YAML: .*; give another --schema$"),
        ("a: 2026-13-45", "cannot be read as JSON or YAML: month must be in"),
        ('{"openapi": ' + "[" * 210 + "]" * 210 + "}", "it is nested too deeply"),
        ("[" * 100_000, "it is nested too deeply"),
        ("a: &a [*a]", "it is nested too deeply"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
            "it is too large when its aliases are written out",
        ),
        ("openapi: 3.1", "has openapi: 3.1, which is not a text; quote it"),
        ("[1]", "is not an OpenAPI 3 document"),
        ('{"swagger": "2.0"}', "is not an OpenAPI 3 document"),
    ],
)
def test_file_that_is_no_document_is_refused(tmp_path, text, words) -> None:
    """One line, with the file's name."""
    (tmp_path / "schema").write_text(text)

    with (
        pytest.raises(TargetError, match=words) as raised,
        open_target("http://h", schema=str(tmp_path / "schema")),
    ):
        pass

    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_that_is_not_there_is_refused(tmp_path) -> None:
    """The system's own words stand behind ours; what could be a path of the service is looked for there, too."""
    with (
        pytest.raises(TargetError, match="cannot read --schema no/such/file .*No such file"),
        open_target("http://h", schema="no/such/file"),
    ):
        pass
    with (
        pytest.raises(TargetError, match=r"nobody answers at .*/nothing \(there is no file /.*/nothing here\)"),
        open_target("http://127.0.0.1:9", schema=str(tmp_path / "nothing")),
    ):
        pass


def test_url_without_document_is_refused() -> None:
    """The status that came is named; a schema of the user's is another matter than one of the service's."""
    with served(FastAPI(openapi_url=None), "test") as url:
        with pytest.raises(TargetError, match="openapi.json answers 404, .* --schema FILE"), open_target(url):
            pass
        with (
            pytest.raises(TargetError, match="there answers 404, .* another --schema"),
            open_target(url, schema=url + "/there"),
        ):
            pass


def test_file_that_is_too_long_is_refused(tmp_path) -> None:
    """It is not read to its end, which may never come."""
    with (tmp_path / "schema").open("wb") as file:
        file.truncate(65 * 1024 * 1024)

    with pytest.raises(TargetError, match=r"cannot read --schema .* \(it is longer than 64 MiB\)"):
        with open_target("http://h", schema=str(tmp_path / "schema")):
            pass


def test_document_that_is_too_long_is_refused() -> None:
    """Neither is one of a service."""

    async def flood(_: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(65):
                yield b" " * 1024 * 1024

        return StreamingResponse(chunks())

    with served(Starlette(routes=[Route("/openapi.json", flood)]), "test") as url:
        with pytest.raises(TargetError, match="the body is longer than 64 MiB; give --schema FILE"):
            with open_target(url):
                pass


def test_document_that_drips_is_refused() -> None:
    """The time is for all of it."""
    beginning = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with (
        answering(drip(beginning)) as url,
        pytest.raises(TargetError, match="did not answer within 0.3 s"),
        open_target(url, timeout_s=0.3),
    ):
        pass


def test_lone_surrogate_in_a_document_is_spelled_out(tmp_path) -> None:
    """No output could hold it."""
    (tmp_path / "schema.json").write_text('{"openapi": "3.1.0", "info": {"title": "\\ud800"}}')

    with open_target("http://h", schema=str(tmp_path / "schema.json")) as target:
        assert target.document["info"]["title"] == "\\ud800"


def test_credentials_of_a_netrc_are_not_sent(tmp_path, monkeypatch) -> None:
    """Nobody asked for it."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    def schema(request):
        return PlainTextResponse(MINIMAL, 500 if "authorization" in request.headers else 200)

    with served(Starlette(routes=[Route("/openapi.json", schema)]), "test") as url, open_target(url) as target:
        assert target.base_url == url


@pytest.mark.parametrize("place", ["/openapi.json", "/openapi.yaml", "/api/openapi.yml"])
def test_url_of_a_document_is_taken_as_such(place) -> None:
    """The service is at what stands before it, and gets the user's header fields."""

    def schema(request):
        return PlainTextResponse(MINIMAL, 200 if request.headers.get("x-token") == "t" else 401)

    with (
        served(Starlette(routes=[Route(place, schema)]), "test") as url,
        open_target(url + place, headers=(("X-Token", "t"),)) as target,
    ):
        assert target.base_url == url + place.rpartition("/")[0]


def test_schema_can_be_a_path_of_the_service(serve_module) -> None:
    """Litestar's document is there; the user's header fields are sent to it."""
    name = serve_module("from fastapi import FastAPI\napp = FastAPI(openapi_url='/schema/openapi.json')\n")

    with open_target(name, schema="/schema/openapi.json") as target:
        assert target.document["info"]["title"] == "FastAPI"
        with open_target(target.base_url, schema="/schema/openapi.json") as again:
            assert again.document == target.document
        with pytest.raises(TargetError, match=r"/x \(there is no file /x here\) answers 404, "):
            with open_target(target.base_url, schema="/x"):
                pass


def test_redirect_of_a_document_is_named() -> None:
    """It is not followed; its query is not repeated."""

    def away(_):
        return RedirectResponse("https://h.example/there?token=s3cret", 307)

    with served(Starlette(routes=[Route("/openapi.json", away)]), "test") as url:
        with pytest.raises(TargetError, match="answers 307 and leads to https://h.example/there, not an OpenAPI"):
            with open_target(url):
                pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://[::1", r"http://\[::1 is no URL"),
        ("http://", "http:// is no URL"),
        ("http://h:abc", "http://h:abc is no URL"),
        ("http://user:s3cret@h:abc", "http://...@h:abc is no URL"),
        ("127.0.0.1:8000", "give http://127.0.0.1:8000$"),
        ("localhost:8000/api", "give http://localhost:8000/api$"),
        ("[::1]:8000", r"give http://\[::1\]:8000$"),
        ("ftp://x", "give an http:// or https:// URL"),
        ("http://h/x?token=s3cret", "the URL http://h/x has a query"),
        ("http://h/x#s3cret", "the URL http://h/x has a query"),
        ("http://user:s3cret@h", "the URL of h contains credentials; give --header"),
    ],
)
def test_target_that_is_no_url_is_refused(tmp_path, text, words) -> None:
    """Also if the document is elsewhere; with what to give instead, and without what may be secret."""
    (tmp_path / "schema.json").write_text(MINIMAL)
    with pytest.raises(TargetError, match=words) as raised:
        with open_target(text, schema=str(tmp_path / "schema.json")):
            pass

    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("ftp://x/y", "ftp://x/y cannot be asked; give an http:// or https:// URL"),
        ("http://user:s3cret@h/x", "the URL of h contains credentials; give --schema FILE"),
    ],
)
def test_schema_that_cannot_be_asked_is_refused(schema, words) -> None:
    """The same for the document's URL."""
    with pytest.raises(TargetError, match=words) as raised:
        with open_target("http://h", schema=schema):
            pass

    assert "s3cret" not in str(raised.value)


def test_query_of_a_schema_is_not_repeated() -> None:
    """It may be a token; it is sent, though."""

    def schema(request):
        return PlainTextResponse(MINIMAL, 200 if request.query_params["token"] == "s3cret" else 403)

    with served(Starlette(routes=[Route("/schema", schema)]), "test") as url:
        with open_target(url, schema=url + "/schema?token=s3cret") as target:
            assert target.document["openapi"] == "3.1.0"
        with pytest.raises(TargetError, match="/schema answers 403") as raised:
            with open_target(url, schema=url + "/schema?token=an0ther"):
                pass
    assert "an0ther" not in str(raised.value)


def test_certificate_that_is_not_trusted_is_named() -> None:
    """The service is there, and starting it does not help."""
    with _serve_tls() as url:
        with pytest.raises(
            TargetError, match="the certificate of .*/openapi.json is not trusted here; .* REQUESTS_CA_BUNDLE"
        ):
            with open_target(url):
                pass


def test_service_without_tls_is_named() -> None:
    """Somebody wrote https:// for http://."""
    with answering(OK) as url:
        with pytest.raises(TargetError, match="no TLS connection can be made to .*; does it speak http://"):
            with open_target(url.replace("http://", "https://")):
                pass


@contextmanager
def _serve_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_refused_once, args=(listener, context))
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def _refused_once(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True):
        pass


def test_url_where_nobody_listens_is_refused() -> None:
    """The service may not have been started."""
    with answering(b"") as url:
        pass

    with (
        pytest.raises(TargetError, match=f"nobody answers at {url}/openapi.json; start the service"),
        open_target(url),
    ):
        pass


def test_service_that_hangs_is_refused() -> None:
    """After the time that was given for a response."""
    with (
        answering(hang_after(b"")) as url,
        pytest.raises(TargetError, match="did not answer within 0.1 s"),
        open_target(url, timeout_s=0.1),
    ):
        pass
