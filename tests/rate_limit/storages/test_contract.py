"""What every storage keeps to: one suite over all of them, in each strategy that they have, on real servers."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.storages.memory import MemoryStorage
from envelope.rate_limit.storages.redis.storage import RedisStorage
from envelope.rate_limit.storages.through_limits import LimitsStorage
from envelope.rate_limit.verdicts import Change, Demand, Storage, Verdict, refund, settle
from tests.rate_limit.storages.clocks import STRATEGIES, Clock
from tests.servers.memcached import Memcached
from tests.servers.server import Server

pytestmark = pytest.mark.anyio

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60

#: Name -> the fixture of its server, and how that server's URL begins.
SERVERS = {
    "redis": ("valkey", "redis"),
    "valkey": ("valkey", "valkey"),
    "rediss": ("tls_redis", "rediss"),
    "valkeys": ("tls_redis", "valkeys"),
    "redis+sentinel": ("valkey_sentinel", "redis+sentinel"),
    "valkey+sentinel": ("valkey_sentinel", "valkey+sentinel"),
    "redis+cluster": ("valkey_cluster", "redis+cluster"),
    "valkey+cluster": ("valkey_cluster", "valkey+cluster"),
    "memcached": ("memcached_server", "memcached"),
}

#: Storages that decide in one step.
EXACT: list[tuple[str, Strategy]] = [
    (name, strategy) for name in ("memory", "redis", "redis+cluster") for strategy in STRATEGIES
]

#: And memcached, in which ``limits`` keeps no log.
MEMCACHED: list[tuple[str, Strategy]] = [("memcached", "sliding-window-counter"), ("memcached", "fixed-window")]

#: Other ways to a server: the scripts are the same, what carries them there is not.
LINKS: list[tuple[str, Strategy]] = [
    (name, "sliding-window-counter") for name in SERVERS if name not in ("redis", "redis+cluster", "memcached")
]


def in_places(places: Sequence[tuple[str, Strategy]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", places, indirect=True, ids=["-".join(pair) for pair in places])


by_every_link = in_places([*EXACT, *MEMCACHED, *LINKS])
everywhere = in_places([*EXACT, *MEMCACHED])
#: Not memcached: each test says why.
where_exact = in_places(EXACT)
in_memcached = in_places(MEMCACHED)
on_servers = in_places([*EXACT[3:], *MEMCACHED])


class Place(NamedTuple):
    """Where is counted.

    Attributes:
        name: What it is.
        strategy: How windows move.
        storage: Is empty.
        servers: Those that hold keys.
        empty: Forgets everything, and gives a storage that knows nothing.
    """

    name: str
    strategy: Strategy
    storage: Storage
    servers: Sequence[Server | Memcached]
    empty: Callable[[], Storage]

    def keys(self) -> dict[str, float]:
        """Give what the servers hold by its name, and milliseconds to live; -1 for ever."""
        return {
            key: lives_ms
            for server in self.servers
            for key, lives_ms in (memcached_keys(server) if isinstance(server, Memcached) else server_keys(server))
        }


def server_keys(server: Server) -> list[tuple[str, float]]:
    return [(key, server.call("PTTL", key)) for key in server.call("KEYS", "*")]


def memcached_keys(server: Memcached) -> list[tuple[str, float]]:
    with socket.create_connection((server.host, server.port), timeout=2) as connection:
        connection.sendall(b"lru_crawler metadump all\r\n")
        with connection.makefile() as lines:
            items = [dict(part.split("=", 1) for part in line.split()) for line in iter(lines.readline, "END\n")]
    return [
        (item["key"], -1 if item["exp"] == "-1" else 1000 * (int(item["exp"]) - time.time())) for item in items
    ]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def place(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Place]:
    name, strategy = request.param
    opened: list[Storage] = []
    server: Any = None
    url = ""
    if name in SERVERS:
        fixture, scheme = SERVERS[name]
        server = request.getfixturevalue(fixture)
        url = f"{scheme}://{server.url.partition('://')[2]}"

    def empty() -> Storage:
        if server is not None:
            server.flush()
        if name == "memory":
            opened.append(MemoryStorage(strategy, clock=Clock()))  # no window turns while a test runs
        elif name == "memcached":
            opened.append(LimitsStorage(url, strategy))
        else:
            opened.append(RedisStorage(url, strategy, timeout_s=10))
        return opened[-1]

    servers = [] if server is None else getattr(server, "servers", [server])
    yield Place(name, strategy, empty(), servers, empty)
    for storage in opened:
        await storage.aclose()


def day(amount: int, scope: str = "", *, is_shadow: bool = False) -> Quota:
    return Quota(amount, DAY_S, scope, is_shadow=is_shadow)


async def take(storage: Storage, *quotas: Quota, cost: int = 1, subject: str = "ada") -> Verdict:
    return await storage.decide((Demand(subject, quotas, cost),))


async def used(storage: Storage, *quotas: Quota, subject: str = "ada") -> list[int]:
    """Look at what was taken, also right after a refusal."""
    verdict = await take(storage, *quotas, cost=0, subject=subject)
    assert verdict.wait_ms == 0
    return [quota.amount - left for quota, left in zip(quotas, verdict.remaining, strict=True)]


# One after the other


@by_every_link
async def test_admits_up_to_the_limit(place):
    """So many are admitted and none more, each told what is left."""
    verdicts = [await take(place.storage, day(5)) for _ in range(8)]
    assert [verdict.remaining for verdict in verdicts] == [[4], [3], [2], [1], [0], [0], [0], [0]]
    assert [verdict.wait_ms > 0 for verdict in verdicts] == [False] * 5 + [True] * 3


@everywhere
async def test_admitted_verdict(place):
    """An admission says what it took and where, and nothing waits."""
    quota = day(5)
    verdict = await take(place.storage, quota, cost=2)
    assert (verdict.storage, tuple(verdict.demands)) == (place.storage, (Demand("ada", (quota,), 2),))
    assert (verdict.waits_ms, verdict.wait_ms) == (None, 0)
    assert [(figure.name, figure.amount, figure.remaining) for figure in verdict.figures] == [("5/day", 5, 3)]
    assert verdict.figures[0].reset_s == verdict.resets_ms[0] / 1000


@where_exact
async def test_reset_and_wait_of_a_full_quota(place):
    """Both are a window long right after the first hit; in memcached windows follow the epoch."""
    quota = Quota(4, HOUR_S)
    taken = await take(place.storage, quota, cost=4)
    refused = await take(place.storage, quota)
    (wait_ms,) = refused.waits_ms or ()
    hour_ms = HOUR_S * 1000
    # A millisecond more: after a whole window the counter is weighted, the entry of a log leaves.
    wait_more = 0 if place.strategy == "fixed-window" else 1
    reset_more = 1 if place.strategy == "moving-window" else 0
    if place.strategy == "sliding-window-counter" and place.name == "memory":
        hour_ms = taken.resets_ms[0]  # windows are those of the shard, this one ends some time
        assert 0 < hour_ms <= HOUR_S * 1000
    assert taken.resets_ms == [hour_ms + reset_more]
    assert hour_ms - 5000 < refused.resets_ms[0] - reset_more <= hour_ms
    assert hour_ms - 5000 < wait_ms - wait_more <= hour_ms
    assert refused.wait_ms == wait_ms


@by_every_link
async def test_refusal_takes_nothing_anywhere(place):
    """Where one quota is full, the others keep what they have, whichever comes first."""
    small, large = day(2, "small"), day(9, "large")
    for order in ((small, large), (large, small)):
        for _ in range(4):
            await take(place.storage, *order)
    assert await used(place.storage, small, large) == [2, 2]
    refused = await take(place.storage, large, small)
    assert refused.remaining == [7, 0]
    waits_ms = refused.waits_ms or ()
    assert waits_ms[0] == 0 < waits_ms[1] == refused.wait_ms


@everywhere
async def test_wait_is_the_longest(place):
    """Of two full quotas the one that takes longer says when to come again."""
    short, long = Quota(1, HOUR_S), Quota(1, DAY_S)
    await take(place.storage, short, long)
    refused = await take(place.storage, short, long)
    waits_ms = refused.waits_ms or ()
    assert refused.wait_ms == max(waits_ms)
    assert min(waits_ms) > 0


@everywhere
async def test_cost_that_does_not_fit_burns_nothing(place):
    """What is too much is refused, and what still fits is admitted after it."""
    quota = day(10)
    await take(place.storage, quota, cost=3)
    assert (await take(place.storage, quota, cost=9)).wait_ms > 0
    assert (await take(place.storage, quota, cost=7)).remaining == [0]


@everywhere
async def test_costs(place):
    """As many are admitted as the cost goes into the amount."""
    quota = day(10)
    for cost in (1, 2, 3, 7, 10):
        subject = f"cost-{cost}"
        admitted = [not (await take(place.storage, quota, cost=cost, subject=subject)).wait_ms for _ in range(11)]
        assert sum(admitted) == 10 // cost
        assert await used(place.storage, quota, subject=subject) == [10 // cost * cost]


@everywhere
async def test_cost_0_only_looks(place):
    """A look counts nothing, begins no window, and is admitted at the limit too."""
    quota = day(2)
    look = await take(place.storage, quota, cost=0)
    assert (look.remaining, list(look.resets_ms), look.wait_ms) == ([2], [0], 0)
    assert not place.keys()
    await take(place.storage, quota, cost=2)
    look = await take(place.storage, quota, cost=0)
    assert (look.remaining, look.waits_ms, look.wait_ms) == ([0], None, 0)
    assert look.resets_ms[0] > 0


@everywhere
async def test_several_costs_for_one_subject(place):
    """Demands of one subject with different costs are decided together."""
    few, many = day(3, "few"), day(100, "many")
    demands = (Demand("ada", (few,), 1), Demand("ada", (many,), 40))
    verdicts = [await place.storage.decide(demands) for _ in range(3)]
    assert [verdict.remaining for verdict in verdicts] == [[2, 60], [1, 20], [1, 20]]
    assert verdicts[2].waits_ms[0] == 0 < verdicts[2].waits_ms[1]
    assert await used(place.storage, few, many) == [2, 80]
    await refund([verdicts[0]])
    assert await used(place.storage, few, many) == [1, 40]


# In shadow


@everywhere
async def test_shadow_never_refuses(place):
    """A quota in shadow is counted up to its amount, says what it would have done, and refuses nothing."""
    shadow, real = day(2, is_shadow=True), day(4, "real")
    verdicts = [await take(place.storage, shadow, real) for _ in range(5)]
    assert [verdict.wait_ms > 0 for verdict in verdicts] == [False] * 4 + [True]
    assert [verdict.remaining for verdict in verdicts] == [[1, 3], [0, 2], [0, 1], [0, 0], [0, 0]]
    assert [[wait > 0 for wait in verdict.waits_ms or (0, 0)] for verdict in verdicts] == [
        *([False, False], [False, False], [True, False], [True, False], [True, True])
    ]
    assert await used(place.storage, shadow, real) == [2, 4]


@everywhere
async def test_shadow_is_not_taken_where_it_does_not_fit(place):
    """A cost too large for what is left in the shadow leaves it, so that a smaller one is counted."""
    shadow, real = day(5, is_shadow=True), day(100, "real")
    await take(place.storage, shadow, real, cost=4)
    await take(place.storage, shadow, real, cost=3)
    last = await take(place.storage, shadow, real, cost=1)
    assert (last.remaining, last.waits_ms) == ([0, 92], None)


@everywhere
async def test_shadow_and_real_of_the_same_numbers_are_apart(place):
    """A limit that is tried in shadow does not use up the one that holds."""
    shadow, real = day(2, is_shadow=True), day(2)
    await take(place.storage, shadow, cost=2)
    assert await used(place.storage, shadow, real) == [2, 0]


# At once


@in_places([*EXACT, *LINKS])
async def test_200_at_once(place):
    """20 a minute and 1000 an hour admit exactly 20, and the hour counts 20.

    Memcached is asked to take before it tells whether it had room: 200 at once take, and give back.
    """
    minute, hour = Quota(20, MINUTE_S), Quota(1000, HOUR_S)
    verdicts = await asyncio.gather(*(take(place.storage, minute, hour) for _ in range(200)))
    assert sum(not verdict.wait_ms for verdict in verdicts) == 20
    assert await used(place.storage, minute, hour) == [20, 20]


@in_memcached
async def test_200_at_once_in_memcached(place):
    """No more than 20 are admitted, and the hour counts as many."""
    minute, hour = day(20), day(1000)
    verdicts = await asyncio.gather(*(take(place.storage, minute, hour) for _ in range(200)))
    admitted = sum(not verdict.wait_ms for verdict in verdicts)
    assert 1 <= admitted <= 20
    assert await used(place.storage, minute, hour) == [admitted, admitted]


@where_exact
async def test_costs_at_once(place):
    """Costs that compete never take more than there is, and leave less than the smallest that was refused.

    Memcached may admit too few.
    """
    quota = day(50)
    costs = [1 + number % 7 for number in range(60)]
    verdicts = await asyncio.gather(*(take(place.storage, quota, cost=cost) for cost in costs))
    taken = sum(cost for cost, verdict in zip(costs, verdicts, strict=True) if not verdict.wait_ms)
    refused = [cost for cost, verdict in zip(costs, verdicts, strict=True) if verdict.wait_ms]
    assert await used(place.storage, quota) == [taken]
    assert 50 - min(refused) < taken <= 50


@where_exact
async def test_remaining_counts_down_at_once(place):
    """Whoever is admitted sees what is left after him; memcached says what was left when it looked."""
    verdicts = await asyncio.gather(*(take(place.storage, day(30)) for _ in range(30)))
    assert sorted(verdict.remaining[0] for verdict in verdicts) == list(range(30))


# Correcting


@everywhere
async def test_settle(place):
    """The last cost that was settled is what counts, up, down, all the way, and again; also above the amount."""
    quota = day(10)
    for costs, left in (((5,), 5), ((1,), 9), ((0,), 10), ((7, 2), 8), ((0, 3), 7), ((12,), 0)):
        subject = f"settled-{costs}"
        verdict = await take(place.storage, quota, cost=3, subject=subject)
        for cost in costs:
            await settle([verdict], cost)
        assert (await take(place.storage, quota, cost=0, subject=subject)).remaining == [left]
        assert verdict.remaining == [left]


@by_every_link
async def test_settle_leaves_what_others_took(place):
    """Given back is what this request took, from every quota, and nothing of the others'."""
    one, two = day(10, "one"), day(20, "two")
    await take(place.storage, one, two, cost=4)
    verdict = await take(place.storage, one, two, cost=3)
    await take(place.storage, one, two, cost=2)
    await refund([verdict])
    assert await used(place.storage, one, two) == [6, 6]


