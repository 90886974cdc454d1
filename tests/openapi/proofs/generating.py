"""What Schemathesis has to know of pydantic: where its types and JSON Schema's do not mean the same.

Schemathesis imports this module by ``schemathesis.toml``.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import schemathesis
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

_DATE: TypeAdapter[dt.date] = TypeAdapter(dt.date)

# EmailStr takes fewer than JSON Schema's "email": no reserved domains such as .test, for one.
schemathesis.openapi.format("email", st.from_regex(r"[a-z]{1,20}@example\.com", fullmatch=True))


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out what is no date in JSON Schema but is one for pydantic: 0 is 1970-01-01."""
    return not (isinstance(case.body, dict) and _is_lax_date(case.body.get("date_of_birth")))


def _is_lax_date(value: Any) -> bool:
    try:
        date = _DATE.validate_python(value)
    except ValidationError:
        return False
    return bool(date.isoformat() != value)
