"""Marks pydantic's generic `Secret[T]` in JSON Schema; pydantic marks only `SecretStr` and `SecretBytes`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from pydantic import Secret, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import JsonOrPythonSchema

_MARK: Final = {"writeOnly": True}


class SecretAwareJsonSchema(GenerateJsonSchema):
    """Pydantic's JSON Schema generator, with `writeOnly` on every `Secret[T]`."""

    def json_or_python_schema(self, schema: JsonOrPythonSchema) -> JsonSchemaValue:
        """Generates the schema and marks it if pydantic would print a value of it as asterisks."""
        generated = super().json_or_python_schema(schema)
        return {**generated, **_MARK} if _serializer(schema) is _secret_serializer() else generated


def _serializer(schema: Any) -> object:
    return schema.get("serialization", {}).get("function")


@lru_cache(maxsize=1)
def _secret_serializer() -> object:
    """What makes asterisks of a `Secret[T]`: the one thing that all of them share in their core schemas."""
    return _serializer(TypeAdapter(Secret[int]).core_schema) or _secret_serializer
