"""``python -m tests.soak --minutes 10 --server uvicorn``: exits with 1 if the service grows or leaves something.

Needs what the group ``soak`` installs, and Linux.
"""

from __future__ import annotations

import argparse
import sys

from tests.soak.run import FULL_S, print_report, soak
from tests.soak.servers import NAMES


def main() -> int:
    """Soak one server."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--server", choices=NAMES, default="uvicorn")
    parser.add_argument("--rate", type=float, default=80, help="requests a second")
    options = parser.parse_args()
    report = soak(options.server, options.minutes * 60, options.rate, waits=True)
    print_report(report)
    if options.minutes * 60 < FULL_S:
        print(f"shorter than {FULL_S / 60:g} minutes: the memory is not judged")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
