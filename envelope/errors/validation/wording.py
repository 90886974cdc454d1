"""The wording of every validation problem: one row per pydantic error type, in the words of `jsonschema`.

A row is a sentence with blanks (`{value}`, `{bound}`, ...). `blanks.py` fills the blanks, `variants.py` chooses
between the rows of a type that has several (`"too_short"` and `"too_short:one"`). This module holds no code.
"""

from __future__ import annotations

from typing import Final

NOT_VALID: Final = "{value} is not valid"

# For what a client cannot cause or must not tell apart: nothing of the input, nothing of the server.
OPAQUE: Final = "value is not valid"

_NOT_A_PATH: Final = "value is not a valid path"
_NO_SCHEMA_FITS: Final = "{value} is not valid under any of the given schemas"
_NOT_STRING: Final = "{value} is not of type 'string'"
_NOT_OBJECT: Final = "{value} is not of type 'object'"
_NOT_ARRAY: Final = "{value} is not of type 'array'"
_NOT_INTEGER: Final = "{value} is not of type 'integer'"
_NOT_NUMBER: Final = "{value} is not of type 'number'"
_NOT_BOOLEAN: Final = "{value} is not of type 'boolean'"
_NOT_EXPECTED: Final = "{value} is not one of {choices}"
_EXPECTED: Final = "{const} was expected"
_REQUIRED: Final = "{name} is a required property"
_TOO_SHORT: Final = "{value} is too short"
_TOO_LONG: Final = "{value} is too long"
_EMPTY: Final = "{value} should be non-empty"
_NOT_EMPTY: Final = "{value} is expected to be empty"
_TUPLE_TOO_SHORT: Final = "value of type array is too short"
NOT_JSON_MEDIA: Final = "request body is not application/json"
_UNEXPECTED: Final = "Additional properties are not allowed"
_TOO_DEEP: Final = "value is nested too deeply"
_PAST: Final = "{value} should be in the past"
_FUTURE: Final = "{value} should be in the future"

_NOT_REGEX: Final = "{value} is not a 'regex'"
_NOT_DATE: Final = "{value} is not a 'date'"
_NOT_DATE_TIME: Final = "{value} is not a 'date-time'"

_OBJECT_TYPES: Final = (
    "model_type", "model_attributes_type", "dataclass_type", "dataclass_exact_type", "dict_type",
    "frozen_dict_type", "ordered_dict_type", "counter_type", "mapping_type", "arguments_type",
)  # fmt: skip

