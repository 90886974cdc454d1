"""Which route will be served: compared with what the routers of both frameworks really do."""

import re
import sys
from typing import Any

import fastapi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from envelope.errors.tree import ConfigurationError
from envelope.routing.keys import RouteKey, parse_key
from envelope.routing.table import RouteTable
from envelope.routing.templates import template_of
from tests.wire.asgi import http_scope, run


class _Letters(Convertor[str]):
    regex = "[a-z]{2}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Narrow(_Letters):
    regex = "[0-9]+"

    def convert(self, value: str) -> str:
        return str(int(value[:1]) // (int(value) - 13))


@pytest.fixture(autouse=True)
def convertors(monkeypatch):
    """Register the convertors of these tests, for as long as each takes."""
    monkeypatch.setitem(CONVERTOR_TYPES, "letters", CONVERTOR_TYPES.get("letters", _Letters()))
    register_url_convertor("letters", _Letters())
    monkeypatch.setitem(CONVERTOR_TYPES, "not13", _Narrow())


async def _answer(request) -> PlainTextResponse:
    return PlainTextResponse("")


async def _plain(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("")(scope, receive, send)


def _table(app, *keys) -> RouteTable[str]:
    return RouteTable({key: key for key in keys}, app.routes)


def _found(app, *keys, method="GET", path="/", **more) -> str | None:
    return _table(app, *keys).find(http_scope(method, path, **more))


def _websocket_scope(path="/", **more) -> Scope:
    scope = http_scope(path=path, **more)
    del scope["method"]
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": []}


# Keys


def test_key_is_read() -> None:
    """A key is a method, a space and a template, and reads the same when it is printed."""
    key = parse_key("POST /entities/{entity_id}/verify")

    assert key == RouteKey("POST", "/entities/{entity_id}/verify")
    assert str(key) == "POST /entities/{entity_id}/verify"
    assert parse_key("WEBSOCKET /ws/{id}") == ("WEBSOCKET", "/ws/{id}")
    assert parse_key("QUERY /search").method == "QUERY"


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("/users", "write the method in capitals"),
        ("get /users", "write the method in capitals"),
        ("GET users", "write the method in capitals"),
        ("GET  /users", "write the method in capitals"),
        ("GET /users?x=1", "without a query"),
        ("GET /users\n", "write the method in capitals"),
        ("GET https://h/users", "write the method in capitals"),
        ("", "write the method in capitals"),
        (7, "routes holds 7"),
        ("HEAD /users", "HEAD counts as GET: write 'GET /users'"),
        ("PSOT /users", "PSOT is none of CONNECT, DELETE, GET"),
    ],
)
def test_wrong_key_is_refused_with_advice(key, advice) -> None:
    """Whatever is no key is told what to write."""
    with pytest.raises(ConfigurationError, match=re.escape(advice)):
        parse_key(key)


def test_key_without_a_route_names_the_nearest() -> None:
    """A key that names no route would limit nothing."""
    app = Starlette(routes=[Route("/users/{user_id}", _answer), Route("/orders", _answer)])

    with pytest.raises(ConfigurationError, match=re.escape("the nearest is 'GET /users/{user_id}'")):
        _table(app, "GET /users/{id}")
    with pytest.raises(ConfigurationError, match=re.escape("the nearest is 'GET /orders'")):
        _table(app, "POST /orders")
    with pytest.raises(ConfigurationError, match="it has none yet"):
        _table(Starlette(), "GET /users")


def test_two_keys_of_one_route_are_refused() -> None:
    """Nobody could tell which of two entries is meant."""
    app = Starlette(routes=[Route("/users/{id:int}", _answer)])

    with pytest.raises(ConfigurationError, match="names 'GET /users/{id:int}' twice, as"):
        _table(app, "GET /users/{id}", "GET /users/{id:int}")


def test_convertors_may_be_left_out() -> None:
    """A key without convertors names the route; the route that reads exactly so goes first."""
    both = Starlette(
        routes=[Route("/n/{x:int}", _answer), Route("/n/{x}", _answer), Route("/m/{x:int}/{y:str}", _answer)]
    )

    assert _found(both, "GET /m/{x}/{y}", path="/m/1/a") == "GET /m/{x}/{y}"
    assert _found(both, "GET /m/{x:int}/{y}", path="/m/1/a") == "GET /m/{x:int}/{y}"
    assert _found(both, "GET /n/{x}", path="/n/a") == "GET /n/{x}"
    assert _found(both, "GET /n/{x:str}", path="/n/a") == "GET /n/{x:str}"
    assert _found(both, "GET /n/{x}", path="/n/1") is None
    assert _found(both, "GET /n/{x:int}", "GET /n/{x}", path="/n/1") == "GET /n/{x:int}"


