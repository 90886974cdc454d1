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
from envelope.wire.bodies import Failure, Shape, Success
from envelope.wire.exemptions import raw_response
from envelope.wire.middleware import EnvelopeMiddleware

__all__ = [
    "ApiError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "EnvelopeError",
    "EnvelopeMiddleware",
    "ErrorMap",
    "Failure",
    "ForbiddenError",
    "InternalServerError",
    "MethodNotAllowedError",
    "NotFoundError",
    "ObjectLockedError",
    "RateLimitedError",
    "ServiceUnavailableError",
    "Shape",
    "Success",
    "UnauthorizedError",
    "install",
    "raw_response",
]
