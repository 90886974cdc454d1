"""openapi-python-client makes a client of a served document; the client talks to the service, and its types hold."""

from __future__ import annotations

import datetime as dt
import doctest
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.openapi.proofs.conftest import Run
from tests.openapi.proofs.example import ROOT, Example, quickstart, verification_service

pytestmark = pytest.mark.timeout(60)

PAGE = ROOT / "docs/reference/openapi.md"

#: What a user writes with the generated client of the quickstart. ``# E: code`` marks what mypy has to refuse.
PROGRAM = """
from typing import Literal, assert_type

from identity_verification_client import Client
from identity_verification_client.api.default import (
    create_entity_entities_post as create_entity,
    delete_entity_entities_entity_id_delete as delete_entity,
    get_entity_entities_entity_id_get as get_entity,
    list_entities_entities_get as list_entities,
)
from identity_verification_client.models import (
    BadRequestFailure,
    EmptyEnvelope,
    EntityIn,
    EntityOut,
    EntityOutEnvelope,
    EntityOutListEnvelope,
    FailureDetails,
    FailureObject,
    NotFoundFailure,
    ResourceConflictFailure,
)


def find(client: Client) -> EntityOut | None:
    found = get_entity.sync(1, client=client)
    match found:
        case EntityOutEnvelope(content=entity):
            assert_type(found.status, Literal["success"])
            assert_type(entity.email, str)
            entity.nickname  # E: attr-defined
            return entity
        case NotFoundFailure():
            assert_type(found.code, Literal[404])
            assert_type(found.status, Literal["failure"])
            assert_type(found.message, FailureDetails | FailureObject | str)
            found.content  # E: attr-defined
            return None
    found.content  # E: union-attr
    raise RuntimeError


def create(client: Client, entity: EntityIn) -> int:
    created = create_entity.sync(client=client, body=entity)
    if isinstance(created, ResourceConflictFailure):
        assert_type(created.message.error_code, Literal["resource_conflict"])
        return created.code == 404  # E: comparison-overlap
    assert isinstance(created, EntityOutEnvelope)
    return created.content.id


def names(client: Client) -> list[str]:
    listed = list_entities.sync(client=client, offset=0)
    if isinstance(listed, EntityOutListEnvelope):
        return [entity.name for entity in listed.content]
    if isinstance(listed, BadRequestFailure) and isinstance(listed.message, FailureDetails):
        assert_type(listed.message.error_code, str)
        assert_type(listed.message.message, list[str] | str)
    list_entities.sync(client=client, offset="0")  # E: arg-type
    return []


def delete(client: Client) -> None:
    deleted = delete_entity.sync(1, client=client)
    if isinstance(deleted, EmptyEnvelope):
        assert_type(deleted.content, None)
"""


class Generated(NamedTuple):
    """A client that was generated from what an example serves, while the example runs.

    Attributes:
        folder: The package is in it.
        api: Its operations.
        models: Its models.
        client: Talks to the example.
    """

    folder: Path
    api: Any
    models: Any
    client: Any


@pytest.fixture(scope="module")
def clients(
    run_tool: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Example, str], Generated]]:
    """Generate the client of an example that runs; the document has nothing that the generator warns about."""
    before = set(sys.modules)
    folder = tmp_path_factory.mktemp("clients")
    sys.path.insert(0, str(folder))

    def generate(example: Example, name: str) -> Generated:
        ran = run_tool(
            *("openapi-python-client", "generate", "--url", f"{example.url}/openapi.json"),
            *("--meta", "none", "--output-path", str(folder / name), "--fail-on-warning"),
        )
        assert ran.returncode == 0, ran.stdout
        assert "warning" not in ran.stdout.lower(), ran.stdout
        importlib.invalidate_caches()
        operations = sorted((folder / name / "api/default").glob("[!_]*.py"))
        return Generated(
            folder=folder,
            api=SimpleNamespace(
                **{
                    operation.stem: importlib.import_module(f"{name}.api.default.{operation.stem}")
                    for operation in operations
                }
            ),
            models=importlib.import_module(f"{name}.models"),
            client=importlib.import_module(name).Client(example.url, raise_on_unexpected_status=True),
        )

    yield generate
    sys.path.remove(str(folder))
    for module in set(sys.modules) - before:
        if module.partition(".")[0].endswith("_client"):
            del sys.modules[module]


@pytest.fixture(scope="module")
def of_quickstart(clients: Callable[[Example, str], Generated]) -> Iterator[Generated]:
    with quickstart() as example:
        generated = clients(example, "identity_verification_client")
        with generated.client:
            yield generated


@pytest.fixture(scope="module")
def of_verification_service(clients: Callable[[Example, str], Generated]) -> Iterator[Generated]:
    with verification_service(pause_s=5) as example:
        generated = clients(example, "verification_client")
        with generated.client:
            yield generated


def ada_of(generated: Generated) -> Any:
    """Give an entity that nobody has created yet."""
    born = dt.date(1815, 12, 10)
    return generated.models.EntityIn(email=f"ada-{uuid4().hex}@example.com", name="Ada", date_of_birth=born)


def test_content_is_the_model_inside_the_envelope(of_quickstart: Generated) -> None:
    """What is created and found are models, with their dates as dates."""
    api, models, client = of_quickstart.api, of_quickstart.models, of_quickstart.client
    ada = ada_of(of_quickstart)

    created = api.create_entity_entities_post.sync_detailed(client=client, body=ada)
    found = api.get_entity_entities_entity_id_get.sync_detailed(created.parsed.content.id, client=client)

    for response in (created, found):
        assert response.status_code == 200
        assert isinstance(response.parsed, models.EntityOutEnvelope)
        assert response.parsed.status == "success"
        assert isinstance(response.parsed.content, models.EntityOut)
        assert response.parsed.content.email == ada.email
        assert response.parsed.content.date_of_birth == dt.date(1815, 12, 10)


