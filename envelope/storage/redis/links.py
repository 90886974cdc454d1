"""From a URL to a link: something that carries commands to a server, or to the servers of a cluster, and back.

The client libraries connect, authenticate, encrypt, ask the Sentinels and follow a cluster's slots. They are told
not to retry: a script that was sent twice would count twice, and time is short.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from envelope.errors.tree import ConfigurationError
from envelope.storage.errors import ForeignKeyError, StorageUnavailableError
from envelope.storage.redis.errands import Command

#: Scheme -> client library, and the scheme that its own URLs have.
_SCHEMES = {
    "redis": ("redis", "redis"),
    "rediss": ("redis", "rediss"),
    "valkey": ("valkey", "valkey"),
    "valkeys": ("valkey", "valkeys"),
}


#: Options of the Sentinels themselves begin with this.
_OWN = "sentinel_"

#: How long a Sentinel or a cluster's server may take to say who is there, before the next is asked; seconds.
_PATIENCE_S = 0.25

#: How long closing may take; seconds.
_FAREWELL_S = 1.0

#: The share of the time for an exchange that one server of a cluster may take.
_SHARE = 0.7


#: What stands behind the host: nothing, or a number.
_DATABASE = re.compile(r"(/\d*)?")


class Link(Protocol):
    """Carries commands; one exchange at a time.

    Attributes:
        is_worn: Some of the servers behind it were lost; another link may find those that took their place.
    """

    is_worn: bool

    def is_lost(self) -> bool:
        """Tell whether the other side has hung up while nothing was under way."""

    async def exchange(self, commands: Sequence[Command]) -> None:
        """Send commands, and finish or fail each.

        Raises:
            Exception: Whatever a client library raises. Nothing is known of what is neither finished nor
                failed, and the link is of no use any more.
        """

    async def close(self) -> None:
        """Close the link."""


#: Connects anew, for the running event loop.
Connect = Callable[[], Awaitable[Link]]


def plan_connection(url: str, timeout_s: float) -> Connect:
    """Read a URL; nothing is connected yet.

    Args:
        url: Where the server, the Sentinels or the cluster are.
        timeout_s: How long an exchange may take.

    Raises:
        ConfigurationError: The client library is not installed, or refuses the URL.
    """
    parts = urlsplit(url)
    scheme, _, form = parts.scheme.partition("+")
    library, own_scheme = _SCHEMES[scheme]
    client = _import(library)
    where = parts._replace(scheme="unix" if form == "unix" else own_scheme)
    try:
        if form == "cluster":
            return _plan_cluster(client, where, timeout_s)
        if form == "sentinel":
            return _plan_sentinel(client, where)
        return _plan_single(client, where)
    except Exception as error:  # noqa: BLE001 - the client library's own, or of Python
        # Not the whole URL, which may hold a password.
        raise ConfigurationError(f"storage {parts.scheme}://{parts.hostname}: {error}") from None


def is_cluster(url: str) -> bool:
    """Tell whether a URL names a cluster, in which only keys of one slot are changed together."""
    return urlsplit(url).scheme.endswith("+cluster")


def _import(library: str) -> Any:
    try:
        client = importlib.import_module(f"{library}.asyncio")
        importlib.import_module(f"{library}.asyncio.cluster")
    except ImportError as error:
        raise ConfigurationError(
            f"the storage needs the package {library!r}: install asgi-envelope[{library}]"
        ) from error
    return client


def _options(client: Any) -> dict[str, Any]:
    library = client.__name__.partition(".")[0]
    retry = importlib.import_module(f"{library}.asyncio.retry").Retry
    no_backoff = importlib.import_module(f"{library}.backoff").NoBackoff
    # Deadlines are ours; RESP2 spares the greeting, and the pushes that some clients ask for in RESP3.
    return {"retry": retry(no_backoff(), 0), "socket_timeout": None, "socket_connect_timeout": None, "protocol": 2}


def _plan_single(client: Any, where: SplitResult) -> Connect:
    if where.scheme != "unix" and not _DATABASE.fullmatch(where.path):
        raise ValueError(f"{where.path!r} is no database; write redis://host:6379/0")
    pool = client.ConnectionPool.from_url(where.geturl(), **_options(client))
    return _connector(client, pool)


def _plan_sentinel(client: Any, where: SplitResult) -> Connect:
    service, _, database = where.path.strip("/").partition("/")
    if not service:
        raise ValueError("name the service: redis+sentinel://host:26379/mymaster")
    query = dict(parse_qsl(where.query))
    own = {name.removeprefix(_OWN): query.pop(name) for name in list(query) if name.startswith(_OWN)}
    options = _options(client) | _parse(client, where._replace(path=f"/{database}", query=urlencode(query)))
    # A Sentinel that hangs is passed over.
    patience = {"socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S}
    own_options = (
        _options(client) | patience | _parse(client, where._replace(netloc="", path="", query=urlencode(own)))
    )

    def make_sentinel() -> Any:
        return client.Sentinel(_hosts(where, 26379), sentinel_kwargs=own_options, **options)

    async def connect() -> Link:
        sentinel = make_sentinel()
        try:
            pool = sentinel.master_for(service).connection_pool
            return await _connector(client, pool)()
        finally:
            for each in sentinel.sentinels:
                await each.aclose()

    pool = make_sentinel().master_for(service).connection_pool
    pool.make_connection()  # connects nothing, and refuses options that are none
    return connect


def _plan_cluster(client: Any, where: SplitResult, timeout_s: float) -> Connect:
    # A server that hangs fails what is for it before those who share its trip run out of time.
    patience = {"socket_timeout": timeout_s * _SHARE, "socket_connect_timeout": max(timeout_s, _PATIENCE_S)}
    options = _options(client) | patience | _parse(client, where)
    cluster = importlib.import_module(f"{client.__name__}.cluster")
    make = getattr(client, "RedisCluster", None) or client.ValkeyCluster
    hosts = _hosts(where, 6379)

    def make_cluster() -> Any:
        return make(startup_nodes=[cluster.ClusterNode(host, port) for host, port in hosts], **options)

    async def connect() -> Link:
        client_of_all = make_cluster()
        is_connected = False
        try:
            await client_of_all.initialize()
            is_connected = True
        finally:
            if not is_connected:
                await client_of_all.aclose()
        return _ClusterLink(client, client_of_all)

    make_cluster()  # connects nothing, and refuses options that are none
    return connect


def _hosts(where: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = where.netloc.rpartition("@")[2].split(",")
    parsed = [urlsplit(f"//{host}") for host in hosts]
    return [(host.hostname or "localhost", host.port or default_port) for host in parsed]


def _parse(client: Any, where: SplitResult) -> dict[str, Any]:
    """Read what a URL says beside its hosts, as the client library reads it."""
    auth, at, _ = where.netloc.rpartition("@")
    url = where._replace(netloc=f"{auth}{at}host").geturl()
    options: dict[str, Any] = dict(importlib.import_module(f"{client.__name__}.connection").parse_url(url))
    is_encrypted = "connection_class" in options
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    return options | ({"ssl": True} if is_encrypted else {})


def _connector(client: Any, pool: Any) -> Connect:
    pool.connection_kwargs["decode_responses"] = False  # whatever the URL says
    pool.make_connection()  # connects nothing, and refuses options that are none

    async def connect() -> Link:
        connection = pool.make_connection()
        is_connected = False
        try:
            await connection.connect()
            is_connected = True
        finally:
            if not is_connected:
                await connection.disconnect(nowait=True)
        return _ConnectionLink(client, connection, pool)

    return connect


class _ConnectionLink:
    """One connection, on which commands are written and read by hand: the client's own way costs twice as much.

    Args:
        client: The client library.
        connection: Of that library, connected.
        pool: The connection's; it asks it who the primary is.
    """

    is_worn = False  # without its only server it is lost

    def __init__(self, client: Any, connection: Any, pool: Any) -> None:
        self._connection = connection
        self._pool = pool
        self._errors = _errors_of(client)

    def is_lost(self) -> bool:
        # What the client offers publicly would read from the connection.
        reader: asyncio.StreamReader | None = getattr(self._connection, "_reader", None)
        return reader is not None and (reader.at_eof() or reader.exception() is not None)

    async def exchange(self, commands: Sequence[Command]) -> None:
        await self._connection.send_packed_command(b"".join([command.encode() for command in commands]))
        unknown = []
        for command in commands:
            try:
                await self._receive(command)
            except self._errors.NoScriptError:
                unknown.append(command)
        for command in unknown:  # the server was restarted, or flushed its scripts
            await self._connection.send_packed_command(command.encode(with_text=True))
            await self._receive(command)

    async def _receive(self, command: Command) -> None:
        try:
            command.finish(await self._connection.read_response(disable_decoding=True))
        except self._errors.ResponseError as error:
            if not _is_about_a_key(error):
                raise
            command.fail(ForeignKeyError("what lies under a key is not ours"))

    async def close(self) -> None:
        with suppress(TimeoutError):  # TLS waits for the other side's farewell
            async with asyncio.timeout(_FAREWELL_S):
                await self._connection.disconnect()


class _ClusterLink:
    """A cluster's client: what travels together goes to each server in one write, and fails with it only."""

    def __init__(self, client: Any, cluster: Any) -> None:
        self.is_worn = False
        self._cluster = cluster
        self._make_part = importlib.import_module(f"{client.__name__}.cluster").PipelineCommand
        self._errors = _errors_of(client)

    def is_lost(self) -> bool:
        return False  # the client connects to each server anew

    async def exchange(self, commands: Sequence[Command]) -> None:
        # Keys of different slots cannot share a command.
        by_server: dict[str, tuple[Any, list[Command]]] = {}
        for command in commands:
            for errand in command.errands:
                server = self._cluster.get_node_from_key(errand.keys[0])
                _, for_server = by_server.setdefault(server.name, (server, []))
                for_server.append(Command(command.script, [errand]))
        await asyncio.gather(*(self._ask(server, mine) for server, mine in by_server.values()))

    async def _ask(self, server: Any, commands: Sequence[Command], *, with_text: bool = False) -> None:
        parts = [self._make_part(index, *_call(command, with_text)) for index, command in enumerate(commands)]
        try:
            await server.execute_pipeline(parts)
        except Exception as error:  # noqa: BLE001 - whatever a client library raises
            self._fail(commands, error)
            return
        unknown = []
        for command, part in zip(commands, parts, strict=True):
            if isinstance(part.result, self._errors.NoScriptError):
                unknown.append(command)
            elif isinstance(part.result, self._errors.AskError | self._errors.TryAgainError):  # or MovedError
                await self._ask_elsewhere(command)
            elif isinstance(part.result, Exception) and _is_about_a_key(part.result):
                command.fail(ForeignKeyError("what lies under a key is not ours"))
            elif isinstance(part.result, Exception):
                self._fail([command], part.result)
            else:
                command.finish(part.result)
        if unknown:  # the server was restarted, or flushed its scripts
            await self._ask(server, unknown, with_text=True)

    async def _ask_elsewhere(self, command: Command) -> None:
        """Send a command where its slot has moved to; the client finds out, and remembers."""
        try:
            command.finish(await self._cluster.execute_command(*_call(command, True)))
        except Exception as error:  # noqa: BLE001 - whatever a client library raises
            self._fail([command], error)

    def _fail(self, commands: Sequence[Command], error: Exception) -> None:
        self.is_worn = True
        for command in commands:
            command.fail(StorageUnavailableError(f"{type(error).__name__}: {error}", incident=error))

    async def close(self) -> None:
        await self._cluster.aclose()


def _call(command: Command, with_text: bool) -> list[Any]:
    (errand,) = command.errands
    script = ("EVAL", command.script.text) if with_text else ("EVALSHA", command.script.sha)
    return [*script, len(errand.keys), *errand.keys, *errand.arguments.values]


def _is_about_a_key(error: Exception) -> bool:
    """Tell whether a script failed at a value that no script of ours has written: another type, or no number."""
    return any(words in str(error) for words in ("WRONGTYPE", "attempt to "))


def _errors_of(client: Any) -> Any:
    return importlib.import_module(f"{client.__name__.partition('.')[0]}.exceptions")
