"""Merging, limits and broken errors, on lists of errors made by hand."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from typing import Any

import pytest
from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from envelope.errors.validation.json_schema import document, everything
from envelope.errors.validation.messages import validation_messages
from envelope.errors.validation.redaction import rendered
from envelope.errors.validation.request_schema import RequestSchema


class BodyField:
    """What FastAPI's model field tells about a body."""

    config = None

    def __init__(self, annotation: Any) -> None:
        """Declares the body's type."""
        self.field_info = FieldInfo(annotation=annotation)


def declared(annotation: Any = dict[str, int]) -> RequestSchema:
    """The schema of an endpoint with a body of this type."""
    return RequestSchema([], [BodyField(annotation)])


def error(kind: str, *loc: str | int, **rest: Any) -> dict[str, Any]:
    """An error of pydantic's."""
    return {"type": kind, "loc": ("body", *loc), "msg": "m", **rest}


def messages(*errors: Any, **options: Any) -> list[str]:
    """The messages about errors in a body of integers."""
    return validation_messages(list(errors), schema=declared(), **options)


class Broken:
    """An object whose every text raises."""

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


class BrokenError(ValueError):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError


class BrokenMapping(dict[str, Any]):
    """An error that cannot be read."""

    def get(self, key: str, default: Any = None) -> Any:
        """Raises."""
        raise RuntimeError


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a'b", '"a\'b"'), ("\ud800", "'\\ud800'"), ("x" * 62, f"'{'x' * 62}'"),
        ("x" * 63, f"'{'x' * 29}...{'x' * 30}'"), (10**40, str(10**40)),
        (-(10**500), f"-1{'0' * 28}...{'0' * 31}"), (math.nan, "nan"), (-math.inf, "-inf"), (None, "None"),
        (True, "True"), ({}, "{}"), ([], "[]"), (LOOP, "value of type array"),
        ({"a": LOOP}, "value of type object"),
        ((1,), "value of type array"), ({1}, "value of type array"), (b"x", "value"), (Broken(), "value"),
        (dt.date(2020, 1, 2), "'2020-01-02'"), (dt.datetime(2020, 1, 2, 3), "'2020-01-02T03:00:00'"),
        (decimal.Decimal("1.50"), "'1.50'"), (uuid.UUID(int=0), f"'{uuid.UUID(int=0)}'"),
        (BrokenMapping(), "value"),
    ],
)  # fmt: skip
def test_value_is_written(value: object, text: str) -> None:
    """Scalars as `repr` does, at most 64 characters; anything else by its type."""
    assert rendered(value) == text
    assert len(text) <= 64


def test_integer_that_python_cannot_print_is_named_by_its_type() -> None:
    """`repr` of an int raises above 4,300 digits."""
    assert rendered(10**5000) == "value of type integer"


def test_errors_after_json_are_worded_alike() -> None:
    """The same list as FastAPI puts it on the wire: loc is a list, bounds are numbers."""
    wire = {"type": "int_parsing", "loc": ["body", "a"], "msg": "m", "input": "x"}
    assert messages(wire) == ["'x' is not of type 'integer'"]
    text = {"type": "value_error", "loc": ["body", "a"], "msg": "Value error, too odd", "ctx": {"error": {}}}
    assert messages(text) == ["too odd"]
    raw = {"type": "model_attributes_type", "loc": ["body"], "msg": "m", "input": "a=1"}
    assert messages(raw) == ["request body is not application/json"]


@pytest.mark.parametrize(
    ("kind", "context", "value", "message"),
    [
        ("greater_than", {"gt": 0.0}, "-1", "-1 is less than or equal to the minimum of 0"),
        ("greater_than_equal", {"ge": "0"}, -1, "-1 is less than the minimum of 0"),
        ("less_than", {"lt": decimal.Decimal("1.5")}, "2.50",
         "2.5 is greater than or equal to the maximum of 1.5"),
        ("less_than_equal", {"le": "2020-01-01"}, "2021-01-01",
         "'2021-01-01' is greater than the maximum of '2020-01-01'"),
        ("less_than_equal", {"le": 10**30}, "1" * 70,
         f"'{'1' * 29}...{'1' * 30}' is greater than the maximum of {10**30}"),
        ("multiple_of", {"multiple_of": 0.5}, "0.7", "0.7 is not a multiple of 0.5"),
        ("too_long", {"max_length": 3, "field_type": "List"}, [1] * 4, "value of type array is too long"),
        ("value_error", {"error": ValueError("x" * 300)}, 1, f"{'x' * 98}...{'x' * 99}"),
        ("value_error", {"error": ValueError("")}, 1, "1 is not valid"),
        ("value_error", {"error": BrokenError()}, 1, "value is not valid"),
        ("timezone_offset", {"tz_expected": 3600, "tz_actual": "x"}, "t", "'t' should have timezone offset 3600"),
        ("made_up", {}, "x", "'x' is not valid"),
        ("made_up_iban", {}, "x", "value is not valid"),
    ],
)  # fmt: skip
def test_figures_of_the_context(kind: str, context: dict[str, Any], value: object, message: str) -> None:
    """Where the JSON Schema has no figure, pydantic's is written as JSON Schema would."""
    assert messages(error(kind, "a", ctx=context, input=value)) == [message]