def test_content_of_a_list_is_a_list_of_models(of_quickstart: Generated) -> None:
    """Each item is a model of its own."""
    api, models, client = of_quickstart.api, of_quickstart.models, of_quickstart.client
    api.create_entity_entities_post.sync(client=client, body=ada_of(of_quickstart))

    listed = api.list_entities_entities_get.sync(client=client, offset=0)

    assert isinstance(listed, models.EntityOutListEnvelope)
    assert listed.content
    assert {type(entity) for entity in listed.content} == {models.EntityOut}


def test_content_where_an_endpoint_says_204_is_none(of_quickstart: Generated) -> None:
    """The client reads an envelope with null, not an empty body."""
    api, models, client = of_quickstart.api, of_quickstart.models, of_quickstart.client
    created = api.create_entity_entities_post.sync(client=client, body=ada_of(of_quickstart))

    deleted = api.delete_entity_entities_entity_id_delete.sync_detailed(created.content.id, client=client)

    assert deleted.status_code == 200
    assert isinstance(deleted.parsed, models.EmptyEnvelope)
    assert deleted.parsed.content is None


def test_invalid_input_is_a_failure_with_its_code_and_messages(of_quickstart: Generated) -> None:
    """400 in the place of FastAPI's 422, typed down to the list of problems."""
    api, models, client = of_quickstart.api, of_quickstart.models, of_quickstart.client

    response = api.list_entities_entities_get.sync_detailed(client=client, offset=-1, limit=101)

    failure = response.parsed
    assert response.status_code == 400
    assert isinstance(failure, models.BadRequestFailure)
    assert (failure.code, failure.status) == (400, "failure")
    assert isinstance(failure.message, models.FailureDetails)
    assert failure.message.error_code == "invalid_input"
    assert failure.message.message == [
        "-1 is less than the minimum of 0",
        "101 is greater than the maximum of 100",
    ]


def test_failure_with_a_text_has_it_as_message(of_quickstart: Generated) -> None:
    """404 is the table's, and its message a string."""
    models, client = of_quickstart.models, of_quickstart.client

    response = of_quickstart.api.get_entity_entities_entity_id_get.sync_detailed(2**53 - 1, client=client)

    assert response.status_code == 404
    assert isinstance(response.parsed, models.NotFoundFailure)
    assert response.parsed.message == "Not Found -- The specified resource could not be found."


def test_declared_failure_has_a_class_of_its_own(of_quickstart: Generated) -> None:
    """What ``failures()`` declared is told apart by its error code."""
    api, models, client = of_quickstart.api, of_quickstart.models, of_quickstart.client
    ada = ada_of(of_quickstart)
    api.create_entity_entities_post.sync(client=client, body=ada)

    response = api.create_entity_entities_post.sync_detailed(client=client, body=ada)

    assert response.status_code == 409
    assert isinstance(response.parsed, models.ResourceConflictFailure)
    assert response.parsed.message.error_code == "resource_conflict"
    assert response.parsed.message.message == "Entity already exists"


def test_busy_object_is_a_failure_that_says_when_to_come_back(of_verification_service: Generated) -> None:
    """423 while a verification is at work, with the Retry-After that the document promises; reads are served."""
    generated = of_verification_service
    api, models, client = generated.api, generated.models, generated.client
    ada = models.EntityIn(name="Ada")
    busy = api.create_entity_entities_post.sync(client=client, body=ada, run_workflow=True).content

    refused = [
        api.update_entity_entities_entity_id_patch.sync_detailed(busy.id, client=client, body=ada),
        api.delete_entity_entities_entity_id_delete.sync_detailed(busy.id, client=client),
        api.verify_entity_entities_entity_id_verify_post.sync_detailed(busy.id, client=client),
    ]
    read = api.get_entity_entities_entity_id_get.sync(busy.id, client=client)

    for response in refused:
        assert response.status_code == 423
        assert isinstance(response.parsed, models.LockedFailure)
        assert int(response.headers["retry-after"]) >= 1
    assert read.content.status == "verifying"
    assert read.content.risk_score is None


def test_session_of_the_documentation_is_what_happens(of_quickstart: Generated) -> None:
    """Each line of it runs and answers as it stands there."""
    [session] = re.findall(r"^```pycon\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    session = session.replace("http://127.0.0.1:8000", of_quickstart.client._base_url)
    said: list[str] = []

    test = doctest.DocTestParser().get_doctest(session, {}, PAGE.name, None, None)
    result = doctest.DocTestRunner().run(test, out=said.append, clear_globs=False)
    test.globs["client"].get_httpx_client().close()

    assert result.failed == 0, "".join(said)
    assert result.attempted == 8


def test_types_of_the_client_are_those_of_the_wire(
    of_quickstart: Generated, run_tool: Run, tmp_path: Path
) -> None:
    """Mypy accepts what is right in a user's program, and refuses each line that is wrong."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    wrong = {
        (number, found[1])
        for number, line in enumerate(PROGRAM.splitlines(), start=1)
        if (found := re.search(r"# E: (.+)", line))
    }

    ran = run_tool(
        *("mypy", "--strict", "--no-incremental", "--config-file", "", str(program)),
        MYPYPATH=str(of_quickstart.folder),
    )

    errors = re.findall(r"([^/]+\.py):(\d+): error: .*\[(.+)\]", ran.stdout)
    assert {(int(line), code) for file, line, code in errors if file == "program.py"} == wrong, ran.stdout
    # The generator's own client.py, which is the same for every document, is not for --strict.
    assert {file for file, _, _ in errors} <= {"program.py", "client.py"}, ran.stdout
    assert len(wrong) == 5
