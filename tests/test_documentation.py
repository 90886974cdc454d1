"""The documentation says what is so: its code runs, its links lead somewhere, its tables are those of the code."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
import socket
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import redis
from fastapi.testclient import TestClient

import envelope
import envelope.telemetry
import envelope.testing
from envelope import events
from envelope.errors import tree as errors
from envelope.errors.tree import TABLE
from envelope.rate_limit.headers import FIELD_NAMES
from envelope.wire import head
from tests.servers.cluster import Cluster
from tests.servers.memcached import Memcached
from tests.servers.server import Server

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Where it is installed: CI runs this beside the wheel, without the checkout's own.
PACKAGE = Path(envelope.__file__).parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
REFERENCE = DOCS / "reference"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_blocks(page: Path) -> list[str]:
    return [block for _, block in named_blocks(page)]


def named_blocks(page: Path) -> list[tuple[str, str]]:
    """Give the Python of a page, each with the name of its module: that of the line above, "`observing.py`, ...:"."""
    blocks = re.findall(r"(?:^`(\w+)\.py`.*:\n\n)?^```python\n((?s:.*?))^```", page.read_text(), re.MULTILINE)
    return [(name or "documentation", block) for name, block in blocks]


def rows_below(page: Path, heading: str) -> list[list[str]]:
    """Give the cells of the tables below a heading, up to the next one."""
    text = f"\n{page.read_text()}".partition(f"\n{heading}\n")[2]
    assert text, f"{page.name} has no heading {heading!r}"
    lines = re.split(
        r"^#+ ", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE
    )[0]
    rows = [line.split("|")[1:-1] for line in lines.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if not set(row[0]) <= set("- ")]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Code


def test_readme_example_answers_as_the_readme_says() -> None:
    """The first block is a service; its success, 404 and 400 read as the paragraph below it says."""
    namespace: dict[str, Any] = {}
    exec(python_blocks(PAGES[0])[0], namespace)
    client = TestClient(namespace["app"])

    assert client.get("/users/1").text == '{"status":"success","content":{"name":"Ada"}}'
    assert client.get("/users/2").status_code == 404
    assert client.get("/users/x").json()["message"]["message"] == ["'x' is not of type 'integer'"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name_of)
def test_python_blocks_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No block of the page raises, nor any test in it that needs no fixture; a block may import a named one above."""
    for name, block in named_blocks(page):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)  # where dataclasses look for it
        exec(compile(block, name_of(page), "exec"), vars(module))
        for each in vars(module).copy().values():
            if inspect.isfunction(each) and each.__name__.startswith("test_") and is_plain(each):
                each()


def is_plain(test: Callable[..., Any]) -> bool:
    return not inspect.signature(test).parameters and not inspect.iscoroutinefunction(test)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_left_to_do_on_a_page(page: Path) -> None:
    """What was to be written later has been written."""
    assert re.findall(r".*\bTODO\b.*", page.read_text()) == []


# Links


def anchors_of(page: Path) -> set[str]:
    """Give the anchors that GitHub and MyST make of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [
        re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if ":" in path:
            continue  # somebody else's
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Every relative link and image names a file of the repository, and a heading that is there."""
    assert list(broken_links(page)) == []


INDEXES = [page for page in PAGES if page.name == "index.md" and page.parent != DOCS]


@pytest.mark.parametrize("index", INDEXES, ids=name_of)
def test_index_names_every_page_of_its_folder(index: Path) -> None:
    """Who reads on GitHub finds every page, too; the site finds them by itself."""
    named = set(re.findall(r"\]\(([^)#]+\.md)\)", index.read_text()))

    assert {page.name for page in index.parent.glob("*.md")} - {"index.md"} - named == set()


def test_pictures_say_in_words_what_they_show() -> None:
    """Where a picture is not shown, as on a package index, its words stand in its place."""
    words = {
        page: re.findall(r'!\[([^\]]*)\]|<img src=(?:(?!alt).)*alt="([^"]*)"', page.read_text()) for page in PAGES
    }

    assert words[PAGES[0]]
    assert [page.name for page, alts in words.items() for alt in alts if len("".join(alt)) < 40] == []


# Tables


def test_wire_cases_each_have_a_row_and_a_test() -> None:
    """Cases 1 to 76 stand on the page and in the docstrings of tests."""
    rows = re.findall(r"^\| (\d+) \|", (REFERENCE / "wire-cases.md").read_text(), re.MULTILINE)
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {
        int(number)
        for group in re.findall(r"[Cc]ases? ([\d, and]+)", tests)
        for number in re.findall(r"\d+", group)
    }

    assert [int(number) for number in rows] == list(range(1, 77))
    assert set(range(1, 77)) - named == set()