# The router's choice


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_earlier_route_takes_the_request(framework) -> None:
    """What stands before and fits wins; what stands after does not."""
    before, after = framework(), framework()
    before.add_route("/users/me", _answer)
    before.add_route("/users/{id}", _answer)
    after.add_route("/users/{id}", _answer)
    after.add_route("/users/me", _answer)

    assert _found(before, "GET /users/{id}", path="/users/me") is None
    assert _found(before, "GET /users/{id}", path="/users/you") == "GET /users/{id}"
    assert _found(before, "GET /users/{id}", "GET /users/me", path="/users/me") == "GET /users/me"
    assert _found(after, "GET /users/{id}", path="/users/me") == "GET /users/{id}"
    assert _found(after, "GET /users/me", path="/users/me") is None


def test_earlier_route_with_another_method_does_not_win() -> None:
    """A path that fits with a method that does not is no choice while there is a better one."""
    app = Starlette(
        routes=[
            Route("/{x}", _answer, methods=["DELETE"]),
            Route("/a", _answer),
            Route("/b", _answer, methods=["PUT"]),
        ]
    )

    assert _found(app, "GET /a", path="/a") == "GET /a"
    assert _found(app, "PUT /b", method="GET", path="/b") is None
    assert _found(app, "DELETE /{x}", method="DELETE", path="/a") == "DELETE /{x}"


def test_mount_keeps_what_it_takes() -> None:
    """An earlier mount wins by its prefix, even if nothing in it fits."""
    app = Starlette(
        routes=[
            Mount("/api/old", app=_plain),
            Mount("/api", routes=[Route("/a", _answer)]),
            Route("/api/b", _answer),
        ]
    )

    assert _found(app, "GET /api/b", path="/api/b") is None
    assert _found(app, "GET /api/a", path="/api/a") == "GET /api/a"
    assert _found(app, "GET /api/a", path="/api/old/a") is None
    assert _found(app, "GET /api/old/{path}", "GET /api/a", path="/api/old/a") == "GET /api/old/{path}"


def test_mount_has_an_entry_for_what_is_in_it() -> None:
    """A mount's entry holds for all methods of that name, unless a route in the mount has its own."""
    app = Starlette(
        routes=[Mount("/sub", routes=[Route("/a", _answer), Route("/b", _answer)]), Mount("/static", app=_plain)]
    )
    keys = ["GET /sub/{path:path}", "GET /sub/a", "GET /static/{path:path}"]

    assert _found(app, *keys, path="/sub/a") == "GET /sub/a"
    assert _found(app, *keys, path="/sub/b") == "GET /sub/{path:path}"
    assert _found(app, *keys, path="/sub/missing") == "GET /sub/{path:path}"
    assert _found(app, *keys, path="/sub/b", method="POST") is None
    assert _found(app, *keys, path="/static/x/y.css") == "GET /static/{path:path}"
    assert _found(app, *keys, path="/static/") == "GET /static/{path:path}"
    assert _found(app, *keys, path="/static") is None


def test_route_that_reads_like_its_mount_is_meant() -> None:
    """Of a mount and a route in it with the same name, the route has the entry."""
    app = Starlette(routes=[Mount("/files", routes=[Route("/index", _answer), Route("/{path:path}", _answer)])])

    assert _found(app, "GET /files/{path:path}", path="/files/a/b") == "GET /files/{path:path}"
    assert _found(app, "GET /files/{path:path}", path="/files/index") is None


def test_mounts_with_parameters_nest() -> None:
    """A mount's parameter is part of the template, and a greedy one takes what the router gives it."""
    inner = Router(routes=[Route("/{id:int}", _answer)])
    app = Starlette(
        routes=[Mount("/t/{tenant}", routes=[Mount("/u", app=inner)]), Mount("/p/{p:path}", app=inner)]
    )
    keys = ["GET /t/{tenant}/u/{id}", "GET /p/{p:path}/{id:int}"]

    assert _found(app, *keys, path="/t/x/u/7") == keys[0]
    assert _found(app, *keys, path="/t/x/u/y") is None
    assert _found(app, *keys, path="/p/a/b/7") == keys[1]


