"""FastAPI's own tests, with every application installed and every answer unwrapped by ``envelope.testing``."""

from __future__ import annotations

from tests.upstream.suites import Suite

_DOCUMENT = "asserts the OpenAPI document, which describes the wire once an application is installed"
_STREAM = (
    "expects a 200 for a stream that fails before its first byte; its head is held back by design, so that it"
    " gets the status of its error"
)
_ONE_LEAF = "expects a crash for a group that holds one HTTPException; by design the group stands for it"

FASTAPI = Suite(
    package="fastapi",
    folders=("tests", "docs", "docs_src"),
    plugin="fastapi_plugin",
    left_out={
        "tests/test_computed_fields.py::test_computed_field_with_after_model_validator": _DOCUMENT,
        "tests/test_computed_fields.py::test_nested_computed_field_schemas": _DOCUMENT,
        "tests/test_computed_fields.py::test_recursive_computed_field_schemas": _DOCUMENT,
        "tests/test_computed_fields.py::test_shared_models_do_not_rebuild_field_schemas_per_route": _DOCUMENT,
        "tests/test_forms_multiple_unions.py::test_distinct_input_and_output_schemas": _DOCUMENT,
        "tests/test_generate_unique_id_function.py": _DOCUMENT,
        "tests/test_tutorial/test_generate_clients/test_tutorial004.py::test_remove_tags": _DOCUMENT,
        "tests/test_union_body_discriminator.py::test_discriminator_pydantic_v2": _DOCUMENT,
        "tests/test_dependency_after_yield_streaming.py::test_broken_session_stream_no_raise": _STREAM,
        "tests/test_request_body_limits.py::test_body_limit_does_not_hide_unrelated_exception_groups[asyncio-False-error1]": _ONE_LEAF,
        "tests/test_request_body_limits.py::test_body_limit_does_not_hide_unrelated_exception_groups[asyncio-True-error1]": _ONE_LEAF,
        "tests/test_request_body_limits.py::test_body_limit_does_not_hide_unrelated_exception_groups[trio-False-error1]": _ONE_LEAF,
        "tests/test_request_body_limits.py::test_body_limit_does_not_hide_unrelated_exception_groups[trio-True-error1]": _ONE_LEAF,
    },
    fewest_tests=4000,
    fewest={"successes": 2500, "failures": 1200},
    options=(
        # Those that assert the OpenAPI document have it in their names (test_openapi_schema), but for those above.
        *("-k", "not openapi"),
        # What its configuration asks for.
        *("-p", "pytest_timeout", "-p", "inline_snapshot.pytest_plugin"),
        *("-o", "markers=xdist_group: which tests one process runs"),
        # They measure, ask exporters of three vendors, or are about FastAPI's own scripts.
        *("--ignore=tests/benchmarks", "--ignore=tests/memory_benchmarks", "--ignore=tests/test_telemetry"),
        *("--ignore=tests/test_prepare_release.py", "--ignore=tests/test_translate.py"),
    ),
)
