"""ErrorMap: from exceptions that know nothing of this library to failures.

It only decides; catching, answering and logging the original exception is the wire layer's work.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from envelope.errors.libraries import LIBRARIES, Answer, answer_for, find_class, name_of
from envelope.errors.tree import ApiError, ConfigurationError
from envelope.events import ERROR_MAPPED, ERROR_RULE_FAILED, ERROR_TRANSLATED, log_event

logger = logging.getLogger("envelope.errors")

Rule = type[ApiError] | Callable[[Any], ApiError]

#: Exceptions that already have a meaning, by module and name, because the core imports no framework.
_ALREADY_ANSWERED = {
    ("starlette.exceptions", "HTTPException"),
    ("fastapi.exceptions", "ValidationException"),
    (ApiError.__module__, ApiError.__name__),
}


class ErrorMap:
    """Says which failure stands for an exception of the domain, or of another library.

    ``ErrorMap({CardDeclined: lambda exc: ConflictError(exc.reason)}, libraries=["sqlalchemy", "httpx"])``

    The most specific class of the exception's MRO wins; for the same class a rule wins over a library. A class
    mapped to an error class gets that class's public text, never ``str(exc)``; so does every exception of a
    library. A function is given the exception and returns an ``ApiError``.

    Args:
        rules: Exception class -> ``ApiError`` class, or a plain (not async) function.
        libraries: Those whose exceptions are answered as docs/reference/library-errors.md says: ``"sqlalchemy"``,
            ``"httpx"``, ``"redis"``, ... None of them is imported.

    Raises:
        ConfigurationError: A key is not an ``Exception`` class, already has a meaning (``HTTPException``,
            ``ApiError``, the framework's validation errors), a rule is neither of the two, or a library is
            unknown.
    """

    def __init__(
        self, rules: Mapping[type[Exception], Rule] = MappingProxyType({}), *, libraries: Sequence[str] = ()
    ) -> None:
        if not isinstance(rules, Mapping):
            raise ConfigurationError(f"ErrorMap takes a mapping of exception classes, not {rules!r}")
        for exception, rule in rules.items():
            _check_exception(exception)
            _check_rule(exception, rule)
        _check_libraries(libraries)
        self._rules = dict(rules)
        self._libraries = tuple(libraries)
        self._answers: dict[str, Answer] = {}
        for library in libraries:
            self._answers |= LIBRARIES[library]

    def __iter__(self) -> Iterator[type[Exception]]:
        """Give the classes that are always answered; of the libraries those that are imported by now."""
        yield from self._rules
        found = (find_class(name) for name, answer in self._answers.items() if isinstance(answer, type))
        yield from (cls for cls in found if cls is not None and cls not in self._rules)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self._rules or self._answers)  # also while none of the libraries is imported

    def __repr__(self) -> str:
        libraries = f", libraries={list(self._libraries)!r}" if self._libraries else ""
        return f"ErrorMap({self._rules!r}{libraries})"

    def failure_for(self, exc: BaseException) -> ApiError | None:
        """Give the failure that stands for ``exc``, or None: nothing matches, or the rule or row itself broke."""
        answers = self._answers
        for cls in type(exc).__mro__:
            if cls in self._rules:
                return _follow(self._rules[cls], exc)
            # Looked up each time: that takes less than a microsecond, and botocore makes classes as it runs.
            name = name_of(cls)
            if name in answers:
                try:
                    failure = answer_for(answers[name], exc)
                except Exception:  # noqa: BLE001 - logged with its traceback
                    _log_broken_rule(exc)
                    return None
                if failure is not None:
                    _log(exc, failure)
                    return failure
                answers = {}  # a crash for the library, whatever its base classes are; rules for those still count
        return None


def _follow(rule: Rule, exc: BaseException) -> ApiError | None:
    failure = _apply(rule, exc)
    if failure is not None and failure.status_code >= 500:
        _log(exc, failure)
    return failure


def _log(exc: BaseException, failure: ApiError) -> None:
    # An answer is not raised again, so this is the only trace of what went wrong. A conflict may be the service's
    # own mistake, such as a NULL that it wrote; what is not there, and tokens that have expired, are routine.
    event = ERROR_MAPPED if failure.status_code >= 500 or failure.status_code == 409 else ERROR_TRANSLATED
    log_event(logger, event, exc_info=exc, exception=type(exc).__qualname__, status=failure.status_code)


def _apply(rule: Rule, exc: BaseException) -> ApiError | None:
    try:
        failure = rule() if isinstance(rule, type) else rule(exc)
        if not isinstance(failure, ApiError):
            raise TypeError(f"the rule returned {type(failure).__name__}, not an ApiError")  # noqa: TRY301
    except Exception:  # noqa: BLE001 - logged with its traceback
        _log_broken_rule(exc)
        return None
    return failure


def _log_broken_rule(exc: BaseException) -> None:
    log_event(logger, ERROR_RULE_FAILED, exc_info=True, exception=type(exc).__qualname__)


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


def _check_libraries(libraries: object) -> None:
    known = ", ".join(LIBRARIES)
    if isinstance(libraries, str) or not isinstance(libraries, Collection):
        raise ConfigurationError(f"ErrorMap takes a list of libraries, not {libraries!r} (known: {known})")
    for library in libraries:
        if not isinstance(library, str) or library not in LIBRARIES:
            raise ConfigurationError(f"ErrorMap has no answers for the library {library!r} (known: {known})")