def test_included_routers_count_their_prefixes() -> None:
    """FastAPI keeps included routers nested; the name has all the prefixes, mounts and hosts included."""
    users = fastapi.APIRouter(prefix="/users")
    users.add_api_route("/{id}", _answer)
    users.add_route("/plain/{x:int}", _answer, methods=["GET"])
    users.add_api_websocket_route("/ws", _answer)
    users.mount("/files/{p}", Router(routes=[Route("/{name}", _answer)]))
    users.host("h.example", Router(routes=[Route("/hosted", _answer)]))
    api = fastapi.APIRouter()
    api.include_router(users, prefix="/v1")
    app = fastapi.FastAPI()
    app.include_router(api, prefix="/api")
    app.include_router(api, prefix="/old")
    app.add_api_route("/api/v1/users/late", _answer)

    keys = ["GET /api/v1/users/{id}", "GET /api/v1/plain/{x}", "GET /api/v1/files/{p}/{name}"]
    assert _found(app, *keys, path="/api/v1/users/7") == keys[0]
    assert _found(app, *keys, path="/old/v1/users/7") is None
    assert _found(app, *keys, path="/api/v1/plain/7") == keys[1]
    assert _found(app, *keys, path="/api/v1/files/a/b") == keys[2]
    assert _found(app, "GET /api/v1/users/late", path="/api/v1/users/late") is None
    hosted = _table(app, "GET /api/v1/hosted")
    assert hosted.find(http_scope(path="/api/v1/hosted", headers=[(b"host", b"h.example")]))
    assert hosted.find(http_scope(path="/api/v1/hosted", headers=[(b"host", b"other")])) is None
    sockets = _table(app, "WEBSOCKET /api/v1/users/ws")
    assert sockets.find(_websocket_scope("/api/v1/users/ws"))


def test_root_path_is_no_part_of_the_template() -> None:
    """A proxy's prefix is cut off; a mounted FastAPI's own one replaces that of its mount."""
    inner = fastapi.FastAPI()
    inner.root_path = "/elsewhere"
    inner.add_api_route("/a", _answer)
    inner.add_api_route("/sub/a", _answer)
    app = Starlette(routes=[Mount("/sub", app=inner), Route("/a", _answer), Route("/", _answer)])

    assert _found(app, "GET /a", path="/api/a", root_path="/api") == "GET /a"
    assert _found(app, "GET /a", path="/api/a") is None
    assert _found(app, "GET /a", path="/apia", root_path="/api") is None
    assert _found(app, "GET /", path="/api", root_path="/api") is None
    assert _found(app, "GET /sub/a", path="/sub/a") is None
    assert _found(app, "GET /sub/sub/a", path="/sub/a") == "GET /sub/sub/a"


def test_head_is_looked_up_as_get() -> None:
    """HEAD has GET's entry where the route serves it: Starlette's do, FastAPI's do not unless asked to."""
    app = fastapi.FastAPI()
    app.add_route("/starlette", _answer, methods=["GET"])
    app.add_api_route("/fastapi", _answer, methods=["GET"])
    app.add_api_route("/head", _answer, methods=["HEAD"])
    keys = ["GET /starlette", "GET /fastapi", "GET /head"]

    assert _found(app, *keys, method="HEAD", path="/starlette") == "GET /starlette"
    assert _found(app, *keys, method="HEAD", path="/fastapi") is None
    assert _found(app, *keys, method="HEAD", path="/head") == "GET /head"
    assert _found(app, *keys, method="GET", path="/head") is None


def test_other_methods_have_no_entry_unless_named() -> None:
    """OPTIONS is a method like others, and what the client invents is none."""
    app = Starlette(routes=[Route("/a", _answer, methods=["GET", "OPTIONS"]), Mount("/m", app=_plain)])

    assert _found(app, "GET /a", method="OPTIONS", path="/a") is None
    assert _found(app, "OPTIONS /a", method="OPTIONS", path="/a") == "OPTIONS /a"
    assert _found(app, "GET /m/{path}", method="INVENTED", path="/m/a") is None
    assert _found(app, "WEBSOCKET /m/{path}", method="WEBSOCKET", path="/m/a") is None


