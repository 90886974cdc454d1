"""The errors that services raise, and the one for a wrong configuration.

    EnvelopeError
    ├── ConfigurationError            at install time; never a response
    └── ApiError                      always a response
        ├── BadRequestError           400
        ├── UnauthorizedError         401
        ├── ForbiddenError            403
        ├── NotFoundError             404
        ├── MethodNotAllowedError     405
        ├── ConflictError             409
        ├── ObjectLockedError         423
        ├── RateLimitedError          429
        ├── InternalServerError       500
        └── ServiceUnavailableError   503

The texts are the convention's own table. This module renders nothing and knows no framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

__all__ = [
    "ApiError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "EnvelopeError",
    "ForbiddenError",
    "InternalServerError",
    "MethodNotAllowedError",
    "NotFoundError",
    "ObjectLockedError",
    "RateLimitedError",
    "ServiceUnavailableError",
    "UnauthorizedError",
    "describe_status",
    "reason_phrase",
]


def is_failure_status(status: object) -> bool:
    """Tell whether a status is that of a failure (RFC 9110, 15.5 and 15.6)."""
    return isinstance(status, int) and 400 <= status <= 599


class EnvelopeError(Exception):
    """Everything that this library raises on purpose."""


class ConfigurationError(EnvelopeError):
    """The service is put together wrongly; the text says what was seen and what to do."""


class ApiError(EnvelopeError):
    """A failure that the client is told about.

    Subclasses set class attributes; an instance overrides them one by one::

        class EntityFrozenError(ConflictError):
            error_code = "entity_frozen"

        raise EntityFrozenError("entity 42 is frozen until its review ends")

    Args:
        message: What the client reads. A list is a list of problems; a mapping is sent as it is;
            None means the class's own text.
        error_code: A machine-readable word such as ``"resource_conflict"``. With one, the body's
            ``message`` is ``{"error_code": ..., "message": ...}``.
        status_code: 400 to 599, for failures that have no class of their own.
        headers: Sent with the failure, beside those that the convention asks for.
        retry_after: Seconds until the client may try again; sent as ``Retry-After`` in whole
            seconds, never below 1.

    Raises:
        ValueError: ``status_code`` is not a failure.
    """

    status_code: int = 500
    message: str | Sequence[Any] | Mapping[str, Any] = "Internal Server Error"
    error_code: str | None = None
    headers: Mapping[str, str] | None = None
    retry_after: float | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not is_failure_status(cls.status_code):
            raise ConfigurationError(
                f"{cls.__qualname__}.status_code is {cls.status_code!r}; a failure's status is between 400 and 599"
            )

    def __init__(
        self,
        message: str | Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        error_code: str | None = None,
        status_code: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        if status_code is not None:
            if not is_failure_status(status_code):
                raise ValueError(f"status_code is {status_code!r}; a failure's status is between 400 and 599")
            self.status_code = status_code
        if message is not None:
            self.message = message
        elif status_code is not None:
            self.message = describe_status(status_code)
        if error_code is not None:
            self.error_code = error_code
        if headers is not None:
            self.headers = headers
        if retry_after is not None:
            self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.message)


class BadRequestError(ApiError):
    """400: the request is invalid."""

    status_code = 400
    message = "Bad Request -- Your request is invalid."


class UnauthorizedError(ApiError):
    """401: credentials are missing or wrong. Give ``WWW-Authenticate`` in ``headers`` (RFC 9110, 15.5.2)."""

    status_code = 401
    message = "Unauthorized -- Your client_id, client_secret, or access_token is invalid."


class ForbiddenError(ApiError):
    """403: the client is known and may not do this."""

    status_code = 403
    message = "Forbidden -- You do not have the permissions to access the requested resource."


class NotFoundError(ApiError):
    """404: there is no such resource."""

    status_code = 404
    message = "Not Found -- The specified resource could not be found."


class MethodNotAllowedError(ApiError):
    """405: the resource has no such method. Give ``Allow`` in ``headers`` (RFC 9110, 15.5.6)."""

    status_code = 405
    message = "Method Not Allowed -- You tried to access a resource with an invalid method."


class ConflictError(ApiError):
    """409: the request does not fit the state of the resource."""

    status_code = 409
    message = "Conflict -- Could not be completed due to a conflict with the target resource."


class ObjectLockedError(ApiError):
    """423: the object is busy; the same call succeeds a little later."""

    status_code = 423
    message = "The object is still being updated (locked). Try your request again later."
    retry_after = 2


class RateLimitedError(ApiError):
    """429: the client calls more often than it may."""

    status_code = 429
    message = "You have reached the request rate limit. Try your request again later."
    retry_after = 1


class InternalServerError(ApiError):
    """500: the service failed. Never put the cause into the message."""

    status_code = 500
    message = "Internal Server Error -- We had a problem with our server. Try again later."


class ServiceUnavailableError(ApiError):
    """503: the service is offline for maintenance."""

    status_code = 503
    message = "Service Unavailable -- We're temporarily offline for maintenance. Please try again later."
    retry_after = 30


#: The convention's table: status -> the class that stands for it.
TABLE: Mapping[int, type[ApiError]] = {cls.status_code: cls for cls in ApiError.__subclasses__()}


def describe_status(status: int) -> str:
    """Give the text for a failure about which nobody said more: the table's, else the reason phrase."""
    return str(TABLE[status].message) if status in TABLE else reason_phrase(status)


def reason_phrase(status: int) -> str:
    """Give the registered reason phrase (RFC 9110, 15), or ``Error`` for a status that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
