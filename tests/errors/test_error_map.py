"""ErrorMap: which failure stands for an exception of the domain. What it looks like on the wire is in tests/wire."""

import functools
from typing import Any

import fastapi
import pytest
import starlette.exceptions
from starlette.applications import Starlette

from envelope import ApiError, ConfigurationError, ConflictError, ErrorMap, NotFoundError, install


class DomainError(Exception):
    """Knows nothing of HTTP."""


class OwnHTTPException(starlette.exceptions.HTTPException):
    """A framework exception in the disguise of a domain."""


class OwnApiError(ConflictError):
    """One of ours in the disguise of a domain."""


class Both(DomainError, fastapi.HTTPException):
    """Two families at once."""


@pytest.mark.parametrize(
    "cls",
    [
        BaseException,
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        BaseExceptionGroup,
        starlette.exceptions.HTTPException,
        fastapi.HTTPException,
        OwnHTTPException,
        Both,
        ApiError,
        ConflictError,
        OwnApiError,
        fastapi.exceptions.RequestValidationError,
        fastapi.exceptions.WebSocketRequestValidationError,
        fastapi.exceptions.ResponseValidationError,
    ],
    ids=lambda cls: cls.__name__,
)
def test_class_that_already_has_a_meaning_is_refused(cls: type[BaseException]) -> None:
    """Case 45: shutdown, the framework's answers and our own errors cannot be remapped."""
    with pytest.raises(ConfigurationError, match=cls.__name__):
        ErrorMap({cls: NotFoundError})  # type: ignore[dict-item]


def test_cancellation_is_refused() -> None:
    """Case 45: CancelledError is a BaseException, and stays one."""
    import asyncio

    with pytest.raises(ConfigurationError, match="CancelledError"):
        ErrorMap({asyncio.CancelledError: NotFoundError})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "key", ["DomainError", 404, None, DomainError(), int, (DomainError, KeyError), list[int]], ids=repr
)
def test_key_that_is_no_exception_class_is_refused(key: object) -> None:
    """A mistake is found where it is written."""
    with pytest.raises(ConfigurationError, match="ErrorMap"):
        ErrorMap({key: NotFoundError})  # type: ignore[dict-item]


async def _async_rule(exc: Exception) -> ApiError:
    return ConflictError()


class _AsyncRule:
    async def __call__(self, exc: Exception) -> ApiError:
        return ConflictError()


@pytest.mark.parametrize(
    "rule",
    [
        _async_rule,
        functools.partial(_async_rule),
        _AsyncRule(),
        404,
        None,
        "not found",
        ValueError,
        fastapi.HTTPException,
        int,
        Exception,
        ConflictError("an instance"),
    ],
    ids=[
        "async",
        "async partial",
        "async object",
        "status",
        "None",
        "text",
        "ValueError",
        "HTTPException",
        "int",
        "Exception",
        "instance",
    ],
)
def test_rule_that_gives_no_error_is_refused(rule: object) -> None:
    """A rule is one of our error classes or a plain function."""
    with pytest.raises(ConfigurationError, match="DomainError"):
        ErrorMap({DomainError: rule})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "rules", [None, [(DomainError, NotFoundError)], "x", {DomainError}], ids=["None", "list", "text", "set"]
)
def test_rules_that_are_no_mapping_are_refused(rules: object) -> None:
    """The message says what was seen."""
    with pytest.raises(ConfigurationError, match="mapping"):
        ErrorMap(rules)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [NotFoundError, ApiError, OwnApiError, lambda exc: ConflictError(str(exc))])
def test_rule_is_accepted(rule: object) -> None:
    """Error classes, subclasses and functions."""
    assert ErrorMap({DomainError: rule}) is not None  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "cls", [Exception, OSError, KeyError, DomainError, ExceptionGroup], ids=lambda cls: cls.__name__
)
def test_class_is_accepted(cls: type[Exception]) -> None:
    """Every Exception that has no meaning yet, Exception itself included."""
    assert ErrorMap({cls: NotFoundError}) is not None


def test_empty_map_is_accepted() -> None:
    """A service may begin with no rules."""
    app = Starlette()
    install(app, errors=ErrorMap({}))

    assert app.build_middleware_stack() is not None


def test_map_does_not_see_later_changes_of_its_rules() -> None:
    """What was checked is what counts."""
    rules: dict[Any, Any] = {DomainError: NotFoundError}
    errors = ErrorMap(rules)
    rules[BaseException] = NotFoundError
    del rules[DomainError]

    assert DomainError.__name__ in repr(errors)
    assert BaseException.__name__ + "'" not in repr(errors).replace("DomainError", "")


def test_map_can_be_shared_by_applications() -> None:
    """One map, several services in one process."""
    errors = ErrorMap({DomainError: NotFoundError})

    for app in (Starlette(), fastapi.FastAPI()):
        install(app, errors=errors)
        app.build_middleware_stack()