def test_route_without_methods_is_named_by_any() -> None:
    """An endpoint class takes every method; which of them it answers is its own business."""

    class Endpoint(HTTPEndpoint):
        async def post(self, request) -> PlainTextResponse:
            return PlainTextResponse("")

    app = Starlette(routes=[Route("/a", Endpoint), Route("/{x}", _answer, methods=["POST"])])

    assert _found(app, "POST /a", method="POST", path="/a") == "POST /a"
    assert _found(app, "POST /{x}", method="POST", path="/a") is None
    with pytest.raises(ConfigurationError):
        _table(app, "WEBSOCKET /a")


def test_websocket_is_not_mistaken_for_http() -> None:
    """Routes of the two protocols share paths and do not shadow each other."""
    app = Starlette(
        routes=[WebSocketRoute("/feed", _answer), Route("/{x}", _answer), WebSocketRoute("/{y}", _answer)]
    )
    table = _table(app, "WEBSOCKET /feed", "GET /{x}", "WEBSOCKET /{y}")

    assert table.find(_websocket_scope("/feed")) == "WEBSOCKET /feed"
    assert table.find(_websocket_scope("/else")) == "WEBSOCKET /{y}"
    assert table.find(http_scope(path="/feed")) == "GET /{x}"
    assert table.find({"type": "lifespan"}) is None
    assert _table(app, "WEBSOCKET /{y}").find(_websocket_scope("/feed")) is None


def test_hosts_are_asked() -> None:
    """A host takes all its requests; the names in it have no host, so they stand for all of them."""
    app = Starlette(routes=[Host("{name}.example", Router(routes=[Route("/a", _answer)])), Route("/a", _answer)])
    app.routes.append(Route("/b", _answer))
    table = _table(app, "GET /a", "GET /b")
    at_host = [(b"host", b"x.example")]

    assert table.find(http_scope(path="/a", headers=at_host)) == "GET /a"
    assert table.find(http_scope(path="/a")) == "GET /a"
    assert table.find(http_scope(path="/b", headers=at_host)) is None
    assert table.find(http_scope(path="/b")) == "GET /b"


def test_redirect_404_and_405_have_no_entry() -> None:
    """What the router answers itself is served by no route."""
    app = Starlette(routes=[Route("/a", _answer), Route("/b/", _answer)])

    assert _found(app, "GET /a", path="/a/") is None
    assert _found(app, "GET /b/", path="/b") is None
    assert _found(app, "GET /a", path="/c") is None
    assert _found(app, "GET /a", path="/a", method="POST") is None
    assert _found(app, "GET /a", path="") is None
    assert _found(app, "GET /a", path="*") is None


def test_newline_at_the_end_is_not_a_way_around() -> None:
    """A regular expression's "$" fits before a newline at the end, so the router serves such a path."""
    app = Starlette(routes=[Route("/a/b", _answer), Route("/a/{x}", _answer)])

    assert _found(app, "GET /a/b", path="/a/b\n") == "GET /a/b"
    assert _found(app, "GET /a/{x}", path="/a/b\n") is None
    assert _found(app, "GET /a/b", path="/a/b\n\n") is None


def test_convertor_that_fails_ends_in_nothing() -> None:
    """The exception of a convertor is the router's to raise."""
    app = Starlette(routes=[Mount("/{x:not13}", routes=[Route("/a", _answer)])])

    assert _found(app, "GET /{x}/a", path="/12/a") == "GET /{x}/a"
    assert _found(app, "GET /{x}/a", path="/13/a") is None


def test_long_number_is_no_exception() -> None:
    """Python refuses to read numbers of more than 4300 digits; an earlier route may serve the path all the same."""
    app = Starlette(routes=[Route("/n/{x}", _answer), Route("/n/{x:int}", _answer)])

    assert _found(app, "GET /n/{x:int}", path="/n/" + "1" * 5000) is None


