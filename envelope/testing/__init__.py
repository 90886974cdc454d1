"""For the tests of services that speak the convention: clients, assertions, a clock, a pytest plugin."""

from envelope.testing.assertions import assert_failure, assert_success
from envelope.testing.clock import FakeClock
from envelope.testing.transport import UnwrappingTransport
from envelope.testing.unwrapping import Unwrapping, UnwrappingClient

__all__ = [
    "FakeClock",
    "Unwrapping",
    "UnwrappingClient",
    "UnwrappingTransport",
    "assert_failure",
    "assert_success",
]
