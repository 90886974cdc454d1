"""Keys: what names an object, and what no two objects share."""

from __future__ import annotations

import enum
from datetime import date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from envelope import ConfigurationError, ObjectLocks
from envelope.locks.keys import KeyTemplate, check_keys

ID = UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Word(enum.StrEnum):
    RED = "red"


class Named(str, enum.Enum):
    """Spelled ``Named.ONE`` by an f-string, ``one`` by JSON."""

    ONE = "one"


class Number(enum.IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


def key(template: str, **values: Any) -> str:
    return KeyTemplate(template).key(values)


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("entity:{id}", {"id": 42}, "entity:42"),
        ("entity:{id}", {"id": "42"}, "entity:42"),
        ("entity:{id}", {"id": -1}, "entity:-1"),
        ("entity:{id}", {"id": True}, "entity:True"),
        ("entity:{id}", {"id": ID}, f"entity:{ID}"),
        ("entity:{id}", {"id": date(2020, 1, 2)}, "entity:2020-01-02"),
        ("{kind.value}", {"kind": Colour.RED}, "red"),
        ("entity:{id}", {"id": Word.RED}, "entity:red"),
        ("entity:{id}", {"id": Number.ONE}, "entity:1"),
        ("entity:{id}", {"id": Name("a")}, "entity:a"),
        ("entity:{id}", {"id": "größe ☃"}, "entity:größe ☃"),
        ("entity:{id}", {"id": "a:b%20"}, "entity:a:b%20"),  # alone, nothing is encoded
        ("entity:{id}", {"id": ""}, "entity:"),
        ("{id}", {"id": 42}, "42"),
        ("ledger", {}, "ledger"),
        ("a%b:c", {}, "a%b:c"),
        ("{{x}}:{id}", {"id": 1}, "{x}:1"),
        ("{{}}", {}, "{}"),
        ("{order.id}", {"order": SimpleNamespace(id=7)}, "7"),
        ("o:{order.customer.name}", {"order": SimpleNamespace(customer=SimpleNamespace(name="ada"))}, "o:ada"),
        ("{tenant}:{id}", {"tenant": "a", "id": 1}, "a:1"),
        ("{tenant}:{id}", {"tenant": "a:b", "id": "c%d"}, "a%3Ab:c%25d"),
        ("t:{tenant}:e:{id}:x", {"tenant": "a", "id": 1}, "t:a:e:1:x"),
        ("{a}:{a}", {"a": "x:y"}, "x%3Ay:x%3Ay"),
    ],
)
def test_keys_are_spelled_as_an_f_string_would(template, values, expected):
    """And with several values, percent signs and colons of theirs are encoded."""
    assert key(template, **values, other="not named") == expected


def test_names_are_parameters():
    """In their order, an attribute by the parameter that has it."""
    assert KeyTemplate("{tenant}:{order.id}:x").names == ("tenant", "order")
    assert KeyTemplate("ledger").names == ()


@pytest.mark.parametrize(
    "template",
    [
        "",
        None,
        5,
        b"a",
        ["a"],
        "{",
        "}",
        "a{",
        "{}",
        "{0}",
        "{a[0]}",
        "{a!r}",
        "{a:>5}",
        "{a.}",
        "{.a}",
        "{a b}",
        "{a-b}",
    ],
)
def test_what_is_no_template_is_a_configuration_error(template):
    """When the endpoint is declared, with what to write instead."""
    locks = ObjectLocks()
    for declare in (KeyTemplate, locks.guarded, locks.guard):
        with pytest.raises(ConfigurationError) as refused:
            declare(template)
        assert repr(template) in str(refused.value)


@pytest.mark.parametrize("declare", ["guarded", "guard"])
def test_no_template_is_a_configuration_error(declare):
    """A guard that guards nothing."""
    with pytest.raises(ConfigurationError, match="entity:{entity_id}"):
        getattr(ObjectLocks(), declare)()


@pytest.mark.parametrize(
    "value",
    [
        ["a"],
        ("a",),
        {"a": 1},
        b"a",
        object(),
        1.5j,
        Colour.RED,
        Colour.PAIR,
        Named.ONE,
        Decimal("1.0"),
        datetime(2020, 1, 2),
        1.5,
        SimpleNamespace(),
    ],
)
@pytest.mark.parametrize("template", ["entity:{id}", "{id}:{id}", "{x.id}"])
def test_values_without_a_spelling_of_their_own(template, value):
    """A list, an object, or nothing: not ``entity:None`` for all who have none; nor what has several spellings."""
    with pytest.raises(ConfigurationError, match=type(value).__name__):
        key(template, id=value, x=SimpleNamespace(id=value))


def test_value_that_is_not_there():
    """An optional parameter, or an attribute that it has not."""
    with pytest.raises(ConfigurationError, match="got None"):
        key("entity:{id}", id=None)
    with pytest.raises(ConfigurationError, match=r"cannot be made of order: .* no attribute 'id'"):
        key("entity:{order.id}", order=SimpleNamespace())


def test_a_name_that_is_not_there():
    """Is told to whoever has the values."""
    with pytest.raises(KeyError):
        key("entity:{id}", other=1)


texts = st.text(st.sampled_from("ab:%2353A-/ ☃") | st.characters(), max_size=6)


@given(st.sampled_from(["{a}:{b}", "x:{a}:y:{b}", "{a}::{b}", "{a}: {b}:c"]), texts, texts, texts, texts)
def test_no_two_objects_share_a_key(template, a, b, c, d):
    """Whatever stands in the values."""
    assert (key(template, a=a, b=b) == key(template, a=c, b=d)) == ((a, b) == (c, d))


@given(texts, texts)
def test_a_value_alone_is_its_own(a, b):
    """As it is written."""
    assert (key("entity:{a}", a=a) == key("entity:{a}", a=b)) == (a == b)


@given(texts, texts, texts, texts, texts, texts)
def test_three_values(a, b, c, d, e, f):
    """As two."""
    template = KeyTemplate("{a}:{b}:{c}")
    same = template.key({"a": a, "b": b, "c": c}) == template.key({"a": d, "b": e, "c": f})
    assert same == ((a, b, c) == (d, e, f))


@pytest.mark.parametrize("template", ["{a}-{b}", "{a}/{b}", "{a}{b}", "entity:{a}.{b}", "{a}:{b}{c}", "{a}%{b}"])
def test_other_separators_are_refused(template):
    """``1-2`` and ``3`` would share a key with ``1`` and ``2-3``."""
    with pytest.raises(ConfigurationError, match="{a}"):
        KeyTemplate(template)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_names_are_taken_once_in_their_order(names):
    """Repetitions are the same object."""
    assert check_keys(tuple(names)) == tuple(dict.fromkeys(names))


@pytest.mark.parametrize("names", [(), ("",), ("a", ""), (1,), (None,), (b"a",), ("a", 5), (Colour.RED,)])
def test_what_names_nothing(names):
    """Is a wrong call."""
    with pytest.raises(ValueError, match="entity:42"):
        check_keys(names)


@given(st.text())
def test_any_template_is_read_or_refused(template):
    """With a text about it, and never another error."""
    try:
        parsed = KeyTemplate(template)
    except ConfigurationError as refused:
        assert str(refused)
        return
    assume(parsed.names == ())
    assert parsed.key({}) == template.replace("{{", "{").replace("}}", "}")


def test_key_as_a_guard_spells_it():
    """For hold() and acquire(), where a template has several values."""
    key = ObjectLocks.key("tenant:{tenant}:entity:{entity_id}", tenant="a:b", entity_id=42)

    assert key == "tenant:a%3Ab:entity:42"
