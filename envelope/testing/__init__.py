"""For the tests of services that speak the convention: clients, assertions, a clock, a pytest plugin."""

from envelope.testing.assertions import assert_failure, assert_success
from envelope.testing.clock import FakeClock

try:
    from envelope.testing.transport import UnwrappingTransport
    from envelope.testing.unwrapping import Unwrapping, UnwrappingClient
except ModuleNotFoundError as error:
    if error.name not in ("httpx", "httpx2"):
        raise
    # No ConfigurationError: what imports this looks for an ImportError, pytest.importorskip for one.
    raise ModuleNotFoundError(
        "envelope.testing needs httpx2, as Starlette's TestClient does; install it: pip install httpx2",
        name=error.name,
    ) from error

__all__ = [
    "FakeClock",
    "Unwrapping",
    "UnwrappingClient",
    "UnwrappingTransport",
    "assert_failure",
    "assert_success",
]
