"""What of a client's value may be quoted, and how it is written.

Only scalars are quoted, shortened; containers are named by their type, and everything else is `value`. Names that
sound like a secret are recognised here; what a schema declares as secret is recognised in `json_schema.py`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

HIDDEN: Final = "value"
SECRET: Final = repr("*" * 10)  # pydantic's own SecretStr reads like this
MAX_VALUE_CHARS: Final = 64
_MAX_NAME_CHARS: Final = 128
# Python refuses to print an int above 4,300 digits, and a shorter one is not worth the time to convert it.
_MAX_INT_BITS: Final = 4096

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# In the singular, with a final "s" taken off ("pass" too), as the words that they are compared with.
_SECRET_WORDS: Final = frozenset(
    word.removesuffix("s")
    for word in (
        *("pass", "password", "passwd", "passphrase", "secret", "token", "apikey", "auth", "authorization"),
        *("cookie", "credential", "private", "otp", "pin", "cvv", "cvc", "card", "iban", "ssn", "session"),
        *("jwt", "signature", "pwd", "pw", "passcode", "bearer", "csrf", "xsrf", "sid", "totp", "mfa", "dsn"),
    )
)
# Long enough to mean the same thing inside a longer word ("newpassword").
_SECRET_PARTS: Final = re.compile(
    "password|passwd|passphrase|passcode|secret|apikey|privatekey|sess(ion)?id|creditcard|cardnumber|pincode|otpcode"
    "|(access|auth|refresh|id|bearer|csrf|xsrf|jwt|api)token",
    re.IGNORECASE,
)
# Words that are harmless alone, and what makes a key of them: "api_key", "Subscription-Key".
_KEYS: Final = frozenset(
    word.removesuffix("s") for word in ("api", "access", "signing", "encryption", "subscription", "function")
)


def is_secret_name(name: str) -> bool:
    """Says whether the name of a parameter, header, cookie or property sounds like a secret.

    Args:
        name: compared word by word ("accessToken" and "X-Auth-Token" hit, "author" and "shipping" do not).
            A name too long to be examined counts as secret.
    """
    # Clients choose names: what is remembered is bounded in number and in length.
    return len(name) > _MAX_NAME_CHARS or _is_secret(name)


@lru_cache(maxsize=2048)
def _is_secret(name: str) -> bool:
    if _SECRET_PARTS.search(name):
        return True
    words = [word.lower().removesuffix("s") for word in _WORD.findall(name)]
    return not _SECRET_WORDS.isdisjoint(words) or any(
        first in _KEYS and second == "key" for first, second in pairwise(words)
    )


def shorten(text: str, limit: int = MAX_VALUE_CHARS) -> str:
    """Cuts the middle out of a text that is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[head + 3 - limit :]}"


def quoted(text: str) -> str:
    """Writes a string as Python's `repr` does, shortened; a lone surrogate comes out escaped."""
    # A long text is cut before repr() and again after it: escapes can make it ten times longer.
    return shorten(repr(shorten(text, 4 * MAX_VALUE_CHARS)))


def carries_credentials(text: str) -> bool:
    """Says whether a text looks like a URL with a user name and password in it."""
    return "@" in text and "://" in text


def rendered(value: object) -> str:
    """Writes a value that may be shown to the client that sent it.

    Returns:
        The `repr` of a scalar, at most 64 characters; `{}` and `[]` for the empty containers;
        `value of type object` or `value of type array`; `value` for anything else.
    """
    render = _RENDERERS.get(type(value))
    return render(value) if render is not None else HIDDEN


def _text(value: str) -> str:
    return SECRET if carries_credentials(value) else quoted(value)


def _integer(value: int) -> str:
    return shorten(repr(value)) if value.bit_length() <= _MAX_INT_BITS else "value of type integer"


def _object(value: dict[Any, Any]) -> str:
    return "value of type object" if value else "{}"


def _array(value: object) -> str:
    return "value of type array" if value else "[]"


def _json_text(value: object) -> str:
    return quoted(str(value))


def _iso_text(value: dt.date | dt.time) -> str:
    return quoted(value.isoformat())


# By exact type: a subclass may have a repr() of its own, which may raise or tell too much.
_RENDERERS: Final[dict[type, Callable[[Any], str]]] = {
    str: _text,
    int: _integer,
    float: repr,
    bool: repr,
    type(None): repr,
    dict: _object,
    list: _array,
    tuple: _array,
    set: _array,
    frozenset: _array,
    dt.date: _iso_text,
    dt.time: _iso_text,
    dt.datetime: _iso_text,
    decimal.Decimal: _json_text,
    uuid.UUID: _json_text,
}
