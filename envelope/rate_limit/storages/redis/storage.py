"""Counting in Redis or Valkey: every decision is one script, which takes every demand or none.

On a cluster a subject's quotas lie in one slot and are decided together. Demands of several subjects are decided
side by side there; if one subject refuses, the others get back what they gave.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from urllib.parse import unquote

from envelope.events import LIMITS_FOREIGN_KEY, log_event
from envelope.rate_limit.quotas import Quota, Strategy, check_log, read_field
from envelope.rate_limit.storages.redis.scripts import load_scripts
from envelope.rate_limit.verdicts import Change, Demand, Verdict, refund
from envelope.storage.clock import monotonic_ms
from envelope.storage.errors import ForeignKeyError
from envelope.storage.redis.errands import Arguments
from envelope.storage.redis.line import Lines
from envelope.storage.redis.links import is_cluster, plan_connection
from envelope.storage.urls import check_namespace

logger = logging.getLogger("envelope.rate_limit")

#: Version of what lies under a key; another layout gets another number.
_VERSION = 1

#: The longest that a refusal is repeated without asking again: so soon a reset or a refund is seen.
_REPEATED_MS = 1000

#: Subjects whose refusals are remembered in each of two seconds, and refusals of each.
_MOST_REFUSED = 10_000
_MOST_REFUSALS = 16

#: Subjects whose keys are remembered.
_MOST_KEYS = 8192


class RedisStorage:
    """Quotas of a fleet.

    Args:
        url: Where the server, the Sentinels or the cluster are.
        strategy: How windows move.
        timeout_s: How long a decision may take.
        namespace: Tells services apart.
        key_secret: Keys the digests that stand for subjects.
        clock: Milliseconds that only grow, for what is known without asking.

    Raises:
        ConfigurationError: The client library is not installed, or an option is not what it should be.
    """

    def __init__(
        self,
        url: str,
        strategy: Strategy,
        *,
        timeout_s: float,
        namespace: str = "",
        key_secret: str | bytes | None = None,
        clock: Callable[[], int] = monotonic_ms,
    ) -> None:
        check_namespace(namespace)
        secret = key_secret.encode() if isinstance(key_secret, str) else key_secret or b""
        self._lines = Lines(plan_connection(url, timeout_s), timeout_s)
        self._is_cluster = is_cluster(url)
        self._clock = clock
        self._strategy: Strategy = strategy
        self._scripts = load_scripts(strategy)
        self._refusals = _Refusals()
        prefix = f"envelope:rate-limit:{_VERSION}:{namespace}:{strategy}"
        # A digest of any length of secret fits blake2b, which takes 64 bytes.
        key = hashlib.blake2b(secret).digest() if secret else b""

        @lru_cache(maxsize=_MOST_KEYS)
        def key_of(subject: str) -> bytes:
            digest = hashlib.blake2b(subject.encode(errors="surrogatepass"), digest_size=16, key=key)
            return f"{prefix}:{{{digest.hexdigest()}}}".encode()

        self._key_of = key_of

    def check(self, quota: Quota) -> None:
        """Refuse a quota whose log would be too long."""
        check_log(self._strategy, quota)

    async def decide(self, demands: Sequence[Demand]) -> Verdict:
        """Take every demand or none."""
        demands = tuple(demands)
        known = self._refusals.recall(demands, self._clock())
        if known is not None:
            return known
        if self._is_cluster and len(demands) > 1:
            # To its end, also if the client goes away: who has taken something gives it back.
            deciding = asyncio.ensure_future(self._decide_apart(demands))
            deciding.add_done_callback(_look_at)
            verdict = await asyncio.shield(deciding)
        else:
            verdict = await self._decide_together(demands)
        if verdict.wait_ms:
            self._refusals.remember(demands, verdict, self._clock())
        else:  # what else they ask for may have to wait longer now
            for demand in demands:
                self._refusals.forget(demand.subject)
        return verdict

    async def settle(self, changes: Sequence[Change], taken_at: int | dict[str, int]) -> None:
        """Correct what was taken at that time; by subject, where each has its own server and clock."""
        if isinstance(taken_at, int) and not self._is_cluster:
            await self._settle(changes, taken_at)
        else:
            times = {change.subject: taken_at for change in changes} if isinstance(taken_at, int) else taken_at
            await asyncio.gather(*(self._settle([change], times[change.subject]) for change in changes))
        for change in changes:
            self._refusals.forget(change.subject)

    async def reset(self, subject: str) -> None:
        """Forget everything that was counted for a subject."""
        await self._lines.here().run(self._scripts.reset, [self._key_of(subject)], Arguments.of())
        self._refusals.forget(subject)

    async def quotas_of(self, subject: str) -> Sequence[Quota]:
        """Tell which quotas are counted for a subject."""
        words = await self._lines.here().run(self._scripts.fields, [self._key_of(subject)], Arguments.of())
        if words == [b"!"]:
            raise _foreign()
        return [quota for quota in map(_read_quota, words) if quota is not None]

    async def aclose(self) -> None:
        """Close the connection of the running event loop."""
        await self._lines.aclose()

    async def _decide_together(self, demands: Sequence[Demand]) -> Verdict:
        arguments, size = _describe(tuple((demand.quotas, demand.cost) for demand in demands))
        keys = [self._key_of(demand.subject) for demand in demands]
        words = await self._lines.here().run(self._scripts.decide, keys, arguments, size)
        taken_at, *figures = map(int, words)
        if -1 in figures:
            raise _foreign()
        waits = figures[2::3]
        if not any(waits):
            return Verdict(self, demands, figures[::3], figures[1::3], None, 0, taken_at)
        quotas = [quota for demand in demands for quota in demand.quotas]
        wait_ms = max(0 if quota.is_shadow else wait for quota, wait in zip(quotas, waits, strict=True))
        return Verdict(self, demands, figures[::3], figures[1::3], waits, wait_ms, taken_at)

    async def _decide_apart(self, demands: Sequence[Demand]) -> Verdict:
        """Decide subjects in several slots: each one exactly, all together as nearly as a cluster can."""
        by_subject: dict[str, list[Demand]] = {}
        for demand in demands:
            by_subject.setdefault(demand.subject, []).append(demand)
        verdicts = await asyncio.gather(
            *(self._decide_together(mine) for mine in by_subject.values()), return_exceptions=True
        )
        decided = [verdict for verdict in verdicts if isinstance(verdict, Verdict)]
        wait_ms = max((verdict.wait_ms for verdict in decided), default=0)
        if wait_ms or len(decided) < len(verdicts):
            await refund(decided)
        for error in verdicts:
            if isinstance(error, BaseException):
                raise error
        verdict = Verdict.of_all(decided)
        verdict.wait_ms = wait_ms
        verdict.waits_ms = verdict.waits_ms if any(verdict.waits_ms or ()) else None
        verdict.taken_at = {subject: each.taken_at for subject, each in zip(by_subject, decided, strict=True)}
        return verdict

    async def _settle(self, changes: Sequence[Change], taken_at: int) -> None:
        keys = [self._key_of(change.subject) for change in changes]
        values = [
            value
            for _, quota, difference in changes
            for value in (quota.field, quota.window_ms, difference, taken_at)
        ]
        await self._lines.here().run(self._scripts.settle, keys, Arguments.of(*values))


@lru_cache(maxsize=4096)
def _describe(demands: tuple[tuple[tuple[Quota, ...], int], ...]) -> tuple[Arguments, int]:
    """Write the arguments of a decision, and count the numbers of its answer."""
    values: list[str | int] = [len(demands)]
    for quotas, cost in demands:
        values += [cost, len(quotas)]
        for quota in quotas:
            values += [quota.field, quota.amount, quota.window_ms, int(quota.is_shadow)]
    return Arguments.of(*values), 3 * sum(len(quotas) for quotas, _ in demands)


class _Refusals:
    """Refusals that need no round trip: nothing but time, a reset or a refund changes them."""

    def __init__(self) -> None:
        # By subject, so that a reset finds them.
        self._young: dict[str, dict[Sequence[Demand], tuple[int, Verdict]]] = {}
        self._old = self._young
        self._turn_at = 0

    def remember(self, demands: Sequence[Demand], verdict: Verdict, now: int) -> None:
        """Keep a refusal for a second at the most."""
        if now >= self._turn_at:
            self._young, self._old, self._turn_at = {}, self._young, now + _REPEATED_MS
        for demand in demands if len(self._young) < _MOST_REFUSED else ():
            refusals = self._young.setdefault(demand.subject, {})
            if len(refusals) < _MOST_REFUSALS:
                refusals[demands] = now, verdict

    def recall(self, demands: Sequence[Demand], now: int) -> Verdict | None:
        """Give a refusal of the same demands that still holds, with the time that has passed taken off."""
        for refusals in (self._young, self._old):
            # Most of the time nobody is refused.
            if refusals and (found := refusals.get(demands[0].subject, {}).get(demands)):
                at, verdict = found
                passed = now - at
                if passed < min(verdict.wait_ms, _REPEATED_MS):
                    return _shorten(verdict, passed)
        return None

    def forget(self, subject: str) -> None:
        """Ask again about a subject."""
        for generation in (self._young, self._old) if self._young or self._old else ():
            for demands in generation.pop(subject, ()):
                for demand in demands:
                    generation.get(demand.subject, {}).pop(demands, None)


def _read_quota(word: bytes) -> Quota | None:
    try:
        return read_field(unquote(word.decode(), errors="surrogatepass"))
    except UnicodeDecodeError:
        return None


def _foreign() -> ForeignKeyError:
    log_event(logger, LIMITS_FOREIGN_KEY)
    return ForeignKeyError("what lies under a key is not ours")


def _look_at(task: asyncio.Task[Verdict]) -> None:
    """See the exception of a task that nobody waits for any more."""
    if not task.cancelled():  # pragma: no branch - else the loop ends
        task.exception()


def _shorten(verdict: Verdict, passed: int) -> Verdict:
    return Verdict(
        verdict.storage,
        verdict.demands,
        list(verdict.remaining),
        [max(0, reset_ms - passed) for reset_ms in verdict.resets_ms],
        [max(wait_ms - passed, 1 if wait_ms else 0) for wait_ms in verdict.waits_ms or ()],
        verdict.wait_ms - passed,
        verdict.taken_at,
    )
