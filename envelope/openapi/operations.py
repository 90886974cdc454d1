"""What stands behind the operations of a FastAPI application's document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.routing import Host, Mount, Router

from envelope.maintenance.maintenance import Maintenance
from envelope.openapi.document import Facts, Operations
from envelope.rate_limit.limiter import RateLimiter
from envelope.rate_limit.plans import Plan
from envelope.routing.keys import RouteKey, bare, parse_key, spell
from envelope.routing.refusals import refusals_at
from envelope.wire.exemptions import Exemptions
from envelope.wire.token_urls import is_fastapi


class Site(NamedTuple):
    """A FastAPI application and where it stands.

    Attributes:
        mounts: The prefixes of the mounts that it is in, from the outermost; each with those around it.
        root_path: What stands before its paths.
    """

    app: Any
    mounts: tuple[str, ...]
    root_path: str

    @property
    def prefix(self) -> str:
        return self.mounts[-1] if self.mounts else ""


def sites_in(
    site: Site, is_installed: Callable[[Starlette], bool], around: frozenset[int] = frozenset()
) -> Iterator[Site]:
    """Give the FastAPI applications that are mounted in one, at whatever depth, but none that was installed.

    Args:
        site: In which they are mounted.
        is_installed: Tells the applications that are left out, with all that is in them.
        around: The identities of what the site is in; whatever is mounted in itself is not walked again.
    """
    from fastapi.routing import iter_route_contexts  # noqa: PLC0415 - FastAPI is optional

    around |= {id(site.app)}
    for context in iter_route_contexts(site.app.routes):
        route: Any = getattr(context, "starlette_route", None) or context.original_route
        if not isinstance(route, Mount | Host):
            continue
        path = getattr(route, "path", "")
        app = _routed_behind(route.app)
        if app is None or id(app) in around or (isinstance(app, Starlette) and is_installed(app)):
            continue
        mounts = (*site.mounts, site.prefix + path) if path else site.mounts
        inner = Site(app, mounts, getattr(app, "root_path", "") or site.root_path + path)
        if is_fastapi(app):
            yield inner
        yield from sites_in(inner, is_installed, around)


def _routed_behind(app: Any) -> Any:
    """Find what has routes behind the middleware of a mount: an application, or a router."""
    while app is not None and not isinstance(app, Starlette | Router):
        app = getattr(app, "app", None)
    return app


def read_operations(
    site: Site, exemptions: Exemptions, limiter: RateLimiter | None, maintenance: Maintenance | None
) -> Operations:
    """Read what stands behind the operations of an application.

    Args:
        site: The application and where it stands.
        exemptions: Of the installation that its answers go through.
        limiter: Of the same.
        maintenance: Of the same.
    """
    from fastapi.routing import APIRoute, iter_route_contexts  # noqa: PLC0415 - FastAPI is optional

    is_exempt = exemptions.of_application(site.app, site.prefix, site.root_path)
    plans = {} if limiter is None else _by_key(limiter)
    operations = {}
    for context in iter_route_contexts(site.app.routes):
        if not isinstance(context.original_route, APIRoute):
            continue
        template = context.path_format or ""
        for method in sorted(context.methods or ()):
            refusals = set(_refusals(context.endpoint, context.dependant, method))
            if limiter is not None:
                plan = _plan_of(method, context.path or "", site, plans) or limiter.plan
                refusals |= set(limiter.refusals(plan))
            if maintenance is not None and not maintenance.exempt.cover(site.prefix + template):
                refusals.add(503)
            operations[template, method.lower()] = Facts(
                is_exempt=is_exempt(method, template, context.endpoint),
                refusals=frozenset(refusals),
                is_limited=limiter is not None and 429 in refusals,
            )
    return operations


def _refusals(endpoint: object, dependant: Any, method: str) -> Iterator[int]:
    yield from refusals_at(endpoint, method)
    for dependency in dependant.dependencies:
        yield from _refusals(dependency.call, dependency, method)


def _by_key(limiter: RateLimiter) -> Mapping[RouteKey, Plan]:
    keys = {parse_key(name): plan for name, plan in limiter.routes.items()}
    return {RouteKey(method, spell(template)): plan for (method, template), plan in keys.items()}


def _plan_of(method: str, path: str, site: Site, plans: Mapping[RouteKey, Plan]) -> Plan | None:
    """Find the entry of a route: under its own name, or that of a mount that it is in."""
    method = "GET" if method == "HEAD" else method
    own = spell(site.prefix + path)
    for template in (own, bare(own), *(f"{mount}/{{path:path}}" for mount in reversed(site.mounts))):
        if (found := plans.get(RouteKey(method, template))) is not None:
            return found
    return None
