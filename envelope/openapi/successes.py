"""The successes of an operation as they are sent: in the envelope, and as 200."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envelope.openapi.components import Components, Json
from envelope.wire.head import Body, classify

#: Statuses that keep their form: a part of a body, and a delta (RFC 9110, 15.3.7; RFC 3229, 10.4.1).
_PARTIAL = frozenset({"206", "226"})
_EMPTY = frozenset({"204", "205"})


class _Success(NamedTuple):
    """A response of a success.

    Attributes:
        head: The response without its content.
        media: What it says of its JSON.
    """

    head: Json
    media: Json


def wrap_successes(
    responses: Json, components: Components, operation_name: str, *, always_200: bool, is_limited: bool
) -> None:
    """Put the successes of an operation into their envelopes; what is not JSON stays.

    Args:
        responses: Of the operation; is changed.
        components: Of the document.
        operation_name: For an envelope whose content has no name.
        always_200: Successes are sent as 200.
        is_limited: They tell how much is left.
    """
    wrapped: dict[str, list[_Success]] = {}
    for status in [status for status in responses if _is_wrapped(status)]:
        response = components.resolve(responses[status])
        content: Mapping[str, Json] = response.get("content", {})
        media = next((each for kind, each in content.items() if _is_json(kind)), None)
        if status in _EMPTY:
            media = {"schema": components.empty} if always_200 else None
        if media is None:
            continue
        head = {key: each for key, each in response.items() if key != "content"}
        target = "200" if always_200 and status != "2XX" else status
        wrapped.setdefault(target, []).append(_Success(head, media))
        del responses[status]
        if others := {kind: each for kind, each in content.items() if not _is_json(kind)}:
            responses[status] = {**head, "content": others}
    for status, successes in wrapped.items():
        beside = responses.get(status, {})
        heads = [success.head for success in successes]
        merged = _merge_heads([*heads, beside] if beside and beside not in heads else heads, components)
        envelope = _wrap([success.media for success in successes], components, operation_name)
        merged["content"] = {"application/json": envelope, **beside.get("content", {})}
        if is_limited:
            merged = components.with_headers(merged, (), is_limited=True)
        responses[status] = merged


def _is_wrapped(status: str) -> bool:
    return status == "2XX" or (status.startswith("2") and status.isdigit() and status not in _PARTIAL)


def _is_json(media_type: str) -> bool:
    return classify(media_type.encode("latin-1", "replace")) == Body.JSON


def _merge_heads(heads: Sequence[Json], components: Components) -> Json:
    """Make one head of those of responses that are sent with one status; the first wins."""
    merged: Json = {}
    for head in reversed(heads):
        parts = {key: {**merged.get(key, {}), **head[key]} for key in ("headers", "links") if key in head}
        merged |= head | parts
    merged["description"] = " / ".join(dict.fromkeys(str(head.get("description", "")) for head in heads))
    merged.pop("content", None)
    for name, header in merged.get("headers", {}).items():
        if not all(name in head.get("headers", {}) for head in heads):
            optional = {key: each for key, each in components.resolve(header).items() if key != "required"}
            merged["headers"][name] = optional
    return merged


def _wrap(media: Sequence[Json], components: Components, operation_name: str) -> Json:
    """Put the envelope around what the successes of an operation hold."""
    contents: list[Json] = []
    for each in media:
        content = each.get("schema", {})
        if content not in contents:
            contents.append(content)
    content = contents[0] if len(contents) == 1 else {"anyOf": contents}
    wrapped: Json = {"schema": components.envelope(content, operation_name), **_wrap_examples(media, components)}
    for each in media:
        wrapped = {key: part for key, part in each.items() if key not in ("example", "examples")} | wrapped
    return wrapped


def _wrap_examples(media: Sequence[Json], components: Components) -> Json:
    single = [each["example"] for each in media if "example" in each]
    named = {name: components.resolve(it) for each in media for name, it in each.get("examples", {}).items()}
    if len(single) == 1 and not named:
        return {"example": components.success(single[0])}
    # A media type has one or the other (OpenAPI 3.1, 4.8.14).
    named |= {f"example{number}": {"value": value} for number, value in enumerate(single, 1)}
    examples = {
        name: {**each, "value": components.success(each["value"])} if "value" in each else each
        for name, each in named.items()
    }
    return {"examples": examples} if examples else {}
