"""Exceptions of other libraries: the real ones, raised by the libraries themselves, and what becomes of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import importlib
import io
import json
import logging
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import botocore.exceptions  # type: ignore[import-untyped]
import botocore.response  # type: ignore[import-untyped]
import botocore.retries.standard  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import fastapi
import httpx
import httpx2
import jwt
import pytest
import redis
import sqlalchemy
import trustme
import valkey
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.stub import Stubber  # type: ignore[import-untyped]
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from envelope import (
    ConfigurationError,
    ConflictError,
    EnvelopeMiddleware,
    ErrorMap,
    ForbiddenError,
    NotFoundError,
    ServiceUnavailableError,
    install,
)
from envelope.errors.libraries import (
    AWS_CODES,
    AWS_TRANSIENT,
    LIBRARIES,
    MYSQL_MISTAKES,
    SQLITE_TRANSIENT,
    find_class,
    name_of,
)
from tests.servers.process import free_port
from tests.wire.apps import CRASH, client_of, exchange, failure, strict_json, throw

PAGE = Path(__file__).parents[2] / "docs/reference/library-errors.md"

KEY = "a key of thirty-two bytes or more"

TEXTS = {cls.status_code: cls.message for cls in (ConflictError, NotFoundError, ServiceUnavailableError)}
TEXTS[401] = "Unauthorized -- Your client_id, client_secret, or access_token is invalid."


# ------------------------------------------------------------------------------------------- others, over real sockets


@contextlib.contextmanager
def answering(data: bytes | None, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Give the port of a server that answers whatever comes with the same; b"": it hangs up; None: it is silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                if tls is not None:
                    tls.wrap_socket(connection, server_side=True)  # the client breaks it off
                while asked := connection.recv(65536):
                    if data is None:
                        continue
                    if not data.startswith(b"-"):
                        connection.sendall(data)
                        return
                    connection.sendall(data * len(re.findall(rb"(?:^|\r\n)\*", asked)))  # several commands at once

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def http(status: int, body: object = None) -> bytes:
    """Give a response as it is on the wire."""
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + content


# ------------------------------------------------------------------------------------------- SQLAlchemy


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@contextlib.contextmanager
def database(**options: Any) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool, **options)
    Base.metadata.create_all(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def duplicate(name: str = "Ada") -> None:
    with database() as engine, Session(engine) as session:
        session.add_all([Row(id=1, name=name), Row(id=2, name=name)])
        session.commit()
        session.execute(sqlalchemy.insert(Row).values(id=1, name=name))


def null_written() -> None:
    with database() as engine, Session(engine) as session:
        session.add(Row(id=1))
        session.commit()


def nothing_found() -> None:
    with database() as engine, Session(engine) as session:
        session.get_one(Row, 1)


def several_found() -> None:
    with database() as engine, engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1 UNION SELECT 2")).one()


def stale_row() -> None:
    with database() as engine, Session(engine) as session:
        row = Row(id=1, name="Ada")
        session.add(row)
        session.flush()
        session.execute(sqlalchemy.text("DELETE FROM rows"))
        row.name = "Grace"
        session.flush()


def database_out_of_reach() -> None:
    sqlalchemy.create_engine("sqlite:////no/such/folder/file.db").connect()


def database_locked() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(sqlite3.connect(f"{folder}/d")) as other:
        other.execute("BEGIN EXCLUSIVE")
        engine = sqlalchemy.create_engine(f"sqlite:///{folder}/d", connect_args={"timeout": 0})
        try:
            Base.metadata.create_all(engine)
        finally:
            engine.dispose()


def table_locked() -> None:
    url = "file:locked?mode=memory&cache=shared"
    with contextlib.closing(sqlite3.connect(url, uri=True, isolation_level=None)) as other:
        other.execute("CREATE TABLE rows (id)")
        other.execute("BEGIN EXCLUSIVE")
        engine = sqlalchemy.create_engine(f"sqlite:///{url}&uri=true", poolclass=sqlalchemy.NullPool)
        try:
            with Session(engine) as session:
                session.get(Row, 1)
        finally:
            engine.dispose()


def executing(*statements: str) -> Callable[[], None]:
    def ask() -> None:
        with database() as engine, engine.begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement)).close()

    return ask


def undecodable() -> None:
    with database() as engine, engine.connect() as connection:
        connection.exec_driver_sql("SELECT CAST(x'ff' AS TEXT)").all()


class DriverError(Exception):
    """As PyMySQL and mysqlclient make them: a number of the server, and its text."""


def driver_says(*args: object) -> Callable[[], None]:
    """Raise what SQLAlchemy makes of a driver's error; the drivers are not installed."""

    def ask() -> None:
        raise OperationalError("SELECT 1", {}, DriverError(*args))

    return ask


def pool_exhausted() -> None:
    def connect() -> Any:
        return sqlite3.connect(":memory:")

    pool = sqlalchemy.QueuePool(connect, pool_size=1, max_overflow=0, timeout=0.01)
    held = pool.connect()
    try:
        pool.connect()
    finally:
        held.close()
        pool.dispose()


