"""The names of objects, and how they are made of a request's validated values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from enum import Enum
from operator import attrgetter
from string import Formatter
from typing import Any
from uuid import UUID

from envelope.errors.tree import ConfigurationError

#: What has one spelling for one value; not a Decimal (1 and 1.0), nor a time (in how many zones).
_SCALARS = (str, int, UUID)

#: Between several values stands text that one of them could hold as well.
_ESCAPES = str.maketrans({"%": "%25", ":": "%3A"})


def check_keys(keys: tuple[Any, ...]) -> tuple[str, ...]:
    """Give the names of objects without repetition.

    Raises:
        ValueError: There is none, or one is no text or empty.
    """
    if not keys:
        raise ValueError("there is nothing to lock; name an object: 'entity:42'")
    for key in keys:
        if not isinstance(key, str) or not key:
            raise ValueError(
                f"{key!r} is no name of an object; write 'entity:42', or for several 'entity:42', 'entity:43'"
            )
    return keys if len(keys) == 1 else tuple(dict.fromkeys(keys))


def make_keys(templates: Sequence[KeyTemplate], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Make the keys of several templates, without repetition.

    Raises:
        ConfigurationError: A value has no spelling of its own.
        KeyError: There is no value of this name.
        ValueError: A key is empty.
    """
    if len(templates) == 1 and (key := templates[0].key(values)):
        return (key,)
    return check_keys(tuple([template.key(values) for template in templates]))


class KeyTemplate:
    """``"entity:{entity_id}"``, which becomes ``"entity:42"``.

    A value stands in the key as ``str()`` spells it, so that ``hold(f"entity:{entity_id}")`` means the same
    object. Where a template has several values, ``%`` and ``:`` in them are percent-encoded: no two objects share
    a key.

    Args:
        template: Names stand for parameters; ``{order.id}`` is an attribute of one.

    Attributes:
        names: Of the parameters.

    Raises:
        ConfigurationError: The template is no text, or empty, or cannot be read.
    """

    def __init__(self, template: Any) -> None:
        if not isinstance(template, str) or not template:
            raise ConfigurationError(
                f"{template!r} names no object; write a template such as 'entity:{{entity_id}}'"
            )
        self.template = template
        self._texts: list[str] = [""]
        self._values: list[tuple[str, str]] = []
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise ConfigurationError(f"the key {template!r} cannot be read: {error}") from None
        for text, field, spec, conversion in parts:
            self._texts[-1] += text
            if field is not None:
                self._add(field, plain=not spec and not conversion)
        if not all(":" in text for text in self._texts[1:-1]):
            raise ConfigurationError(
                f"the key {template!r} has two values without a ':' between them, so that several objects could"
                " share a key; write 'tenant:{tenant}:entity:{entity_id}'"
            )
        self.names = tuple(name for name, _ in self._values)

    def _add(self, field: str, *, plain: bool) -> None:
        name, *path = field.split(".")
        if not plain or not all(part.isidentifier() for part in (name, *path)):
            raise ConfigurationError(
                f"the key {self.template!r} has {{{field}}}; name a parameter, or an attribute of one:"
                " {entity_id}, {order.id}"
            )
        self._values.append((name, ".".join(path)))
        self._texts.append("")

    def key(self, values: Mapping[str, Any]) -> str:
        """Make the key.

        Args:
            values: At least those of ``names``.

        Raises:
            ConfigurationError: A value has no spelling of its own.
        """
        if len(self._values) == 1:
            ((name, path),) = self._values
            value = self._pick(name, path, values[name]) if path else values[name]
            before, after = self._texts
            return f"{before}{value if type(value) is str or type(value) is int else self._spell(value)}{after}"
        key = self._texts[0]
        for (name, path), text in zip(self._values, self._texts[1:], strict=True):
            value = self._pick(name, path, values[name]) if path else values[name]
            key += self._spell(value).translate(_ESCAPES) + text
        return key

    def _pick(self, name: str, path: str, value: Any) -> Any:
        try:
            return attrgetter(path)(value)
        except AttributeError as error:
            raise ConfigurationError(f"the key {self.template!r} cannot be made of {name}: {error}") from None

    def _spell(self, value: Any) -> str:
        if value is None:
            raise ConfigurationError(
                f"the key {self.template!r} got None; name what is always there, or give guard() a dependency,"
                " which may return None for nothing to lock"
            )
        is_spelled_as_its_value = not isinstance(value, Enum) or str(value) == str(value.value)
        if not (isinstance(value, _SCALARS) or type(value) is date) or not is_spelled_as_its_value:
            raise ConfigurationError(
                f"the key {self.template!r} got a {type(value).__name__}, which can be spelled in several ways;"
                " give it texts, whole numbers, UUIDs or dates, such as an attribute of it: {kind.value}"
            )
        return str(value)
