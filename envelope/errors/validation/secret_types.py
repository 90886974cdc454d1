"""Marks secrets in JSON Schema that pydantic does not mark: it knows `SecretStr` and `SecretBytes` only.

`Secret[T]`, also as a key, and model fields whose own name sounds like a secret behind a harmless alias.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from pydantic import Secret, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema, JsonOrPythonSchema, ModelFieldsSchema

from envelope.errors.validation.redaction import is_secret_name

_MARK: Final = {"writeOnly": True}


class SecretAwareJsonSchema(GenerateJsonSchema):
    """Pydantic's JSON Schema generator, with `writeOnly` on every secret."""

    def json_or_python_schema(self, schema: JsonOrPythonSchema) -> JsonSchemaValue:
        """Generates the schema and marks it if pydantic would print a value of it as asterisks."""
        generated = super().json_or_python_schema(schema)
        return {**generated, **_MARK} if _serializer(schema) is _secret_serializer() else generated

    def model_fields_schema(self, schema: ModelFieldsSchema) -> JsonSchemaValue:
        """Generates the schema of a model and marks the fields whose names sound like a secret, aliases or not."""
        generated = super().model_fields_schema(schema)
        for name, field in schema["fields"].items():
            alias = field.get("validation_alias", name)
            if is_secret_name(name) and isinstance(alias, str) and alias in generated.get("properties", {}):
                generated["properties"][alias] = {**generated["properties"][alias], **_MARK}
        return generated

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """Generates the schema of a dictionary and marks secret keys, for which pydantic has no keyword."""
        generated = super().dict_schema(schema)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        return {**generated, "propertyNames": keys} if keys.get("writeOnly") else generated


def _serializer(schema: Any) -> object:
    return schema.get("serialization", {}).get("function")


@lru_cache(maxsize=1)
def _secret_serializer() -> object:
    """What makes asterisks of a `Secret[T]`: the one thing that all of them share in their core schemas."""
    return _serializer(TypeAdapter(Secret[int]).core_schema) or _secret_serializer
