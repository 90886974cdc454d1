"""The verification service, over HTTP and with real processes: what its README says, also when they die."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest

from tests.servers.process import free_port, wait_until
from tests.servers.server import Server

ROOT = Path(__file__).parents[2]
MODULE = "examples.verification_service"
README = (ROOT / "examples/verification_service/README.md").read_text()

TTL_S = 1.0
PAUSE_S = 0.2


class Service:
    """The example, started by its one command; all its processes are of one group, which ends with this.

    Args:
        folder: For the database and the log.
        storage: Of the locks.
    """

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        self._log = folder / "log"
        self._database = folder / "verification.db"
        self._environment = {**os.environ, "ENVELOPE_STORAGE": storage or "memory://"}
        self._more_workers: list[int] = []
        port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
        self._log.touch()
        self._launcher = self._start(
            *(MODULE, "--port", str(port), "--database", str(self._database)),
            *("--ttl", str(TTL_S), "--pause", str(PAUSE_S)),
        )
        # When this interpreter dies in whatever way, its end of the pipe closes and the guard does its work.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 -- "-$1"', "guard", str(self._launcher.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        try:
            self.wait_for_log("Uvicorn running on")
            if not self._environment["ENVELOPE_STORAGE"].startswith("memory:"):
                self.wait_for_log("waits for jobs")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        try:
            self._launcher.terminate()
            self._launcher.wait(8)
        finally:
            if self._launcher.poll() is None:  # it waits for the others, so the group is there as long as it is
                os.killpg(self._launcher.pid, signal.SIGKILL)
                self._launcher.wait()
            self._guard.kill()
            self._guard.communicate()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def worker_pid(self) -> int:
        """Give the number of the worker that the command started last."""
        started = [int(pid) for pid in re.findall(r"worker (\d+) waits for jobs", self.log)]
        return [pid for pid in started if pid not in self._more_workers][-1]

    def wait_for_log(self, text: str, *, times: int = 1) -> None:
        wait_until(
            lambda: len(re.findall(text, self.log)) >= times, within_s=10, told=lambda: f"{text}: {self.log}"
        )

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start another worker, which whoever calls this ends."""
        waiting = self.log.count("waits for jobs")
        self._environment |= {
            "VERIFICATION_DATABASE": str(self._database),
            "VERIFICATION_TTL_S": str(TTL_S),
            "VERIFICATION_PAUSE_S": str(PAUSE_S),
        }
        worker = self._start(f"{MODULE}.worker")
        self._more_workers.append(worker.pid)
        self.wait_for_log("waits for jobs", times=waiting + 1)
        return worker

    def sql(self, statement: str) -> list[Any]:
        """Do something to the database behind the service's back."""
        with closing(sqlite3.connect(self._database, timeout=5, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    def jobs_of(self, entity: str) -> list[str]:
        """Give the tokens of an entity's jobs."""
        return [token for (token,) in self.sql(f"SELECT token FROM jobs WHERE entity_id = '{_stored(entity)}'")]

    def create(self, *, run_workflow: bool, name: str = "Ada") -> str:
        response = self.client.post("/entities", params={"run_workflow": run_workflow}, json={"name": name})
        assert response.status_code == 200, response.text
        return f"/entities/{response.json()['content']['id']}"

    def get(self, entity: str) -> dict[str, Any]:
        response = self.client.get(entity)
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()["content"]
        return content

    def rename(self, entity: str, name: str) -> httpx.Response:
        return self.client.patch(entity, json={"name": name})

    def wait_for(self, entity: str, **values: object) -> None:
        """Wait until an entity is as is told; ``checks_done`` at least."""

        def is_so() -> bool:
            found = self.get(entity)
            least = values.get("checks_done", 0)
            return found["checks_done"] >= least and all(
                found[name] == value for name, value in values.items() if name != "checks_done"
            )

        wait_until(is_so, within_s=10, told=lambda: f"{values}, but {self.get(entity)}\n{self.log}")

    def wait_until_free(self, entity: str, name: str) -> float:
        """Rename an entity as soon as it is possible, and give the time by which it was."""
        response = self.rename(entity, name)
        while response.status_code == 423:
            time.sleep(0.02)
            response = self.rename(entity, name)
        assert response.status_code == 200, response.text
        return time.monotonic()

    def _start(self, *module: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service in one process."""
    with Service(tmp_path_factory.mktemp("memory")) as service:
        yield service


@pytest.fixture(scope="module")
def with_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with a worker, and a Valkey of its own, which nobody flushes."""
    with Server() as server, Service(tmp_path_factory.mktemp("worker"), server.url) as service:
        yield service


@pytest.fixture(params=["in_memory", "with_worker"])
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.getfixturevalue(request.param)
    return found


def test_creation_with_a_workflow_answers_at_once_and_keeps_the_entity_locked(service: Service) -> None:
    """Updates, deletions and other workflows get 423 with a Retry-After until the work is done; reads are served."""
    begun = time.monotonic()
    entity = service.create(run_workflow=True)
    answered_after_s = time.monotonic() - begun
    refused = [
        service.rename(entity, "Grace"),
        service.client.delete(entity),
        service.client.post(f"{entity}/verify"),
    ]
    meanwhile = service.get(entity)
    service.wait_for(entity, status="verified")
    verified = service.get(entity)
    service.wait_until_free(entity, "Grace")

    assert answered_after_s < PAUSE_S * 4
    for response in refused:
        assert response.status_code == response.json()["code"] == 423
        assert int(response.headers["retry-after"]) >= 1
    assert (meanwhile["name"], meanwhile["status"], meanwhile["risk_score"]) == ("Ada", "verifying", None)
    assert (verified["checks_done"], verified["risk_score"]) == (4, 29)
    assert service.get(entity) == {
        **verified,
        "name": "Grace",
        "status": "unverified",
        "checks_done": 0,
        "risk_score": None,
    }


def test_verification_of_an_existing_entity_is_the_same_workflow(service: Service) -> None:
    """POST /verify answers at once, keeps the entity locked, and leaves it verified and free."""
    entity = service.create(run_workflow=False)

    started = service.client.post(f"{entity}/verify")
    refused = service.rename(entity, "Grace")
    service.wait_for(entity, status="verified")
    service.wait_until_free(entity, "Grace")

    assert (started.status_code, started.json()["content"]["status"]) == (200, "verifying")
    assert refused.status_code == 423


def test_creation_followed_at_once_by_an_update_is_never_refused(service: Service) -> None:
    """Two hundred times: the lock of the creation is free before its answer is there."""
    statuses = []
    for number in range(200):
        entity = service.create(run_workflow=False)
        statuses.append(service.rename(entity, f"Ada {number}").status_code)

    assert set(statuses) == {200}


def test_entity_that_is_not_there_is_404_and_leaves_no_lock(service: Service) -> None:
    """Also where the lock was handed off before the table was asked; the second time is no 423."""
    entity = "/entities/00000000-0000-4000-8000-000000000000"
    requests = [("GET", entity), ("PATCH", entity), ("POST", f"{entity}/verify"), ("DELETE", entity)] * 2

    responses = [
        service.client.request(method, path, json={"name": "Ada"} if method == "PATCH" else None)
        for method, path in requests
    ]

    assert [response.status_code for response in responses] == [404] * 8


def test_entity_that_is_not_there_is_an_answer_and_no_crash(service: Service) -> None:
    """NoResultFound, which SQLAlchemy raises, is an answer with the table's text."""
    response = service.client.get("/entities/00000000-0000-4000-8000-000000000001")

    assert response.json() == {
        "code": 404,
        "message": "Not Found -- The specified resource could not be found.",
        "status": "failure",
    }
    assert "NoResultFound" not in service.log


@pytest.mark.parametrize("run_workflow", [False, True])
def test_creation_that_is_sent_again_is_409_and_leaves_everything_as_it_was(
    service: Service, run_workflow: bool
) -> None:
    """IntegrityError, which SQLAlchemy raises, is an answer; no second workflow begins, and nothing stays locked."""
    number = str(uuid4())
    creation = {"id": number, "name": "Ada"}
    entity = f"/entities/{number}"
    first = service.client.post("/entities", json=creation)
    unchanged = service.get(entity)

    again = service.client.post(
        "/entities", params={"run_workflow": run_workflow}, json={**creation, "name": "A secret name"}
    )
    left, jobs, statements = service.get(entity), service.jobs_of(entity), service.log
    renamed = service.rename(entity, "Grace")

    assert (first.status_code, first.headers["location"]) == (200, entity)
    assert (again.status_code, again.json()["message"]) == (
        409,
        "Conflict -- Could not be completed due to a conflict with the target resource.",
    )
    assert (left, jobs, renamed.status_code) == (unchanged, [], 200)
    assert "IntegrityError is answered with 409" in statements
    assert "A secret name" not in statements


def test_creation_that_is_sent_again_while_the_workflow_runs_is_423(service: Service) -> None:
    """The entity that is there already is busy, and stays what it is."""
    creation = {"id": str(uuid4()), "name": "Ada"}
    service.client.post("/entities", params={"run_workflow": True}, json=creation)

    again = service.client.post("/entities", json=creation)
    service.wait_for(f"/entities/{creation['id']}", status="verified")

    assert again.status_code == 423


def test_worker_that_is_killed_leaves_the_entity_free_in_time_and_nothing_half_done(with_worker: Service) -> None:
    """After SIGKILL in the middle the entity is refused, then free within the lease's time, and never verified."""
    service = with_worker
    entity = service.create(run_workflow=True)
    service.wait_for(entity, checks_done=1)
    killed = service.worker_pid

    os.kill(killed, signal.SIGKILL)
    killed_at = time.monotonic()
    refused = service.rename(entity, "Grace")
    left = service.get(entity)
    free_at = service.wait_until_free(entity, "Grace")
    renamed = service.get(entity)
    service.wait_for_log(f"worker {killed} ended with -9; it is replaced")
    wait_until(lambda: service.worker_pid != killed, within_s=10, told=lambda: service.log)
    service.sql("UPDATE jobs SET due_at = 0")  # not only after half a minute
    service.wait_for_log("is dropped: it has no lease on entity " + entity.removeprefix("/entities/"))

    assert refused.status_code == 423
    assert (left["status"], left["risk_score"]) == ("verifying", None)
    assert free_at - killed_at < TTL_S + 0.5  # which the test and two busy processes may take
    assert service.get(entity) == renamed == {**left, "name": "Grace", "status": "unverified", "checks_done": 0}
    wait_until(lambda: not service.jobs_of(entity), within_s=5, told=lambda: service.log)
    _check_readme(service, 0)


def test_verification_that_was_interrupted_is_taken_up_by_asking_again(with_worker: Service) -> None:
    """Refused while the dead worker's lease lasts; then POST /verify begins anew, and the new worker finishes it."""
    service = with_worker
    entity = service.create(run_workflow=True)
    service.wait_for(entity, checks_done=1)
    os.kill(service.worker_pid, signal.SIGKILL)

    statuses = [service.client.post(f"{entity}/verify").status_code]
    while statuses[-1] == 423:
        time.sleep(0.02)
        statuses.append(service.client.post(f"{entity}/verify").status_code)
    service.wait_for(entity, status="verified")

    assert (statuses[0], statuses[-1]) == (423, 200)
    assert service.get(entity)["risk_score"] == 29


def test_worker_that_was_frozen_past_its_lease_writes_nothing(with_worker: Service) -> None:
    """SIGSTOP, an update by somebody else, SIGCONT: the next write changes no row, and the worker goes on to other jobs."""
    service = with_worker
    entity = service.create(run_workflow=True)
    service.wait_for(entity, checks_done=1)
    frozen = service.worker_pid

    os.kill(frozen, signal.SIGSTOP)
    try:
        service.wait_until_free(entity, "Grace")
        renamed = service.get(entity)
    finally:
        os.kill(frozen, signal.SIGCONT)
    service.wait_for_log(
        f"the verification of entity {entity.removeprefix('/entities/')} stops, and writes nothing"
    )
    next_one = service.create(run_workflow=True)
    service.wait_for(next_one, status="verified")

    assert service.get(entity) == renamed
    assert (renamed["name"], renamed["status"], renamed["checks_done"]) == ("Grace", "unverified", 0)
    assert service.worker_pid == frozen
    _check_readme(service, 1)


def test_job_that_is_delivered_twice_runs_once(with_worker: Service) -> None:
    """Two workers get the same job at the same time; one verifies, the other drops it."""
    service = with_worker
    second = service.start_worker()
    try:
        entity = service.create(run_workflow=True)
        [token] = service.jobs_of(entity)
        service.sql(f"INSERT INTO jobs (entity_id, token, due_at) VALUES ('{_stored(entity)}', '{token}', 0)")
        service.wait_for(entity, status="verified")
        number = entity.removeprefix("/entities/")
        service.wait_for_log(f"is dropped: it has no lease on entity {number}")
        wait_until(lambda: not service.jobs_of(entity), within_s=5, told=lambda: service.log)
    finally:
        second.terminate()
        second.wait(10)

    assert service.log.count(f"verifying entity {number}") == 1
    assert service.log.count(f"no lease on entity {number}") == 1


def test_entity_is_free_if_its_job_cannot_be_written(with_worker: Service) -> None:
    """The transaction fails as a whole, and what was handed off is withdrawn: the next request is not refused."""
    service = with_worker
    entity = service.create(run_workflow=False)
    before = service.get(entity)
    service.sql("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'no more jobs'); END")
    try:
        failed = service.client.post(f"{entity}/verify")
    finally:
        service.sql("DROP TRIGGER full")
    unchanged = service.get(entity)

    assert failed.status_code == 409  # what a trigger refuses is an IntegrityError, and never says why
    assert "no more jobs" not in failed.text
    assert unchanged == before
    assert service.rename(entity, "Grace").status_code == 200


def test_tokens_are_in_no_log_and_no_answer(with_worker: Service) -> None:
    """Whoever has a token has the entity; it stays between the table and the locks."""
    service = with_worker
    created = service.client.post("/entities?run_workflow=true", json={"name": "Ada"})
    entity = f"/entities/{created.json()['content']['id']}"
    [token] = service.jobs_of(entity)
    service.wait_for(entity, status="verified")

    secret = token.rpartition(".")[2]
    assert len(secret) > 40
    assert secret not in created.text + str(created.headers) + service.log


def test_readme_session_is_what_happens(in_memory: Service, tmp_path: Path) -> None:
    """Each command of the README's session is run, and answers as it stands there."""
    (tmp_path / ".curlrc").write_text("silent\n")
    environment = {**os.environ, "CURL_HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    address = str(in_memory.client.base_url)
    number = ""
    said, heard = [], []
    [session] = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for step in session.split("$ ")[1:]:
        command, _, answer = step.partition("\n")
        said.append((command, _timeless(answer)))
        if command.startswith("ENTITY="):
            environment["ENTITY"] = f"{address}/entities/{number}"
            printed = ""
        elif command.startswith("sleep "):
            in_memory.wait_for(f"/entities/{number}", status="verified")
            time.sleep(0.1)
            printed = ""
        else:
            printed = subprocess.run(
                ["/bin/bash", "-c", command.replace("http://127.0.0.1:8000", address)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            number = number or re.findall(r'"id":"([^"]+)"', printed)[0]
        heard.append((command, _timeless(printed)))

    assert len(said) > 6
    assert heard == said


def _stored(entity: str) -> str:
    """Give an entity's number as the table has it."""
    return entity.removeprefix("/entities/").replace("-", "")


def _check_readme(service: Service, block: int) -> None:
    """See that the lines of a block of the README stand in the log."""
    lines = re.findall(r"^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[block]
    log = {_timeless(line) for line in service.log.splitlines()}
    assert {_timeless(line) for line in lines.splitlines()} <= log, service.log


def _timeless(text: str) -> str:
    """Leave out what differs from one run to the next."""
    for pattern, name in (
        (r"\r", ""),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"(date|retry-after): .*", r"\1: ..."),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+", "NOW"),
        (r"(worker|job|fence|with fence|after) -?\d+", r"\1 N"),
    ):
        text = re.sub(pattern, name, text)
    return text.strip()
