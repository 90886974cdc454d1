"""Byte for byte what `jsonschema` says about the same input, wherever it says anything."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import re
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from jsonschema import Draft202012Validator
from pydantic import (
    UUID4,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    EmailStr,
    Field,
    FilePath,
    FutureDate,
    FutureDatetime,
    HttpUrl,
    ImportString,
    IPvAnyAddress,
    Json,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    Secret,
    SecretStr,
    Strict,
    TypeAdapter,
)
from typing_extensions import TypedDict

from .worded_apps import post_app, worded


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class OnlyColour(enum.Enum):
    red = "red"


class Model(BaseModel):
    a: int


class Closed(BaseModel, extra="forbid"):
    a: int = 0


@dataclasses.dataclass
class Data:
    a: int


class Pair(NamedTuple):
    a: int
    b: int


class Typed(TypedDict):
    a: int


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]

IDENTICAL: list[tuple[Any, Any]] = [
    (int, "a"), (int, None), (int, 1.5), (int, {}), (int, []), (Annotated[int, Strict()], "1"),
    (float, "a"), (float, None), (bool, "x"), (bool, None), (bool, 7), (str, 1), (str, None), (str, True),
    (bytes, 1), (None, 1), (str, 1.0), (str, 10**40),
    (Model, 1), (Model, "x"), (Model, {}), (Model, {"a": "x"}), (Model, []), (Data, 1), (Data, {}), (Typed, 1),
    (Typed, {}), (Pair, 5), (Closed, {"z": 1}), (Closed, {"c": 1, "b'": 2}),
    (dict[str, int], 1), (dict[str, int], {"k": "x"}), (list[int], 1), (list[int], {}), (list[int], ["a", 1, "b"]),
    (set[int], 1), (frozenset[int], 1), (tuple[int, int], 1), (tuple[int, ...], "a"), (Sequence[int], 1),
    (collections.deque[int], 1), (list[Model], [{"a": 1}, {}, 3]),
    (Annotated[int, Gt(0)], 0), (Annotated[int, Ge(0)], -1), (Annotated[int, Lt(0)], 0),
    (Annotated[int, Le(0)], 1),
    (Annotated[int, MultipleOf(5)], 3), (Annotated[float, Gt(0)], -0.5), (Annotated[float, Ge(0.5)], 0.25),
    (Annotated[float, Le(5.0)], 7.5), (Annotated[float, MultipleOf(0.5)], 0.75),
    (Annotated[str, Field(min_length=3)], "a"), (Annotated[str, Field(min_length=1)], ""),
    (Annotated[str, Field(max_length=2)], "abc"), (Annotated[str, Field(max_length=0)], "a"),
    (Annotated[str, Field(pattern="^a+$")], "b'c"), (Annotated[str, Field(pattern=r"^\d{2}$")], 'x"\n'),
    (Annotated[bytes, Field(min_length=3)], "a"), (Annotated[bytes, Field(max_length=1)], "abc"),
    (Annotated[list[int], Field(min_length=2)], []), (Annotated[list[int], Field(min_length=1)], []),
    (Annotated[dict[str, int], Field(min_length=1)], {}), (Annotated[dict[str, int], Field(min_length=2)], {}),
    (Colour, "x"), (OnlyColour, "x"), (Literal["a", "b"], "c"), (Literal["a"], "b"), (Literal[1, 2], 3),
    (Literal["a or b", "c"], "x"), (Literal["a or b"], "x"),
    (dt.date, "x"), (dt.date, True), (dt.date, "2020-01-01T01:00:00"), (dt.datetime, "x"), (dt.datetime, True),
    (dt.time, "x"), (dt.time, True), (dt.timedelta, "x"), (dt.timedelta, None),
    (uuid.UUID, "x"), (uuid.UUID, 1), (AnyUrl, "x"), (AnyUrl, 1), (EmailStr, "x"), (EmailStr, 1),
    (ipaddress.IPv4Address, "x"), (ipaddress.IPv6Address, "x"), (re.Pattern, "("),
    (Json, 1), (ByteSize, "x"), (int | bool, "x"), (Cat | Dog, 1), (list[int | bool], ["x", None]),
]  # fmt: skip

# Our message where jsonschema's would be worse, would leak, or does not exist.
DIFFERENT: list[tuple[Any, Any, list[str], str]] = [
    (int, [1], ["value of type array is not of type 'integer'"], "containers are never echoed"),
    (int, {"k": 1}, ["value of type object is not of type 'integer'"], "containers are never echoed"),
    (tuple[int, int], [1], ["value of type array is too short"], "containers are never echoed"),
    (Pair, [1], ["value of type array is too short"], "containers are never echoed"),
    (Annotated[list[int], Field(max_length=0)], [1], ["value of type array is expected to be empty"], "container"),
    (Annotated[list[int], Field(max_length=1)], [1, 2], ["value of type array is too long"], "container"),
    (Annotated[dict[str, int], Field(max_length=1)], {"a": 1, "b": 2},
     ["value of type object has too many properties"], "container"),
    (int, "9" * 5000, [f"'{'9' * 29}...{'9' * 30}' is not of type 'integer'"], "long values are shortened"),
    (HttpUrl, "http://a/" + "b" * 2100, [f"'http://a/{'b' * 20}...{'b' * 30}' is too long"], "shortened"),
    (int | None, "a", ["'a' is not of type 'integer'"], "Optional has T's own message"),
    (Pet, {"kind": "cow"}, ["'cow' is not one of ['cat', 'dog']"], "says which tags there are"),
    (Pet, {}, ["'kind' is a required property"], "names the missing property"),
    (Pet, {"kind": "cat", "lives": "x"}, ["'x' is not of type 'integer'"], "the branch is known"),
    (Pet, {"kind": ["cat"]}, ["value of type array is not one of ['cat', 'dog']"], "container"),
    (decimal.Decimal, None, ["None is not of type 'number'"], "a number is what is meant"),
    (decimal.Decimal, "x", ["'x' is not of type 'number'"], "jsonschema allows any text"),
    (fractions.Fraction, None, ["None is not of type 'number'"], "a number is what is meant"),
    (fractions.Fraction, "x", ["'x' is not a 'fraction'"], "jsonschema is silent"),
    (complex, "x", ["'x' is not of type 'string'"], "jsonschema is silent"),
    (Annotated[decimal.Decimal, Field(max_digits=2)], "123", ["'123' has more than 2 digits"], "silent"),
    (Annotated[decimal.Decimal, Field(decimal_places=1)], "1.23",
     ["'1.23' has more than 1 decimal places"], "silent"),
    (Annotated[decimal.Decimal, Field(max_digits=3, decimal_places=1)], "123",
     ["'123' has more than 2 digits before the decimal point"], "silent"),
    (Annotated[decimal.Decimal, Field(ge=0)], "-1", ["-1 is less than the minimum of 0"], "silent for texts"),
    (Annotated[decimal.Decimal, MultipleOf(decimal.Decimal("0.5"))], "0.7",
     ["0.7 is not a multiple of 0.5"], "silent for texts"),
    (AwareDatetime, "2020-01-01T00:00:00", ["'2020-01-01T00:00:00' should have timezone info"], "more precise"),
    (NaiveDatetime, "2020-01-01T00:00:00Z", ["'2020-01-01T00:00:00Z' should not have timezone info"], "silent"),
    (PastDate, "2999-01-01", ["'2999-01-01' should be in the past"], "silent"),
    (PastDatetime, "2999-01-01T00:00:00", ["'2999-01-01T00:00:00' should be in the past"], "format only"),
    (FutureDate, "1999-01-01", ["'1999-01-01' should be in the future"], "silent"),
    (FutureDatetime, "1999-01-01T00:00:00", ["'1999-01-01T00:00:00' should be in the future"], "format only"),
    (Annotated[dt.date, Gt(dt.date(2020, 1, 1))], "2019-01-01",
     ["'2019-01-01' is less than or equal to the minimum of '2020-01-01'"], "silent"),
    (UUID4, "c9bf9e57-1685-1c89-bafb-ff5af830be8a",
     ["'c9bf9e57-1685-1c89-bafb-ff5af830be8a' is not a 'uuid4'"], "versions are unknown to it"),
    (HttpUrl, "ftp://a", ["'ftp://a' is not a 'uri' with the scheme 'http' or 'https'"], "silent"),
    (IPvAnyAddress, "x", ["'x' is not a 'ipvanyaddress'"], "silent"),
    (ipaddress.IPv4Network, "x", ["'x' is not a 'ipv4network'"], "silent"),
    (Json, "{", ["'{' is not valid JSON"], "silent"),
    (Json[list[int]], '["a"]', ["'a' is not of type 'integer'"], "jsonschema does not look into the text"),
    (ByteSize, "1 zz", ["'1 zz' is not valid under any of the given schemas"], "silent"),
    (Base64Bytes, "a", ["'a' is not encoded as 'base64'"], "silent"),
    (dict[int, int], {"a": 1}, ["'a' is not of type 'integer'"], "JSON keys are texts"),
    (FilePath, "/no/such/file", ["value is not a valid path"], "must not tell which files exist"),
    (FilePath, "/tmp", ["value is not a valid path"], "must not tell which files exist"),
    (ImportString, "os.nope", ["value is not valid"], "must not tell which modules exist"),
    (SecretStr, 1, ["'**********' is not of type 'string'"], "a secret"),
    (Annotated[SecretStr, Field(min_length=5)], "abc", ["'**********' is too short"], "a secret"),
    (Secret[int], "abc", ["'**********' is not of type 'integer'"], "a secret"),
]  # fmt: skip


def ours(annotation: Any, value: Any) -> list[str]:
    """Our messages for a member `x` of a JSON body, through FastAPI."""
    typed_dict: Any = TypedDict
    client = worded(post_app(typed_dict("Body", {"x": annotation})))
    response = client.post("/", json={"x": value})
    assert response.status_code == 400, "FastAPI accepts this"
    messages: list[str] = response.json()
    return messages


def theirs(annotation: Any, value: Any) -> list[str]:
    """The messages of jsonschema for the same value."""
    checker = Draft202012Validator.FORMAT_CHECKER
    validator = Draft202012Validator(TypeAdapter(annotation).json_schema(), format_checker=checker)
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize(("annotation", "value"), IDENTICAL)
def test_message_is_what_jsonschema_says(annotation: Any, value: Any) -> None:
    """The same type and the same value give the same bytes."""
    assert ours(annotation, value) == theirs(annotation, value)


@pytest.mark.parametrize(("annotation", "value", "messages", "reason"), DIFFERENT)
def test_message_differs_from_jsonschema_on_purpose(
    annotation: Any, value: Any, messages: list[str], reason: str
) -> None:
    """Each deliberate difference says what we say instead, and is one."""
    assert ours(annotation, value) == messages
    assert theirs(annotation, value) != messages, reason