def connection_lost() -> None:
    with database() as engine, engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.close()
        connection.execute(sqlalchemy.text("SELECT 1"))


def statement_wrong() -> None:
    with database() as engine, engine.connect() as connection:
        connection.exec_driver_sql("SELECT ?", ())


# ------------------------------------------------------------------------------------------- httpx, httpx2


def refused(client: Any) -> None:
    client.get(f"http://127.0.0.1:{free_port()}", trust_env=False)


def silent(client: Any) -> None:
    with answering(None) as port:
        client.get(f"http://127.0.0.1:{port}", timeout=0.05, trust_env=False)


def hung_up(client: Any) -> None:
    with answering(b"") as port:
        client.get(f"http://127.0.0.1:{port}", trust_env=False)


def proxy_refuses(client: Any) -> None:
    with answering(http(403)) as port:
        client.get("https://example.invalid", proxy=f"http://127.0.0.1:{port}", trust_env=False)


def status_of(status: int) -> Callable[[Any], None]:
    def ask(client: Any) -> None:
        with answering(http(status)) as port:
            client.get(f"http://127.0.0.1:{port}", trust_env=False).raise_for_status()

    return ask


# ------------------------------------------------------------------------------------------- Redis and Valkey


def client_at(module: Any, port: int, **options: Any) -> Any:
    """Give a client that tries once."""
    retry = importlib.import_module(f"{module.__name__}.retry").Retry
    backoff = importlib.import_module(f"{module.__name__}.backoff").NoBackoff
    return module.from_url(f"{module.__name__}://127.0.0.1:{port}", retry=retry(backoff(), 0), **options)


def redis_refused(module: Any) -> None:
    with contextlib.closing(client_at(module, free_port())) as client:
        client.get("k")


def redis_silent(module: Any) -> None:
    with answering(None) as port, contextlib.closing(client_at(module, port, socket_timeout=0.05)) as client:
        client.get("k")


def redis_says(line: str, *, to_cluster: bool = False) -> Callable[[Any], None]:
    """Ask a server that answers every command with an error; the library reads it, and chooses the class."""

    def ask(module: Any) -> None:
        cluster = importlib.import_module(f"{module.__name__}.cluster")
        # Newer clients of Redis know the errors of a cluster everywhere.
        parser = getattr(cluster, "ClusterParser", None) if to_cluster else None
        options = {} if parser is None else {"parser_class": parser}
        with (
            answering(f"-{line}\r\n".encode()) as port,
            contextlib.closing(client_at(module, port, socket_timeout=5, **options)) as client,
        ):
            client.get("k")

    return ask


def cluster_refused(module: Any) -> None:
    name = {"redis": "RedisCluster", "valkey": "ValkeyCluster"}[module.__name__]
    getattr(importlib.import_module(f"{module.__name__}.cluster"), name)(host="127.0.0.1", port=free_port())


def raising(cls: str) -> Callable[[Any], None]:
    def throw_it(module: Any) -> None:
        raise getattr(module.exceptions, cls)("raised where a cluster would be needed")

    return throw_it


# ------------------------------------------------------------------------------------------- PyJWT


def expired_token() -> None:
    jwt.decode(jwt.encode({"exp": 1}, KEY, "HS256"), KEY, ["HS256"])


def forged_token() -> None:
    jwt.decode(jwt.encode({}, KEY[::-1], "HS256"), KEY, ["HS256"])


def no_token() -> None:
    jwt.decode("no token", KEY, ["HS256"])


def token_decoded(token: Any = None, **options: Any) -> Callable[[], object]:
    """Decode a token, as a service does; None: a token that is fine."""
    fine = jwt.encode({"iss": "us", "aud": "them"}, KEY, "HS256")
    return lambda: jwt.decode(fine if token is None else token, KEY, **options)


def unencoded_token() -> None:
    headers = {"b64": False, "crit": ["b64"]}
    token = jwt.api_jws.encode(b"", KEY, "HS256", headers, is_payload_detached=True)
    jwt.decode(token, KEY, ["HS256"])


def keys_refused() -> None:
    jwt.PyJWKClient(f"http://127.0.0.1:{free_port()}").get_signing_key("1")


def keys_served(body: object, kid: str = "1") -> Callable[[], None]:
    def ask() -> None:
        with answering(http(200, body)) as port:
            jwt.PyJWKClient(f"http://127.0.0.1:{port}").get_signing_key(kid)

    return ask


SIGNING_KEY = {
    "kty": "oct",
    "kid": "1",
    "alg": "HS256",
    "use": "sig",
    "k": "YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyBvciBtb3Jl",
}


# ------------------------------------------------------------------------------------------- botocore


@functools.cache
def aws(service: str, port: int = 1, scheme: str = "http", proxy: str | None = None) -> Any:
    session = botocore.session.Session()
    session.set_credentials("key", "secret")
    return session.create_client(
        service,
        region_name="eu-central-1",
        endpoint_url=f"{scheme}://127.0.0.1:{port}",
        config=Config(
            retries={"max_attempts": 0},
            read_timeout=0.05,
            connect_timeout=1,
            proxies={} if proxy is None else {"http": proxy},
        ),
    )


