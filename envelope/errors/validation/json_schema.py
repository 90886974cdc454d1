"""Walks a JSON Schema, as pydantic generates it, towards the place that an error's `loc` names.

It follows properties, items, references, optional and union members, and says what is secret on the way. It does
not validate anything and knows no framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from envelope.errors.validation.redaction import is_secret_name

Loc = tuple[str | int, ...]

_MAX_HOPS: Final = 32
_MAX_NODES: Final = 2_000
# A body that is nested deeper is somebody's experiment, and following every loc of it would take long.
_MAX_LOC: Final = 40
_NULL: Final = {"type": "null"}
# FastAPI writes "this optional form model was not sent" as one of these two.
_ABSENT: Final = frozenset(("maxProperties", "not"))


class Node(NamedTuple):
    """One JSON Schema and the definitions that its references point to."""

    keywords: Mapping[str, Any]
    definitions: Mapping[str, Any]

    def beside(self, schema: object) -> Node:
        """Gives another schema of the same document; `true`, `false` and nothing become the empty schema."""
        return Node(schema if isinstance(schema, Mapping) else {}, self.definitions)


class Place(NamedTuple):
    """What is declared at a `loc`."""

    nodes: tuple[Node, ...]  # several if a union's branch cannot be told from its label; none: not declared
    is_secret: bool = False
    path: Loc = ()  # the loc without the labels of union members: the way through the value itself
    union_at: int | None = None  # where in the loc the label of an undiscriminated union's member stands
    # Whether a text may be the declared object in another notation, secrets included.
    hides_text: bool = True

    @property
    def is_known(self) -> bool:
        """Whether anything is declared here, so that a secret would have been recognised."""
        return bool(self.nodes)

    def keyword(self, name: str, default: object = None) -> Any:
        """Gives a keyword's value if the declaration here is unambiguous."""
        return self.nodes[0].keywords.get(name, default) if len(self.nodes) == 1 else default


UNKNOWN: Final = Place(())


def document(schema: Mapping[str, Any]) -> Node:
    """Gives the root node of a JSON Schema document."""
    return Node(schema, schema.get("$defs", {}))


def locate(roots: Iterable[Node], loc: Loc) -> Place:
    """Follows `loc` from the given schemas.

    Args:
        roots: the schemas that the first element is looked up in.
        loc: what follows `"body"`, or what follows a parameter's own name.

    Returns:
        The place; one without nodes if `loc` leads out of what is declared.
    """
    if len(loc) > _MAX_LOC:
        return UNKNOWN
    nodes, secret, path = list(opened(roots)), False, list[str | int]()
    for index, element in enumerate(loc):
        secret = secret or any(map(_is_marked_secret, nodes))
        label = _label(nodes, element) if element != "[key]" else None
        if label == "smart":
            return Place(tuple(nodes), secret or is_secret(nodes), tuple(path), index)
        if label is None:
            path.append(element)
        keys = _key_schemas(nodes) if loc[index + 1 :] == ("[key]",) else []
        nodes = [*opened(_next(nodes, element, label)), *keys]
    return Place(tuple(nodes), secret or is_secret(nodes), tuple(path))


def members(nodes: Iterable[Node], key: str | int) -> list[Node]:
    """Gives the schemas of one member of a value, whichever branch of a union the value belongs to."""
    return [child for node in everything(nodes) for child in _children(node, key)]


def everything(nodes: Iterable[Node]) -> Iterator[Node]:
    """Gives the nodes with all that applies to the same value: references, branches, embedded JSON."""
    stack = list(nodes)
    for _ in range(_MAX_NODES):
        if not stack:
            return
        node = stack.pop()
        yield node
        stack.extend(_same_value(node))


def holds_secrets(nodes: Iterable[Node]) -> bool:
    """Says whether any part of a value of these schemas is a secret, by its schema or by its name."""
    stack, seen = list(nodes), set[int]()
    while stack:
        node = stack.pop()
        if id(node.keywords) in seen:
            continue
        seen.add(id(node.keywords))
        if len(seen) > _MAX_NODES or _is_marked_secret(node) or any(map(is_secret_name, _names(node))):
            return True
        stack += [*_same_value(node), *_parts(node)]
    return False


def is_secret(nodes: Iterable[Node]) -> bool:
    """Says whether a value of these schemas is itself declared as a secret."""
    return any(map(_is_marked_secret, everything(nodes)))


def _is_marked_secret(node: Node) -> bool:
    return node.keywords.get("format") == "password" or node.keywords.get("writeOnly") is True


def _names(node: Node) -> list[str]:
    return list(node.keywords.get("properties", ()))


