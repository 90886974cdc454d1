"""Runs Starlette's own test suite twice, bare and behind the middleware, and compares what fails.

The suite is the one of the installed version, from its source distribution. Exits with 1 if different
tests fail, if different tests ran, or if too little ran or was wrapped to prove anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asgi-envelope-upstream"

FEWEST_TESTS = 1000
FEWEST_WRAPPED = 251
FEWEST_IN_PARTS = 100
LONGEST_DOWNLOAD_S = 120
LONGEST_RUN_S = 300

_HEAD_FIRST = (
    "asks for the head before the first byte of the body, which the middleware holds back by design,"
    " so that what dies before its first byte gets the status of its error"
)
_TRACEBACK = (
    "expects a text that is a traceback; a failure never says what went wrong, so it becomes the opaque 500"
)

#: Left out of both runs: the beginning of a test's id -> why.
LEFT_OUT = {
    "tests/test_testclient.py::test_streaming_response_is_available_before_first_chunk": _HEAD_FIRST,
    "tests/test_testclient.py::test_streaming_response_skips_empty_and_head_bodies[asyncio-GET-]": _HEAD_FIRST,
    "tests/test_testclient.py::test_streaming_response_skips_empty_and_head_bodies[trio-GET-]": _HEAD_FIRST,
    "tests/middleware/test_errors.py::test_debug_text[": _TRACEBACK,
    "tests/test_applications.py::test_app_debug[": _TRACEBACK,
}

# No plugin but the suite's own: what else is installed (random order, coverage) is not part of it.
PYTEST = (
    *(sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", ".", "-q", "--tb=no", "--no-summary"),
    *("-p", "anyio.pytest_plugin", "-p", "no:cacheprovider"),
    *(f"--deselect={test}" for test in LEFT_OUT),
)


class Run(NamedTuple):
    """One run of the suite.

    Attributes:
        executed: The ids of the tests that ran.
        failed: Why each test that failed did so, by id.
    """

    executed: frozenset[str]
    failed: dict[str, str]


def main() -> int:
    release = version("starlette")
    with TemporaryDirectory() as scratch:
        suite = unpack(fetch_sdist(release), Path(scratch))
        bare = run_suite("bare", suite)
        counts = suite / "counts.json"
        wrapped = run_suite("with the middleware", suite, "-p", "plugin", f"--counts={counts}")
        figures = json.loads(counts.read_text())
    print(f"starlette {release}: {len(bare.executed)} tests, {len(bare.failed)} fail bare: {sorted(bare.failed)}")
    print("\n".join(f"left out: {test}: {reason}" for test, reason in LEFT_OUT.items()))
    print(f"wrapped {figures['wrapped']} responses, converted {figures['converted']} failures")
    print(f"{figures['in_parts']} of the wrapped came in two parts")
    problems = list(compare(bare, wrapped))
    if figures["wrapped"] < FEWEST_WRAPPED:
        problems.append(f"only {figures['wrapped']} responses were wrapped, not {FEWEST_WRAPPED}")
    if figures["in_parts"] < FEWEST_IN_PARTS:
        problems.append(f"only {figures['in_parts']} came in two parts, not {FEWEST_IN_PARTS}")
    print("\n".join(problems) or "the same tests fail in both runs")
    return 1 if problems else 0


def fetch_sdist(release: str) -> Path:
    """Get a release's source distribution through pip, once."""
    sdist = CACHE / f"starlette-{release}.tar.gz"
    if not sdist.exists():
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=starlette")
        subprocess.run([*pip, "--dest", CACHE, f"starlette=={release}"], check=True, timeout=LONGEST_DOWNLOAD_S)
    return sdist


def unpack(sdist: Path, to: Path) -> Path:
    """Unpack the tests and their configuration, without the package: the installed one is tested."""
    root = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        wanted = [
            member
            for member in archive.getmembers()
            if member.name == f"{root}/pyproject.toml" or member.name.startswith(f"{root}/tests/")
        ]
        archive.extractall(to, wanted, filter="data")
    return to / root


def run_suite(name: str, suite: Path, *options: str) -> Run:
    """Run the suite in a process of its own.

    Raises:
        SystemExit: It did not run to its end.
    """
    report = suite / "report.xml"
    report.unlink(missing_ok=True)
    # The plugin is imported as "plugin": "tests" is Starlette's package there.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV"))}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(HERE)}
    print(f"--- {name}", flush=True)
    start_s = time.monotonic()
    command = [*PYTEST, f"--junit-xml={report}", *options, "tests"]
    code = subprocess.run(command, cwd=suite, env=environment, check=False, timeout=LONGEST_RUN_S).returncode
    print(f"--- {time.monotonic() - start_s:.0f} s", flush=True)
    if code not in (0, 1):
        raise SystemExit(f"{name}: pytest ended with {code}")
    return read_report(report)


def read_report(report: Path) -> Run:
    """Read pytest's JUnit XML."""
    executed, failed = set(), {}
    for case in ET.parse(report).iter("testcase"):
        test = f"{case.get('classname')}::{case.get('name')}"
        if case.find("skipped") is None:
            executed.add(test)
        for failure in (*case.iter("failure"), *case.iter("error")):
            failed[test] = failure.get("message", "")
    return Run(frozenset(executed), failed)


def compare(bare: Run, wrapped: Run) -> list[str]:
    """Tell in which ways the two runs differ, or prove nothing."""
    problems = []
    if len(bare.executed) < FEWEST_TESTS:
        problems.append(f"only {len(bare.executed)} tests ran, not {FEWEST_TESTS}")
    if bare.executed != wrapped.executed:
        problems.append(f"ran in one run only: {sorted(bare.executed ^ wrapped.executed)}")
    if bare.failed.keys() != wrapped.failed.keys():
        for name, run, other in (("bare", bare, wrapped), ("with the middleware", wrapped, bare)):
            problems.append(f"fail {name}:")
            problems += [
                f"  {test}" + ("" if test in other.failed else f" (only here): {reason[:500]}")
                for test, reason in sorted(run.failed.items())
            ]
    return problems


if __name__ == "__main__":
    sys.exit(main())