def aws_says(code: str, status: int = 400, *, service: str = "dynamodb") -> Callable[[], None]:
    def ask() -> None:
        client = aws(service)
        with Stubber(client) as stubber:
            if service == "s3":
                stubber.add_client_error("get_object", code, "the secret message", status)
                client.get_object(Bucket="bucket", Key="1")
            stubber.add_client_error("get_item", code, "the secret message", status)
            client.get_item(TableName="t", Key={"id": {"S": "1"}})

    return ask


def aws_refused() -> None:
    aws("dynamodb", free_port()).list_tables()


def aws_silent() -> None:
    with answering(None) as port:
        aws("dynamodb", port).list_tables()


def aws_of_another_authority() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with answering(None, tls) as port:
        aws("dynamodb", port, "https").list_tables()


def aws_proxy_refused() -> None:
    aws("dynamodb", proxy=f"http://127.0.0.1:{free_port()}").list_tables()


def aws_body_cut() -> None:
    botocore.response.StreamingBody(io.BytesIO(b"abc"), 4).read()


def aws_without_credentials() -> None:
    raise botocore.exceptions.NoCredentialsError


# ------------------------------------------------------------------------------------------- the language


def asyncio_timeout() -> None:
    async def wait() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    asyncio.run(wait())


def anyio_timeout() -> None:
    async def wait() -> None:
        with anyio.fail_after(0):
            await anyio.sleep_forever()

    asyncio.run(wait())


def future_timeout() -> None:
    concurrent.futures.Future[None]().result(timeout=0)


def socket_timeout() -> None:
    with answering(None) as port, socket.create_connection(("127.0.0.1", port), timeout=0.01) as connection:
        connection.recv(1)


def socket_refused() -> None:
    socket.create_connection(("127.0.0.1", free_port()))


def name_unknown() -> None:
    socket.getaddrinfo("no address", 80, flags=socket.AI_NUMERICHOST)


def of(module: Any, raise_it: Callable[[Any], None]) -> Callable[[], None]:
    return lambda: raise_it(module)


