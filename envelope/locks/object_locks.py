"""ObjectLocks: one change of an object at a time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast, get_args

from envelope import signals
from envelope.errors.tree import ConfigurationError, ObjectLockedError, ServiceUnavailableError
from envelope.events import LOCK_BROKEN, LOCK_REFUSED, log_event
from envelope.locks.dependencies import make_dependency
from envelope.locks.endpoints import guard_endpoint
from envelope.locks.grants import Holder, LockInfo, LockStorage, Refusal
from envelope.locks.guards import Guard, Reads
from envelope.locks.holdings import (
    Held,
    RequestLeases,
    current_request,
    enter,
    find,
    is_anything_held,
    name_of,
)
from envelope.locks.keys import KeyTemplate, check_keys
from envelope.locks.lease import Lease, LeaseLostError
from envelope.locks.retry_after import retry_after_s
from envelope.locks.storages.opening import open_storage
from envelope.routing.endpoints import Endpoint
from envelope.signals import Listener, LockOutcome
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.urls import check_namespace

logger = logging.getLogger("envelope.locks")

#: ``deny`` answers 503, ``allow`` goes on without a lock.
OnOutage = Literal["deny", "allow"]

#: No lease is infinite, and no question.
_LONGEST_S = 7 * 24 * 3600.0

_DOING = {"deny": "answering 503", "allow": "going on without locks"}


class ObjectLocks:
    """Lets one operation at a time change an object; the others are told 423 and when to come back.

    Objects are named by text: ``"entity:42"``. Reads are not refused. Installed by ``install(app, locks=...)``.

    Args:
        storage: Where it stands who has which object: ``"memory://"`` for one process; for a fleet the URL of a
            Redis or Valkey server (``redis://``, ``rediss://``, ``valkey://``, ``valkeys://``), of Sentinels
            (``redis+sentinel://host:26379/service``), or of a cluster (``redis+cluster://``).
        ttl_s: Seconds after which the objects of a process that died are free again; leases are renewed in the
            background while they are held.
        max_hold_s: Seconds after which a lease is not renewed any more, whoever holds it.
        on_outage: What a guarded operation does while the storage does not answer: ``"deny"`` answers 503,
            ``"allow"`` goes on without a lock.
        timeout_s: Seconds that one question to the storage may take.
        namespace: Tells services apart that share a server.

    Raises:
        ConfigurationError: An option is not what it should be, or the storage's client is not installed.
    """

    def __init__(
        self,
        storage: str | LockStorage = "memory://",
        *,
        ttl_s: float = 15,
        max_hold_s: float = 120,
        on_outage: OnOutage = "deny",
        timeout_s: float = 0.25,
        namespace: str = "",
    ) -> None:
        _check_seconds("ttl_s", ttl_s, 0.1)
        _check_seconds("max_hold_s", max_hold_s, 0.1)
        _check_seconds("timeout_s", timeout_s, 0.001)
        _checked(on_outage)
        check_namespace(namespace)
        if timeout_s >= min(ttl_s, max_hold_s) / 3:
            raise ConfigurationError(
                f"timeout_s is {timeout_s:g}, ttl_s {ttl_s:g} and max_hold_s {max_hold_s:g}; a lease has to be"
                " renewed several times in its time: give ttl_s and max_hold_s more than three times timeout_s"
            )
        self._on_outage = on_outage
        self.max_hold_s = max_hold_s
        self.storage: LockStorage = open_storage(
            storage,
            ttl_s=ttl_s,
            max_hold_s=max_hold_s,
            timeout_s=timeout_s,
            namespace=namespace,
            doing=_DOING[on_outage],
        )

    def hold(
        self, *keys: str, operation: str | None = None, on_outage: OnOutage | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold objects for a block of code: ``async with locks.hold("entity:42") as lease: ...``.

        All are taken, or none. What the request, or a block around this one, holds already is held on. Inside a
        request the lease is released at the end of the block, before the answer.

        Args:
            keys: The names of the objects.
            operation: What it is done for: those who are refused wait as long as it usually takes. None means the
                endpoint that is at work, outside of requests the kind of the object: ``"entity"``.
            on_outage: What to do while the storage does not answer; None means as the locks do.

        Returns:
            An asynchronous context manager; its value is the lease.

        Raises:
            ObjectLockedError: Another operation has one of the objects.
            ServiceUnavailableError: The storage does not answer.
            LeaseLostError: At the end of the block, if the lease ended before it.
            ValueError: A key is no name.
        """
        checked, outage = check_keys(keys), _checked(on_outage, self._on_outage)

        async def take() -> Lease:
            return self._share(checked) or await self._take(checked, operation, outage)

        return _Block(take)

    async def acquire(
        self,
        *keys: str,
        operation: str | None = None,
        on_outage: OnOutage | None = None,
        background: bool = False,
    ) -> Lease:
        """Take objects, all or none; inside a request they are the request's, and released with its answer.

        For an object that is just being created: nobody can change it before it is whole. Outside of requests
        whoever takes a lease releases it.

        Args:
            keys: The names of the objects.
            operation: As by ``hold``.
            on_outage: As by ``hold``.
            background: Keep them until the background tasks of the request are done.

        Raises:
            ObjectLockedError: Another operation has one of the objects.
            ServiceUnavailableError: The storage does not answer.
            ValueError: A key is no name.
        """
        checked, outage = check_keys(keys), _checked(on_outage, self._on_outage)
        request = current_request()
        if request is None:
            return await self._take(checked, operation, outage)
        lease = self._share(checked) or await self._take(checked, operation, outage)
        await request.keep(lease, background=background)
        return lease

    def guarded(
        self,
        *templates: str,
        operation: str | None = None,
        on_outage: OnOutage | None = None,
        background: bool = False,
        reads: Reads = "pass",
    ) -> Callable[[Endpoint], Endpoint]:
        """Lock objects while the endpoint below is at work; stands below the route decorator.

        It runs after authentication and validation, with the endpoint's own arguments, so ``/e/01`` locks
        ``e:1``::

            @app.patch("/entities/{entity_id}")
            @locks.guarded("entity:{entity_id}")
            async def update(entity_id: int, change: Change, lease: Lease): ...

        The objects are free before the client has its answer. A parameter annotated ``Lease`` is optional.

        Args:
            templates: Of the keys: parameters of the endpoint, and attributes of them, stand in braces. In
                Starlette they are path parameters.
            operation: As by ``hold``.
            on_outage: As by ``hold``.
            background: Keep the objects until the background tasks are done, not only until the answer.
            reads: What GET, HEAD, OPTIONS, TRACE and QUERY do: ``"pass"`` runs them without a look at the locks,
                ``"refuse"`` refuses them while an object is busy. They lock nothing.

        Raises:
            ConfigurationError: A template cannot be read, or the endpoint is a class, a generator, or has no such
                parameter.
        """
        if not templates:
            raise ConfigurationError("guarded() has no key; write guarded('entity:{entity_id}')")
        parsed = [KeyTemplate(template) for template in templates]
        guard = self._guard(operation, on_outage, background=background, reads=reads)

        def decorate(endpoint: Endpoint) -> Endpoint:
            return guard_endpoint(endpoint, guard, parsed)

        return decorate

    def guard(
        self,
        *keys: str | Callable[..., Any],
        operation: str | None = None,
        on_outage: OnOutage | None = None,
        background: bool = False,
        reads: Reads = "pass",
    ) -> Callable[..., Awaitable[Lease]]:
        """Make a dependency for FastAPI that locks objects from where it stands until the answer.

        ``Depends(locks.guard("entity:{entity_id}"))`` reads the path parameters with the route's own types. If
        one is invalid, nothing is locked and the framework answers 400. Dependencies run in their order: put
        those that authenticate before it. ``Depends(locks.guard(key_function))`` takes the key from a dependency,
        which may give several, or None for nothing to lock.

        Args:
            keys: Templates of path parameters; or one function, a dependency.
            operation: As by ``hold``.
            on_outage: As by ``hold``.
            background: As by ``guarded``.
            reads: As by ``guarded``.

        Returns:
            The dependency; its value is the lease.

        Raises:
            ConfigurationError: A template cannot be read.
        """
        if not keys:
            raise ConfigurationError("guard() has no key; write guard('entity:{entity_id}')")
        is_function = len(keys) == 1 and callable(keys[0])
        parsed = keys if is_function else [KeyTemplate(cast("str", key)) for key in keys]
        return make_dependency(
            self._guard(operation, on_outage, background=background, reads=reads),
            cast("Sequence[KeyTemplate | Callable[..., Any]]", parsed),
        )

    def claim(self, token: str) -> AbstractAsyncContextManager[Lease]:
        """Take over what was handed off: ``async with locks.claim(token) as lease: ...``.

        A token can be claimed once: a job that is delivered twice runs once. The objects are released at the end.

        Args:
            token: Of ``lease.hand_off``, in this process or another.

        Returns:
            An asynchronous context manager; its value is the lease.

        Raises:
            LeaseLostError: It was claimed before, or too late, or broken; or at the end of the block, if the lease
                ended before it.
            ServiceUnavailableError: The storage does not answer; the token may be spent, and the objects will be
                free.
            ConfigurationError: The storage is this process's memory.
            ValueError: This is no token.
        """
        return _Block(lambda: self._claim(token))

    @contextmanager
    def claim_sync(self, token: str) -> Iterator[Lease]:
        """Take over what was handed off, in code that is not asynchronous: ``with locks.claim_sync(token) as
        lease:``.

        For workers like Celery, Dramatiq and RQ. The lease is renewed by a thread in the background.

        Args:
            token: As by ``claim``.

        Raises:
            RuntimeError: An event loop runs in this thread; it would stand still.
            LeaseLostError: As by ``claim``.
            ServiceUnavailableError: As by ``claim``.
            ConfigurationError: As by ``claim``.
            ValueError: As by ``claim``.
        """
        _check_no_loop()
        with self.storage.entered(self.claim(token)) as lease:
            outside = enter(Held(lease))
            try:
                yield lease
            finally:
                enter(outside)

    @staticmethod
    def key(template: str, **values: Any) -> str:
        """Spell a key as ``guarded`` does: ``locks.key("tenant:{tenant}:entity:{entity_id}", tenant=..., ...)``.

        Raises:
            ConfigurationError: The template cannot be read, or a value has no spelling of its own.
            KeyError: There is no value of this name.
        """
        return KeyTemplate(template).key(values)

    async def inspect(self, key: str) -> LockInfo | None:
        """Tell who holds an object, since when and for which operation; None if it is free.

        For those who operate the service; clients are not told.

        Raises:
            ServiceUnavailableError: The storage does not answer.
            ValueError: The key is no name.
        """
        check_keys((key,))
        try:
            holder = await self.storage.inspect(key)
        except StorageUnavailableError as error:
            raise ServiceUnavailableError(retry_after=1) from error
        return None if holder is None else _info(holder)

    async def survey(self) -> AsyncGenerator[LockInfo, None]:
        """Tell who holds which object: ``async for info in locks.survey(): ...``.

        In no order, each object at the most once. What is taken or freed meanwhile may be told or not. Of a long
        key a server knows only the beginning: ``info.is_cut``.

        Raises:
            ServiceUnavailableError: The storage does not answer; the rest is not known.
        """
        try:
            async with aclosing(self.storage.survey()) as holders:
                async for holder in holders:
                    yield _info(holder)
        except StorageUnavailableError as error:
            raise ServiceUnavailableError(retry_after=1) from error

    async def break_lock(self, key: str, *, fence: int) -> bool:
        """Free an object from whoever holds it.

        The holder learns it when its lease is renewed; until then it works on. A fenced table refuses its writes
        as soon as the next lease has written.

        Args:
            key: The name of the object.
            fence: Of the lease that was looked at: ``(await locks.inspect(key)).fence``.

        Returns:
            Whether that very lease was broken.

        Raises:
            ServiceUnavailableError: The storage does not answer.
            ValueError: The key is no name.
        """
        check_keys((key,))
        try:
            is_broken = await self.storage.break_lock(key, fence)
        except StorageUnavailableError as error:
            raise ServiceUnavailableError(retry_after=1) from error
        if is_broken:
            log_event(logger, LOCK_BROKEN, key=key, fence=fence)
        return is_broken

    async def aclose(self) -> None:
        """Close the connections of the running event loop; an installed application does it at its end."""
        await self.storage.aclose()

    def _guard(
        self, operation: str | None, on_outage: OnOutage | None, *, background: bool, reads: Reads
    ) -> Guard:
        if reads not in get_args(Reads):
            raise ConfigurationError(f"reads is {reads!r}; give 'pass' or 'refuse'")
        outage = _checked(on_outage, self._on_outage)

        async def lock(request: RequestLeases, keys: tuple[str, ...], name: str) -> Lease:
            lease = self._share(keys) or await self._take(keys, operation or name, outage)
            await request.keep(lease, background=background)
            return lease

        def unguarded(keys: tuple[str, ...], name: str) -> Lease:
            return Lease.unguarded(self.storage, keys, operation or name)

        return Guard(lock, self._look if reads == "refuse" else None, unguarded, outage == "deny")

    def _share(self, keys: tuple[str, ...]) -> Lease | None:
        """Share the lease that is held here already; None if there is none.

        Raises:
            ConfigurationError: Some of the objects are held already, or by several leases: no fence would be right
                for all of them.
        """
        if not is_anything_held():
            return None
        found = [find(self.storage, key) for key in keys]
        lease = found[0]
        if any(other is not lease for other in found):
            held = [key for key, each in zip(keys, found, strict=True) if each is not None]
            raise ConfigurationError(
                f"{list(keys)} cannot be locked together, because {held} are held already around here; lock all of"
                " them in the outer place, or here only what is not held"
            )
        return None if lease is None else lease.share()

    async def _take(self, keys: tuple[str, ...], operation: str | None, on_outage: OnOutage) -> Lease:
        """Take a lease."""
        operation = operation or _name_operation(keys[0])
        listener = signals.listener
        begun = 0.0 if listener is None else time.perf_counter()
        outcome: LockOutcome | None = None  # of an attempt that nobody waits for any more
        try:
            answer = await self.storage.acquire(keys, operation)
            outcome = "refused" if isinstance(answer, Refusal) else "granted"
        except StorageUnavailableError as error:
            outcome = "unavailable"
            if on_outage == "allow":
                return Lease.unguarded(self.storage, keys, operation)
            raise ServiceUnavailableError(retry_after=1) from error
        finally:
            if listener is not None and outcome is not None:
                listener.lock(operation, keys, outcome, time.perf_counter() - begun)
        if isinstance(answer, Refusal):
            raise _refuse(operation, answer.holders, listener)
        return answer

    async def _look(self, keys: tuple[str, ...]) -> None:
        """Refuse if an object is busy, as far as that is known."""
        listener = signals.listener
        begun = 0.0 if listener is None else time.perf_counter()
        with suppress(StorageUnavailableError):  # reads go on
            for key in check_keys(keys):
                holder = None if find(self.storage, key) is not None else await self.storage.inspect(key)
                if holder is not None:
                    operation = _name_operation(key)
                    if listener is not None:
                        listener.lock(operation, keys, "refused", time.perf_counter() - begun)
                    # Not when to come back: whether a read could come back is nobody's to see.
                    raise _refuse(operation, [holder], None)

    async def _claim(self, token: str) -> Lease:
        try:
            lease = await self.storage.claim(token)
        except StorageUnavailableError as error:
            raise ServiceUnavailableError(retry_after=1) from error
        if signals.listener is not None:
            signals.listener.hand_off("missed" if lease is None else "claimed")
        if lease is None:
            raise LeaseLostError
        return lease


class _Block:
    """Holds a lease while a block of code runs; for one block, because two would not know whose lease it is."""

    def __init__(self, take: Callable[[], Awaitable[Lease]]) -> None:
        self._take = take
        self._is_used = False

    async def __aenter__(self) -> Lease:
        if self._is_used:
            raise RuntimeError("this was used before; call hold(...) or claim(...) for each block")
        self._is_used = True
        self._lease = await self._take()
        self._outside = enter(Held(self._lease))
        return self._lease

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: object
    ) -> None:
        enter(self._outside)
        await self._lease.drop()
        if self._lease.lost and exc is None:
            raise LeaseLostError(self._lease)


def _name_operation(key: str) -> str:
    request = current_request()
    return (request and name_of(request.scope)) or key.partition(":")[0]


def _refuse(operation: str, holders: Sequence[Holder], listener: Listener | None) -> ObjectLockedError:
    for holder in holders if logger.isEnabledFor(logging.INFO) else ():
        log_event(
            logger,
            LOCK_REFUSED,
            operation=operation,
            key=holder.key,
            held_for=holder.operation,
            holder=holder.process,
            age_s=holder.age_ms / 1000,
            fence=holder.fence,
        )
    wait_s = math.ceil(retry_after_s(holders))  # as it is sent
    if listener is not None:
        for holder in holders:
            age_s = holder.age_ms / 1000
            listener.refusal(holder.key, holder.operation, age_s=age_s, retry_after_s=wait_s)
    return ObjectLockedError(retry_after=wait_s, headers={"Cache-Control": "no-store"})


def _info(holder: Holder) -> LockInfo:
    return LockInfo(
        key=holder.key,
        fence=holder.fence,
        operation=holder.operation,
        holder=holder.process,
        since=datetime.now(UTC) - timedelta(milliseconds=holder.age_ms),
        age_s=holder.age_ms / 1000,
        expires_in_s=holder.rest_ms / 1000,
        state="handed_off" if holder.is_handed_off else "held",
        is_cut=holder.is_cut,
    )


def _checked(on_outage: OnOutage | None, default: OnOutage | None = None) -> OnOutage:
    chosen = default if on_outage is None else on_outage
    if chosen is None or chosen not in get_args(OnOutage):
        raise ConfigurationError(f"on_outage is {chosen!r}; give 'deny' or 'allow'")
    return chosen


def _check_seconds(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= _LONGEST_S:
        raise ConfigurationError(f"{name} is {value!r}; give seconds, from {least:g} to {_LONGEST_S:g}")


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("claim_sync() would stop the event loop that runs here; use: async with locks.claim(token)")
