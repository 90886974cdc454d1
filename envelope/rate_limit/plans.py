"""What is charged for a request: limits with their keys and costs, worked out as far as possible beforehand."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import HTTPConnection

from envelope.errors.tree import ConfigurationError, ForbiddenError
from envelope.events import LIMITS_SHADOW, LIMITS_UNIDENTIFIED, log_event
from envelope.rate_limit.address import ClientAddress
from envelope.rate_limit.notation import parse
from envelope.rate_limit.quotas import Quota
from envelope.rate_limit.verdicts import Demand

logger = logging.getLogger("envelope.rate_limit")

#: Whose budget a request uses; None: it is not limited.
Key = Callable[[Any], str | Awaitable[str | None] | None]
Cost = int | Callable[[Any], int | Awaitable[int]]
Computed = str | Sequence[str] | None
#: A notation, or what gives one for a request: its tier's, its tenant's; None: no limit.
Limit = str | Callable[[Any], Computed | Awaitable[Computed]]


#: Characters of a subject or a scope that is kept as it is.
_LONGEST_TEXT = 128

#: Storages reckon in doubles, which are exact up to here.
_LARGEST_COST = 2**53


class RouteLimit:
    """Limits that are charged in their own way.

    Stands where a notation stands, in the route table and among a limiter's own limits::

        RouteLimit("5/minute", key=account_of)              # another subject
        RouteLimit("100/hour", cost=lambda request: ...)    # another cost
        RouteLimit("2/second", shadow=True)                 # counted and logged, never refusing
        RouteLimit(limit_of_tier)                           # computed, also asynchronously

    Args:
        limits: Notations of ``limits``, or functions that give one, several or None for a request.
        key: Whose budget it is, as for ``RateLimiter``; None means the limiter's own key.
        cost: What a request costs; None means the limiter's own cost.
        shadow: Never refuse; a refusal that would have been is logged.
        expose: Tell clients what is left. Not where the subject is somebody else, such as the user name that an
            attacker tries: the figures would tell what the other one does.
        name: Tells it from other limits of the same numbers, in the storage and in the header fields.

    Raises:
        ConfigurationError: There is no limit, or one that cannot be read.
    """

    def __init__(
        self,
        *limits: Limit,
        key: Key | None = None,
        cost: Cost | None = None,
        shadow: bool = False,
        expose: bool = True,
        name: str = "",
    ) -> None:
        if not limits:
            raise ConfigurationError(
                "RouteLimit() has no limits; write RouteLimit('5/minute'), or None to exempt a route"
            )
        for option, value, kind in (("shadow", shadow, bool), ("expose", expose, bool), ("name", name, str)):
            if not isinstance(value, kind):
                raise ConfigurationError(f"RouteLimit({option}={value!r}); it is a {kind.__name__}")
        self.limits = limits
        self.key = key
        self.cost = cost
        self.shadow = shadow
        self.expose = expose
        self.name = name
        for limit in limits:
            if not callable(limit):
                parse(limit)


class Plan:
    """What one kind of request is charged.

    Args:
        limits: Notations, functions and ``RouteLimit``; all must pass.
        scope: What is counted together.
        key: Of the limits that name none.
        cost: Of the limits that name none.
        is_work: That cost was given, and so stands for work.
        check: Refuses a quota that the storage cannot count.
        before: Limits that are charged too.

    Attributes:
        can_refuse: Some of the limits are not in shadow.
        has_shadow: Some of them are.
        quotas: Those that are known beforehand, if all are; None otherwise.
        address: The only key, if it is the client's address and the rest is constant; None otherwise.
        cost: The only cost, if ``address`` is given.
        is_work: Whether it stands for work.

    Raises:
        ConfigurationError: A limit cannot be read, or never be met.
    """

    def __init__(
        self,
        limits: Sequence[Limit | RouteLimit],
        *,
        key: Key,
        cost: Cost,
        scope: str = "",
        is_work: bool,
        check: Callable[[Quota], None],
        before: Plan | None = None,
    ) -> None:
        self._rules = [
            _Rule(
                limit if isinstance(limit, RouteLimit) else RouteLimit(limit),
                scope,
                key,
                cost,
                check,
                is_work=is_work,
            )
            for limit in limits
        ]
        if before is not None:
            self._rules[:0] = before._rules  # noqa: SLF001 - another of the same class
        self._check_names()
        self.can_refuse = not all(rule.is_shadow for rule in self._rules)
        self.has_shadow = any(rule.is_shadow for rule in self._rules)
        self.quotas: tuple[Quota, ...] | None = None
        self.address: ClientAddress | None = None
        self.cost = 0
        self.is_work = False
        if all(rule.quotas is not None for rule in self._rules):
            self.quotas = tuple(quota for rule in self._rules for quota in rule.quotas or ())
            ways = {(rule.key, rule.cost, rule.is_work) for rule in self._rules}
            if len(ways) == 1:
                ((key, cost, is_work),) = ways
                if isinstance(key, ClientAddress) and isinstance(cost, int):
                    self.address, self.cost, self.is_work = key, cost, is_work

    def _check_names(self) -> None:
        seen: dict[str, _Rule] = {}
        for rule in self._rules:
            for quota in rule.quotas or ():
                if quota.field in seen:
                    raise ConfigurationError(
                        f"{quota.notation!r} stands twice{f' for {quota.scope}' if quota.scope else ''};"
                        " remove one, or tell them apart: RouteLimit(..., name='per account')"
                    )
                seen[quota.field] = rule

    async def demands(self, connection: HTTPConnection) -> tuple[Demand, ...]:
        """Work out what this request is charged; a key that gives None leaves its limits out.

        Raises:
            ValueError: A computed cost or limit makes no sense.
        """
        subjects: dict[Key, str | None] = {}
        costs: dict[Callable[[Any], Any], Any] = {}
        demands: dict[tuple[str, int, bool], list[Quota]] = {}
        charged = set()
        for rule in self._rules:
            if rule.key not in subjects:
                subjects[rule.key] = await _ask_key(rule.key, connection)
            subject = subjects[rule.key]
            if subject is None:
                continue
            cost = rule.cost
            if callable(cost):
                if cost not in costs:
                    costs[cost] = await _ask(cost, connection)
                cost = costs[cost]
            quotas = rule.quotas if rule.quotas is not None else await rule.compute(connection)
            check_cost(cost, [quota for quota in quotas if not quota.is_shadow])
            for quota in quotas:
                if cost > quota.amount:  # in shadow
                    report_shadow(quota)
                elif (subject, quota.field) not in charged:  # computed limits may come to the same
                    charged.add((subject, quota.field))
                    demands.setdefault((subject, cost, rule.is_work), []).append(quota)
        return tuple(
            Demand(subject, tuple(quotas), cost, is_work) for (subject, cost, is_work), quotas in demands.items()
        )

    def demands_of(self, subject: str) -> tuple[Demand, ...]:
        """Give what a subject is charged, where there is no request.

        Raises:
            ValueError: Some limits need a request.
        """
        demands: dict[tuple[int, bool], list[Quota]] = {}
        for rule in self._rules:
            if rule.quotas is None or not isinstance(rule.cost, int):
                raise ValueError("computed limits and costs need a request; give it in place of the subject")
            demands.setdefault((rule.cost, rule.is_work), []).extend(rule.quotas)
        return tuple(Demand(subject, tuple(quotas), cost, is_work) for (cost, is_work), quotas in demands.items())


class _Rule:
    """Limits that share a key, a cost and a scope."""

    def __init__(
        self, limit: RouteLimit, scope: str, key: Key, cost: Cost, check: Callable[[Quota], None], *, is_work: bool
    ) -> None:
        self.key = limit.key or key
        self.cost = cost if limit.cost is None else limit.cost
        self.is_work = is_work if limit.cost is None else True
        self.quotas: tuple[Quota, ...] | None = None
        self._limits = limit.limits
        self._scope = " ".join(filter(None, (scope, limit.name)))
        self.is_shadow = limit.shadow
        self._is_exposed = limit.expose
        self._check = check
        _check_callable("key", self.key)
        if not any(map(callable, self._limits)):
            self.quotas = self._parse(self._limits)  # type: ignore[arg-type]
        if not callable(self.cost):
            check_cost(self.cost, self.quotas or (), ConfigurationError)

    async def compute(self, connection: HTTPConnection) -> tuple[Quota, ...]:
        notations: list[str] = []
        for limit in self._limits:
            given = await _ask(limit, connection) if callable(limit) else limit
            notations += [given] if isinstance(given, str) else given or []
        return self._parse(notations)

    def _parse(self, notations: Sequence[str]) -> tuple[Quota, ...]:
        quotas: tuple[Quota, ...] = ()
        for notation in notations:
            quotas += parse(notation, self._scope, is_shadow=self.is_shadow, is_exposed=self._is_exposed)
        for quota in quotas:
            self._check(quota)
        return quotas


def report_shadow(quota: Quota) -> None:
    """Log that a quota in shadow would have refused a request."""
    log_event(logger, LIMITS_SHADOW, policy=quota.name)


def check_cost(cost: object, quotas: Sequence[Quota], error: type[Exception] = ValueError) -> None:
    """Refuse a cost that is none, or that would never fit."""
    if not isinstance(cost, int) or isinstance(cost, bool) or not 0 <= cost <= _LARGEST_COST:
        raise error(f"a cost is {cost!r}; give a whole number, 0 or more")
    for quota in quotas:
        if cost > quota.amount:
            raise error(f"a cost of {cost} never fits into {quota.name!r}; raise the limit or lower the cost")


def _check_callable(name: str, value: object) -> None:
    try:
        if not callable(value):
            raise TypeError  # noqa: TRY301
        with suppress(ValueError):  # not every callable object tells its parameters
            inspect.signature(value).bind(None)
    except TypeError:
        raise ConfigurationError(f"{name} is {value!r}; give a function that takes the request") from None


def shorten(text: str) -> str:
    """Put a digest in the place of a long text: what clients choose must not fill the memory."""
    if len(text) <= _LONGEST_TEXT:
        return text
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=32).hexdigest()


async def _ask_key(key: Key, connection: HTTPConnection) -> str | None:
    subject = await _ask(key, connection)
    if subject is None:
        if isinstance(key, ClientAddress):
            _report_unidentified(key)
            if key.unidentified == "deny":
                raise ForbiddenError
        return None
    if not isinstance(subject, str):
        raise TypeError(f"the key function gave {type(subject).__name__}; give a string, or None not to limit")
    return shorten(subject)


@functools.cache
def _report_unidentified(key: ClientAddress) -> None:
    """Log that a client cannot be told by its address; once."""
    outcome = "refused with 403" if key.unidentified == "deny" else "not limited"
    log_event(logger, LIMITS_UNIDENTIFIED, outcome=outcome)


async def _ask(function: Callable[[Any], Any], connection: HTTPConnection) -> Any:
    answer = function(connection)
    return await answer if inspect.isawaitable(answer) else answer
