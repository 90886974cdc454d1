"""The table is complete: a new version of pydantic with a new error type fails here."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import get_args

import pydantic
import pytest
from pydantic_core import core_schema

from envelope.errors.validation.blanks import _BLANKS
from envelope.errors.validation.messages import validation_messages
from envelope.errors.validation.variants import _VARIANTS
from envelope.errors.validation.wording import WORDING

CORE_TYPES = get_args(core_schema.ErrorType)
RAISED = re.compile(r"PydanticCustomError\(\s*'([a-z0-9_]+)'")
SCHEMA_FIGURES = frozenset(
    ("max_digits", "decimal_places", "whole_digits", "encoding", "tz_expected")
    + ("expected_schemes", "expected_version", "expected_tags")
)


def raised_by_pydantic() -> set[str]:
    """The custom types that appear in pydantic's own source."""
    root = Path(pydantic.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in root.rglob("*.py") if "v1" not in path.parts]
    return {kind for source in sources for kind in RAISED.findall(source)}


@pytest.mark.parametrize("kind", CORE_TYPES)
def test_core_type_has_a_row(kind: str) -> None:
    """Every type that pydantic-core can report is worded by us."""
    assert kind in WORDING


def test_custom_types_of_pydantic_have_rows() -> None:
    """Every custom type that pydantic's Python code raises is worded by us."""
    kinds = raised_by_pydantic()

    assert len(kinds) > 20
    assert kinds - WORDING.keys() == set()


def test_blanks_are_all_known() -> None:
    """A sentence has no blank that nobody fills, and no figure that is not the schema's."""
    blanks = {name for row in WORDING.values() for _, name, _, _ in string.Formatter().parse(row) if name}

    assert blanks - _BLANKS.keys() == SCHEMA_FIGURES


def test_variants_belong_to_types_that_exist() -> None:
    """A choice between rows is made only for a type that has a plain row too."""
    assert {kind.partition(":")[0] for kind in WORDING} - WORDING.keys() == set()
    assert _VARIANTS.keys() - WORDING.keys() == set()


@pytest.mark.parametrize("kind", sorted(WORDING))
def test_bare_error_of_any_type_is_worded(kind: str) -> None:
    """An error with nothing but its type, as no client can cause it, still gets a sentence."""
    (message,) = validation_messages([{"type": kind.partition(":")[0]}])

    assert message
    assert "{" not in message
