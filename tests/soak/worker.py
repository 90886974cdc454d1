"""The worker of the soak: another process, which claims what the service hands off, one token a line."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter

from envelope import LeaseLostError, ObjectLocks, ServiceUnavailableError
from tests.soak.service import STORAGE, TTL_S


def main() -> None:
    """Claim every token that stands on the standard input, and print at its end what became of them."""
    locks = ObjectLocks(os.environ[STORAGE], ttl_s=TTL_S, max_hold_s=20, namespace="soak")
    outcomes: Counter[str] = Counter()
    for line in sys.stdin:
        try:
            with locks.claim_sync(line.strip()):
                time.sleep(0.02)  # the work
                if not sum(outcomes.values()) % 7:
                    raise ArithmeticError  # noqa: TRY301
            outcomes["done"] += 1
        except ArithmeticError:
            outcomes["failed"] += 1
        except LeaseLostError:
            outcomes["lost"] += 1
        except ServiceUnavailableError:
            outcomes["unavailable"] += 1
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
