"""The documents that the examples serve are valid OpenAPI 3.1, as openapi-spec-validator understands it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.openapi.proofs.example import Example, quickstart, tiers, verification_service


@pytest.mark.parametrize("make_example", [quickstart, tiers, verification_service])
def test_document_of_an_example_is_valid(make_example: Callable[[], Example]) -> None:
    """Every part of it is as the specification says, and it describes the wire."""
    with make_example() as example:
        document = httpx.get(f"{example.url}/openapi.json", trust_env=False).json()

    errors = [
        f"{list(error.absolute_path)}: {error.message}"
        for error in OpenAPIV31SpecValidator(document).iter_errors()
    ]
    assert errors == []
    assert document["openapi"].startswith("3.1.")
    assert document["x-envelope"]["success_status"] == "always-200"