def test_foreign_route_is_asked() -> None:
    """A route with a matches() of its own may fit any path, as rival and as holder of an entry."""

    class Odd(BaseRoute):
        def matches(self, scope):
            return (Match.FULL if scope["path"].endswith("odd") else Match.NONE), {}

    class Versioned(Route):
        def matches(self, scope):
            match, child_scope = super().matches(scope)
            return (match if (b"version", b"2") in scope["headers"] else Match.NONE), child_scope

    app = Starlette(routes=[Odd(), Versioned("/a", _answer), Route("/{x}", _answer)])

    assert _found(app, "GET /{x}", path="/odd") is None
    assert _found(app, "GET /{x}", path="/a") == "GET /{x}"
    assert _found(app, "GET /{x}", path="/a", headers=[(b"version", b"2")]) is None
    assert _found(app, "GET /a", "GET /{x}", path="/a", headers=[(b"version", b"2")]) == "GET /a"


def test_route_that_ignores_case_is_known() -> None:
    """Services replace a route's regular expression to ignore case."""
    route = Route("/Users", _answer)
    route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    app = Starlette(routes=[route, Route("/users", _answer)])

    assert _found(app, "GET /Users", path="/USERS") == "GET /Users"
    assert _found(app, "GET /users", path="/users") is None


def test_unreadable_application_is_named_as_a_mount() -> None:
    """Routes of another framework's kind are none of ours."""

    class Foreign:
        routes = ("/a", "/b")
        __call__ = staticmethod(_plain)

    app = Starlette(
        routes=[Mount("/x", app=Foreign()), Mount("/y", app=_plain, middleware=[Middleware(lambda a: a)])]
    )

    assert _found(app, "GET /x/{path:path}", path="/x/a") == "GET /x/{path:path}"
    with pytest.raises(ConfigurationError, match=re.escape("the nearest is 'GET /x/{path:path}'")):
        _table(app, "GET /x/a")


def test_starlette_alone_is_enough(monkeypatch) -> None:
    """FastAPI is not needed where nobody imported it."""
    monkeypatch.delitem(sys.modules, "fastapi.routing")
    app = Starlette(routes=[Route("/a", _answer)])

    assert _found(app, "GET /a", path="/a") == "GET /a"


@pytest.mark.skipif(not hasattr(fastapi.FastAPI, "frontend"), reason="this FastAPI has no frontends")
def test_frontend_never_wins(tmp_path) -> None:
    """FastAPI's frontends are served when no route fits, however early they were added."""
    app = fastapi.FastAPI()
    app.frontend("/", directory=tmp_path)
    app.add_api_route("/a", _answer)

    assert _found(app, "GET /a", path="/a") == "GET /a"
    with pytest.raises(ConfigurationError):
        _table(app, "GET /{path}")


def test_table_without_entries_finds_nothing() -> None:
    """An empty table does not even look at the routes."""
    assert RouteTable[str]({}, [object()]).find(http_scope()) is None  # type: ignore[list-item]


def test_routes_added_late_are_not_seen() -> None:
    """The table is compiled once, from the routes that there are."""
    router = fastapi.APIRouter()
    app = fastapi.FastAPI()
    app.include_router(router)
    app.add_api_route("/{x}", _answer)
    table = _table(app, "GET /{x}")
    router.add_api_route("/late", _answer)

    assert table.find(http_scope(path="/late")) == "GET /{x}"
    assert _table(app, "GET /{x}").find(http_scope(path="/late")) is None


# Names


def _naming(app, path, *, method="GET", **more) -> str:
    """Run a request and return the name that its endpoint gave."""
    names: list[str] = []
    run(app, http_scope(method, path, names=names, **more))
    (name,) = names
    return name


async def _name(request: fastapi.Request) -> PlainTextResponse:
    request.scope["names"].append(template_of(request.scope))
    return PlainTextResponse("")


async def _name_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    scope["names"].append(template_of(scope))
    await _plain(scope, receive, send)


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_template_has_the_prefixes_of_mounts(framework) -> None:
    """Mounts with parameters are named by the parameter, not by what the client wrote there."""
    inner = framework()
    inner.add_route("/u/{id:int}", _name)
    app = framework()
    app.mount("/t/{tenant:str}", inner)
    app.mount("/static", _name_asgi)
    app.add_route("/plain/{x}", _name)

    assert _naming(app, "/t/x/u/7") == "/t/{tenant}/u/{id}"
    assert _naming(app, "/api/t/x/u/7", root_path="/api") == "/t/{tenant}/u/{id}"
    assert _naming(app, "/static/a/b") == "/static/{path}"
    assert _naming(app, "/plain/1") == "/plain/{x}"