@everywhere
async def test_settle_after_refusal(place):
    """What was refused took nothing, and has nothing to give back."""
    full, roomy = day(3, "full"), day(30, "roomy")
    await take(place.storage, full, roomy, cost=3)
    refused = await take(place.storage, full, roomy)
    await refund([refused])
    await settle([refused], 5)
    assert await used(place.storage, full, roomy) == [3, 3]


@everywhere
async def test_settle_at_once(place):
    """Giving back twice at once gives back once."""
    quota = day(10)
    await take(place.storage, quota, cost=5)
    verdict = await take(place.storage, quota, cost=3)
    await asyncio.gather(*(refund([verdict]) for _ in range(5)))
    assert await used(place.storage, quota) == [5]


@everywhere
async def test_settle_of_a_shadow_that_was_not_taken(place):
    """A quota in shadow that had no room has nothing to give back."""
    shadow, real = day(2, is_shadow=True), day(9, "real")
    await take(place.storage, shadow, real, cost=2)
    verdict = await take(place.storage, shadow, real, cost=3)
    await refund([verdict])
    assert await used(place.storage, shadow, real) == [2, 2]


@everywhere
async def test_settle_makes_room_at_once(place):
    """Who was refused is admitted after a refund, with no second to wait."""
    quota = day(1)
    verdict = await take(place.storage, quota)
    assert (await take(place.storage, quota)).wait_ms > 0
    await refund([verdict])
    assert (await take(place.storage, quota)).wait_ms == 0


