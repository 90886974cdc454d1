"""ErrorMap: from exceptions that know nothing of this library to failures.

It only decides; catching, answering and logging the original exception is the wire layer's work.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from envelope.errors.tree import ApiError, ConfigurationError
from envelope.events import ERROR_MAPPED, ERROR_RULE_FAILED, log_event

logger = logging.getLogger("envelope.errors")

Rule = type[ApiError] | Callable[[Any], ApiError]

#: Exceptions that already have a meaning, by module and name, because the core imports no framework.
_ALREADY_ANSWERED = {
    ("starlette.exceptions", "HTTPException"),
    ("fastapi.exceptions", "ValidationException"),
    (ApiError.__module__, ApiError.__name__),
}


class ErrorMap:
    """Says which failure stands for an exception of the domain.

    ``ErrorMap({NoResultFound: NotFoundError, CardDeclined: lambda exc: ConflictError(exc.reason)})``

    The most specific class of the exception's MRO wins. A class mapped to an error class gets that
    class's public text, never ``str(exc)``; a function is given the exception and returns an ``ApiError``.

    Args:
        rules: Exception class -> ``ApiError`` class, or a plain (not async) function.

    Raises:
        ConfigurationError: A key is not an ``Exception`` class, already has a meaning (``HTTPException``,
            ``ApiError``, the framework's validation errors), or a rule is neither of the two.
    """

    def __init__(self, rules: Mapping[type[Exception], Rule]) -> None:
        if not isinstance(rules, Mapping):
            raise ConfigurationError(f"ErrorMap takes a mapping of exception classes, not {rules!r}")
        for exception, rule in rules.items():
            _check_exception(exception)
            _check_rule(exception, rule)
        self._rules = dict(rules)

    def __iter__(self) -> Iterator[type[Exception]]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"ErrorMap({self._rules!r})"

    def failure_for(self, exc: BaseException) -> ApiError | None:
        """Give the failure that stands for ``exc``, or None if no rule matches or the rule itself broke."""
        for cls in type(exc).__mro__:
            rule = self._rules.get(cls)
            if rule is not None:
                failure = _apply(rule, exc)
                if failure is not None and failure.status_code >= 500:
                    # An answer is not raised again, so this is the only trace of what went wrong.
                    log_event(
                        logger,
                        ERROR_MAPPED,
                        exc_info=exc,
                        exception=type(exc).__qualname__,
                        status=failure.status_code,
                    )
                return failure
        return None


def _apply(rule: Rule, exc: BaseException) -> ApiError | None:
    try:
        failure = rule() if isinstance(rule, type) else rule(exc)
        if not isinstance(failure, ApiError):
            raise TypeError(f"the rule returned {type(failure).__name__}, not an ApiError")  # noqa: TRY301
    except Exception:  # noqa: BLE001 - logged with its traceback
        log_event(logger, ERROR_RULE_FAILED, exc_info=True, exception=type(exc).__qualname__)
        return None
    return failure


def _check_exception(exception: object) -> None:
    if not (isinstance(exception, type) and issubclass(exception, BaseException)):
        raise ConfigurationError(f"ErrorMap cannot map {exception!r}: keys are exception classes")
    if not issubclass(exception, Exception):
        raise ConfigurationError(
            f"ErrorMap cannot map {exception.__qualname__}: it is not an Exception, and would swallow"
            " cancellation and shutdown"
        )
    if any((cls.__module__, cls.__name__) in _ALREADY_ANSWERED for cls in exception.__mro__):
        raise ConfigurationError(
            f"ErrorMap cannot map {exception.__qualname__}: it is answered already;"
            " to change the answer, register an exception handler on the application"
        )


def _check_rule(exception: type[Exception], rule: object) -> None:
    if isinstance(rule, type):
        if issubclass(rule, ApiError):
            return
    elif callable(rule) and not any(map(inspect.iscoroutinefunction, (rule, type(rule).__call__))):
        return
    raise ConfigurationError(
        f"ErrorMap cannot map {exception.__qualname__} to {rule!r}:"
        " give an ApiError class or a plain function from the exception to an ApiError"
    )