# The types that pydantic-core defines (pydantic_core.core_schema.ErrorType).
_CORE: Final[dict[str, str]] = {
    # the document
    "json_invalid": "{value} is not valid JSON",
    "json_invalid:body": "request body is not valid JSON: {json_error} at position {position}",
    "json_type": _NOT_STRING,
    "recursion_loop": _TOO_DEEP,
    "recursion_depth_exceeded": _TOO_DEEP,
    # properties
    "missing": _REQUIRED,
    "missing:body": "request body is required",
    "missing:item": _TUPLE_TOO_SHORT,
    "missing_argument": _REQUIRED,
    "missing_argument:item": _TUPLE_TOO_SHORT,
    "missing_keyword_only_argument": _REQUIRED,
    "missing_positional_only_argument": _REQUIRED,
    "missing_positional_only_argument:item": _TUPLE_TOO_SHORT,
    "extra_forbidden": _UNEXPECTED,
    "unexpected_keyword_argument": _UNEXPECTED,
    "unexpected_positional_argument": "Additional items are not allowed",
    "multiple_argument_values": OPAQUE,
    "invalid_key": _NOT_STRING,
    "default_factory_not_called": OPAQUE,
    # types
    **dict.fromkeys(_OBJECT_TYPES, _NOT_OBJECT),
    **{f"{kind}:body": NOT_JSON_MEDIA for kind in _OBJECT_TYPES},
    "named_tuple_type": _NOT_ARRAY,
    "iterable_type": _NOT_ARRAY,
    "list_type": _NOT_ARRAY,
    "deque_type": _NOT_ARRAY,
    "tuple_type": _NOT_ARRAY,
    "set_type": _NOT_ARRAY,
    "frozen_set_type": _NOT_ARRAY,
    "none_required": "{value} is not of type 'null'",
    "string_type": _NOT_STRING,
    "string_unicode": _NOT_STRING,
    "bytes_type": _NOT_STRING,
    "bool_type": _NOT_BOOLEAN,
    "bool_parsing": _NOT_BOOLEAN,
    "int_type": _NOT_INTEGER,
    "int_parsing": _NOT_INTEGER,
    "int_parsing_size": _NOT_INTEGER,
    "int_from_float": _NOT_INTEGER,
    "float_type": _NOT_NUMBER,
    "float_parsing": _NOT_NUMBER,
    "decimal_type": _NOT_NUMBER,
    "decimal_parsing": _NOT_NUMBER,
    "fraction_type": _NOT_NUMBER,
    "complex_type": _NOT_STRING,
    "date_type": _NOT_STRING,
    "time_type": _NOT_STRING,
    "datetime_type": _NOT_STRING,
    "time_delta_type": _NOT_STRING,
    "url_type": _NOT_STRING,
    "uuid_type": _NOT_STRING,
    # numbers
    "greater_than": "{number} is less than or equal to the minimum of {bound}",
    "greater_than_equal": "{number} is less than the minimum of {bound}",
    "less_than": "{number} is greater than or equal to the maximum of {bound}",
    "less_than_equal": "{number} is greater than the maximum of {bound}",
    "multiple_of": "{number} is not a multiple of {divisor}",
    "finite_number": "{value} is not a finite number",
    "decimal_max_digits": "{value} has more than {max_digits} digits",
    "decimal_max_places": "{value} has more than {decimal_places} decimal places",
    "decimal_whole_digits": "{value} has more than {whole_digits} digits before the decimal point",
    # lengths
    "too_short": _TOO_SHORT,
    "too_short:one": _EMPTY,
    "too_short:object": "{value} does not have enough properties",
    "too_long": _TOO_LONG,
    "too_long:zero": _NOT_EMPTY,
    "too_long:object": "{value} has too many properties",
    "string_too_short": _TOO_SHORT,
    "string_too_short:one": _EMPTY,
    "string_too_long": _TOO_LONG,
    "string_too_long:zero": _NOT_EMPTY,
    "bytes_too_short": _TOO_SHORT,
    "bytes_too_short:one": _EMPTY,
    "bytes_too_long": _TOO_LONG,
    "bytes_too_long:zero": _NOT_EMPTY,
    "url_too_long": _TOO_LONG,
    # choices
    "enum": _NOT_EXPECTED,
    "enum:const": _EXPECTED,
    "literal_error": _NOT_EXPECTED,
    "literal_error:const": _EXPECTED,
    "union_tag_invalid": "{tag} is not one of [{expected_tags}]",
    "union_tag_not_found": "{discriminator} is a required property",
    "union_tag_not_found:computed": _NO_SCHEMA_FITS,
    # patterns and formats
    "string_pattern_mismatch": "{value} does not match {pattern}",
    "string_not_ascii": r"{value} does not match '^[\\x00-\\x7f]*$'",
    "bytes_invalid_encoding": "{value} is not encoded as '{encoding}'",
    "date_parsing": _NOT_DATE,
    "date_from_datetime_parsing": _NOT_DATE,
    "date_from_datetime_inexact": _NOT_DATE,
    "date_past": _PAST,
    "date_future": _FUTURE,
    "time_parsing": "{value} is not a 'time'",
    "datetime_parsing": _NOT_DATE_TIME,
    "datetime_object_invalid": _NOT_DATE_TIME,
    "datetime_from_date_parsing": _NOT_DATE_TIME,
    "datetime_past": _PAST,
    "datetime_future": _FUTURE,
    "timezone_naive": "{value} should not have timezone info",
    "timezone_aware": "{value} should have timezone info",
    "timezone_offset": "{value} should have timezone offset {tz_expected}",
    "time_delta_parsing": "{value} is not a 'duration'",
    "url_parsing": "{url} is not a 'uri'",
    "url_syntax_violation": "{url} is not a 'uri'",
    "url_scheme": "{url} is not a 'uri' with the scheme {expected_schemes}",
    "uuid_parsing": "{value} is not a 'uuid'",
    "uuid_version": "{value} is not a 'uuid{expected_version}'",
    "fraction_parsing": "{value} is not a 'fraction'",
    "complex_str_parsing": "{value} is not a 'complex'",
    # the developers' own validators
    "value_error": "{text}",
    "value_error:email": "{value} is not a 'email'",
    "value_error:upload": "value is not a file",
    "value_error:hidden": NOT_VALID,
    "assertion_error": "{text}",
    "assertion_error:hidden": NOT_VALID,
    # what no request can cause, or what tells about the server
    "set_item_not_hashable": "items should be hashable",
    "no_such_attribute": OPAQUE,
    "needs_python_object": OPAQUE,
    "frozen_field": OPAQUE,
    "frozen_instance": OPAQUE,
    "get_attribute_error": OPAQUE,
    "iteration_error": OPAQUE,
    "missing_sentinel_error": OPAQUE,
    "ellipsis_error": OPAQUE,
    "is_instance_of": OPAQUE,
    "is_instance_of:declared": "{value} is not of type {type}",
    "is_subclass_of": OPAQUE,
    "callable_type": OPAQUE,
}