@everywhere
async def test_settle_after_reset(place):
    """A refund of what was forgotten meanwhile gives nothing away."""
    quota = day(5)
    verdict = await take(place.storage, quota, cost=3)
    await place.storage.reset("ada")
    await refund([verdict])
    assert await used(place.storage, quota) == [0]
    assert (await take(place.storage, quota, cost=5)).remaining == [0]
    assert (await take(place.storage, quota)).wait_ms > 0


@everywhere
async def test_settle_of_somebody_unknown(place):
    """A correction of what nobody took takes what is to be taken, and gives nothing away."""
    quota = day(5)
    verdict = await take(place.storage, quota, cost=0)
    await place.storage.settle([Change("bob", quota, -3)], verdict.taken_at)
    assert await used(place.storage, quota, subject="bob") == [0]
    await place.storage.settle([Change("bob", quota, 2)], verdict.taken_at)
    assert await used(place.storage, quota, subject="bob") == [2]


@by_every_link
async def test_reset(place):
    """A reset forgets all quotas of the subject and of nobody else, and is seen at once."""
    one, two = day(1), Quota(2, HOUR_S, "two")
    for subject in ("ada", "bob"):
        await take(place.storage, one, two, subject=subject)
        assert (await take(place.storage, one, two, subject=subject)).wait_ms > 0
    await place.storage.reset("ada")
    assert await used(place.storage, one, two) == [0, 0]
    assert await used(place.storage, one, two, subject="bob") == [1, 1]
    await place.storage.reset("nobody")