#: Library, what raises, the class in the table, what the client gets.
CASES: dict[str, tuple[str, Callable[[], object], str, int]] = {
    "duplicate": ("sqlalchemy", duplicate, "sqlalchemy.exc.IntegrityError", 409),
    "NULL": ("sqlalchemy", null_written, "sqlalchemy.exc.IntegrityError", 409),
    "no row": ("sqlalchemy", nothing_found, "sqlalchemy.exc.NoResultFound", 404),
    "stale row": ("sqlalchemy", stale_row, "sqlalchemy.orm.exc.StaleDataError", 409),
    "no database": ("sqlalchemy", database_out_of_reach, "sqlalchemy.exc.OperationalError", 503),
    "database locked": ("sqlalchemy", database_locked, "sqlalchemy.exc.OperationalError", 503),
    "table locked": ("sqlalchemy", table_locked, "sqlalchemy.exc.OperationalError", 503),
    "database full": (
        "sqlalchemy",
        executing("PRAGMA max_page_count = 1", "CREATE TABLE more (id)"),
        "sqlalchemy.exc.OperationalError",
        503,
    ),
    "no table": ("sqlalchemy", executing("SELECT * FROM nope"), "sqlalchemy.exc.OperationalError", 500),
    "no column": ("sqlalchemy", executing("SELECT nope FROM rows"), "sqlalchemy.exc.OperationalError", 500),
    "no SQL": ("sqlalchemy", executing("SELEC 1"), "sqlalchemy.exc.OperationalError", 500),
    "undecodable": ("sqlalchemy", undecodable, "sqlalchemy.exc.OperationalError", 500),
    "MySQL column": (
        "sqlalchemy",
        driver_says(1054, "Unknown column 'nope'"),
        "sqlalchemy.exc.OperationalError",
        500,
    ),
    "MySQL gone": (
        "sqlalchemy",
        driver_says(2003, "Can't connect to MySQL server"),
        "sqlalchemy.exc.OperationalError",
        503,
    ),
    "pool exhausted": ("sqlalchemy", pool_exhausted, "sqlalchemy.exc.TimeoutError", 503),
    "connection lost": ("sqlalchemy", connection_lost, "sqlalchemy.exc.DBAPIError", 503),
    "statement wrong": ("sqlalchemy", statement_wrong, "sqlalchemy.exc.DBAPIError", 500),
    "expired token": ("jwt", expired_token, "jwt.exceptions.InvalidTokenError", 401),
    "forged token": ("jwt", forged_token, "jwt.exceptions.InvalidTokenError", 401),
    "no token": ("jwt", no_token, "jwt.exceptions.InvalidTokenError", 401),
    "unencoded token": ("jwt", unencoded_token, "jwt.exceptions.InvalidTokenError", 401),
    "no algorithms": ("jwt", token_decoded(), "jwt.exceptions.InvalidTokenError", 500),
    "token no text": ("jwt", token_decoded(5, algorithms=["HS256"]), "jwt.exceptions.InvalidTokenError", 500),
    "issuer no text": (
        "jwt",
        token_decoded(algorithms=["HS256"], issuer=object(), audience="them"),
        "jwt.exceptions.InvalidTokenError",
        500,
    ),
    "issuer of others": (
        "jwt",
        token_decoded(algorithms=["HS256"], issuer="them", audience="them"),
        "jwt.exceptions.InvalidTokenError",
        401,
    ),
    "audience no text": (
        "jwt",
        token_decoded(algorithms=["HS256"], audience=["them"], options={"strict_aud": True}),
        "jwt.exceptions.InvalidTokenError",
        500,
    ),
    "audience of others": (
        "jwt",
        token_decoded(algorithms=["HS256"], audience="us", options={"strict_aud": True}),
        "jwt.exceptions.InvalidTokenError",
        401,
    ),
    "keys refused": ("jwt", keys_refused, "jwt.exceptions.PyJWKClientConnectionError", 503),
    "other key": ("jwt", keys_served({"keys": [SIGNING_KEY]}, "2"), "jwt.exceptions.PyJWKClientError", 401),
    "no document": ("jwt", keys_served([]), "jwt.exceptions.PyJWKClientError", 503),
    "no keys": ("jwt", keys_served({"keys": []}), "jwt.exceptions.PyJWKSetError", 503),
    "AWS refused": ("botocore", aws_refused, "botocore.exceptions.ConnectionError", 503),
    "AWS silent": ("botocore", aws_silent, "botocore.exceptions.HTTPClientError", 503),
    "AWS certificate": ("botocore", aws_of_another_authority, "botocore.exceptions.SSLError", 500),
    "AWS proxy": ("botocore", aws_proxy_refused, "botocore.exceptions.ConnectionError", 503),
    "AWS body cut": ("botocore", aws_body_cut, "botocore.exceptions.IncompleteReadError", 503),
    "AWS denied": ("botocore", aws_says("AccessDeniedException", 400), "botocore.exceptions.ClientError", 500),
    "AWS expired": ("botocore", aws_says("ExpiredTokenException", 400), "botocore.exceptions.ClientError", 500),
    "AWS no table": ("botocore", aws_says("ResourceNotFoundException"), "botocore.exceptions.ClientError", 500),
    "AWS condition": (
        "botocore",
        aws_says("ConditionalCheckFailedException"),
        "botocore.exceptions.ClientError",
        409,
    ),
    "AWS throttled": ("botocore", aws_says("ThrottlingException"), "botocore.exceptions.ClientError", 503),
    "AWS 429": ("botocore", aws_says("Unheard", 429), "botocore.exceptions.ClientError", 503),
    "AWS broken": ("botocore", aws_says("InternalServerError", 500), "botocore.exceptions.ClientError", 503),
    "S3 no key": ("botocore", aws_says("NoSuchKey", 404, service="s3"), "botocore.exceptions.ClientError", 404),
    "S3 no bucket": (
        "botocore",
        aws_says("NoSuchBucket", 404, service="s3"),
        "botocore.exceptions.ClientError",
        500,
    ),
    "asyncio": ("timeouts", asyncio_timeout, "builtins.TimeoutError", 503),
    "anyio": ("timeouts", anyio_timeout, "builtins.TimeoutError", 503),
    "future": ("timeouts", future_timeout, "builtins.TimeoutError", 503),
    "socket": ("timeouts", socket_timeout, "builtins.TimeoutError", 503),
    "refused": ("connections", socket_refused, "builtins.ConnectionError", 503),
    "name unknown": ("connections", name_unknown, "socket.gaierror", 503),
}
for _client in (httpx, httpx2):
    for _case, _raise, _cls, _status in [
        ("refused", refused, "NetworkError", 503),
        ("silent", silent, "TimeoutException", 503),
        ("hung up", hung_up, "RemoteProtocolError", 503),
        ("proxy", proxy_refuses, "ProxyError", 503),
        ("429", status_of(429), "HTTPStatusError", 503),
        ("502", status_of(502), "HTTPStatusError", 503),
        ("401", status_of(401), "HTTPStatusError", 500),
        ("404", status_of(404), "HTTPStatusError", 500),
    ]:
        _library = _client.__name__
        CASES[f"{_library} {_case}"] = (_library, of(_client, _raise), f"{_library}.{_cls}", _status)
