"""A framework's own test suite, of the installed version, run bare and with the library, and what fails compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asgi-envelope-upstream"

LONGEST_DOWNLOAD_S = 120
LONGEST_RUN_S = 300

# No plugin but the suite's own: what else is installed (random order, coverage) is not part of it.
PYTEST = (
    *(sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", ".", "-q", "--tb=no", "--no-summary"),
    *("-p", "anyio.pytest_plugin", "-p", "no:cacheprovider"),
)


class Suite(NamedTuple):
    """A framework's test suite.

    Attributes:
        package: The framework's name on the package index.
        folders: What is unpacked of its source distribution, beside its configuration of pytest. Not the package:
            the installed one is tested.
        plugin: Module of ours that puts the library into the second run; knows ``--counts``.
        left_out: Left out of both runs: the beginning of a test's id -> why.
        fewest_tests: What has to run at least.
        fewest: What the plugin has to count at least, by name.
        options: Of pytest, for both runs.
    """

    package: str
    folders: tuple[str, ...]
    plugin: str
    left_out: Mapping[str, str]
    fewest_tests: int
    fewest: Mapping[str, int]
    options: tuple[str, ...] = ()


class Run(NamedTuple):
    """One run of the suite.

    Attributes:
        executed: The ids of the tests that ran.
        failed: Why each test that failed did so, by id.
    """

    executed: frozenset[str]
    failed: dict[str, str]


def prove(suite: Suite) -> list[str]:
    """Run a suite twice, print the figures, and give what speaks against the library."""
    release = version(suite.package)
    with TemporaryDirectory() as scratch:
        root = unpack(fetch_sdist(suite.package, release), suite.folders, Path(scratch))
        counts = root / "counts.json"
        bare = run_suite(f"{suite.package}, bare", root, suite)
        installed = run_suite(
            f"{suite.package}, with the library", root, suite, "-p", suite.plugin, f"--counts={counts}"
        )
        figures: dict[str, int] = json.loads(counts.read_text())
    print(
        f"{suite.package} {release}: {len(bare.executed)} tests, {len(bare.failed)} fail bare: {sorted(bare.failed)}"
    )
    print("\n".join(f"left out: {test}: {reason}" for test, reason in suite.left_out.items()))
    print(", ".join(f"{name}: {figure}" for name, figure in figures.items()))
    problems = compare(bare, installed, suite.fewest_tests)
    problems += [
        f"{name}: only {figures[name]}, not {fewest}"
        for name, fewest in suite.fewest.items()
        if figures[name] < fewest
    ]
    print("\n".join(problems) or "the same tests fail in both runs")
    return problems


def fetch_sdist(package: str, release: str) -> Path:
    """Get a release's source distribution through pip, once."""
    sdist = CACHE / f"{package}-{release}.tar.gz"
    if not sdist.exists():
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={package}")
        subprocess.run([*pip, "--dest", CACHE, f"{package}=={release}"], check=True, timeout=LONGEST_DOWNLOAD_S)
    return sdist


def unpack(sdist: Path, folders: tuple[str, ...], to: Path) -> Path:
    """Unpack the tests and their configuration, without the package: the installed one is tested."""
    root = sdist.name.removesuffix(".tar.gz")
    wanted = tuple(f"{root}/{folder}/" for folder in folders)
    with tarfile.open(sdist) as archive:
        members = [
            member
            for member in archive.getmembers()
            if member.name == f"{root}/pyproject.toml" or member.name.startswith(wanted)
        ]
        archive.extractall(to, members, filter="data")
    return to / root


def run_suite(name: str, root: Path, suite: Suite, *options: str) -> Run:
    """Run a suite in a process of its own.

    Raises:
        SystemExit: It did not run to its end.
    """
    report = root / "report.xml"
    report.unlink(missing_ok=True)
    # The plugin is imported by its bare name: "tests" is the framework's package there.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV"))}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(HERE)}
    print(f"--- {name}", flush=True)
    start_s = time.monotonic()
    left_out = [f"--deselect={test}" for test in suite.left_out]
    command = [*PYTEST, *suite.options, *left_out, f"--junit-xml={report}", *options, "tests"]
    code = subprocess.run(command, cwd=root, env=environment, check=False, timeout=LONGEST_RUN_S).returncode
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


def compare(bare: Run, installed: Run, fewest_tests: int) -> list[str]:
    """Tell in which ways the two runs differ, or prove nothing."""
    problems = []
    if len(bare.executed) < fewest_tests:
        problems.append(f"only {len(bare.executed)} tests ran, not {fewest_tests}")
    if bare.executed != installed.executed:
        problems.append(f"ran in one run only: {sorted(bare.executed ^ installed.executed)}")
    if bare.failed.keys() != installed.failed.keys():
        for name, run, other in (("bare", bare, installed), ("with the library", installed, bare)):
            problems.append(f"fail {name}:")
            problems += [
                f"  {test}" + ("" if test in other.failed else f" (only here): {reason[:500]}")
                for test, reason in sorted(run.failed.items())
            ]
    return problems