# Several subjects


@by_every_link
async def test_subjects_refuse_together(place):
    """When one subject refuses, the others keep what they have; in a cluster they lie in different slots."""
    own, shared = day(9, "own"), day(3, "shared")
    people = [f"person-{number}" for number in range(6)]
    verdicts = [
        await place.storage.decide((Demand(person, (own,), 2), Demand("all", (shared,), 1))) for person in people
    ]
    assert [verdict.wait_ms > 0 for verdict in verdicts] == [False] * 3 + [True] * 3
    assert [verdict.remaining for verdict in verdicts] == [[7, 2], [7, 1], [7, 0], [9, 0], [9, 0], [9, 0]]
    assert verdicts[-1].waits_ms[0] == 0 < verdicts[-1].waits_ms[1]
    assert [await used(place.storage, own, subject=person) for person in people] == [[2]] * 3 + [[0]] * 3
    await refund([verdicts[0]])
    assert await used(place.storage, own, subject=people[0]) == [0]
    assert await used(place.storage, shared, subject="all") == [2]


@where_exact
async def test_subjects_at_once(place):
    """However many decide at once, each subject counts those that were admitted; memcached may admit too few."""
    own, shared = day(100, "own"), day(20, "shared")
    verdicts = await asyncio.gather(
        *(
            place.storage.decide((Demand(f"person-{number % 4}", (own,), 1), Demand("all", (shared,), 1)))
            for number in range(100)
        )
    )
    admitted = [number for number, verdict in enumerate(verdicts) if not verdict.wait_ms]
    assert len(admitted) == 20
    assert await used(place.storage, shared, subject="all") == [20]
    for person in range(4):
        expected = sum(number % 4 == person for number in admitted)
        assert await used(place.storage, own, subject=f"person-{person}") == [expected]


