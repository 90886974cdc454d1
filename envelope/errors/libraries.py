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

#: What SQLite calls a failure that passes, by its primary result code (https://www.sqlite.org/rescode.html).
SQLITE_TRANSIENT = frozenset(
    {
        5,  # BUSY: another connection holds the lock
        6,  # LOCKED: another statement of the same cache does
        10,  # IOERR
        13,  # FULL
        14,  # CANTOPEN
        15,  # PROTOCOL: the lock was lost to others again and again
    }
)

#: The errors of MySQL and MariaDB that no time heals. Their drivers raise OperationalError for all that they have
#: no other class for, and they disagree about which these are.
MYSQL_MISTAKES = frozenset(
    {
        1044,  # no right to the database
        1045,  # wrong password
        1046,  # no database chosen
        1049,  # unknown database
        1051,  # unknown table, in DROP
        1052,  # ambiguous column
        1054,  # unknown column
        1055,  # column that is not in GROUP BY
        1064,  # syntax
        1066,  # alias given twice
        1091,  # nothing of that name to drop
        1109,  # unknown table, in another clause
        1111,  # aggregate where none may be
        1136,  # more or fewer values than columns
        1140,  # aggregates beside columns without GROUP BY
        1142,  # no right to the table
        1143,  # no right to the column
        1146,  # no such table
        1149,  # syntax
        1241,  # more or fewer columns than expected
        1248,  # derived table without an alias
        1305,  # no such procedure or function
        1318,  # wrong number of arguments of a procedure
        1364,  # column without a value or a default
        1370,  # no right to the procedure
        1582,  # wrong number of arguments of a function
    }
)

#: How PyJWT's texts begin where the call was wrong, for which it has no class. No token can bring them about: a
#: client that could would crash the service at will. Hence not every argument that PyJWT calls "required" is here.
JWT_MISUSE = (
    'It is required that you pass in a value for the "algorithms" argument',
    "Invalid token type",
    "Issuer param must be",
    "Invalid audience (strict)",
)


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


def _by_database(exc: Any) -> type[ApiError] | None:
    if exc.connection_invalidated:
        return ServiceUnavailableError
    driver = exc.orig
    if type(driver).__module__ == "sqlite3":  # there is no code where Python could not read what SQLite gave
        passes = getattr(driver, "sqlite_errorcode", 0) & 0xFF in SQLITE_TRANSIENT
        return ServiceUnavailableError if passes else None
    number = next(iter(driver.args), None)  # of other databases a text or an object
    return None if isinstance(number, int) and number in MYSQL_MISTAKES else ServiceUnavailableError


def _by_token(exc: Any) -> type[ApiError] | None:
    return None if str(exc).startswith(JWT_MISUSE) else InvalidTokenError


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
    "AuthorizationError": None,
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
            "OperationalError": _by_database,
            "TimeoutError": ServiceUnavailableError,
            "DBAPIError": _by_connection,
        },
    )
    | _of("sqlalchemy.orm.exc", {"StaleDataError": ConflictError}),
    "httpx": _of("httpx", _HTTPX),
    "httpx2": _of("httpx2", _HTTPX),
    "redis": _of(
        "redis.exceptions",
        {
            **_REDIS,
            "RedisClusterException": ServiceUnavailableError,
            "CrossSlotTransactionError": None,
            "InvalidPipelineStack": None,
        },
    ),
    "valkey": _of("valkey.exceptions", {**_REDIS, "ValkeyClusterException": ServiceUnavailableError}),
    "jwt": _of(
        "jwt.exceptions",
        {
            "InvalidTokenError": _by_token,
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
            "SSLError": None,
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
