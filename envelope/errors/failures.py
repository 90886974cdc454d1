"""From any exception to the failure that the client is told about, or to None: a crash.

Knows what Starlette and FastAPI raise. It answers nothing and logs nothing; the wire layer does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import Scope

from envelope.errors.error_map import ErrorMap
from envelope.errors.tree import ApiError, BadRequestError, describe_status

#: What FastAPI says about a body that is no text, is nested too deeply, or holds an endless number.
_UNPARSED = "There was an error parsing the body"

EchoValues = Literal["safe", "never"]


class FailureFinder:
    """Finds the failure that an exception, or the body of a foreign failure, stands for.

    Args:
        errors: The rules for exceptions of the domain.
        echo_values: Whether validation messages may quote harmless values.
    """

    def __init__(self, errors: ErrorMap, echo_values: EchoValues) -> None:
        # Imported by whoever installs us: no request waits for it, and `import envelope` stays light.
        from envelope.errors.validation.messages import validation_messages  # noqa: PLC0415
        from envelope.errors.validation.request_schema import request_schema  # noqa: PLC0415

        self.errors = errors
        self.echo_values = echo_values
        self._validation_messages = validation_messages
        self._request_schema = request_schema

    def from_exception(self, exc: BaseException, scope: Scope) -> ApiError | None:
        """Give the failure that ``exc`` stands for, or None if it is a crash.

        An exception group with one leaf stands for that leaf.
        """
        exc = only_leaf(exc)
        if isinstance(exc, ApiError):
            return exc
        if isinstance(exc, HTTPException):
            return self._from_http_exception(exc, scope)
        if _is_request_validation_error(exc):
            return self._from_problems(exc.errors(), scope, body=exc.body)  # type: ignore[attr-defined]
        return self.errors.failure_for(exc)

    def from_detail(
        self, status: int, detail: Any, scope: Scope, headers: Mapping[str, str] | None = None
    ) -> ApiError:
        """Give the failure for FastAPI's ``{"detail": ...}`` and for ``HTTPException(detail=...)``.

        A text, a list and a mapping stay what they are; a 422 with FastAPI's list of problems is the
        convention's 400 ``invalid_input``.
        """
        if status == 422 and _is_problem_list(detail):
            return self._from_problems(detail, scope, headers=headers)
        if detail is None or (isinstance(detail, str) and not detail.strip()):
            detail = describe_status(status)
        elif isinstance(detail, int | float):
            detail = to_json(detail, inf_nan_mode="constants").decode()
        return ApiError(detail, status_code=status, headers=headers)

    def _from_http_exception(self, exc: HTTPException, scope: Scope) -> ApiError | None:
        if not 400 <= exc.status_code <= 599:
            return None
        if exc.detail == _UNPARSED and exc.__cause__ is not None:
            return BadRequestError(["request body could not be parsed"], error_code="invalid_input")
        return self.from_detail(int(exc.status_code), exc.detail, scope, exc.headers)

    def _from_problems(
        self, problems: Any, scope: Scope, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> BadRequestError:
        messages = self._validation_messages(
            problems, schema=self._request_schema(scope), body=body, echo_values=self.echo_values
        )
        return BadRequestError(messages, error_code="invalid_input", headers=headers)


def only_leaf(exc: BaseException) -> BaseException:
    """Unwrap exception groups that hold one exception."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def _is_request_validation_error(exc: BaseException) -> bool:
    # Looked up, not imported: whoever raises FastAPI's error has imported FastAPI.
    module = sys.modules.get("fastapi.exceptions")
    return module is not None and isinstance(exc, module.RequestValidationError)


def _is_problem_list(detail: object) -> bool:
    return (
        isinstance(detail, list)
        and bool(detail)
        and all(isinstance(problem, dict) and {"type", "loc", "msg"} <= problem.keys() for problem in detail)
    )
