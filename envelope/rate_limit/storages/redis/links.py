"""From a URL to a link: something that carries commands to a server, or to the servers of a cluster, and back.

The client libraries connect, authenticate, encrypt, ask the Sentinels and follow a cluster's slots. They are told
not to retry: a script that was sent twice would count twice, and time is short.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.storages.redis.errands import Command

#: Scheme -> client library, and the scheme that its own URLs have.
_SCHEMES = {
    "redis": ("redis", "redis"),
    "rediss": ("redis", "rediss"),
    "valkey": ("valkey", "valkey"),
    "valkeys": ("valkey", "valkeys"),
}


class LinkLostError(Exception):
    """The connection was closed, by the other side or by what is in between."""


class Link(Protocol):
    """Carries commands; one exchange at a time."""

    async def exchange(self, commands: Sequence[Command]) -> None:
        """Send commands and finish each.

        Raises:
            LinkLostError: The connection was closed.
            Exception: Anything else that a client library raises. Nothing is known of what is not finished, and
                the link is of no use any more.
        """

    async def close(self) -> None:
        """Close the link."""


#: Connects anew, for the running event loop.
Connect = Callable[[], Awaitable[Link]]


def plan_connection(url: str) -> Connect:
    """Read a URL; nothing is connected yet.

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
            return _plan_cluster(client, where)
        if form == "sentinel":
            return _plan_sentinel(client, where)
        return _plan_single(client, where)
    except (ValueError, TypeError) as error:
        # Not the whole URL, which may hold a password.
        raise ConfigurationError(f"storage {parts.scheme}://{parts.hostname}: {error}") from error


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
    pool = client.ConnectionPool.from_url(where.geturl(), **_options(client))
    return _connector(client, pool)


def _plan_sentinel(client: Any, where: SplitResult) -> Connect:
    service, _, database = where.path.strip("/").partition("/")
    if not service:
        raise ValueError("name the service: redis+sentinel://host:26379/mymaster")
    query = parse_qsl(where.query)
    sentinel_options = {
        name.removeprefix("sentinel_"): value for name, value in query if name.startswith("sentinel_")
    }
    query = [(name, value) for name, value in query if not name.startswith("sentinel_")]
    options = _parse(client, where._replace(path=f"/{database}", query=urlencode(query)))
    options = _options(client) | options
    sentinel = client.Sentinel(
        _hosts(where, 26379), sentinel_kwargs=_options(client) | sentinel_options, **options
    )
    return _connector(client, sentinel.master_for(service).connection_pool)


def _plan_cluster(client: Any, where: SplitResult) -> Connect:
    options = _options(client) | _parse(client, where)
    cluster = importlib.import_module(f"{client.__name__}.cluster")
    make = getattr(client, "RedisCluster", None) or client.ValkeyCluster
    hosts = _hosts(where, 6379)

    def make_cluster() -> Any:
        return make(startup_nodes=[cluster.ClusterNode(host, port) for host, port in hosts], **options)

    async def connect() -> Link:
        return _ClusterLink(client, await make_cluster().initialize())

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
        return _ConnectionLink(client, connection)

    return connect


class _ConnectionLink:
    """One connection, on which commands are written and read by hand: the client's own way costs twice as much."""

    def __init__(self, client: Any, connection: Any) -> None:
        self._connection = connection
        self._errors = _errors_of(client)

    async def exchange(self, commands: Sequence[Command]) -> None:
        try:
            await self._exchange(commands)
        except self._errors.ConnectionError as error:
            raise LinkLostError(str(error)) from error

    async def _exchange(self, commands: Sequence[Command]) -> None:
        await self._connection.send_packed_command(b"".join([command.encode() for command in commands]))
        unknown = []
        for command in commands:
            try:
                command.finish(await self._connection.read_response(disable_decoding=True))
            except self._errors.NoScriptError:
                unknown.append(command)
        for command in unknown:  # the server was restarted, or flushed its scripts
            await self._connection.send_packed_command(command.encode(with_text=True))
            command.finish(await self._connection.read_response(disable_decoding=True))

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)


class _ClusterLink:
    """A cluster's client: what travels together goes to each server in one pipeline."""

    def __init__(self, client: Any, cluster: Any) -> None:
        self._cluster = cluster
        self._errors = _errors_of(client)

    async def exchange(self, commands: Sequence[Command]) -> None:
        # Keys of different slots cannot share a command.
        single = [Command(command.script, [errand]) for command in commands for errand in command.errands]
        try:
            unknown = await self._send(single, with_text=False)
            if unknown:
                await self._send(unknown, with_text=True)
        except self._errors.ConnectionError as error:
            raise LinkLostError(str(error)) from error

    async def _send(self, commands: Sequence[Command], *, with_text: bool) -> list[Command]:
        """Send commands, and give those whose script a server does not know."""
        pipeline = self._cluster.pipeline()
        for command in commands:
            (errand,) = command.errands
            name, script = ("EVAL", command.script.text) if with_text else ("EVALSHA", command.script.sha)
            pipeline.execute_command(name, script, len(errand.keys), *errand.keys, *errand.arguments.values)
        replies = await pipeline.execute(raise_on_error=False)
        unknown = []
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, self._errors.NoScriptError):
                unknown.append(command)
            elif isinstance(reply, Exception):
                raise reply
            else:
                command.finish(reply)
        return unknown

    async def close(self) -> None:
        await self._cluster.aclose()


def _errors_of(client: Any) -> Any:
    return importlib.import_module(f"{client.__name__.partition('.')[0]}.exceptions")