@where_exact
async def test_costs_of_one_subject_at_once(place):
    """Demands of one subject take all or nothing at every moment; memcached looks and takes in two steps."""
    few, many = day(10, "few"), day(1000, "many")
    demands = (Demand("ada", (many,), 3), Demand("ada", (few,), 1))
    verdicts = await asyncio.gather(*(place.storage.decide(demands) for _ in range(40)))
    admitted = [verdict for verdict in verdicts if not verdict.wait_ms]
    assert sorted(verdict.remaining for verdict in admitted) == [[1000 - 3 * n, 10 - n] for n in range(10, 0, -1)]
    assert await used(place.storage, many, few) == [30, 10]


# Names


odd_text = st.one_of(
    st.text(alphabet="{}:/ \n~01a\0", max_size=6),
    st.text(alphabet=st.characters(), max_size=4),
    st.sampled_from(["", "\0overflow", "{}", "a" * 5000, "1/86400:0::", "\ud800", "é", "é", "*", "ada"]),
)
few_examples = settings(
    deadline=None,
    max_examples=12,
    phases=[Phase.explicit, Phase.generate],  # a server is too slow to look for the smallest failure
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@everywhere
@few_examples
@given(subjects=st.lists(odd_text, min_size=2, max_size=8, unique=True))
async def test_subjects_never_collide(place, subjects):
    """Whatever subjects are called, each has a budget of its own, and finds it again."""
    storage = place.empty()
    quota = day(1)
    admitted = [not (await take(storage, quota, subject=subject)).wait_ms for subject in subjects]
    assert all(admitted)
    assert [await used(storage, quota, subject=subject) for subject in subjects] == [[1]] * len(subjects)
    await storage.aclose()


@everywhere
@few_examples
@given(pairs=st.lists(st.tuples(odd_text, odd_text), min_size=2, max_size=8, unique=True))
async def test_scopes_never_collide(place, pairs):
    """No scope and subject together look like another scope and subject."""
    storage = place.empty()
    for scope, subject in pairs:
        assert not (await take(storage, day(1, scope), subject=subject)).wait_ms
    for scope, subject in pairs:
        assert await used(storage, day(1, scope), subject=subject) == [1]
    await storage.aclose()


@everywhere
async def test_scope_never_runs_into_a_subject(place):
    """Where a scope ends is told by its length: whatever separates it could be in a subject."""
    pairs = [
        ("a", "b:"),
        ("a:b", ""),
        ("a", "b"),
        ("a:b:", ""),
        ("", "a:b:"),
        ("1:a", "b"),
        ("", "1:a:b"),
        ("", ":"),
    ]
    for scope, subject in pairs:
        assert not (await take(place.storage, day(1, scope), subject=subject)).wait_ms


@everywhere
async def test_numbers_never_collide(place):
    """Quotas of other numbers, or in shadow, are counted apart."""
    quotas = [
        *(
            Quota(1, 86_400),
            Quota(18, 6400),
            Quota(1, 864_001),
            Quota(11, 86_400),
            Quota(1, 86_400, is_shadow=True),
        ),
        *(Quota(1, 86_400, "~"), Quota(1, 8640, "0"), Quota(1, 86_400, "1/86400:0::")),
    ]
    for quota in quotas:
        assert (await take(place.storage, quota)).remaining == [quota.amount - 1]
    assert await used(place.storage, *quotas) == [1] * len(quotas)


@on_servers
async def test_keys_say_nothing_and_expire(place):
    """No key holds the subject, and every key has an expiry, in time for what it counts."""
    secret = "hunter2@example.com"
    for window_s in (MINUTE_S, HOUR_S, DAY_S):
        await take(place.storage, Quota(5, window_s, "login"), cost=2, subject=secret)
    verdict = await take(place.storage, Quota(5, HOUR_S, "login"), cost=2, subject=secret)
    await settle([verdict], 1)
    keys = place.keys()
    assert keys
    assert not any("hunter2" in key or "example" in key for key in keys)
    assert all(0 < lives_ms <= 2 * DAY_S * 1000 + 1000 for lives_ms in keys.values())


@in_places(EXACT[3:])
async def test_namespaces_and_secrets_count_apart(place, request):
    """Services that share a server do not share budgets, unless they have the same namespace and secret."""
    fixture, scheme = SERVERS[place.name]
    url = f"{scheme}://{request.getfixturevalue(fixture).url.partition('://')[2]}"
    quota = day(1)
    ways: list[dict[str, Any]] = [
        {},
        {"namespace": "shop"},
        {"namespace": "shop", "key_secret": "s"},
        {"key_secret": "t"},
    ]
    for options in ways:
        for is_admitted in (True, False):  # two processes of one service
            storage = RedisStorage(url, place.strategy, timeout_s=10, **options)
            assert ((await take(storage, quota)).wait_ms == 0) is is_admitted
            await storage.aclose()


# Cancelled


async def cancel_many(storage: Storage, decide: Callable[[], Any], count: int = 60) -> None:
    """Begin decisions, cancel most of them somewhere on their way, and wait until nothing is under way."""
    chance = random.Random(count)
    before = asyncio.all_tasks()
    for _ in range(count):
        tasks = [asyncio.ensure_future(decide()) for _ in range(chance.randrange(1, 6))]
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() / 500)
        for task in tasks:
            if chance.random() < 0.8:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    give_up_at = time.monotonic() + 2
    # The client of memcached keeps tasks of its own.
    while getattr(storage, "_tasks", asyncio.all_tasks() - before) and time.monotonic() < give_up_at:
        await asyncio.sleep(0.001)