def test_template_has_the_prefixes_of_included_routers() -> None:
    """The same route has two names when its router is included twice."""
    router = fastapi.APIRouter(prefix="/users")
    router.add_api_route("/{id}", _name)
    app = fastapi.FastAPI()
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")

    assert _naming(app, "/v1/users/7") == "/v1/users/{id}"
    assert _naming(app, "/v2/users/7") == "/v2/users/{id}"


def test_template_of_a_late_route_is_found() -> None:
    """A route that was added after the first request is looked for again."""
    router = fastapi.APIRouter()
    app = fastapi.FastAPI()
    app.include_router(router, prefix="/v1")
    app.add_api_route("/{x}", _name)

    async def late(request: fastapi.Request) -> PlainTextResponse:
        return await _name(request)

    assert _naming(app, "/a") == "/{x}"
    router.add_api_route("/late", late)
    assert _naming(app, "/v1/late") == "/v1/late"
    assert _naming(app, "/v1/late") == "/v1/late"


def test_template_below_an_unreadable_application() -> None:
    """Its prefix, and what it says of its route itself; the endpoint's name if it says nothing."""
    inner = fastapi.FastAPI()
    inner.add_api_route("/{id}", _name)

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await _name_asgi({**scope, "endpoint": silent, "route": None}, receive, send)

    app = Starlette(
        routes=[Mount("/t/{x}", app=between), Mount("/s", app=silent, middleware=[Middleware(_Wrapped)])]
    )

    assert _naming(app, "/t/1/2") == "/t/{x}/{id}"
    assert _naming(app, "/t/1/2") == "/t/{x}/{id}"
    assert _naming(app, "/s/1").startswith("/s") and "1" not in _naming(app, "/s/1")


class _Wrapped:
    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_template_without_a_router_is_never_the_path() -> None:
    """The path of the request is the client's choice; a name must not be."""
    assert template_of(http_scope(path="/chosen", endpoint=_answer)) == "_answer"
    assert template_of(http_scope(path="/chosen", endpoint=_Wrapped(_plain))) == "_Wrapped"
    assert template_of(http_scope(path="/chosen", route=Route("/a/{x:int}", _answer))) == "/a/{x}"


# Any application

SEGMENTS = ["a", "b", "me", "", "{}", "{}", "{:int}", "{:path}", "{:letters}", "v{:int}", "{:float}"]
PIECES = ["a", "b", "me", "", "1", "1.5", "v1", "ab", "x", "a\n", "\n"]
METHODS = ["GET", "POST", "HEAD", "OPTIONS"]


