"""The notation of limits, which is that of the package ``limits``: ``"20/second"``, ``"10 per 2 hours"``."""

from __future__ import annotations

import functools
import re

from envelope.errors.tree import ConfigurationError
from envelope.rate_limit.quotas import Quota

_NO_WINDOW = re.compile(r"(?:/|per)\s*0+\s*[a-z]", re.IGNORECASE)

#: Largest amount x window in milliseconds: the scripts reckon in doubles, which are exact up to here.
_LARGEST = 2**53


def parse(
    notation: str, scope: str = "", *, is_shadow: bool = False, is_exposed: bool = True
) -> tuple[Quota, ...]:
    """Read a notation; one may hold several limits, separated by ``;``, ``,`` or ``|``. The same gives the same.

    Raises:
        ConfigurationError: It is no notation, or says nothing that can be counted.
    """
    if not isinstance(notation, str):
        raise ConfigurationError(f"a limit is {notation!r}; give a notation such as '20/second' or '5000/day'")
    return _parse(notation, scope, is_shadow, is_exposed)


@functools.lru_cache(maxsize=4096)
def _parse(notation: str, scope: str, is_shadow: bool, is_exposed: bool) -> tuple[Quota, ...]:
    from limits import parse_many  # noqa: PLC0415 - costs 13 ms, which a service without limits does not pay

    try:
        items = parse_many(notation)
    except ValueError as error:
        raise ConfigurationError(
            f"{notation!r} is no limit; write it as '20/second', '100 per 5 minutes' or '1/second; 30/minute'"
        ) from error
    if _NO_WINDOW.search(notation):  # which limits reads as 1
        raise ConfigurationError(f"{notation!r} admits nothing; amount and window are at least 1")
    for item in items:
        if item.amount < 1 or item.get_expiry() < 1:
            raise ConfigurationError(f"{notation!r} admits nothing; amount and window are at least 1")
        if item.amount * item.get_expiry() * 1000 > _LARGEST:
            raise ConfigurationError(f"{notation!r} is too large to be counted exactly; take a shorter window")
    return tuple(
        Quota(item.amount, item.get_expiry(), scope, is_shadow=is_shadow, is_exposed=is_exposed) for item in items
    )
