"""Starlette's own tests behind ``EnvelopeMiddleware``."""

from __future__ import annotations

from tests.upstream.suites import Suite

_HEAD_FIRST = (
    "asks for the head before the first byte of the body, which the middleware holds back by design,"
    " so that what dies before its first byte gets the status of its error"
)
_TRACEBACK = (
    "expects a text that is a traceback; a failure never says what went wrong, so it becomes the opaque 500"
)

STARLETTE = Suite(
    package="starlette",
    folders=("tests",),
    plugin="starlette_plugin",
    left_out={
        "tests/test_testclient.py::test_streaming_response_is_available_before_first_chunk": _HEAD_FIRST,
        "tests/test_testclient.py::test_streaming_response_skips_empty_and_head_bodies[asyncio-GET-]": _HEAD_FIRST,
        "tests/test_testclient.py::test_streaming_response_skips_empty_and_head_bodies[trio-GET-]": _HEAD_FIRST,
        "tests/middleware/test_errors.py::test_debug_text[": _TRACEBACK,
        "tests/test_applications.py::test_app_debug[": _TRACEBACK,
    },
    fewest_tests=1000,
    fewest={"wrapped": 251, "in_parts": 100},
)
