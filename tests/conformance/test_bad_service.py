"""``envelope check`` against services that are bad on purpose, and against our examples, which are good.

What is planted, and what is true beside it, stands in ``bad_service.py``. The service is served by uvicorn, and the
command runs as its users run it: each service is checked once, and the tests read the reports.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envelope.conformance.findings import RULES
from tests.conformance import bad_service
from tests.conformance.bad_service import SERVICES, TOKEN, Operation, Service
from tests.servers.process import Process, free_port

#: The first test waits for the checks that run before its own.
pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).parents[2]

#: As it is installed: it does not see the current folder by itself, as ``python -m`` would.
COMMAND = Path(sys.executable).with_name("envelope")

# ------------------------------------------------------------------------------------------------- what runs


#: Where the usual ones would take too long.
OPTIONS = {"silence": ("--timeout", "1")}


class BadServices(Process):
    """All services of ``bad_service.py`` in one process, each on its own port."""

    def __init__(self) -> None:
        super().__init__()
        ports: set[int] = set()
        while len(ports) < len(SERVICES):
            ports.add(free_port())  # which can give the same one twice
        self.ports = dict(zip(SERVICES, ports, strict=True))

    def command(self) -> list[str]:
        return [sys.executable, str(bad_service.__file__), *map(str, self.ports.values())]

    def answers(self) -> bool:
        return all(_answers(self.url_of(name) + "/openapi.json") for name in SERVICES)

    def url_of(self, service: str) -> str:
        return f"http://{self.host}:{self.ports[service]}"

    def methods_seen(self, service: str) -> set[str]:
        with urllib.request.urlopen(self.url_of(service) + "/seen-by-the-test") as response:
            return set(json.load(response))


class Quickstart(Process):
    def command(self) -> list[str]:
        return [sys.executable, str(ROOT / "examples/quickstart.py"), "--port", str(self.port)]

    def answers(self) -> bool:
        return _answers(f"http://{self.host}:{self.port}/openapi.json")


class StarletteApp(Process):
    def command(self) -> list[str]:
        return [sys.executable, str(ROOT / "examples/starlette_app.py"), "--port", str(self.port)]

    def answers(self) -> bool:
        return _answers(f"http://{self.host}:{self.port}/health")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class Found:
    """A finding, as the JSON report has it."""

    rule: str
    operation: str
    expected: str
    came: str
    curl: str | None

    def __str__(self) -> str:
        return f"{self.rule} at {self.operation}: expected {self.expected}; came {self.came}; {self.curl}"


@dataclass(frozen=True)
class Outcome:
    """What a run of the command left."""

    exit_code: int
    output: str
    report: str
    findings: tuple[Found, ...]

    def at(self, service: Service, operation: Operation) -> list[Found]:
        return [finding for finding in self.findings if _operation_of(finding, service) is operation]


def check(target: str, *options: str, folder: Path, **environment: str) -> Outcome:
    """Run the command on a target."""
    report = folder / "report.json"
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "envelope.cli",
            "check",
            target,
            *options,
            "--format",
            "json",
            "--output",
            str(report),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = ran.stdout + ran.stderr
    if ran.returncode not in (0, 1):
        pytest.fail(f"no report; the command ended with {ran.returncode} and printed:\n{output}", pytrace=False)
    text = report.read_text()
    return Outcome(ran.returncode, output, text, tuple(_read(json.loads(text))))


class Checks:
    """One check of each service, two at a time; whoever wants an outcome waits for it."""

    def __init__(self, services: BadServices, folder: Path, pool: ThreadPoolExecutor) -> None:
        options = (
            "--writes",
            "--burst",
            "30",
            "--max-examples",
            "10",
            "--header",
            f"Authorization: Bearer {TOKEN}",
        )
        self._running: dict[str, Future[Outcome]] = {}
        for name in SERVICES:
            (folder / name).mkdir()
            more = OPTIONS.get(name, ())
            self._running[name] = pool.submit(check, services.url_of(name), *options, *more, folder=folder / name)

    def outcome_of(self, name: str) -> Outcome:
        error = self._running[name].exception()
        if error is not None:
            pytest.fail(str(error), pytrace=False)  # raised again it would be longer for each test
        return self._running[name].result()

    def findings_at(self, name: str, operation: Operation) -> list[Found]:
        return self.outcome_of(name).at(SERVICES[name], operation)


def _read(report: Any) -> Iterator[Found]:
    for finding in report["findings"]:
        yield Found(
            rule=finding["id"],
            operation=finding["operation"],
            expected=finding["expected"],
            came=finding["came"],
            curl=finding["curl"],
        )


def _operation_of(finding: Found, service: Service) -> Operation | None:
    """Find the operation that is meant; one that the document does not have is meant by its path."""
    for operation in service.operations:
        if operation.name == finding.operation:
            return operation
    path = finding.operation.rpartition(" ")[2]
    for operation in service.operations:
        if operation.path == path or operation.matches(path):
            return operation
    return None


@pytest.fixture(scope="module")
def bad_services() -> Iterator[BadServices]:
    with BadServices() as running:
        yield running


@pytest.fixture(scope="module")
def checks(bad_services: BadServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checks]:
    with ThreadPoolExecutor(2) as pool:
        yield Checks(bad_services, tmp_path_factory.mktemp("reports"), pool)


# ---------------------------------------------------------------------------------------------- what is found


def _planted() -> Iterator[Any]:
    for name, service in SERVICES.items():
        for operation in service.operations:
            for rules in operation.must:
                yield pytest.param(name, operation, rules, id=f"{name}-{operation.name}-{rules}")


def _good() -> Iterator[Any]:
    for name, service in SERVICES.items():
        for operation in service.operations:
            if not operation.must and not service.document_must:
                yield pytest.param(name, operation, id=f"{name}-{operation.name}")


def test_every_rule_is_planted() -> None:
    """There is no id that is not looked for, and there are more departures than were asked for."""
    planted = [
        rules for service in SERVICES.values() for operation in service.operations for rules in operation.must
    ]
    planted += [
        rules for service in SERVICES.values() for rules in (*service.unknown_must, *service.document_must)
    ]

    assert {rule for rules in planted for rule in rules.split("|")} == set(RULES)
    assert len(planted) > 200


@pytest.mark.parametrize(("name", "operation", "rules"), [*_planted()])
def test_a_planted_departure_is_found(checks: Checks, name: str, operation: Operation, rules: str) -> None:
    """Its rule is found at its operation."""
    found = checks.findings_at(name, operation)

    assert {finding.rule for finding in found} & set(rules.split("|")), "\n".join(map(str, found))


@pytest.mark.parametrize(("name", "operation"), [*_good()])
def test_nothing_is_found_at_a_good_operation(checks: Checks, name: str, operation: Operation) -> None:
    """What is as it should be is left in peace."""
    found = checks.findings_at(name, operation)

    assert [str(finding) for finding in found] == []


@pytest.mark.parametrize("name", [*SERVICES])
def test_nothing_is_found_that_is_not_there(checks: Checks, name: str) -> None:
    """At a bad operation, and where there is none, only what is planted or true beside it is found."""
    service = SERVICES[name]

    untrue = []
    for finding in checks.outcome_of(name).findings:
        operation = _operation_of(finding, service)
        allowed = {*service.unknown_must, *service.document_must}
        if operation is not None and operation.must:
            allowed = {rule for rules in operation.must for rule in rules.split("|")} | operation.also
        elif operation is not None and not service.document_must:
            continue  # the test above
        if finding.rule not in allowed:
            untrue.append(str(finding))

    assert untrue == []


@pytest.mark.parametrize(
    "name", [name for name, service in SERVICES.items() if service.unknown_must or service.document_must]
)
def test_what_is_planted_beside_the_operations_is_found(checks: Checks, name: str) -> None:
    """An unknown path that is answered wrongly, and a document that is none, are found."""
    service = SERVICES[name]
    rules = {finding.rule for finding in checks.outcome_of(name).findings}

    assert rules == {*service.unknown_must, *service.document_must}


@pytest.mark.parametrize("name", [*SERVICES])
def test_findings_end_the_command_with_1(checks: Checks, name: str) -> None:
    """Continuous integration sees it."""
    assert checks.outcome_of(name).exit_code == 1


def test_one_departure_is_reported_once(checks: Checks) -> None:
    """However often a departure is met, a rule has one line for an operation."""
    rows = [(finding.rule, finding.operation) for finding in checks.outcome_of("main").findings]

    assert sorted({row for row in rows if rows.count(row) > 1}) == []


def test_no_credential_is_in_a_report(checks: Checks) -> None:
    """The token that the checks were given stands nowhere."""
    for name in SERVICES:
        outcome = checks.outcome_of(name)
        assert TOKEN not in outcome.report + outcome.output


def test_a_curl_line_shows_the_departure_again(checks: Checks) -> None:
    """The line of a finding is a command that gets the same answer."""
    service = SERVICES["main"]
    lines = {
        name: next(f.curl for f in checks.findings_at("main", operation) if f.rule == operation.must[0])
        for operation in service.operations
        if (name := operation.name) in ("GET /bare-list", "POST /created", "GET /head/404", "GET /crash/non-ascii")
    }

    answers = {}
    for name, line in lines.items():
        assert line is not None
        words = shlex.split(line)
        assert words[0] == "curl"
        ran = subprocess.run([words[0], "-sS", *words[1:]], capture_output=True, timeout=10, check=True)
        answers[name] = ran.stdout

    assert answers["GET /bare-list"].endswith(b'[{"id": 1, "name": "Ada"}]')
    assert answers["POST /created"].startswith(b"HTTP/1.1 201")
    assert answers["GET /head/404"].startswith(b"HTTP/1.1 404")
    assert answers["GET /crash/non-ascii"].startswith(b"HTTP/1.1 500")


def test_only_reads_are_sent_without_writes(tmp_path: Path) -> None:
    """No request that could change something reaches the service, not even to see whether a method is refused."""
    with BadServices() as fresh:
        outcome = check(fresh.url_of("keep"), "--max-examples", "10", folder=tmp_path)

        assert {finding.rule for finding in outcome.findings} >= {"ENV005", "ENV016"}
        assert fresh.methods_seen("keep") & {"POST", "PUT", "PATCH", "DELETE"} == set()


# ------------------------------------------------------------------------------------------------- our examples


def test_the_quickstart_is_without_findings(tmp_path: Path) -> None:
    """But for ``GET /bug``, which always crashes, to show what then is sent: ENV038 is true there."""
    with Quickstart() as quickstart:
        url = f"http://{quickstart.host}:{quickstart.port}"
        outcome = check(url, "--writes", "--max-examples", "20", folder=tmp_path)

    assert [str(found) for found in outcome.findings if found.operation != "GET /bug"] == []


def test_the_verification_service_is_without_findings(tmp_path: Path) -> None:
    """In the command's own process, with the locks in memory."""
    outcome = check(
        "examples.verification_service.app:app",
        *("--writes", "--max-examples", "20"),
        folder=tmp_path,
        ENVELOPE_STORAGE="memory://",
        VERIFICATION_DATABASE=str(tmp_path / "verification.db"),
        VERIFICATION_PAUSE_S="0.01",
    )

    assert [str(found) for found in outcome.findings] == []
    assert outcome.exit_code == 0