# The types that pydantic's Python code raises as PydanticCustomError.
_CUSTOM: Final[dict[str, str]] = {
    "ip_v4_address": "{value} is not a 'ipv4'",
    "ip_v6_address": "{value} is not a 'ipv6'",
    "ip_v4_network": "{value} is not a 'ipv4network'",
    "ip_v6_network": "{value} is not a 'ipv6network'",
    "ip_v4_interface": "{value} is not a 'ipv4interface'",
    "ip_v6_interface": "{value} is not a 'ipv6interface'",
    "ip_any_address": "{value} is not a 'ipvanyaddress'",
    "ip_any_network": "{value} is not a 'ipvanynetwork'",
    "ip_any_interface": "{value} is not a 'ipvanyinterface'",
    "zoneinfo_str": "{value} is not a 'zoneinfo'",
    "base64_decode": "{value} is not encoded as 'base64'",
    "byte_size": _NO_SCHEMA_FITS,
    "byte_size_unit": _NO_SCHEMA_FITS,
    "pattern_type": _NOT_REGEX,
    "pattern_str_type": _NOT_REGEX,
    "pattern_bytes_type": _NOT_REGEX,
    "pattern_regex": _NOT_REGEX,
    "color_error": "{value} is not a 'color'",
    "coordinate_error": NOT_VALID,
    "sequence_str": _NOT_ARRAY,
    # Different answers would tell a client which files exist on the server.
    "path_type": _NOT_A_PATH,
    "path_not_file": _NOT_A_PATH,
    "path_not_directory": _NOT_A_PATH,
    "path_not_socket": _NOT_A_PATH,
    "path_exists": _NOT_A_PATH,
    "parent_does_not_exist": _NOT_A_PATH,
    # The texts of these name modules, brands or source code.
    "import_error": OPAQUE,
    "is_type": OPAQUE,
    "payment_card_number_digits": OPAQUE,
    "payment_card_number_luhn": OPAQUE,
    "payment_card_number_brand": OPAQUE,
    "predicate_failed": NOT_VALID,
    "not_operation_failed": NOT_VALID,
}

WORDING: Final[dict[str, str]] = {**_CORE, **_CUSTOM}

UNION: Final = _NO_SCHEMA_FITS
UNEXPECTED: Final = _UNEXPECTED
UNEXPECTED_NAMED: Final = "Additional properties are not allowed ({names} {verb} unexpected)"
MORE: Final = "and {count} more problems"
LAST_RESORT: Final = "request is not valid"