def _joined(parts: list[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(parts), min_size=1, max_size=most).map(lambda chosen: "/" + "/".join(chosen))


_PREFIXES = st.one_of(_joined([segment for segment in SEGMENTS if segment], 2), st.just(""))
_LEAVES = st.one_of(
    st.tuples(
        st.sampled_from(["route", "api"]), _joined(SEGMENTS, 3), st.sets(st.sampled_from(METHODS), min_size=1)
    ),
    st.tuples(st.just("class"), _joined(SEGMENTS, 3), st.none()),
    st.tuples(st.just("websocket"), _joined(SEGMENTS, 2), st.none()),
    st.tuples(st.just("opaque"), _PREFIXES, st.none()),
)
_TREES = st.recursive(
    st.lists(_LEAVES, min_size=1, max_size=5),
    lambda inside: st.lists(
        st.one_of(
            _LEAVES,
            st.tuples(st.sampled_from(["mount", "include", "fastapi"]), _PREFIXES, inside),
            st.tuples(st.just("host"), st.sampled_from(["h.example", "{}.example"]), inside),
        ),
        min_size=1,
        max_size=6,
    ),
    max_leaves=12,
)
_REQUESTS = st.tuples(
    st.sampled_from([*METHODS, "WEBSOCKET", "INVENTED"]),
    _joined(PIECES, 5),
    st.sampled_from(["", "", "/a", "/root"]),
    st.sampled_from([b"h.example", b"other"]),
)


class _Builder:
    """Builds an application from a tree, and remembers the names of its endpoints and mounts."""

    def __init__(self) -> None:
        self.keys: list[RouteKey] = []
        self.mounts: set[str] = set()
        self._parameters = 0

    def build(self, tree: Any, app: Any, prefix: str = "", *, is_fastapi: bool) -> Any:
        for kind, unnumbered, inside in tree:
            path = re.sub(r"\{(.*?)\}", self._name_parameter, unnumbered)
            if kind in {"mount", "include", "fastapi", "host"}:
                self._nest(app, kind, path, inside, prefix, is_fastapi)
            else:
                router = getattr(app, "router", app)
                router.routes.append(self._leaf(kind, path, inside, prefix, is_fastapi))
        return app

    def _name_parameter(self, match: re.Match[str]) -> str:
        self._parameters += 1
        return f"{{p{self._parameters}{match[1]}}}"

    def _nest(self, app: Any, kind: str, path: str, inside: Any, prefix: str, is_fastapi: bool) -> None:
        inner: Any = fastapi.APIRouter() if is_fastapi else Router()
        if kind == "host":
            self.build(inside, inner, prefix, is_fastapi=is_fastapi)
            app.host(path, inner)
        elif kind == "include" and is_fastapi:
            if any(not below for _, below, _ in inside):
                path = path or "/included"  # FastAPI wants one of the two
            self.build(inside, inner, prefix + path, is_fastapi=True)
            app.include_router(inner, prefix=path)
        else:
            self.mounts.add(prefix + path + "/{path:path}")
            if kind == "fastapi":
                is_fastapi = True
                inner = fastapi.FastAPI(openapi_url=None)
                inner.root_path = "/a" if len(inside) == 3 else ""
            app.mount(path, self.build(inside, inner, prefix + path, is_fastapi=is_fastapi))

    def _leaf(self, kind: str, path: str, methods: Any, prefix: str, is_fastapi: bool) -> BaseRoute:
        reporter = _Reporter(prefix + path)

        async def endpoint(request: fastapi.Request) -> PlainTextResponse:
            reporter.report(request.scope)
            return PlainTextResponse("")

        route: BaseRoute
        if kind == "opaque":
            route = Mount(path, app=reporter)
            reporter.template += "/{path:path}"
            methods = [*METHODS, "WEBSOCKET"]
        elif kind == "websocket":
            route = WebSocketRoute(path, reporter)
            methods = ["WEBSOCKET"]
        elif kind == "class":
            route = Route(path, reporter)
            methods = METHODS
        elif kind == "api" and is_fastapi:
            route = fastapi.routing.APIRoute(path, endpoint, methods=sorted(methods))
        else:
            route = Route(path, endpoint, methods=sorted(methods))
        self.keys += [
            RouteKey("GET" if method == "HEAD" else method, reporter.template) for method in sorted(methods)
        ]
        return route


class _Reporter:
    def __init__(self, template) -> None:
        self.template = template

    def report(self, scope) -> None:
        scope["names"].append((self.template, template_of(scope)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.report(scope)
        if scope["type"] == "http":
            await _plain(scope, receive, send)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    is_fastapi=st.booleans(),
    tree=_TREES,
    share=st.randoms(use_true_random=False),
    requests=st.lists(_REQUESTS, min_size=1, max_size=20),
)
def test_table_and_router_agree(is_fastapi, tree, share, requests) -> None:
    """Whatever the application and the request, the entry is that of the route which is served."""
    builder = _Builder()
    app = builder.build(
        tree, fastapi.FastAPI(openapi_url=None) if is_fastapi else Starlette(), is_fastapi=is_fastapi
    )
    keys = {str(key) for key in builder.keys if key.template not in builder.mounts and share.random() < 0.7}
    table = _table(app, *keys)

    for method, path, root_path, host in requests:
        scope = http_scope(method, path, root_path=root_path, headers=[(b"host", host)], names=[])
        if method == "WEBSOCKET":
            scope = {**_websocket_scope(path, root_path=root_path, headers=[(b"host", host)]), "names": []}
        found = table.find(scope)
        run(app, scope)
        served, name = (*scope["names"], (None, None))[0]
        key = f"{'GET' if method == 'HEAD' else method} {served}"
        assert found == (key if key in keys else None)
        if served is not None and method != "INVENTED":
            assert name == re.sub(r":\w+\}", "}", served)
