"""RateLimiter: which limits a service has, and what it does about a client that reaches one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType, UnionType
from typing import Any, TypeVar, cast, get_args

from starlette.requests import HTTPConnection

from envelope import signals
from envelope.errors.tree import ConfigurationError, RateLimitedError
from envelope.rate_limit.address import client_address
from envelope.rate_limit.endpoints import limit_endpoint
from envelope.rate_limit.headers import FIELD_NAMES, STYLES, Fields, FieldWriter, Style
from envelope.rate_limit.plans import Cost, Key, Limit, Plan, RouteLimit, check_cost, report_shadow, shorten
from envelope.rate_limit.quotas import Quota, Strategy
from envelope.rate_limit.storages.opening import open_storage
from envelope.rate_limit.storages.outage import OnOutage
from envelope.rate_limit.tally import Tally, note
from envelope.rate_limit.verdicts import Demand, Storage, TellingStorage, Verdict, refund, settle
from envelope.routing.keys import parse_key
from envelope.routing.refusals import mark_refusals
from envelope.routing.templates import template_of
from envelope.signals import Decision, Listener
from envelope.wire.exchange import KEY as INSTALLED

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

#: A request that waits longer for its figures than this is lost anyway.
_LONGEST_TIMEOUT_S = 30

#: Plans, and writers of header fields, that are kept; what is computed can come in any combination.
_MOST_KEPT = 1024

_numbers = itertools.count()


class RateLimiter:
    """Limits how much each client may ask for.

    ``install(app, rate_limiter=limiter)`` guards a whole service; ``check``, ``limit`` and ``limited`` guard
    what they stand at. All limits of a request that are known at install are decided together: everything is
    taken, or nothing.

    Args:
        limits: Notations of ``limits`` (``"20/second"``, ``"5000/day"``), functions that give them for a request,
            or ``RouteLimit``. They hold for every request, also for paths that no route has.
        storage: Where is counted: ``memory://`` in this process; ``redis://``, ``rediss://``,
            ``redis+cluster://``, ``redis+sentinel://`` and the same with ``valkey`` for a fleet; ``memcached://``
            and ``mongodb://`` with weaker guarantees; or an object that is a ``Storage``.
        strategy: How windows move: ``sliding-window-counter``, ``fixed-window`` or ``moving-window``.
        key: Whose budget a request uses; None: the request is not limited. Async or not.
        routes: More limits for a route, by method and path template, ``"POST /entities/{entity_id}/verify"``; a
            websocket's method is ``WEBSOCKET``. None exempts a route from all limits.
        cost: What a request costs; 0 or more.
        on_outage: While the storage does not answer: ``local`` counts in this process, ``allow`` admits,
            ``deny`` answers 503.
        timeout_s: The longest that a request waits for the storage.
        headers: ``both``, ``legacy`` (``X-RateLimit-*``), ``draft`` (RateLimit, RateLimit-Policy) or ``none``.
        max_keys: The most counters in memory, for each length of window.
        namespace: Tells services apart that share a storage.
        key_secret: Keys the digests that stand for subjects in a shared storage. Without one, somebody who can
            read the storage can find out by trying which addresses called.

    Raises:
        ConfigurationError: An option is not what it should be.
    """

    def __init__(
        self,
        *limits: Limit | RouteLimit,
        storage: str | Storage = "memory://",
        strategy: Strategy = "sliding-window-counter",
        key: Key = client_address,
        routes: Mapping[str, RouteLimit | Sequence[Limit | RouteLimit] | None] = MappingProxyType({}),
        cost: Cost = 1,
        on_outage: OnOutage = "local",
        timeout_s: float = 0.1,
        headers: Style = "both",
        max_keys: int = 1_000_000,
        namespace: str = "",
        key_secret: str | bytes | None = None,
    ) -> None:
        _check_choice("strategy", strategy, get_args(Strategy))
        _check_choice("headers", headers, STYLES)
        _check_choice("on_outage", on_outage, get_args(OnOutage))
        _check_number("timeout_s", timeout_s, int | float)
        if timeout_s > _LONGEST_TIMEOUT_S:
            raise ConfigurationError(
                f"timeout_s is {timeout_s}; it is in seconds, {_LONGEST_TIMEOUT_S} at the most"
            )
        _check_number("max_keys", max_keys)
        _check_text("namespace", namespace)
        _check_text("key_secret", key_secret, str | bytes | None)
        self.strategy: Strategy = strategy
        self.storage = open_storage(
            storage,
            strategy=strategy,
            max_keys=max_keys,
            timeout_s=timeout_s,
            on_outage=on_outage,
            namespace=namespace,
            key_secret=key_secret,
        )
        self._key, self._cost = key, cost
        self._style: Style = headers
        self._refusals = (429, 503) if on_outage == "deny" else (429,)
        self._limits = limits
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._writers: dict[tuple[Quota, ...], FieldWriter] = {}
        #: The header fields that tell how much is left.
        self.field_names = FIELD_NAMES[headers]
        #: The plan for requests that no entry of the route table speaks of.
        self.plan = self._make_plan(limits)
        #: By method and path template.
        self.routes: dict[str, Plan] = {
            name: self._plan_route(name, given) for name, given in _check_routes(routes).items()
        }
        #: Where the tally of a request stands in its scope.
        self.scope_key = f"envelope.rate_limit.{next(_numbers)}"
        #: Functions that ``limited`` was put above.
        self.limited_endpoints: list[Callable[..., Any]] = []

    async def check(
        self, subject: str | HTTPConnection, *limits: Limit | RouteLimit, cost: int = 1, scope: str = ""
    ) -> Verdict:
        """Charge somebody here and now.

        Args:
            subject: Whose budget it is, in the namespace of what ``key`` returns; or a request, whose key it is.
            limits: What is charged; none means the limiter's own limits.
            cost: 0 or more; 0 only looks.
            scope: Tells what is counted here from what is counted elsewhere. It is public: in the header fields,
                and in the storage.

        Returns:
            The verdict; ``verdict.figures`` says what is left.

        Raises:
            RateLimitedError: A limit is reached; nothing was taken.
            ServiceUnavailableError: The storage does not answer, with ``on_outage="deny"``.
            ValueError: A limit cannot be read, or the cost never fits.
        """
        check_cost(cost, ())
        if not isinstance(subject, str | HTTPConnection):
            raise ValueError(f"check() was given {subject!r}; give a subject or a request")  # noqa: TRY004
        if not limits and not self._limits:
            raise ValueError("there is nothing to check; give limits: check(subject, '5/minute')")
        try:
            plan = self._plan_for(limits or self._limits, scope=shorten(scope), cost=cost, is_work=cost != 1)
        except ConfigurationError as error:  # the configuration is right, this call is not
            raise ValueError(str(error)) from error
        if isinstance(subject, str):
            verdict = await self._decide(plan.demands_of(shorten(subject)))
            verdicts = [verdict]
        else:
            verdict = await self._decide(await plan.demands(subject))
            verdicts = note(subject.scope, self.scope_key, verdict)
        if verdict.wait_ms:
            raise self.refusal(verdicts)
        return verdict

    def limit(
        self, *limits: Limit | RouteLimit, key: Key | None = None, cost: Cost | None = None
    ) -> Callable[[HTTPConnection], Awaitable[Verdict]]:
        """Make a dependency for FastAPI that charges the route it stands at.

        ``Depends(limiter.limit("5/minute"))`` decides after the limiter's own limits have been charged. Each
        route has a budget of its own, told by its whole path template.

        Args:
            limits: What is charged.
            key: Whose budget it is; None means the limiter's own key.
            cost: What a request costs; None means the limiter's own cost.

        Returns:
            The dependency; its value is the verdict.

        Raises:
            ConfigurationError: A limit cannot be read, or never be met.
        """
        if not limits:
            raise ConfigurationError("limit() has no limits; write limit('5/minute')")
        refusals = self.refusals(self._plan_for(limits, key=key, cost=cost))

        async def charge(connection: HTTPConnection) -> Verdict:
            plan = self._plan_for(limits, scope=template_of(connection.scope), key=key, cost=cost)
            return await self._charge(connection, plan)

        mark_refusals(charge, lambda _: refusals)
        return charge

    def limited(
        self, *limits: Limit | RouteLimit, key: Key | None = None, cost: Cost | None = None
    ) -> Callable[[Endpoint], Endpoint]:
        """Limit the endpoint below; stands below the route decorator.

        The endpoint may be sync or async and needs no ``request`` parameter::

            @app.post("/reports")
            @limiter.limited("5/minute")
            def make_report(): ...

        Args:
            limits: What is charged, as by ``limit``.
            key: Whose budget it is; None means the limiter's own key.
            cost: What a request costs; None means the limiter's own cost.

        Raises:
            ConfigurationError: A limit cannot be read, or the endpoint is no function that answers once.
        """
        charge = self.limit(*limits, key=key, cost=cost)

        def decorate(endpoint: Endpoint) -> Endpoint:
            limited = limit_endpoint(endpoint, charge)
            self.limited_endpoints.append(endpoint)
            return limited

        self.limited_endpoints.append(decorate)  # an endpoint only if somebody forgot the brackets
        return decorate

    async def settle(self, taken: HTTPConnection | Verdict, cost: int) -> None:
        """Charge what the work has really cost, once that is known.

        More than was taken is charged even if it does not fit; less is given back, unless its window is over.
        Limits that have a ``cost`` are settled, and those that count requests stay as they are; where there is no
        ``cost``, all are. Settling again changes the cost again.

        Args:
            taken: A request, for all that this limiter took from it, or what ``check`` returned.
            cost: What it cost.

        Raises:
            ValueError: The cost is no whole number of 0 or more.
        """
        check_cost(cost, ())
        verdicts = [taken] if isinstance(taken, Verdict) else self._verdicts_of(taken)
        await settle(verdicts, cost)

    async def refund(self, taken: HTTPConnection | Verdict) -> None:
        """Give back what was taken, as if the request had not been: so a limit can count failures only."""
        await refund([taken] if isinstance(taken, Verdict) else self._verdicts_of(taken))

    async def inspect(self, subject: str) -> Verdict:
        """Tell all that is counted for a subject, whatever limits it belongs to; for operators. Charges nothing.

        Returns:
            The verdict; ``verdict.figures`` says what is left, and is empty where nothing is counted.

        Raises:
            ServiceUnavailableError: The storage does not answer.
            ValueError: The storage finds only the limits that it is asked for: memcached and MongoDB do.
        """
        subject = shorten(subject)
        quotas = await cast(TellingStorage, self.storage).quotas_of(subject)
        return await self._decide((Demand(subject, tuple(quotas), 0),) if quotas else ())

    async def reset(self, subject: str) -> None:
        """Forget everything that was counted for a subject, for tests and operators.

        Raises:
            ServiceUnavailableError: The storage does not answer.
        """
        await self.storage.reset(shorten(subject))

    async def aclose(self) -> None:
        """Close the storage's connections of the running event loop; an installed application does it itself."""
        await self.storage.aclose()

    def refusals(self, plan: Plan) -> Collection[int]:
        """Give the statuses that a plan can answer, for the OpenAPI document."""
        return self._refusals if plan.can_refuse else ()

    def report(self, verdict: Verdict) -> None:
        """Tell what was decided, and log what a quota in shadow would have refused."""
        if signals.listener is not None:
            self._tell(signals.listener, verdict)
        if verdict.waits_ms is None:
            return
        for quota, wait_ms in zip(verdict.quotas(), verdict.waits_ms, strict=True):
            if wait_ms and quota.is_shadow:
                report_shadow(quota)

    def describe(self, verdicts: Sequence[Verdict]) -> Fields:
        """Write the header fields for these verdicts about a request."""
        if len(verdicts) != 1:
            verdicts = [Verdict.of_all(verdicts)] if verdicts else []
        if not verdicts or not verdicts[0].remaining:
            return []
        verdict = verdicts[0]
        demands = verdict.demands
        quotas = demands[0].quotas if len(demands) == 1 else verdict.quotas()
        writer = self._writers.get(quotas)
        if writer is None:
            if len(self._writers) >= _MOST_KEPT:
                self._writers.clear()
            writer = self._writers[quotas] = FieldWriter(quotas, self._style)
        return writer.write(verdict)

    def describe_refusal(self, verdicts: Sequence[Verdict]) -> Fields:
        """Write the header fields of a refusal by the last of these verdicts."""
        return [
            *self.describe(verdicts),
            (b"retry-after", b"%d" % -(-verdicts[-1].wait_ms // 1000)),
            (b"cache-control", b"no-store"),  # RFC 6585, 4
        ]

    def refusal(self, verdicts: Sequence[Verdict]) -> RateLimitedError:
        """Make the error for a request that the last of these verdicts refuses."""
        headers = {name.decode(): value.decode() for name, value in self.describe_refusal(verdicts)}
        return RateLimitedError(headers=headers, retry_after=-(-verdicts[-1].wait_ms // 1000))

    def _tell(self, listener: Listener, verdict: Verdict) -> None:
        if not verdict.remaining:
            for quota in verdict.quotas():
                listener.decision(quota.name, "unchecked", share_left=None, is_local=False)
            return
        is_local = verdict.storage is not self.storage
        waits = verdict.waits_ms or itertools.repeat(0)
        for quota, left, wait_ms in zip(verdict.quotas(), verdict.remaining, waits, strict=False):
            outcome: Decision = "admitted"
            if wait_ms:
                outcome = "shadow" if quota.is_shadow else "refused"
            elif verdict.wait_ms:
                continue  # nothing was taken from it, because another one refused
            listener.decision(quota.name, outcome, share_left=left / quota.amount, is_local=is_local)

    async def _decide(self, demands: tuple[Demand, ...]) -> Verdict:
        if not demands:  # nobody is charged
            return Verdict(self.storage, (), [], [], None, 0, None)
        verdict = await self.storage.decide(demands)
        self.report(verdict)
        return verdict

    async def _charge(self, connection: HTTPConnection, plan: Plan) -> Verdict:
        if INSTALLED not in connection.scope and connection.scope["type"] == "http":
            raise ConfigurationError(
                "a limited route belongs to an application without install();"
                " call install(app, rate_limiter=limiter)"
            )
        verdict = await self._decide(await plan.demands(connection))
        verdicts = note(connection.scope, self.scope_key, verdict)
        if verdict.wait_ms:
            raise self.refusal(verdicts)
        return verdict

    def _verdicts_of(self, connection: HTTPConnection) -> Sequence[Verdict]:
        tally: Tally | None = connection.scope.get(self.scope_key)
        return tally.verdicts if tally is not None else ()

    def _plan_for(
        self,
        limits: tuple[Limit | RouteLimit, ...],
        *,
        scope: str = "",
        key: Key | None = None,
        cost: Cost | None = None,
        is_work: bool = True,
    ) -> Plan:
        """Give the plan for limits that stand in code; it is made once."""
        name = (limits, scope, key, cost, is_work)
        try:
            plan = self._plans.get(name)
        except TypeError:  # a list in the place of a limit, which is refused below
            return self._make_plan(limits, scope=scope, key=key, cost=cost, is_work=is_work)
        if plan is None:
            if len(self._plans) >= _MOST_KEPT:
                self._plans.clear()
            plan = self._plans[name] = self._make_plan(limits, scope=scope, key=key, cost=cost, is_work=is_work)
        return plan

    def _make_plan(
        self,
        limits: Iterable[Limit | RouteLimit],
        *,
        scope: str = "",
        key: Key | None = None,
        cost: Cost | None = None,
        is_work: bool = True,
        before: Plan | None = None,
    ) -> Plan:
        return Plan(
            tuple(limits),
            key=self._key if key is None else key,
            cost=self._cost if cost is None else cost,
            is_work=is_work if cost is not None else self._cost != 1,
            scope=scope,
            check=self.storage.check,
            before=before,
        )

    def _plan_route(self, name: str, given: RouteLimit | Sequence[Limit | RouteLimit] | None) -> Plan:
        key = parse_key(name)
        if given is None:
            return self._make_plan(())
        limits = [given] if isinstance(given, RouteLimit) else given
        if not limits:
            raise ConfigurationError(f"routes[{name!r}] has no limits; None exempts a route from all limits")
        return self._make_plan(limits, scope=f"{key.method} {key.template}", before=self.plan)


def _check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ConfigurationError(f"{name} is {value!r}; it is one of {', '.join(map(repr, choices))}")


def _check_number(name: str, value: Any, kinds: type | UnionType = int) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < cast(float, value) < math.inf:
        raise ConfigurationError(f"{name} is {value!r}; it is a{' whole' if kinds is int else ''} number above 0")


def _check_text(name: str, value: object, kinds: type | UnionType = str) -> None:
    if not isinstance(value, kinds):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}; it is a text")


def _check_routes(routes: object) -> Mapping[str, RouteLimit | Sequence[Limit | RouteLimit] | None]:
    if not isinstance(routes, Mapping):
        raise ConfigurationError(f"routes is {routes!r}; give limits by route: {{'POST /reports': ['5/minute']}}")
    for name, given in routes.items():
        if isinstance(given, str) or not isinstance(given, RouteLimit | Sequence | None):
            raise ConfigurationError(f"routes[{name!r}] is {given!r}; give a list: ['5/minute']")
    return routes
