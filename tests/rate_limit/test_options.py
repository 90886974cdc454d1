"""Options: what cannot be right is refused when the limiter is made or the application is put together."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route, WebSocketRoute

from envelope import ClientAddress, ConfigurationError, RateLimiter, RouteLimit, install
from envelope.rate_limit.storages.memory import MemoryStorage
from tests.rate_limit.asking import ScriptedStorage, app_of, ask, limiter_of, one


def _refused(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        make()
    return str(refused.value)


def _no_limit(connection: HTTPConnection) -> str | None:
    return None


# Each text says what was seen, and what to do


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"strategy": "sliding"},
            ["strategy is 'sliding'", "sliding-window-counter", "fixed-window", "moving-window"],
        ),
        ({"strategy": None}, ["strategy is None", "fixed-window"]),
        ({"headers": "draft-11"}, ["headers is 'draft-11'", "'both'", "'legacy'", "'draft'", "'none'"]),
        ({"headers": True}, ["headers is True"]),
        ({"headers": ["both"]}, ["headers is ['both']", "'both'"]),
        ({"on_outage": "open"}, ["on_outage is 'open'", "'local'", "'allow'", "'deny'"]),
        ({"timeout_s": 0}, ["timeout_s is 0", "above 0"]),
        ({"timeout_s": -1}, ["timeout_s is -1"]),
        ({"timeout_s": float("nan")}, ["timeout_s is nan"]),
        ({"timeout_s": "1"}, ["timeout_s is '1'"]),
        ({"timeout_s": True}, ["timeout_s is True"]),
        ({"timeout_s": None}, ["timeout_s is None"]),
        ({"max_keys": 0}, ["max_keys is 0"]),
        ({"max_keys": -5}, ["max_keys is -5"]),
        ({"max_keys": float("inf")}, ["max_keys is inf"]),
        ({"max_keys": 0.5}, ["max_keys is 0.5"]),
        ({"max_keys": True}, ["max_keys is True"]),
        ({"cost": -1}, ["a cost is -1", "0 or more"]),
        ({"cost": 1.5}, ["a cost is 1.5"]),
        ({"cost": True}, ["a cost is True"]),
        ({"cost": None}, ["None"]),
        ({"cost": "1"}, ["a cost is '1'"]),
        ({"cost": 21}, ["a cost of 21", "'20/minute'", "raise the limit or lower the cost"]),
        ({"key": "x-api-key"}, ["key is 'x-api-key'", "function"]),
        ({"key": None}, ["None", "function"]),
        (
            {"storage": "redi://h"},
            ["unknown storage 'redi'", "memory", "redis", "valkey", "memcached", "redis://"],
        ),
        ({"storage": "localhost:6379"}, ["unknown storage 'localhost'", "redis://"]),
        ({"storage": "localhost"}, ["unknown storage", "redis://"]),
        ({"storage": ""}, ["unknown storage ''"]),
        ({"storage": "redis+tls://h"}, ["unknown storage 'redis+tls'"]),
        ({"storage": None}, ["storage is None"]),
        ({"storage": 5}, ["storage is 5"]),
        ({"storage": "redis://h", "namespace": "a b"}, ["namespace is 'a b'"]),
        ({"storage": "redis://h", "namespace": "{a}"}, ["namespace is '{a}'"]),
        ({"storage": "redis://h", "namespace": None}, ["namespace", "None"]),
        ({"storage": "redis://h", "key_secret": 5}, ["key_secret"]),
        ({"storage": "redis://h:port"}, ["storage redis://h", "port"]),
        ({"storage": "redis+sentinel://h:26379"}, ["name the service"]),
    ],
)
def test_wrong_option_is_a_configuration_error(options: dict[str, Any], words: list[str]) -> None:
    """With the value that was seen and what to do about it."""
    text = _refused(lambda: RateLimiter("20/minute", **options))

    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (("often",), ["'often' is no limit", "20/second"]),
        (("",), ["'' is no limit"]),
        (("5/fortnight",), ["'5/fortnight'"]),
        (("5 minutes",), ["'5 minutes'"]),
        (("-5/minute",), ["-5/minute"]),
        (("1.5/minute",), ["1.5/minute"]),
        (("0/minute",), ["'0/minute' admits nothing", "at least 1"]),
        (("5/minute; often",), ["often"]),
        (("999999999999999/year",), ["too large"]),
        ((5,), ["a limit is 5", "'20/second'"]),
        ((None,), ["a limit is None"]),
        ((["5/minute"],), ["['5/minute']"]),
        ((("5/minute", "9/hour"),), ["5/minute"]),
        ((True,), ["a limit is True"]),
        (("5/minute", "5/minute"), ["'5/minute' stands twice", "name="]),
        (("5/minute", "5 per 60 seconds"), ["stands twice"]),
        (("5/minute; 5/minute",), ["stands twice"]),
        (("5/minute", RouteLimit("5/minute", key=_no_limit)), ["stands twice", "name="]),
        ((RouteLimit("5/minute", name="a"), RouteLimit("5/minute", name="a")), ["stands twice for a"]),
        (("5/minute", RouteLimit("20/minute", cost=21)), ["a cost of 21", "20/minute"]),
        ((RouteLimit("5/minute", cost=-1),), ["a cost is -1"]),
        ((RouteLimit("5/minute", key="x"),), ["key is 'x'"]),  # type: ignore[arg-type]
    ],
)
def test_wrong_limit_is_a_configuration_error(limits: tuple[Any, ...], words: list[str]) -> None:
    """A limit that cannot be read would limit nothing, so there is no limiter (STYLE.md, habit 4)."""
    text = _refused(lambda: RateLimiter(*limits))

    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (RouteLimit, ["RouteLimit() has no limits", "RouteLimit('5/minute')"]),
        (lambda: RouteLimit("often"), ["'often' is no limit"]),
        (lambda: RouteLimit(5), ["a limit is 5"]),  # type: ignore[arg-type]
        (lambda: RouteLimit(["5/minute"]), ["['5/minute']"]),  # type: ignore[arg-type]
    ],
)
def test_wrong_route_limit_is_a_configuration_error(make: Callable[[], object], words: list[str]) -> None:
    """Where it is made, not where it is used."""
    text = _refused(make)

    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("shadow", [True, False])
def test_limits_of_the_same_numbers_may_differ_in_name_or_shadow(shadow: bool) -> None:
    """What can be told apart is no duplicate."""
    limiter = limiter_of("5/minute", RouteLimit("5/minute", name="" if shadow else "n", shadow=shadow))

    assert ask(app_of(limiter)).left["5/minute"] == 4


def test_route_may_have_the_same_numbers_as_the_globals() -> None:
    """Its scope tells it apart."""
    assert ask(app_of(limiter_of("5/minute", routes={"GET /": ["5/minute"]}))).left == {
        "5/minute": 4,
        "5/minute GET /": 4,
    }


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ({"POST /x": "5/minute"}, ["routes['POST /x'] is '5/minute'", "give a list: ['5/minute']"]),
        ({"POST /x": []}, ["routes['POST /x'] has no limits", "None exempts"]),
        ({"POST /x": ()}, ["has no limits"]),
        ({"POST /x": ["often"]}, ["'often' is no limit"]),
        ({"POST /x": ["5/minute", "5/minute"]}, ["stands twice for POST /x"]),
        ({"POST /x": 5}, ["routes['POST /x'] is 5"]),
        ({"POST /x": _no_limit}, ["routes['POST /x']", "list"]),
        ({"POST /x": {"5/minute": 1}}, ["routes['POST /x']", "list"]),
        ({"/x": ["5/minute"]}, ["'/x'", "method"]),
        ({"post /x": ["5/minute"]}, ["'post /x'", "capitals"]),
        ({"POST x": ["5/minute"]}, ["'POST x'"]),
        ({"HEAD /x": ["5/minute"]}, ["HEAD counts as GET", "'GET /x'"]),
        ({"FETCH /x": ["5/minute"]}, ["FETCH is none of"]),
        ({"POST /x?a=1": ["5/minute"]}, ["without a query"]),
        ({5: ["5/minute"]}, ["5"]),
    ],
)
def test_wrong_route_table_is_a_configuration_error(routes: Any, words: list[str]) -> None:
    """When the limiter is made, as far as that can be told without the application."""
    text = _refused(lambda: RateLimiter(routes=routes))

    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("routes", [["POST /x"], "POST /x", 5])
def test_route_table_that_is_no_mapping_is_a_configuration_error(routes: Any) -> None:
    """A list of routes has no limits in it."""
    assert "routes" in _refused(lambda: RateLimiter(routes=routes))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("POST /entities/{id}/verify", "POST /entities/{entity_id}/verify"),
        ("GET /entities/{entity_id}/verify", "POST /entities/{entity_id}/verify"),
        ("GET /sub/itens", "GET /sub/items"),
        ("WEBSOCKET /feeds", "WEBSOCKET /feed"),
        ("GET /entities", "GET /entities/"),
    ],
)
def test_route_that_is_not_there_is_a_configuration_error_with_the_nearest(name: str, nearest: str) -> None:
    """A typing error in the table would leave the route without its limit."""

    async def feed(websocket: object) -> None:
        raise AssertionError

    app = app_of(
        limiter_of(routes={name: ["5/minute"]}),
        Route("/entities/{entity_id}/verify", one, methods=["POST"]),
        Route("/entities/", one),
        Mount("/sub", routes=[Route("/items", one)]),
        WebSocketRoute("/feed", feed),
    )

    text = _refused(lambda: ask(app))

    assert repr(name) in text
    assert f"the nearest is {nearest!r}" in text


def test_route_that_is_not_there_is_found_at_startup() -> None:
    """Before the first request: the lifespan fails, and so does the server."""
    from starlette.testclient import TestClient

    app = app_of(limiter_of(routes={"GET /x": ["5/minute"]}))

    with pytest.raises(ConfigurationError, match="GET /x"), TestClient(app):
        pass


@pytest.mark.parametrize("first", ["install", "routes"])
def test_routes_may_be_registered_after_install(first: str) -> None:
    """The table is read when the application starts."""
    app = FastAPI()
    limiter = limiter_of(routes={"GET /v1/x": ["1/minute"]})
    router = APIRouter()
    router.get("/x")(_endpoint)
    steps: dict[str, Callable[[], object]] = {
        "install": lambda: install(app, rate_limiter=limiter),
        "routes": lambda: app.include_router(router, prefix="/v1"),
    }
    steps.pop(first)()
    for step in steps.values():
        step()

    assert [ask(app, "/v1/x").status for _ in range(2)] == [200, 429]


async def _endpoint() -> int:
    return 1


@pytest.mark.parametrize("place", ["global", "route", "route limit", "limit", "limited", "shadow"])
def test_moving_window_above_ten_thousand_is_a_configuration_error(place: str) -> None:
    """It remembers each request: 10,000 is the most, wherever the limit stands."""
    limiter = RateLimiter(strategy="moving-window")
    places: dict[str, Callable[[], object]] = {
        "global": lambda: RateLimiter("10001/hour", strategy="moving-window"),
        "route": lambda: RateLimiter(strategy="moving-window", routes={"GET /": ["10001/hour"]}),
        "route limit": lambda: RateLimiter(RouteLimit("10001/hour"), strategy="moving-window"),
        "limit": lambda: limiter.limit("10001/hour"),
        "limited": lambda: limiter.limited("10001/hour"),
        "shadow": lambda: RateLimiter(RouteLimit("10001/hour", shadow=True), strategy="moving-window"),
    }

    text = _refused(places[place])

    assert "'10001/hour'" in text
    assert "sliding-window-counter" in text


@pytest.mark.parametrize("strategy", ["moving-window", "fixed-window", "sliding-window-counter"])
def test_ten_thousand_is_not_too_much(strategy: Any) -> None:
    """Nor is anything for the others."""
    RateLimiter("10000/hour", strategy=strategy)
    if strategy != "moving-window":
        RateLimiter("10001/hour", strategy=strategy)


def test_list_in_the_place_of_a_limit_is_a_value_error() -> None:
    """Where limits are given in code, a wrong call says so."""
    limiter = limiter_of("5/minute")

    with pytest.raises(ValueError, match="'9/minute'"):
        asyncio.run(limiter.check("a", ["9/minute"]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a subject or a request"):
        asyncio.run(limiter.check(5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to check"):
        asyncio.run(limiter_of().check("a"))


@pytest.mark.parametrize("options", [{"shadow": "no"}, {"expose": 0}, {"name": 5}])
def test_wrong_option_of_a_route_limit_is_a_configuration_error(options: Any) -> None:
    """A text that is true would never refuse."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RouteLimit("5/minute", **options)