@pytest.mark.parametrize("key", ["unknown-token", "free-token", "paid-token"])
def test_the_tiers_are_without_findings(tmp_path: Path, key: str) -> None:
    """Whether a tier's limit ends the check early, or is wider than the burst."""
    options = ("--writes", "--max-examples", "10", "--burst", "20", "--header", f"X-Api-Key: {key}")
    outcome = check("examples.tiers:app", *options, folder=tmp_path)

    assert [str(found) for found in outcome.findings] == []
    assert outcome.exit_code == 0


def test_the_starlette_app_is_without_findings(tmp_path: Path) -> None:
    """It has no document of its own; the one below was written for it."""
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(_starlette_document()))

    with StarletteApp() as app:
        url = f"http://{app.host}:{app.port}"
        outcome = check(url, "--writes", "--schema", str(document), folder=tmp_path)

    assert [str(found) for found in outcome.findings] == []
    assert outcome.exit_code == 0


def _starlette_document() -> dict[str, Any]:
    new = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    created = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    entity = bad_service.ENTITY
    identifier = {"in": "path", "name": "entity_id", "required": True, "schema": {"type": "integer", "minimum": 0}}
    statuses = (400, 404, 409, 415, 500)
    failures = {str(status): bad_service.described(bad_service.failing(status)) for status in statuses}

    def answers(content: Any) -> dict[str, Any]:
        return {"200": bad_service.described(bad_service.enveloped(content)), **failures}

    body = {"required": True, "content": {"application/json": {"schema": new}}}
    health = {"200": bad_service.described({"type": "string"}, "text/plain"), "500": failures["500"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Entities", "version": "1"},
        "paths": {
            "/entities": {"post": {"requestBody": body, "responses": answers(created)}},
            "/entities/{entity_id}": {"get": {"parameters": [identifier], "responses": answers(entity)}},
            "/health": {"get": {"responses": health}},
        },
        "components": {"schemas": {"FailureDetails": bad_service.DETAILS}},
    }