def _same_value(node: Node) -> Iterator[Node]:
    """Every schema that speaks of the same value as this one."""
    keywords = node.keywords
    if "$ref" in keywords:
        yield _target(node)
    for name in ("allOf", "anyOf", "oneOf"):
        for schema in keywords.get(name, ()):
            yield node.beside(schema)
    if "contentSchema" in keywords:
        yield node.beside(keywords["contentSchema"])


def _parts(node: Node) -> Iterator[Node]:
    """Every schema that speaks of a part of the value."""
    keywords = node.keywords
    for name in ("properties", "patternProperties"):
        for schema in keywords.get(name, {}).values():
            yield node.beside(schema)
    for schema in keywords.get("prefixItems", ()):
        yield node.beside(schema)
    for name in ("items", "additionalProperties", "propertyNames"):
        if name in keywords:
            yield node.beside(keywords[name])


def _target(node: Node) -> Node:
    return node.beside(node.definitions.get(node.keywords["$ref"].rpartition("/")[2]))


def opened(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes with references, `allOf` and `Optional` replaced by what they stand for, marks of secrecy kept."""
    stack = [(node, 0) for node in nodes]
    while stack:
        node, hops = stack.pop(0)
        inner = _indirect(node) if hops < _MAX_HOPS else []
        stack[:0] = [(other, hops + 1) for other in inner]
        if not inner or _is_marked_secret(node):
            yield node


def _indirect(node: Node) -> list[Node]:
    keywords = node.keywords
    if "$ref" in keywords:
        return [_target(node)]
    if "allOf" in keywords:
        rest = {name: value for name, value in keywords.items() if name != "allOf"}
        return [node.beside(rest), *map(node.beside, keywords["allOf"])]
    branches = _branches(node)
    return branches if len(branches) == 1 else []


def _branches(node: Node) -> list[Node]:
    """The branches of a union but for null; none if the node is not a union."""
    keywords = node.keywords
    if "type" in keywords or "properties" in keywords:
        return []
    schemas = keywords.get("anyOf") or keywords.get("oneOf") or ()
    return [node.beside(schema) for schema in schemas if schema != _NULL and not _is_absence(schema)]


def _is_absence(schema: Mapping[str, Any]) -> bool:
    return bool(schema) and _ABSENT.issuperset(schema)


def _label(nodes: list[Node], element: str | int) -> str | None:
    """Says what a loc element is that names the member of a union: `smart`, `tagged`, or None for a real key."""
    for node in nodes:
        if _branches(node):
            return "tagged" if "oneOf" in node.keywords else "smart"
        if isinstance(element, str) and not _takes_names(node):
            return "smart"  # a union whose branches have equal schemas, which pydantic writes only once
    return None


def _takes_names(node: Node) -> bool:
    return node.keywords.get("type", "object") == "object" or "contentSchema" in node.keywords


def _next(nodes: Iterable[Node], element: str | int, label: str | None) -> Iterator[Node]:
    for node in nodes:
        yield from _tagged(node, element) if label else _children(node, element)


def _key_schemas(nodes: Iterable[Node]) -> list[Node]:
    """The schemas of an object's keys: pydantic marks an error of a key by a last element after the key."""
    return [node.beside({"additionalProperties": node.keywords.get("propertyNames", {})}) for node in nodes]


def _tagged(node: Node, tag: str | int) -> list[Node]:
    mapping = node.keywords.get("discriminator", {}).get("mapping", {})
    target = mapping.get(str(tag))
    if target is None:
        return _branches(node)
    return [node.beside({"$ref": target} if isinstance(target, str) else target)]


def _children(node: Node, key: str | int) -> list[Node]:
    keywords = node.keywords
    if "contentSchema" in keywords:
        return members([node.beside(keywords["contentSchema"])], key)
    if isinstance(key, int):
        return _items(node, key)
    return _properties(node, key)


def _items(node: Node, index: int) -> list[Node]:
    prefix = node.keywords.get("prefixItems", ())
    if 0 <= index < len(prefix):
        return [node.beside(prefix[index])]
    return [node.beside(node.keywords["items"])] if "items" in node.keywords else []


def _properties(node: Node, name: str) -> list[Node]:
    properties = node.keywords.get("properties", {})
    for spelling in (name, name.replace("-", "_")):  # a header model's field is x_token, its loc x-token
        if spelling in properties:
            return [node.beside(properties[spelling])]
    rest = [node.keywords.get("additionalProperties"), *node.keywords.get("patternProperties", {}).values()]
    return [node.beside(schema) for schema in rest if isinstance(schema, Mapping)]