for _module in (redis, valkey):
    for _case, _raise, _cls, _status in [
        ("refused", redis_refused, "ConnectionError", 503),
        ("silent", redis_silent, "TimeoutError", 503),
        ("loading", redis_says("LOADING it loads"), "ConnectionError", 503),
        ("password", redis_says("WRONGPASS no"), "AuthenticationError", 500),
        ("no right", raising("AuthorizationError"), "AuthorizationError", 500),
        ("replica", redis_says("READONLY no"), "ReadOnlyError", 503),
        ("full", redis_says("OOM no"), "OutOfMemoryError", 503),
        ("cluster down", redis_says("CLUSTERDOWN no", to_cluster=True), "ClusterDownError", 503),
        ("slot moves", redis_says("TRYAGAIN no", to_cluster=True), "TryAgainError", 503),
        ("watched", raising("WatchError"), "WatchError", 409),
        ("cluster refused", cluster_refused, f"{_module.__name__.title()}ClusterException", 503),
    ]:
        _library = _module.__name__
        CASES[f"{_library} {_case}"] = (_library, of(_module, _raise), f"{_library}.exceptions.{_cls}", _status)

#: Rows of the classes that the lowest supported client of Redis does not have; empty with newer ones.
NOT_HERE: set[str] = set()
for _cls in ("CrossSlotTransactionError", "InvalidPipelineStack"):
    if hasattr(redis.exceptions, _cls):
        CASES[f"redis {_cls}"] = ("redis", of(redis, raising(_cls)), f"redis.exceptions.{_cls}", 500)
    else:
        NOT_HERE.add(f"redis.exceptions.{_cls}")


def caught(raise_it: Callable[[], object]) -> Exception:
    """Give what is raised."""
    try:
        raise_it()
    except Exception as exc:
        return exc
    raise AssertionError("nothing was raised")


def records_of(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "envelope.errors"]


# ------------------------------------------------------------------------------------------- what the client gets


