"""One response convention for a whole Starlette or FastAPI service."""

from envelope.errors.error_map import ErrorMap
from envelope.errors.tree import (
    ApiError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    EnvelopeError,
    ForbiddenError,
    InternalServerError,
    MethodNotAllowedError,
    NotFoundError,
    ObjectLockedError,
    RateLimitedError,
    ServiceUnavailableError,
    UnauthorizedError,
)
from envelope.install import install
from envelope.locks.lease import Lease, LeaseLostError
from envelope.locks.object_locks import ObjectLocks
from envelope.maintenance.maintenance import Maintenance
from envelope.openapi.declarations import failures
from envelope.rate_limit.address import ClientAddress, client_address
from envelope.rate_limit.limiter import RateLimiter
from envelope.rate_limit.plans import RouteLimit
from envelope.wire.bodies import Failure, Shape, Success
from envelope.wire.exemptions import raw_response
from envelope.wire.middleware import EnvelopeMiddleware

__all__ = [
    "ApiError",
    "BadRequestError",
    "ClientAddress",
    "ConfigurationError",
    "ConflictError",
    "EnvelopeError",
    "EnvelopeMiddleware",
    "ErrorMap",
    "Failure",
    "ForbiddenError",
    "InternalServerError",
    "Lease",
    "LeaseLostError",
    "Maintenance",
    "MethodNotAllowedError",
    "NotFoundError",
    "ObjectLockedError",
    "ObjectLocks",
    "RateLimitedError",
    "RateLimiter",
    "RouteLimit",
    "ServiceUnavailableError",
    "Shape",
    "Success",
    "UnauthorizedError",
    "client_address",
    "failures",
    "install",
    "raw_response",
]