@everywhere
async def test_cancelled_decisions_leave_no_half(place):
    """Cancelled anywhere, a decision was taken from all quotas or from none, and every key expires."""
    one, two = day(10_000, "one"), Quota(10_000, HOUR_S, "two")
    await take(place.storage, one, two)
    await cancel_many(place.storage, lambda: take(place.storage, one, two))
    first, second = await used(place.storage, one, two)
    assert first == second > 1
    assert all(lives_ms > 0 for lives_ms in place.keys().values())


@everywhere
async def test_cancelled_refusals_take_nothing(place):
    """Cancelled anywhere, a request that one of two subjects refuses takes nothing from the other."""
    own, shared = day(10_000, "own"), day(1, "shared")
    await take(place.storage, shared, subject="all")
    forget = getattr(getattr(place.storage, "_refusals", None), "forget", lambda subject: None)

    async def decide() -> None:
        forget("ada")  # so that the server is asked each time
        await place.storage.decide((Demand("ada", (own,), 1), Demand("all", (shared,), 1)))

    await cancel_many(place.storage, decide)
    assert await used(place.storage, own) == [0]


@everywhere
async def test_cancelled_several_subjects_leave_no_half(place):
    """Cancelled anywhere, a decision was taken from both subjects or from neither."""
    own, other = day(10_000, "own"), day(10_000, "other")
    await cancel_many(
        place.storage, lambda: place.storage.decide((Demand("ada", (own,), 1), Demand("bob", (other,), 1)))
    )
    assert await used(place.storage, own) == await used(place.storage, other, subject="bob")


