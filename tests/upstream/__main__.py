"""Runs the test suites of Starlette and FastAPI twice, bare and with the library, and compares what fails.

``python -m tests.upstream starlette`` or ``fastapi`` runs one. The suites are those of the installed versions, from
their source distributions. Exits with 1 if different tests fail, if different tests ran, or if too little ran or was
wrapped to prove anything.
"""

from __future__ import annotations

import sys

from tests.upstream.fastapi_suite import FASTAPI
from tests.upstream.starlette_suite import STARLETTE
from tests.upstream.suites import prove

SUITES = {suite.package: suite for suite in (STARLETTE, FASTAPI)}


def main(chosen: list[str]) -> int:
    problems = [problem for name in chosen or SUITES for problem in prove(SUITES[name])]
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
