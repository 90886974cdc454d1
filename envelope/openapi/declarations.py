"""failures(): what a route can answer beside what the library answers by itself."""

from __future__ import annotations

import json
from typing import Any

from envelope.errors.tree import ApiError, ConfigurationError
from envelope.wire.bodies import write_message

#: Under which a declared response carries its errors until the document is described.
EXTENSION = "x-envelope-failures"


def failures(*errors: type[ApiError] | ApiError) -> dict[int | str, dict[str, Any]]:
    """Declare the failures that a route can answer, for the OpenAPI document::

        @app.patch("/entities/{entity_id}", responses=failures(EntityFrozenError, ConflictError))

    For ``responses=`` of routes, routers, ``include_router`` and ``FastAPI``. What the library answers by itself
    (invalid input, a busy object, a limit that is reached, ...) is in the document without being declared.

    Args:
        errors: Classes, or instances for what an ``ErrorMap`` makes:
            ``ConflictError("Entity already exists", error_code="resource_conflict")``. Several of one status stand
            beside each other, told apart by their error codes.

    Returns:
        Responses by status, as FastAPI takes them; join them with others by ``{**failures(...), 302: {...}}``.

    Raises:
        ConfigurationError: Something is no ``ApiError``.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for given in errors:
        error = _instance_of(given)
        text = error.message if isinstance(error.message, str) else type(error).message
        message = json.loads(write_message(error.status_code, error.message, error.error_code))
        response = responses.setdefault(error.status_code, {"description": "", EXTENSION: []})
        if str(text) not in response["description"]:
            response["description"] = f"{response['description']} / {text}".removeprefix(" / ")
        # FastAPI leaves out what is None.
        code = {} if error.error_code is None else {"error_code": error.error_code}
        response[EXTENSION].append({**code, "message": message})
    return responses


def _instance_of(given: object) -> ApiError:
    if isinstance(given, ApiError):
        return given
    if isinstance(given, type) and issubclass(given, ApiError):
        return _made(given)
    name = getattr(given, "__name__", repr(given))
    raise ConfigurationError(
        f"failures() was given {name}, which is no ApiError; of an exception that an ErrorMap converts, declare"
        " what the client gets: failures(NotFoundError)"
    )


def _made(error: type[ApiError]) -> ApiError:
    # Past the constructors, which a class of the domain may have given arguments of its own.
    builtin: Any = next(each for each in error.__mro__ if each.__module__ == "builtins")
    made: ApiError = builtin.__new__(error)
    return made