@pytest.mark.parametrize("case", CASES)
def test_real_exception_is_answered_as_its_row_says_and_gives_nothing_away(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The class's own text and nothing else; a crash is raised again, the rest is one record with its traceback."""
    library, raise_it, name, status = CASES[case]
    exc = caught(raise_it)
    caplog.clear()
    app = Starlette(routes=[Route("/", throw(exc))])
    install(app, errors=ErrorMap(libraries=[library]))

    with caplog.at_level(logging.DEBUG, "envelope.errors"):
        done = exchange(app)

    assert next(row for row in map(name_of, type(exc).__mro__) if row in LIBRARIES[library]) == name
    assert done.status == status
    if status == 500:
        assert (strict_json(done.body), done.raised, records_of(caplog)) == (CRASH, exc, [])
        return
    headers = dict(done.headers)
    assert (strict_json(done.body), done.raised) == (failure(status, TEXTS[status]), None)
    assert headers.get(b"retry-after") == (b"30" if status == 503 else None)
    assert headers.get(b"www-authenticate") == (b'Bearer error="invalid_token"' if status == 401 else None)
    [record] = records_of(caplog)
    is_routine = status in {401, 404}
    assert record.event_name == ("envelope.error.translated" if is_routine else "envelope.error.mapped")
    assert record.levelno == (logging.DEBUG if is_routine else logging.WARNING)
    assert (record.exception, record.status) == (type(exc).__qualname__, status)
    assert record.exc_info[1] is exc


def test_every_row_has_a_case_and_every_name_is_that_of_a_class() -> None:
    """A class that its library renames fails here, not in production."""
    names = {name for answers in LIBRARIES.values() for name in answers} - NOT_HERE

    assert {name for _, _, name, _ in CASES.values()} == names
    assert [name for name in names if name_of(find_class(name) or type(None)) != name] == []


def test_page_has_every_row_and_no_other() -> None:
    """The answers that stand on the page are those that the real exceptions get."""
    page = PAGE.read_text()
    found = set()
    for library, table in re.findall(r"^## `(\w+)`.*?\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        for name, status in re.findall(r"^\| `([\w.]+)`[^|]*\| (\d{3})\b", table, re.MULTILINE):
            for other in {"redis": ("redis", "valkey"), "httpx": ("httpx", "httpx2")}.get(library, (library,)):
                own = name.replace(library, other, 1).replace("RedisC", f"{other.title()}C")
                if own in LIBRARIES[other].keys() - NOT_HERE:
                    found.add((other, own, int(status)))

    assert found == {(library, name, status) for library, _, name, status in CASES.values()}


def test_page_has_every_code_of_aws() -> None:
    """Beside those that are tried again, for which it names botocore's lists."""
    page = PAGE.read_text()

    missing = [code for code in AWS_CODES.keys() - AWS_TRANSIENT if f"`{code}`" not in page]

    assert missing == []


@pytest.mark.parametrize("code", AWS_CODES)
def test_code_of_aws_is_answered(code: str) -> None:
    """Through the class that botocore makes for it, or ClientError where it makes none."""
    exc = caught(aws_says(code))
    found = ErrorMap(libraries=["botocore"]).failure_for(exc)

    assert isinstance(exc, botocore.exceptions.ClientError)
    assert type(found) is AWS_CODES[code]


def test_codes_that_botocore_tries_again_are_all_known() -> None:
    """A code that botocore adds to its lists is missing here until it is added."""
    standard = botocore.retries.standard
    listed = {
        *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
        *standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES,
    }

    assert listed - AWS_TRANSIENT == set()


def test_client_error_without_code_and_status_is_a_crash() -> None:
    """As tests make them, and services that are not of AWS."""
    exc = botocore.exceptions.ClientError({}, "GetItem")

    assert ErrorMap(libraries=["botocore"]).failure_for(exc) is None


@pytest.mark.parametrize("extended", [0, 1 << 8, 11 << 8], ids=["primary", "extended", "extended far"])
def test_code_of_sqlite_is_judged_by_its_primary_part(extended: int) -> None:
    """BUSY_SNAPSHOT passes as BUSY does; READONLY, INTERRUPT, PERM and the rest do not."""
    answered = set()
    for code in range(1, 27):
        driver = sqlite3.OperationalError("the text")
        driver.sqlite_errorcode = code | extended
        if ErrorMap(libraries=["sqlalchemy"]).failure_for(OperationalError("SELECT 1", {}, driver)):
            answered.add(code)

    assert answered == SQLITE_TRANSIENT
    assert {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    } == SQLITE_TRANSIENT


def test_lost_connection_passes_whatever_the_driver_says_of_it() -> None:
    """SQLAlchemy's dialects know better than the number."""
    errors = ErrorMap(libraries=["sqlalchemy"])

    for driver in (DriverError(1146, "no table"), sqlite3.OperationalError("no active connection")):
        lost = OperationalError("SELECT 1", {}, driver, connection_invalidated=True)
        assert type(errors.failure_for(lost)) is ServiceUnavailableError


@pytest.mark.parametrize("number", sorted(MYSQL_MISTAKES))
def test_mistake_that_mysql_names_is_a_crash(number: int) -> None:
    """Though the driver's class is that of a database which is out of reach."""
    assert ErrorMap(libraries=["sqlalchemy"]).failure_for(caught(driver_says(number, "the text"))) is None


@pytest.mark.parametrize(
    "args",
    [(1205, "lock wait"), (1213, "deadlock"), (1040, "too many"), ("server closed",), ({"C": "57P01"},), ()],
    ids=["lock wait", "deadlock", "connections", "text", "mapping", "nothing"],
)
def test_what_other_drivers_say_passes(args: tuple[object, ...]) -> None:
    """Deadlocks and waits of MySQL, the texts of psycopg, the mapping of pg8000."""
    found = ErrorMap(libraries=["sqlalchemy"]).failure_for(caught(driver_says(*args)))

    assert type(found) is ServiceUnavailableError


class Unanswered(httpx.HTTPStatusError):
    """As test doubles make them: without what the class promises."""

    def __init__(self) -> None:
        Exception.__init__(self, "no response")


class Emptied(botocore.exceptions.ClientError):  # type: ignore[misc]
    """With a response that something has emptied meanwhile: botocore itself cannot make one of it."""

    def __init__(self) -> None:
        super().__init__({"Error": {}}, "PutItem")
        self.response["Error"] = None


@pytest.mark.parametrize(
    ("library", "exc"),
    [
        ("httpx", Unanswered()),
        ("botocore", Emptied()),
        ("botocore", botocore.exceptions.ClientError({"Error": {"Code": ["x"]}}, "PutItem")),
    ],
    ids=["no response", "no error", "code no text"],
)
@pytest.mark.parametrize(
    "rules", [{}, {OSError: ForbiddenError, Exception: ForbiddenError}], ids=["alone", "rules"]
)
def test_row_that_breaks_leaves_the_crash_what_it_is(
    library: str, exc: Exception, rules: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As a rule that breaks: it is logged, nothing else is asked, and the service's own exception is raised again."""
    app = Starlette(routes=[Route("/", throw(exc))])
    install(app, errors=ErrorMap(rules, libraries=[library]))

    done = exchange(app)

    assert (done.status, strict_json(done.body), done.raised) == (500, CRASH, exc)
    assert {record.event_name for record in records_of(caplog)} == {"envelope.error.rule_failed"}
    assert all(record.exception == type(exc).__qualname__ and record.exc_info for record in records_of(caplog))


@pytest.mark.parametrize(
    ("library", "exc"),
    [
        ("sqlalchemy", caught(several_found)),
        ("httpx", caught(lambda: httpx.get("no-scheme"))),
        ("jwt", caught(lambda: jwt.encode({}, None, "HS256"))),  # type: ignore[arg-type]
        ("botocore", caught(aws_without_credentials)),
        ("redis", redis.ResponseError("wrong type")),
        ("timeouts", OSError("no space left")),
    ],
    ids=["several rows", "no URL", "no key", "no credentials", "wrong type", "disk"],
)
def test_mistake_of_the_service_stays_a_crash(library: str, exc: Exception) -> None:
    """What is not in the table is raised again, for error trackers."""
    assert ErrorMap(libraries=[library]).failure_for(exc) is None


def test_exception_of_a_library_that_was_not_named_is_a_crash() -> None:
    """Nothing is answered that nobody asked for."""
    assert ErrorMap(libraries=["httpx"]).failure_for(caught(duplicate)) is None


def test_log_holds_the_statement_unless_its_parameters_are_hidden(caplog: pytest.LogCaptureFixture) -> None:
    """As the page says: what SQLAlchemy writes into its text is in the log, and hide_parameters keeps it out."""
    errors = ErrorMap(libraries=["sqlalchemy"])

    errors.failure_for(caught(lambda: duplicate("open secret")))
    shown = caplog.text
    caplog.clear()
    with database(hide_parameters=True) as engine, Session(engine) as session:
        session.add(Row(id=1, name="kept secret"))
        session.flush()
        again = sqlalchemy.insert(Row).values(id=1, name="kept secret")
        errors.failure_for(caught(lambda: session.execute(again)))

    assert "open secret" in shown
    assert "IntegrityError" in caplog.text
    assert "kept secret" not in caplog.text


# ------------------------------------------------------------------------------------------- which answer wins


class DomainIntegrityError(IntegrityError):
    """A class of the service's own, below one of the table."""


INTEGRITY = IntegrityError("INSERT", {}, Exception())


@pytest.mark.parametrize(
    ("exc", "rules", "status"),
    [
        (INTEGRITY, {IntegrityError: ForbiddenError}, 403),
        (INTEGRITY, {SQLAlchemyError: ForbiddenError}, 409),
        (INTEGRITY, {Exception: ForbiddenError}, 409),
        (DomainIntegrityError("INSERT", {}, Exception()), {}, 409),
        (DomainIntegrityError("INSERT", {}, Exception()), {DomainIntegrityError: ForbiddenError}, 403),
        (DomainIntegrityError("INSERT", {}, Exception()), {IntegrityError: ForbiddenError}, 403),
        (caught(statement_wrong), {SQLAlchemyError: ForbiddenError}, 403),
        (redis.AuthenticationError(), {redis.ConnectionError: ForbiddenError}, 403),
        (redis.AuthenticationError(), {redis.RedisError: ForbiddenError}, 403),
    ],
    ids=[
        "rule for the class",
        "rule for a base class",
        "rule for Exception",
        "subclass",
        "rule for the subclass",
        "rule for the class, subclass raised",
        "rule above a row that does not apply",
        "rule above a crash",
        "rule high above a crash",
    ],
)
def test_most_specific_class_wins_and_rules_before_libraries(
    exc: Exception, rules: dict[Any, Any], status: int
) -> None:
    """Where the library's row says "a crash", rules for base classes still count, other rows do not."""
    found = ErrorMap(rules, libraries=["sqlalchemy", "redis"]).failure_for(exc)

    assert found is not None
    assert found.status_code == status


@pytest.mark.parametrize(
    ("handled", "status"), [(IntegrityError, 418), (SQLAlchemyError, 409)], ids=["same class", "base class"]
)
def test_handler_of_the_application_wins_for_the_same_class_only(handled: type[Exception], status: int) -> None:
    """As with rules: Starlette takes the handler of the most specific class."""

    async def handle(request: object, exc: Exception) -> PlainTextResponse:
        return PlainTextResponse("a teapot", 418)

    app = Starlette(routes=[Route("/", throw(INTEGRITY))], exception_handlers={handled: handle})
    install(app, errors=ErrorMap(libraries=["sqlalchemy"]))

    assert exchange(app).status == status


def test_handler_for_a_base_class_gets_what_the_libraries_do_not_answer() -> None:
    """A row that says "a crash" takes nothing from the application's own handler."""
    handled: list[Exception] = []

    async def handle(request: object, exc: Exception) -> PlainTextResponse:
        handled.append(exc)
        return PlainTextResponse("a teapot", 418)

    denied = redis.AuthenticationError()
    app = Starlette(routes=[Route("/", throw(denied))], exception_handlers={redis.ConnectionError: handle})
    install(app, errors=ErrorMap(libraries=["redis"]))

    assert exchange(app).status == 418
    assert handled == [denied]


# ------------------------------------------------------------------------------------------- where it is raised


def test_fastapi_answers_what_a_dependency_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Also behind ``yield``, after the endpoint; there is one record."""
    app = fastapi.FastAPI()
    install(app, errors=ErrorMap(libraries=["sqlalchemy"]))

    def session() -> Iterator[None]:
        yield
        raise INTEGRITY

    @app.get("/")
    def endpoint(used: None = fastapi.Depends(session, scope="function")) -> None:
        return None

    response = client_of(app).get("/")

    assert response.json() == failure(409, ConflictError.message)
    assert len(records_of(caplog)) == 1


def test_group_with_one_exception_of_a_library_is_answered() -> None:
    """As task groups raise them."""
    app = Starlette(routes=[Route("/", throw(ExceptionGroup("one", [INTEGRITY])))])
    install(app, errors=ErrorMap(libraries=["sqlalchemy"]))

    assert exchange(app).status == 409


def test_websocket_is_denied() -> None:
    """Before it is accepted."""
    app = Starlette(routes=[WebSocketRoute("/", throw_at_websocket)])
    install(app, errors=ErrorMap(libraries=["sqlalchemy"]))

    with pytest.raises(WebSocketDenialResponse) as denied, TestClient(app).websocket_connect("/"):
        pass

    assert denied.value.json() == failure(409, ConflictError.message)


async def throw_at_websocket(websocket: object) -> None:
    raise INTEGRITY


def test_library_that_is_imported_late_is_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette knows nothing of its classes then; the middleware does."""
    app = Starlette(routes=[Route("/", throw(INTEGRITY))])
    install(app, errors=ErrorMap(libraries=["sqlalchemy"]))
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "sqlalchemy.exc")
        app.middleware_stack = app.build_middleware_stack()

    done = exchange(app)

    assert (done.status, done.raised) == (409, None)


def test_other_frameworks_have_the_answers_too() -> None:
    """With the middleware alone, and a map that has nothing but libraries none of which is imported yet."""
    program = """
import asyncio, sys
from envelope import EnvelopeMiddleware, ErrorMap
async def app(scope, receive, send):
    import jwt
    raise jwt.ExpiredSignatureError
async def send(message):
    print(message.get("status"))
async def main():
    wrapped = EnvelopeMiddleware(app, errors=ErrorMap(libraries=["jwt"]))
    assert "jwt" not in sys.modules
    await wrapped({"type": "http", "method": "GET", "path": "/", "headers": []}, None, send)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split()[0] == "401"


# ------------------------------------------------------------------------------------------- what it costs


def test_nothing_is_imported() -> None:
    """Neither by naming all libraries, nor by installing the map, nor by looking an exception up."""
    program = """
import sys
from starlette.applications import Starlette
from envelope import ErrorMap, install
from envelope.errors.libraries import LIBRARIES
before = {name.partition(".")[0] for name in sys.modules}
app = Starlette()
errors = ErrorMap(libraries=list(LIBRARIES))
install(app, errors=errors)
app.build_middleware_stack()
errors.failure_for(ValueError())
print(*sorted({name.partition(".")[0] for name in sys.modules} & set(LIBRARIES) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_classes_that_are_made_at_run_time_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """botocore makes some for each client; whoever throws the client away gets the memory back."""
    caplog.set_level(logging.CRITICAL, "envelope.errors")  # pytest keeps records, and with them exceptions
    errors = ErrorMap(libraries=["botocore"])
    made = type("Made", (botocore.exceptions.ClientError,), {})
    response = {"Error": {"Code": "ThrottlingException", "Message": "m"}}
    assert type(errors.failure_for(made(response, "o"))) is ServiceUnavailableError

    left = weakref.ref(made)
    del made
    gc.collect()

    assert left() is None


# ------------------------------------------------------------------------------------------- the option


@pytest.mark.parametrize("libraries", ["sqlalchemy", None, 1, object()], ids=["text", "None", "number", "object"])
def test_libraries_that_are_no_list_are_refused(libraries: object) -> None:
    """A lone text is what people write first; the message lists what is known."""
    with pytest.raises(ConfigurationError, match=r"list of libraries.*known: sqlalchemy, httpx"):
        ErrorMap(libraries=libraries)  # type: ignore[arg-type]


@pytest.mark.parametrize("library", ["boto3", "", "SQLAlchemy", httpx, None, ["jwt"]], ids=repr)
def test_library_that_is_unknown_is_refused(library: object) -> None:
    """With the list of those that are known."""
    with pytest.raises(ConfigurationError, match=r"no answers for .*known: sqlalchemy, httpx, .*botocore"):
        ErrorMap(libraries=["jwt", library])  # type: ignore[list-item]


def test_map_of_libraries_alone_is_not_empty() -> None:
    """Whoever asks ``errors or ErrorMap()`` keeps it; an empty one is empty."""
    errors = ErrorMap(libraries=["sqlalchemy", "redis"])

    assert errors
    assert not ErrorMap()
    assert IntegrityError in set(errors)
    assert redis.AuthenticationError not in set(errors)
    assert len(errors) == len(list(errors)) > 5
    assert repr(errors) == "ErrorMap({}, libraries=['sqlalchemy', 'redis'])"
    assert repr(ErrorMap()) == "ErrorMap({})"


def test_class_with_a_rule_is_given_once() -> None:
    """Though its library names it too."""
    errors = ErrorMap({IntegrityError: NotFoundError}, libraries=["sqlalchemy"])

    assert list(errors).count(IntegrityError) == 1


def test_name_that_is_no_exception_is_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is half imported, or that has another thing by that name, gives None."""
    monkeypatch.setattr("sqlalchemy.exc.IntegrityError", "not a class")

    assert find_class("sqlalchemy.exc.IntegrityError") is None
    assert find_class("sqlalchemy.exc.NoSuchThing") is None
    assert find_class("no.such.module.Error") is None
    assert find_class("builtins.int") is None


def test_middleware_takes_a_map_of_libraries() -> None:
    """Its own check of the option lets it through."""
    assert EnvelopeMiddleware(Starlette(), errors=ErrorMap(libraries=["timeouts"])) is not None