def test_unexpected_properties_merge_where_the_first_one_stood() -> None:
    """Per parent, sorted, between the other messages."""
    found = messages(
        error("missing", "x"),
        error("extra_forbidden", "b"),
        error("missing", "y"),
        error("extra_forbidden", "a"),
        error("extra_forbidden", "b"),
    )
    assert found == [
        "'x' is a required property",
        "Additional properties are not allowed ('a', 'b', 'b' were unexpected)",
        "'y' is a required property",
    ]


def test_equal_messages_of_one_place_are_kept_once() -> None:
    """Equal messages about different places are all kept."""
    same = error("int_parsing", "a", input="x")
    assert len(messages(same, same, error("int_parsing", "b", input="x"))) == 2


def test_consequences_are_dropped() -> None:
    """A default that was not made is no news, unless there is no other."""
    consequence = error("default_factory_not_called", "b")
    assert messages(consequence, error("missing", "a")) == ["'a' is a required property"]
    assert messages(consequence) == ["value is not valid"]


@pytest.mark.parametrize(("count", "last"), [(50, "'k49' is a required property"), (51, "and 1 more problems"),
                                             (5000, "and 4950 more problems")])  # fmt: skip
def test_messages_are_limited(count: int, last: str) -> None:
    """Fifty, then how many more."""
    found = messages(*(error("missing", f"k{number}") for number in range(count)))
    assert found[-1] == last
    assert len(found) == min(count, 51)


def test_unexpected_properties_beyond_the_limit_are_counted() -> None:
    """What comes after the fiftieth message is counted once, however many names it has."""
    errors = [error("missing", f"k{number}") for number in range(50)]
    extra = [error("extra_forbidden", "a", "x"), error("extra_forbidden", "a", "y")]
    assert messages(*errors, *extra)[-1] == "and 1 more problems"


def test_message_is_limited() -> None:
    """A long list of choices does not make a long message."""
    long = error("uuid_version", "a", ctx={"expected_version": "9" * 1000}, input="x")
    choices = error("string_pattern_mismatch", "a", ctx={"pattern": "p" * 1000}, input="é")
    assert all(len(message) <= 500 for message in messages(long, choices))


def test_lone_surrogate_in_a_text_can_be_encoded() -> None:
    """A developer's text is not written by `repr`."""
    (message,) = messages(error("value_error", "a", ctx={"error": ValueError("é\ud800")}, input="x"))
    assert message == "é\\ud800"


@pytest.mark.parametrize("errors", [None, 3, [], Broken()])
def test_no_list_of_errors_is_the_last_resort(errors: Any) -> None:
    """Something is always said."""
    assert validation_messages(errors) == ["request is not valid"]


def test_broken_errors_do_not_hide_the_others() -> None:
    """Each error is read on its own."""
    found = messages(None, BrokenMapping(), {}, {"type": [], "loc": 3, "ctx": 7}, error("missing", "a"),
                     {"type": "extra_forbidden"}, {"type": "missing", "loc": [None]})  # fmt: skip
    assert found[:4] == ["value is not valid"] * 2 + ["value is not valid"] + ["'a' is a required property"]
    assert len(found) == 6


def test_union_inside_an_unknown_body_names_its_type() -> None:
    """Without the body, the first branch's error tells what the value is."""
    schema = declared(dict[str, dict[str, str] | list[int]])
    inside = error("int_parsing", "a", "list[int]", 0, input="x")
    assert validation_messages([inside], schema=schema) == [
        "value of type array is not valid under any of the given schemas"
    ]


def test_large_schema_may_hold_secrets() -> None:
    """What is too large to be searched is treated as if it held one."""
    large: Any = create_model("Large", **{f"f{number}": (int, Field(number)) for number in range(2500)})  # type: ignore[call-overload]
    assert validation_messages([error("model_type", "a", input="x")], schema=declared(dict[str, large])) == [
        "'**********' is not of type 'object'"
    ]


def test_union_without_end_is_searched_in_part() -> None:
    """The branches that are looked at are bounded."""
    node = document({"anyOf": [{"type": "integer"}] * 3000})
    assert len(list(everything([node]))) == 2000


def test_place_too_deep_is_not_quoted() -> None:
    """Following long locs would cost more than they are worth."""
    deep = error("int_parsing", *["a"] * 50, input="x")
    assert messages(deep) == ["value is not of type 'integer'"]
