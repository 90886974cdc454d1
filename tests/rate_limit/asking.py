"""What the tests of the rate limits share: time that stands still, limiters that count by it, and questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import http_sf
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envelope import RateLimiter, install
from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.verdicts import Change, Demand, Verdict
from tests.wire.apps import Exchange, exchange, failure, strict_json
from tests.wire.asgi import http_scope

STRATEGIES: tuple[Strategy, ...] = ("sliding-window-counter", "fixed-window", "moving-window")

#: The convention's own text.
TEXT = "You have reached the request rate limit. Try your request again later."
REFUSED = failure(429, TEXT)

LEGACY = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
DRAFT = ("ratelimit-policy", "ratelimit")


class FakeClock:
    """Milliseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, *, s: int = 0, ms: int = 0) -> None:
        self.now_ms += s * 1000 + ms


def limiter_of(
    *limits: Any, clock: FakeClock | None = None, strategy: Strategy = "sliding-window-counter", **options: Any
) -> RateLimiter:
    """Make a limiter in memory; its windows begin with its first request, because they lie in one shard."""
    storage = MemoryStorage(strategy, max_keys=1000, clock=clock or FakeClock())
    return RateLimiter(*limits, storage=storage, strategy=strategy, **options)


class ScriptedStorage:
    """A storage that answers every decision with the same figures, and writes down what it was asked.

    Attributes:
        decided: The demands of each decision.
        settled: The changes of each settlement.
    """

    def __init__(
        self, remaining: Sequence[int], resets_ms: Sequence[int], waits_ms: Sequence[int] | None = None
    ) -> None:
        self._figures = [*remaining], [*resets_ms], waits_ms and [*waits_ms]
        self.decided: list[list[Demand]] = []
        self.settled: list[list[Change]] = []

    def check(self, quota: Quota) -> None:
        pass

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        self.decided.append(list(demands))
        remaining, resets_ms, waits_ms = self._figures
        return Verdict(self, demands, [*remaining], [*resets_ms], waits_ms, max(waits_ms or [0]), None)

    async def settle(self, changes: Sequence[Change], taken_at: Any) -> None:
        self.settled.append(list(changes))

    async def reset(self, subject: str) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Answer(NamedTuple):
    """A response to a request as its client sees it.

    Attributes:
        status: Of the response.
        fields: Its headers with their names as they stood on the wire.
        body: All bytes of it.
    """

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    def __getattr__(self, name: str) -> str | None:
        """Give a header by its name with "_" for "-"; None if it is not there, and never two of them."""
        values = self.all(name.replace("_", "-"))
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return strict_json(self.body)

    @property
    def figures(self) -> dict[str, tuple[int, int]]:
        """What ``RateLimit`` says of each policy: what remains, and the seconds until there is more."""
        return {name: (params["r"], params["t"]) for name, params in read_list(self.ratelimit)}

    @property
    def left(self) -> dict[str, int]:
        """What remains, by the policy's name."""
        return {name: remaining for name, (remaining, _) in self.figures.items()}

    @property
    def wait_s(self) -> int:
        assert self.retry_after is not None
        assert self.retry_after.isdecimal()
        return int(self.retry_after)


def read_list(field: str | bytes | None) -> list[tuple[str, dict[str, Any]]]:
    """Read a list of RFC 9651 whose members are items with parameters."""
    assert field is not None
    raw = field if isinstance(field, bytes) else field.encode("latin-1")
    return http_sf.parse(raw, tltype="list")  # type: ignore[return-value]


def answer_of(done: Exchange) -> Answer:
    """Read the messages of one response."""
    (start,) = (message for message in done.sent if message["type"] == "http.response.start")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return Answer(done.status, fields, done.body)


def ask(app: ASGIApp, path: str = "/", **options: Any) -> Answer:
    """Send one request, which may not raise; options are those of ``exchange``."""
    done = exchange(app, path, **options)
    if done.raised is not None:
        raise done.raised
    return answer_of(done)


def crash(app: ASGIApp, path: str = "/", **options: Any) -> tuple[Answer, Exception]:
    """Send one request, which has to raise, and give what the client saw and what the server saw."""
    done = exchange(app, path, **options)
    assert isinstance(done.raised, Exception)
    return answer_of(done), done.raised


async def one(request: Request) -> JSONResponse:
    return JSONResponse(1)


def app_of(limiter: RateLimiter | None, *routes: BaseRoute, **options: Any) -> Starlette:
    """Make an application with a limiter; without routes it has one that answers all methods at ``/``."""
    methods = ["GET", "POST", "PUT", "OPTIONS"]
    app = Starlette(routes=list(routes) or [Route("/", one, methods=methods)])
    install(app, rate_limiter=limiter, **options)
    return app


def by_header(name: str) -> Any:
    """Make a key or limit that is what the client writes into a header; None if it writes nothing."""

    def read(connection: HTTPConnection) -> str | None:
        return connection.headers.get(name)

    return read


def cost_by_header(connection: HTTPConnection) -> int:
    return int(connection.headers.get("x-cost", "1"))


def request_of(client: str = "192.0.2.1", headers: Mapping[str, str] | None = None) -> Request:
    """Make a request that no application has seen."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request(http_scope(client=(client, 1), headers=raw))


def seconds(ms: float) -> int:
    return math.ceil(ms / 1000)


def websocket_scope(path: str = "/", *, denial: bool = False, **more: Any) -> Scope:
    scope = http_scope(path=path)
    del scope["method"]
    extensions: dict[str, Any] = {"websocket.http.response": {}} if denial else {}
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": extensions, **more}


class RawApp:
    """An application of no framework that sends these messages as they are."""

    def __init__(self, *messages: Message) -> None:
        self.messages: Sequence[Message] = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for message in self.messages:
            await send(message)