# Real time


async def test_real_windows_end(request, anyio_backend):
    """Who waits exactly as long as was said is admitted, in every strategy of a server, on its own clock."""
    url = request.getfixturevalue("valkey").url
    request.getfixturevalue("valkey").flush()

    async def wait_and_retry(strategy: Strategy, cost: int) -> None:
        quota, hour = Quota(4, 1), Quota(100, HOUR_S)
        subject = f"cost-{cost}"
        async with aclosing(RedisStorage(url, strategy, timeout_s=10)) as storage:
            while not (refused := await take(storage, quota, hour, cost=cost, subject=subject)).wait_ms:
                pass
            await asyncio.sleep(refused.wait_ms / 1000)
            admitted = await take(storage, quota, hour, cost=cost, subject=subject)
            assert admitted.wait_ms == 0

    await asyncio.gather(*(wait_and_retry(strategy, cost) for strategy in STRATEGIES for cost in (1, 3, 4)))


async def test_figures_are_the_same_everywhere(request, anyio_backend):
    """The same requests get the same figures from every storage that decides in one step."""

    async def figures(name: str, strategy: Strategy) -> list[Any]:
        if name == "memory":
            storage: Storage = MemoryStorage(strategy, clock=Clock())
        else:
            fixture, scheme = SERVERS[name]
            server = request.getfixturevalue(fixture)
            server.flush()
            storage = RedisStorage(f"{scheme}://{server.url.partition('://')[2]}", strategy, timeout_s=10)
        quotas = (day(7), day(20, "wide"), day(3, "shadow", is_shadow=True))
        seen: list[Any] = []
        for cost in (1, 2, 0, 5, 4, 1, 0):
            verdict = await take(storage, *quotas, cost=cost)
            waits = verdict.waits_ms or [0, 0, 0]
            seen.append((list(verdict.remaining), [wait > 0 for wait in waits], verdict.wait_ms > 0))
        await storage.aclose()
        return seen

    seen = [await figures(name, strategy) for name, strategy in (*EXACT, *LINKS)]
    assert seen == [seen[0]] * len(seen)
    assert seen[0][-1] == ([0, 13, 0], [False, False, False], False)