def test_timeout_in_milliseconds_is_a_configuration_error() -> None:
    """It would let requests hang for minutes."""
    with pytest.raises(ConfigurationError, match="in seconds"):
        RateLimiter("5/minute", timeout_s=100)


@pytest.mark.parametrize("key", [ClientAddress, lambda: "a"])
def test_key_that_takes_no_request_is_a_configuration_error(key: Any) -> None:
    """The class in the place of an object, and a function without a parameter."""
    with pytest.raises(ConfigurationError, match="takes the request"):
        RateLimiter("5/minute", key=key)


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b"])
def test_password_that_is_not_encoded_is_a_configuration_error(password: str) -> None:
    """It would be taken for a port, a path or a fragment, and told."""
    with pytest.raises(ConfigurationError, match="percent-encode") as refused:
        RateLimiter("5/minute", storage=f"redis://:{password}@h:6379/0")

    assert password not in str(refused.value)


# Storages


@pytest.mark.parametrize(
    "url",
    [
        "redi://user:s3cret@h:6379",
        "redis://user:s3cret@h:port",
        "redis+sentinel://user:s3cret@h:26379",
        "rediss://user:s3cret@h:6379/0?no_such_option=1",
        "redis://user:s3cret@h:6379/0?socket_timeout=soon",
        "memcached://user:s3cret@",
        "memcachd://user:s3cret@h",
        "user:s3cret@h",
        "redis://user:s3cret@[::1/0",
    ],
)
def test_text_about_a_storage_holds_no_password(url: str) -> None:
    """It ends in logs and in trackers; so do the errors behind it."""
    with pytest.raises(ConfigurationError) as refused:
        RateLimiter("5/minute", storage=url)

    error: BaseException | None = refused.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("redis://h", "redis", "asgi-envelope[redis]"),
        ("redis+cluster://h", "redis", "asgi-envelope[redis]"),
        ("valkey://h", "valkey", "asgi-envelope[valkey]"),
        ("memcached://h", "memcachio", "memcachio"),
        ("mongodb://h", "motor", "motor"),
    ],
)
def test_missing_client_package_is_a_configuration_error(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to install."""
    import importlib.machinery

    find = importlib.machinery.PathFinder.find_spec

    def find_spec(name: str, *args: Any, **options: Any) -> Any:
        return None if name.partition(".")[0] == package else find(name, *args, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", find_spec)

    text = _refused(lambda: RateLimiter("5/minute", storage=url))

    assert package in text
    assert "install" in text
    assert extra in text


def test_storage_may_be_an_object() -> None:
    """Whoever has a storage of his own gives it."""
    storage = ScriptedStorage([4], [1000])

    assert ask(app_of(RateLimiter("5/minute", storage=storage))).left == {"5/minute": 4}
    assert len(storage.decided) == 1


@pytest.mark.parametrize(
    ("workers", "warned"), [("4", True), ("2", True), ("1", False), ("", False), ("auto", False)]
)
def test_memory_with_several_workers_warns(
    workers: str, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each worker counts on its own; the environment says how many there are."""
    monkeypatch.setenv("WEB_CONCURRENCY", workers)

    RateLimiter("5/minute")

    records = [record for record in caplog.records if record.name == "envelope.rate_limit"]
    assert [record.levelno for record in records] == [logging.WARNING] * warned
    assert all(workers in record.getMessage() and "redis://" in record.getMessage() for record in records)


def test_clients_of_storages_are_not_imported_until_they_are_used() -> None:
    """Design, section 4, row 15: a service that counts in memory does not pay for a client it may not have."""
    code = """
        import sys
        import envelope
        envelope.RateLimiter("5/minute")
        print([name for name in ("redis", "valkey", "memcachio", "motor", "opentelemetry") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


# install()


@pytest.mark.parametrize(
    "given", ["20/second", 20, ["20/second"], RateLimiter, MemoryStorage("fixed-window"), False]
)
def test_rate_limiter_that_is_none_is_a_configuration_error(given: Any) -> None:
    """A text is not yet a limiter."""
    text = _refused(lambda: install(Starlette(), rate_limiter=given))

    assert text.startswith(f"rate_limiter is {given!r}")
    assert "RateLimiter('20/second')" in text


def test_install_that_was_refused_can_be_repeated() -> None:
    """A wrong option leaves the application as it was."""
    app = Starlette(routes=[Route("/", one)])
    _refused(lambda: install(app, rate_limiter="20/second"))  # type: ignore[arg-type]

    install(app, rate_limiter=limiter_of("5/minute"))

    assert ask(app).left == {"5/minute": 4}


def test_one_limiter_with_a_route_table_for_two_applications_needs_the_routes_in_both() -> None:
    """A table is checked against the application that it is installed in."""
    limiter = limiter_of(routes={"GET /a": ["1/minute"]})
    having, lacking = app_of(limiter, Route("/a", one)), app_of(limiter, Route("/b", one))

    assert ask(having, "/a").status == 200
    assert "GET /a" in _refused(lambda: ask(lacking, "/b"))
    assert ask(having, "/a").status == 429


def test_none_is_no_limiter() -> None:
    """The default of ``install``."""
    app = Starlette(routes=[Route("/", one)])
    install(app, rate_limiter=None)

    assert ask(app).ratelimit is None
