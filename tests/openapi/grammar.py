"""Applications built from plain data, so that any of them can be built again, bare, or in another process."""

import inspect
import re
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Query
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, computed_field

from envelope import ConflictError, NotFoundError, ObjectLocks, RateLimiter, failures, install, raw_response

T = TypeVar("T")

#: One route: what it returns, takes and declares, each by the name of an entry below.
Plan = dict[str, Any]


class EntityOut(BaseModel):
    id: int
    name: str | None = None


class EntityBoth(BaseModel):
    name: str = "x"

    @computed_field
    def length(self) -> int:
        return len(self.name)


class EntityOutEnvelope(BaseModel):
    """A user's model with the name that one of ours would have."""

    own: int


class NotFoundFailure(BaseModel):
    own: int


class ValidationError(BaseModel):
    own: int


class Page(BaseModel, Generic[T]):
    items: list[T]


class Node(BaseModel):
    children: list["Node"] = []


RETURNED: dict[str, Any] = {
    "nothing known": Any,
    "model": EntityOut,
    "models": list[EntityOut],
    "both": EntityBoth,
    "envelope": EntityOutEnvelope,
    "failure": NotFoundFailure,
    "validation": ValidationError,
    "page": Page[EntityOut],
    "page of int": Page[int],
    "node": Node,
    "union": EntityOut | Node,
    "optional": EntityOut | None,
    "int": int,
    "strings": list[str],
    "literal": Literal["a"],
    "mapping": dict[str, EntityOut],
    "bounded": Annotated[list[EntityOut], Field(max_length=3)],
}
STATUSES = [None, 200, 201, 202, 203, 204, 205, 206, 226]
CLASSES: dict[str, Any] = {
    "default": None,
    "json": JSONResponse,
    "html": HTMLResponse,
    "text": PlainTextResponse,
    "file": FileResponse,
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]
PATHS = ["/e", "/e/{i}", "/e/{i}/parts/{j:path}", "/", "/ünï/{i}", "/a-b_c.d~e"]
PREFIXES = ["", "/v1", "/{tenant}", "/v1/v2"]


def _nothing() -> None: ...


def _query(offset: int = 0, tags: Annotated[list[str] | None, Query()] = None) -> None: ...


def _header(x_tenant: Annotated[str, Header()]) -> None: ...


def _body(entity: EntityBoth) -> None: ...


TAKEN: dict[str, Any] = {"nothing": _nothing, "query": _query, "header": _header, "body": _body}


def declared() -> dict[str, dict[int | str, dict[str, Any]]]:
    """Give fresh tables of responses, as users write them."""
    return {
        "nothing": {},
        "described": {404: {"description": "No"}, 409: {"description": "Taken"}},
        "model": {404: {"model": NotFoundFailure}, 422: {"model": ValidationError}},
        "range": {"4XX": {"description": "Something"}, "default": {"model": Node}},
        "codes": failures(ConflictError("x", error_code="taken"), NotFoundError("y", error_code="not_found")),
        "example": {200: {"content": {"application/json": {"example": {"id": 1}}}}},
        "successes": {201: {"model": Node}, 204: {"description": "Same"}},
        "picture": {200: {"content": {"image/png": {}}}},
        "redirect": {307: {"description": "Elsewhere"}},
    }


def build(plans: list[Plan], *, options: dict[str, Any] | None = None) -> FastAPI:
    """Build an application; without options it is not installed.

    Args:
        plans: Its routes, in order.
        options: ``keep``, ``limited``, ``exempt``: what ``install`` is given.
    """
    app = FastAPI(
        generate_unique_id_function=lambda route: f"{route.name}{route.path_format}{min(route.methods or ())}"
    )
    locks = ObjectLocks()
    if options is not None:
        install(
            app,
            locks=locks,
            rate_limiter=RateLimiter("20/second") if options.get("limited") else None,
            success_status="keep" if options.get("keep") else "always-200",
            exempt=["/v1/*"] if options.get("exempt") else (),
        )
    for number, plan in enumerate(plans):
        _add(app, locks, plan, number)
    return app


def _add(app: FastAPI, locks: ObjectLocks, plan: Plan, number: int) -> None:
    async def endpoint(**path: str): ...

    endpoint.__name__ = f"route_{number}"
    names = re.findall(r"{(\w+)", plan["prefix"] + plan["path"])
    endpoint.__annotations__ |= dict.fromkeys(names, str)
    endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=str) for name in names]
    )
    router = APIRouter()
    dependencies = [Depends(TAKEN[plan["takes"]])]
    if plan["is_secret"]:
        dependencies.append(Depends(HTTPBearer()))
    options: dict[str, Any] = {}
    if CLASSES[plan["response_class"]] is not None:
        options["response_class"] = CLASSES[plan["response_class"]]
    status = plan["status"]
    if status not in (204, 205):
        options["response_model"] = RETURNED[plan["returns"]]
    guarded = locks.guarded(f"e:{number}")(endpoint) if plan["is_guarded"] else endpoint
    router.add_api_route(
        plan["path"],
        raw_response(guarded) if plan["is_raw"] else guarded,
        methods=[plan["method"]],
        status_code=status,
        dependencies=dependencies,
        responses=declared()[plan["declares"]],
        **options,
    )
    app.include_router(router, prefix=plan["prefix"] if plan["path"] != "/" or plan["prefix"] else "")


def every_word() -> list[Plan]:
    """Give routes in which each word of the grammar stands at least once."""
    words: list[list[Any]] = [
        list(RETURNED), STATUSES, list(CLASSES), METHODS, PATHS, PREFIXES, list(TAKEN), list(declared()),
        [False, True, False, False], [False, False, True, False], [False, False, False, False, True],
    ]  # fmt: skip
    names = (
        "returns", "status", "response_class", "method", "path", "prefix", "takes", "declares",
        "is_secret", "is_guarded", "is_raw",
    )  # fmt: skip
    plans = [{name: word[n % len(word)] for name, word in zip(names, words, strict=True)} for n in range(40)]
    return [{**plan, "prefix": f"/n{n}{plan['prefix']}"} for n, plan in enumerate(plans)]
