"""What the exceptions of other libraries stand for: a table by name, so that none of the libraries is imported.

What is missing here is a crash, because it tells of a mistake of the service: the client gets the opaque 500, and
the exception is raised again. The reason of each row stands in docs/reference/library-errors.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from envelope.errors.tree import ApiError, ConflictError, NotFoundError, ServiceUnavailableError, UnauthorizedError

#: A class of the error tree, a function that chooses one by what the exception says, or None: a crash, although
#: a base class has an answer.
Answer = type[ApiError] | Callable[[Any], type[ApiError] | None] | None


class InvalidTokenError(UnauthorizedError):
    """401 with the challenge of RFC 6750, section 3; it does not say what is wrong with the token."""

    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # noqa: RUF012 - as in ApiError


#: What AWS calls a failure that passes: botocore's own lists of what it tries again.
AWS_TRANSIENT = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)

#: The codes of AWS that tell of the resource that was asked for, not of the call.
AWS_CODES: Mapping[str, type[ApiError]] = {
    "ConditionalCheckFailedException": ConflictError,
    "ConditionalRequestConflict": ConflictError,
    "PreconditionFailed": ConflictError,
    "TransactionConflictException": ConflictError,
    "NoSuchKey": NotFoundError,
    "NoSuchVersion": NotFoundError,
    **dict.fromkeys(AWS_TRANSIENT, ServiceUnavailableError),
}


def _by_status(status: object) -> type[ApiError] | None:
    """Judge what another service answered: it is too busy or broken, or the call was wrong."""
    return ServiceUnavailableError if isinstance(status, int) and (status == 429 or status >= 500) else None


def _by_upstream_status(exc: Any) -> type[ApiError] | None:
    return _by_status(exc.response.status_code)


def _by_aws_code(exc: Any) -> type[ApiError] | None:
    code = exc.response.get("Error", {}).get("Code")
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return AWS_CODES.get(code) or _by_status(status)


def _by_connection(exc: Any) -> type[ApiError] | None:
    # Drivers disagree about the class of a lost connection; SQLAlchemy's dialects know all of them.
    return ServiceUnavailableError if exc.connection_invalidated else None


def _by_key_search(exc: Any) -> type[ApiError]:
    # PyJWT has one class for both. The client writes the key's id, and must not be able to make us look broken.
    return InvalidTokenError if str(exc).startswith("Unable to find a signing key") else ServiceUnavailableError


def _of(module: str, answers: Mapping[str, Answer]) -> dict[str, Answer]:
    return {f"{module}.{name}": answer for name, answer in answers.items()}


_HTTPX: Mapping[str, Answer] = {
    "TimeoutException": ServiceUnavailableError,
    "NetworkError": ServiceUnavailableError,
    "RemoteProtocolError": ServiceUnavailableError,
    "ProxyError": ServiceUnavailableError,
    "HTTPStatusError": _by_upstream_status,
}

_REDIS: Mapping[str, Answer] = {
    "ConnectionError": ServiceUnavailableError,
    "AuthenticationError": None,
    "TimeoutError": ServiceUnavailableError,
    "ReadOnlyError": ServiceUnavailableError,
    "OutOfMemoryError": ServiceUnavailableError,
    "ClusterDownError": ServiceUnavailableError,
    "TryAgainError": ServiceUnavailableError,
    "WatchError": ConflictError,
}

#: Library -> class, as in its ``__module__`` and ``__qualname__`` -> what it stands for. It counts for subclasses.
LIBRARIES: Mapping[str, Mapping[str, Answer]] = {
    "sqlalchemy": _of(
        "sqlalchemy.exc",
        {
            "IntegrityError": ConflictError,
            "NoResultFound": NotFoundError,
            "OperationalError": ServiceUnavailableError,
            "TimeoutError": ServiceUnavailableError,
            "DBAPIError": _by_connection,
        },
    )
    | _of("sqlalchemy.orm.exc", {"StaleDataError": ConflictError}),
    "httpx": _of("httpx", _HTTPX),
    "httpx2": _of("httpx2", _HTTPX),
    "redis": _of("redis.exceptions", {**_REDIS, "RedisClusterException": ServiceUnavailableError}),
    "valkey": _of("valkey.exceptions", {**_REDIS, "ValkeyClusterException": ServiceUnavailableError}),
    "jwt": _of(
        "jwt.exceptions",
        {
            "InvalidTokenError": InvalidTokenError,
            "PyJWKClientConnectionError": ServiceUnavailableError,
            "PyJWKClientError": _by_key_search,
            "PyJWKSetError": ServiceUnavailableError,
        },
    ),
    "botocore": _of(
        "botocore.exceptions",
        {
            "ClientError": _by_aws_code,
            "ConnectionError": ServiceUnavailableError,
            "HTTPClientError": ServiceUnavailableError,
            "IncompleteReadError": ServiceUnavailableError,
        },
    ),
    "timeouts": _of("builtins", {"TimeoutError": ServiceUnavailableError}),
    "connections": _of("builtins", {"ConnectionError": ServiceUnavailableError})
    | _of("socket", {"gaierror": ServiceUnavailableError}),
}


def name_of(cls: type) -> str:
    """Give the name under which a class stands in the table."""
    return f"{cls.__module__}.{cls.__qualname__}"


def find_class(name: str) -> type[Exception] | None:
    """Give the class of a name, or None if its module is not imported: whoever raises it has imported it."""
    module, _, qualname = name.rpartition(".")
    found = getattr(sys.modules.get(module), qualname, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def answer_for(answer: Answer, exc: BaseException) -> ApiError | None:
    """Give the failure of a row of the table, or None: a crash."""
    cls = answer if answer is None or isinstance(answer, type) else answer(exc)
    return None if cls is None else cls()