@pytest.mark.parametrize(
    "module", [envelope, envelope.telemetry, envelope.testing], ids=lambda module: module.__name__
)
def test_api_shows_every_public_name(module: Any) -> None:
    """What a module exports stands on the page of the API, and nothing there has gone."""
    page = (REFERENCE / "api.md").read_text()
    shown = re.findall(rf"^\.\. [\w:]+:: {module.__name__}\.(\w+)(?:\(.*\))?$", page, re.MULTILINE)

    assert sorted(shown) == sorted(module.__all__)


SETTINGS: Mapping[str, Any] = {
    "install": envelope.install,
    "EnvelopeMiddleware": envelope.EnvelopeMiddleware,
    "Shape": envelope.Shape,
    "RateLimiter": envelope.RateLimiter,
    "RouteLimit": envelope.RouteLimit,
    "ClientAddress": envelope.ClientAddress,
    "ObjectLocks": envelope.ObjectLocks,
    "Maintenance": envelope.Maintenance,
    "ErrorMap": envelope.ErrorMap,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_those_of_the_code(name: str) -> None:
    """Every option stands on the page with its default, in its order."""
    parameters = inspect.signature(SETTINGS[name]).parameters.values()
    options = {
        f"*{each.name}" if each.kind is each.VAR_POSITIONAL else each.name: each.default
        for each in parameters
        if not each.name.startswith("_") and each.name != "app"
    }

    rows = rows_below(REFERENCE / "settings.md", f"## {name}")[1:]
    told = {
        quoted(option)[0]: eval(quoted(default)[0], vars(envelope)) if default else inspect.Parameter.empty
        for option, default, *_ in rows
    }

    assert list(told) == list(options)
    assert told == options


def test_settings_of_guards_are_those_of_the_code() -> None:
    """The options that guards and holds share stand on the page, with their defaults and their owners."""
    owners = [getattr(envelope.ObjectLocks, name) for name in ("guarded", "guard", "hold", "acquire")]
    options: dict[str, tuple[Any, list[str]]] = {}
    for owner in owners:
        for each in inspect.signature(owner).parameters.values():
            if each.kind is each.KEYWORD_ONLY:
                options.setdefault(each.name, (each.default, []))[1].append(owner.__name__)

    rows = rows_below(REFERENCE / "settings.md", "### guarded, guard, hold and acquire")[1:]
    told = {
        quoted(option)[0]: (eval(quoted(default)[0]), quoted(of) or [owner.__name__ for owner in owners])
        for option, default, of, *_ in rows
    }

    assert told == options


def test_settings_name_every_environment_variable() -> None:
    """What the library reads from its environment stands on the page, and nothing else."""
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get)?[\[(]"(\w+)"|envvar="(\w+)"|"(ENVELOPE_[A-Z_]+)"', source))

    rows = rows_below(REFERENCE / "settings.md", "## Environment variables")[1:]

    assert {quoted(row[0])[0] for row in rows} == {"".join(names) for names in read}


def test_events_are_those_of_the_table() -> None:
    """Every event stands on the page with its level, its text and its values, and with what to do about it."""
    table = [each for each in vars(events).values() if isinstance(each, events.Event)]
    expected = []
    for event in table:
        values = re.findall(r"%\((\w+)\)", event.text)
        expected.append(
            [event.name, logging.getLevelName(event.level), _readable(event.text), list(dict.fromkeys(values))]
        )

    rows = rows_below(REFERENCE / "events.md", "## The table")[1:]

    assert [[quoted(name)[0], level, text, quoted(values)] for name, level, text, values, _ in rows] == expected
    assert all(row[4] for row in rows)


def _readable(text: str) -> str:
    """Write the text of an event as the page does: values in italics."""
    return re.sub(r"%\((\w+)\)(?:\.\d)?[rsdf]", r"*\1*", text)


def test_dependencies_each_have_a_reason() -> None:
    """Every dependency and every extra of the package stands on the page, and no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [re.split(r"[<>=\[]", each)[0] for each in project["dependencies"]]
    rows = rows_below(DOCS / "explanation" / "dependencies.md", "# Why each dependency is there")
    told = [name for row in rows for name in quoted(row[0])]

    assert told == [*needed, *project["optional-dependencies"]]


def test_errors_are_those_of_the_tree() -> None:
    """Every class of the tree stands on the page with its status and its text, and the tree is drawn there."""
    page = (REFERENCE / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", page, re.MULTILINE)
    tree = page.partition("```text\n")[2].partition("```")[0]

    assert rows[: len(TABLE)] == [(cls.__name__, str(code), cls.message) for code, cls in TABLE.items()]
    assert tree.startswith("EnvelopeError")
    assert textwrap.indent(tree, "    ") in str(errors.__doc__)


def test_headers_are_those_of_the_code() -> None:
    """The fields of rate limits, those that are dropped and those that are read stand on the page."""
    page = REFERENCE / "headers.md"
    limits = [quoted(row[0])[0] for row in rows_below(page, "### Rate limits")[1:]]
    dropped = {name.lower() for row in rows_below(page, "## Dropped")[1:] for name in quoted(row[0])}
    read = {name.lower() for row in rows_below(page, "## Read from responses")[1:] for name in quoted(row[0])}
    noted = {name.decode() for name in head._NOTABLE - head.DIGESTS}

    assert tuple(limits) == FIELD_NAMES["both"]
    assert dropped == {name.decode() for name in head.REPLACED}
    assert read == noted | {"content-type", "content-length", "retry-after"}


# Keys in the storages


KEYS = REFERENCE / "storage-keys.md"


def _pattern_of(key: str) -> str:
    """Make a regular expression of a key as the page writes it."""
    kinds = {
        "<namespace>": r"[\w.:/-]*",
        "<digest>": "[0-9a-f]{32}",
        "<quota>": r"\d+/\d+~?:\d+:.*:",
        "<window>": r"\d+",
        "<operation>": ".+",
    }
    pattern = re.escape(key)
    for written, kind in kinds.items():
        pattern = pattern.replace(re.escape(written), kind)
    return pattern


async def use_everything(url: str, *, namespace: str = "shop") -> None:
    """Leave every kind of key behind: each strategy, a lock that is held, one handed off, one that is free, a switch."""
    for strategy in ("sliding-window-counter", "fixed-window", "moving-window"):
        limiter = envelope.RateLimiter(
            "20/second", "100/day", storage=url, strategy=strategy, namespace=namespace, timeout_s=2
        )
        verdict = await limiter.check("somebody", cost=2)
        await limiter.settle(verdict, 3)
        await limiter.refund(await limiter.check("somebody else"))
        await limiter.check("somebody else")
        await limiter.reset("somebody else")
        await limiter.aclose()
    locks = envelope.ObjectLocks(url, namespace=namespace, timeout_s=2)
    await locks.acquire("entity:held")
    handed_off = await locks.acquire("entity:handed-off")
    token = await handed_off.hand_off(claim_within_s=60)
    async with locks.hold("entity:free", "entity:free-too"):
        assert await locks.inspect("entity:free") is not None
    async with locks.claim(token):
        pass
    held = await locks.inspect("entity:held")
    assert held is not None
    assert not await locks.break_lock("entity:held", fence=held.fence - 1)
    await locks.aclose()
    maintenance = envelope.Maintenance(url, namespace=namespace)
    maintenance.stop()
    maintenance.start(retry_after_s=60)
    assert maintenance.read() is not None
    await maintenance.aclose()


def test_storage_keys_are_those_on_a_server(valkey: Server) -> None:
    """Every key on a real server has one row, of its type, with its fields and a lifetime; every row has a key."""
    valkey.flush()
    asyncio.run(use_everything(valkey.url))
    rows = rows_below(KEYS, "## Redis and Valkey")[1:]
    unseen = {row[0] for row in rows}

    for key in valkey.call("KEYS", "*"):
        ((pattern, kind, fields, lives),) = [
            row for row in rows if re.fullmatch(_pattern_of(quoted(row[0])[0]), key)
        ]
        unseen.discard(pattern)
        assert valkey.call("TYPE", key) == kind
        if kind == "hash":
            named = [_pattern_of(name) for name in quoted(fields.partition(": ")[0])]
            strange = [
                name for name in valkey.call("HKEYS", key) if not any(re.fullmatch(each, name) for each in named)
            ]
            assert strange == [], key
        assert (valkey.call("PTTL", key) > 0) == (lives != "until maintenance is switched off"), key

    assert unseen == set()


def test_storage_keys_are_named_by_digests_as_the_page_says(valkey: Server) -> None:
    """The digest of an object's name and of a subject, with and without a secret, is what the page describes."""

    async def use() -> None:
        for secret in (None, "pepper"):
            limiter = envelope.RateLimiter(
                "20/second", storage=valkey.url, strategy="fixed-window", key_secret=secret
            )
            await limiter.check("203.0.113.7")
            await limiter.aclose()
        locks = envelope.ObjectLocks(valkey.url)
        await (await locks.acquire("entity:42")).release()
        await locks.aclose()

    valkey.flush()
    asyncio.run(use())

    def digest(text: str, key: bytes = b"") -> str:
        return blake2b(text.encode(), digest_size=16, key=key).hexdigest()

    prefix = "envelope:rate-limit:1::fixed-window"
    assert set(valkey.call("KEYS", "*")) == {
        f"{prefix}:{{{digest('203.0.113.7')}}}",
        f"{prefix}:{{{digest('203.0.113.7', blake2b(b'pepper').digest())}}}",
        f"envelope:{{locks:}}:1:{digest('entity:42')}",
        "envelope:{locks:}:1:holds",
    }


def test_rights_on_the_page_are_enough_and_none_is_spare(own_valkey: Server) -> None:
    """A user with the rights of the page can do everything; each right is one that a script or the client uses."""
    rights = _rights()
    own_valkey.call("ACL", "SETUSER", "service", "on", ">secret", *rights)

    asyncio.run(use_everything(own_valkey.url.replace("redis://", "redis://service:secret@")))

    assert own_valkey.call("ACL", "LOG") == []
    scripts = "\n".join(path.read_text() for path in PACKAGE.rglob("*.lua"))
    called = set(re.findall(r"redis\.p?call\('(\w+)'", scripts))
    granted = {right[1:].upper() for right in rights if right.startswith("+")}
    assert granted - {"EVAL", "EVALSHA", "CLIENT|SETINFO"} == called - {"SCAN"}  # which only operators need


def test_rights_on_the_page_are_enough_on_redis_7_0(tls_redis: Server) -> None:
    """There is one that it refuses, as the page says; nothing of ours is missing without it."""
    if not tls_redis.call("INFO", "server")["redis_version"].startswith("7.0."):
        pytest.skip("another Redis is installed")
    (refused,) = re.findall(r"Redis before 7\.2 .*?`\+([^`]+)`", KEYS.read_text(), re.DOTALL)
    rights = [right for right in _rights() if right != f"+{refused}"]
    with pytest.raises(redis.ResponseError, match="Unknown command"):
        tls_redis.call("ACL", "SETUSER", "service", *_rights())
    tls_redis.call("ACL", "SETUSER", "service", "on", ">secret", *rights)
    tls_redis.call("ACL", "LOG", "RESET")

    asyncio.run(use_everything(tls_redis.url.replace("rediss://", "rediss://service:secret@")))

    assert tls_redis.call("ACL", "LOG") == []
    tls_redis.call("ACL", "DELUSER", "service")


def test_rights_on_the_page_are_enough_for_a_cluster(valkey_cluster: Cluster) -> None:
    """A user with the rights of the page, and the two that it names for clusters, can do everything there."""
    valkey_cluster.flush()
    (more,) = re.findall(r"for a cluster\s+\(`([^`]+)`\)", KEYS.read_text())
    for server in valkey_cluster.servers:
        server.call("ACL", "LOG", "RESET")
        server.call("ACL", "SETUSER", "service", "on", ">secret", *_rights(), *more.split())

    asyncio.run(use_everything(valkey_cluster.url.replace("redis+cluster://", "redis+cluster://service:secret@")))

    for server in valkey_cluster.servers:
        assert server.call("ACL", "LOG") == []
        server.call("ACL", "DELUSER", "service")


def _rights() -> list[str]:
    (rights,) = re.findall(r"^```text\n(~.*)\n```", KEYS.read_text(), re.MULTILINE)
    return str(rights).split()


def test_memcached_keys_are_those_of_the_page(memcached_server: Memcached) -> None:
    """Every counter in memcached is named as the page says."""

    async def use() -> None:
        for strategy in ("fixed-window", "sliding-window-counter"):
            limiter = envelope.RateLimiter("20/minute", storage=memcached_server.url, strategy=strategy)
            await limiter.check("somebody")
            await limiter.aclose()

    memcached_server.flush()
    asyncio.run(use())

    patterns = [_pattern_of(quoted(row[0])[0]) for row in rows_below(KEYS, "## memcached and MongoDB")[1:]]
    keys = _keys_of(memcached_server)
    strange = [key for key in keys if not any(re.fullmatch(pattern, key) for pattern in patterns)]
    assert strange == []
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, key) for key in keys)] == []


def _keys_of(server: Memcached) -> list[str]:
    with socket.create_connection((server.host, server.port), timeout=2) as connection:
        connection.sendall(b"lru_crawler metadump all\r\n")
        with connection.makefile("r", newline="\n") as lines:
            dumped = list(itertools.takewhile(lambda line: line.startswith("key="), lines))
    return [unquote(line.removeprefix("key=").partition(" ")[0]) for line in dumped]
