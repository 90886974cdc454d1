"""Operations that are sent generated input, and what is found of how they answer it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from schemathesis.errors import SchemathesisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from envelope.conformance.asking.generated import Inputs, exercise
from envelope.conformance.asking.objects import ShownObjects
from envelope.conformance.asking.sending import Sender
from envelope.conformance.contracts.contract import Contract
from envelope.conformance.ledger import Ledger
from tests.conformance.services import answering, document, hang_after, json_body, parameter, sender_to

#: Whichever comes first imports schemathesis, and this machine may be busy.
pytestmark = pytest.mark.timeout(60)

OFFSET = parameter("query", "offset", required=True, type="integer", minimum=0)
NAMED = json_body({"name": {"type": "string", "minLength": 1}}, ["name"])


def success(content=None) -> Response:
    return JSONResponse({"status": "success", "content": content})


def failure(status: int, message="No.", **headers) -> Response:
    return JSONResponse({"code": status, "message": message, "status": "failure"}, status, headers=headers)


def invalid() -> Response:
    return failure(400, {"error_code": "invalid_input", "message": ["'offset' is wrong"]})


def offset_of(request: Request) -> int | None:
    """Read the offset as the document says."""
    text = request.query_params.get("offset", "")
    return int(text) if text.isdecimal() and text.isascii() else None


class Exercised(NamedTuple):
    outcome: Any  # its sample may be None, which would be an error
    found: dict[str, str]
    times: dict[str, int]
    sender: Sender


def run(
    answer: Any,
    operation: Any,
    method: str = "GET",
    template="/things",
    objects=None,
    max_examples=6,
    more: Any = None,
) -> Exercised:
    """Exercise the one operation of a service."""
    described = document({template: {method.lower(): operation}}, **(more or {}))
    contract, ledger = Contract(described), Ledger()

    async def endpoint(request: Request) -> Response:
        request.state.body = await request.body()
        response: Response = answer(request)
        return response

    with sender_to(Starlette(routes=[Route(template, endpoint, methods=[method])]), sleep=pytest.fail) as (
        sender,
        _,
    ):
        outcome = exercise(
            contract.operations[0],
            Inputs(described, sender.base_url, max_examples=max_examples),
            contract=contract,
            sender=sender,
            ledger=ledger,
            objects=objects or ShownObjects("content"),
        )
    found = {each.finding.rule.id: each.finding.came for each in ledger.findings}
    return Exercised(outcome, found, {each.finding.rule.id: each.times for each in ledger.findings}, sender)


def test_service_that_keeps_the_convention_has_no_finding() -> None:
    """Valid input succeeds, all else is a 400 with a list of problems; the first success is the sample."""
    seen = []

    def answer(request: Request) -> Response:
        seen.append(request.url.query)
        return invalid() if offset_of(request) is None else success()

    exercised = run(answer, {"parameters": [OFFSET]})

    assert exercised.found == {}
    assert exercised.outcome.reason is None
    assert (exercised.outcome.sample.status, exercised.outcome.sample.request.path) == (200, "/things")
    assert len(seen) > 10
    assert len(set(seen)) == len(seen)  # nothing is sent twice
    assert "" in seen  # without the required parameter


@pytest.mark.parametrize(
    ("refusal", "came"),
    [
        (lambda: JSONResponse({"detail": []}, 422), "422"),
        (lambda: failure(422), "422"),
        (success, "200, although the required query parameter 'offset' is missing"),
        (lambda: failure(409), "409, although the required query parameter 'offset' is missing"),
        (lambda: failure(418), "418"),
    ],
)
def test_invalid_input_that_is_not_answered_with_400_is_found(refusal, came) -> None:
    """Accepted, FastAPI's own 422, or a failure that does not stand for invalid input."""
    exercised = run(
        lambda request: refusal() if offset_of(request) is None else success(), {"parameters": [OFFSET]}
    )

    assert list(exercised.found) == ["ENV030"]
    assert exercised.found["ENV030"].startswith(came)
    assert exercised.times["ENV030"] > 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 413, 415, 423])
def test_failure_that_comes_before_validation_is_none(status) -> None:
    """Somebody else may refuse first."""
    exercised = run(
        lambda request: failure(status) if offset_of(request) is None else success(), {"parameters": [OFFSET]}
    )

    assert exercised.found == {}


def test_failure_that_says_200_is_not_accepted_input() -> None:
    """That it has a wrong status is told by its form already."""
    exercised = run(
        lambda request: JSONResponse({"status": "failure"}) if offset_of(request) is None else success(),
        {"parameters": [OFFSET]},
    )

    assert exercised.found == {}


def test_conflict_for_generated_invalid_input_is_none() -> None:
    """The service may know more valid values than the document; but nobody can leave out what is required."""

    def answer(request: Request) -> Response:
        if request.query_params.get("kind") == "a":
            return success()
        return failure(409)

    exercised = run(answer, {"parameters": [parameter("query", "kind", type="string", enum=["a"])]})

    assert exercised.found == {}


@pytest.mark.parametrize(
    ("message", "came"),
    [
        ("No.", "the message is a text, although the required property 'name' is missing"),
        (["No."], "the message is a JSON list"),
        ({"message": ["No."]}, "the message has no error_code"),
        ({"error_code": "invalid_input", "message": "No."}, "the message has no message"),
        ({}, "the message has no error_code and no message"),
    ],
)
def test_invalid_input_without_error_code_and_problems_is_found(message, came) -> None:
    """Where the body lacks what is required, so that it is certain what the 400 is for."""

    def answer(request: Request) -> Response:
        try:
            body = json.loads(request.state.body)
        except ValueError:
            return invalid()
        named = isinstance(body, dict) and isinstance(body.get("name"), str) and body["name"]
        return success() if named else failure(400, message)

    exercised = run(answer, {"requestBody": NAMED}, "POST")

    assert list(exercised.found) == ["ENV031"]
    assert exercised.found["ENV031"].startswith(came.split(",")[0])


def test_400_that_is_no_failure_is_told_elsewhere() -> None:
    """Judging its form says so already."""
    exercised = run(
        lambda request: JSONResponse([], 400) if offset_of(request) is None else success(),
        {"parameters": [OFFSET]},
    )

    assert exercised.found == {}


@pytest.mark.parametrize("makes_fail", [lambda offset: offset is None, lambda offset: offset == 0])
def test_input_that_makes_the_service_fail_is_found(makes_fail) -> None:
    """Valid or not, a 500 is nobody's answer to input."""
    exercised = run(
        lambda request: failure(500) if makes_fail(offset_of(request)) else invalid(), {"parameters": [OFFSET]}
    )

    assert exercised.found["ENV038"] == "500"


def test_service_that_is_offline_does_not_fail() -> None:
    """503 is not the input's fault."""
    exercised = run(lambda _: failure(503, **{"Retry-After": "60"}), {"parameters": [OFFSET]})

    assert exercised.found == {}
    assert exercised.outcome.reason == "no success came, only 503"


def test_exempt_operation_refuses_in_its_own_way() -> None:
    """Another specification says how."""
    exercised = run(
        lambda _: JSONResponse({"error": "invalid_request"}, 422),
        {"parameters": [OFFSET]},
        more={"x-envelope": {"exempt": ["GET /things"]}},
    )

    assert exercised.found == {}


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([401], "only 401 and 403 came; give credentials with --header"),
        ([423], "only 423 came: its objects were busy"),
        ([404, 410], "no success came, only 404, 410"),
    ],
)
def test_operation_without_a_success_says_what_came(statuses, reason) -> None:
    """So that nobody takes it for tested; its sample is the first response."""
    left = list(statuses)

    exercised = run(
        lambda _: failure(left.pop(0) if len(left) > 1 else left[0]),
        {"parameters": [parameter("query", "q", type="string")]},
    )

    assert exercised.outcome.reason == reason
    assert exercised.outcome.sample.status == statuses[0]


def test_rate_limit_ends_an_operation() -> None:
    """A 429 that asks for a long time is not waited for, and all that follow would be the same."""
    exercised = run(lambda _: failure(429, **{"Retry-After": "60"}), {"parameters": [OFFSET]})

    assert exercised.outcome.reason == "not tested to the end because of 429"
    assert exercised.sender.sent == 1


def test_operation_without_response_is_left_alone_after_two() -> None:
    """Each of them may last as long as the time-out; the finding shows the request."""
    described = document({"/things": {"get": {"parameters": [OFFSET]}}})
    contract, ledger = Contract(described), Ledger()
    with answering(hang_after(b"")) as url, closing(Sender(url, timeout_s=0.1)) as sender:
        outcome = exercise(
            contract.operations[0],
            Inputs(described, url, max_examples=9),
            contract=contract,
            sender=sender,
            ledger=ledger,
            objects=ShownObjects("content"),
        )

    assert sender.sent == 2
    assert outcome == (None, "not tested to the end because of requests without a complete response", True)
    [counted] = ledger.findings
    assert (counted.finding.rule.id, counted.finding.operation, counted.times) == ("ENV041", "GET /things", 2)
    assert counted.finding.came == "no complete response within 0.1 s"
    assert counted.finding.exchange is not None
    assert counted.finding.exchange.request.as_curl().startswith("curl -i")


def test_operation_that_never_answers_and_has_one_input_says_so() -> None:
    """There is nothing else to try."""
    described = document({"/things": {"get": {}}})
    contract = Contract(described)
    with answering(b"") as url, closing(Sender(url)) as sender:
        outcome = exercise(
            contract.operations[0],
            Inputs(described, url),
            contract=contract,
            sender=sender,
            ledger=Ledger(),
            objects=ShownObjects("content"),
        )

    assert outcome == (None, "no response came", False)


def test_examples_of_the_document_are_sent() -> None:
    """Nobody else knows which values a service has."""
    seen = []

    def answer(request: Request) -> Response:
        seen.append(request.query_params["kind"])
        return success()

    run(answer, {"parameters": [{**parameter("query", "kind", required=True, type="string"), "example": "z-77"}]})

    assert seen[0] == "z-77"


def test_known_objects_are_asked_for_and_new_ones_are_learned() -> None:
    """An id that a collection has shown leads to a success, which becomes the sample."""
    objects = ShownObjects("content")
    objects.add("/things", [{"id": 4711}])

    def answer(request: Request) -> Response:
        return success({"id": "p"}) if request.path_params["thing_id"] == "4711" else failure(404)

    parameters = [parameter("path", "thing_id", type="integer")]
    exercised = run(answer, {"parameters": parameters}, "POST", "/things/{thing_id}/parts", objects)

    assert exercised.outcome.sample.request.path == "/things/4711/parts"
    assert objects.parameters_for("/things/{thing_id}/parts/{id}") == [{"thing_id": 4711, "id": "p"}]


def test_path_parameter_that_is_no_number_is_tried() -> None:
    """A plain 400 for it has no list of problems."""
    parameters = [parameter("path", "id", type="integer")]
    exercised = run(
        lambda request: success() if request.path_params["id"].isdecimal() else failure(400),
        {"parameters": parameters},
        template="/things/{id}",
    )

    assert list(exercised.found) == ["ENV031"]


def test_same_seed_generates_the_same_and_another_does_not() -> None:
    """A finding can be found again."""
    described = document({"/things": {"post": {"requestBody": NAMED}}})
    [operation] = Contract(described).operations

    def generate(seed: int) -> list[Any]:
        inputs = Inputs(described, "http://h", max_examples=20, seed=seed)
        return [each.body for each in (*inputs.valid(operation), *inputs.invalid(operation))]

    assert generate(1) == generate(1)
    assert generate(1) != generate(2)


def test_configuration_of_schemathesis_is_not_read(tmp_path, monkeypatch) -> None:
    """A project may use schemathesis beside; its file is not ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schemathesis.toml").write_text("[generation]\nno-such-option = 1\n")

    Inputs(document({}), "http://h")


def test_document_that_cannot_be_read_is_refused() -> None:
    """By schemathesis' own exception."""
    with pytest.raises(SchemathesisError):
        Inputs({"openapi": "9.9.9", "info": {}, "paths": {}}, "http://h")


@pytest.mark.parametrize(
    "operation",
    [
        {"parameters": [parameter("query", "x", required=True, type="integer", minimum=2, maximum=1)]},
        {"parameters": [parameter("query", "x", required=True, **{"$ref": "#/nowhere"})]},
    ],
)
def test_operation_that_takes_no_valid_input_is_left_out(operation) -> None:
    """Nothing fits its schema, or the schema is not there."""
    exercised = run(lambda _: success(), operation)

    assert exercised.outcome.sample is None
    assert exercised.outcome.reason.startswith("no input could be generated")


def test_operation_that_takes_any_input_is_tested_without_invalid() -> None:
    """There is no invalid input for it, which is no reason to leave it out."""
    exercised = run(
        lambda _: success(), {"requestBody": {"content": {"application/json": {"schema": {}}}}}, "POST"
    )

    assert exercised.outcome.sample.status == 200
    assert exercised.outcome.reason is None


@pytest.mark.parametrize("example", ["a\r\nb", "\u0100"])
@pytest.mark.parametrize("where", ["header", "cookie"])
def test_value_that_http_cannot_carry_is_skipped(where, example) -> None:
    """A header field with a line break is no request, even if the document has it as an example."""
    odd = {**parameter(where, "X-A", required=True, type="string"), "example": example}
    exercised = run(lambda _: success(), {"parameters": [odd]})

    assert exercised.outcome.reason is None
    assert example not in str(exercised.outcome.sample.request.headers)


def test_body_that_nobody_can_write_leaves_the_operation_out() -> None:
    """No library knows how an object is written in that format."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    body = {"required": True, "content": {"application/x-nobody-knows": {"schema": schema}}}

    exercised = run(lambda _: success(), {"requestBody": body}, "POST")

    assert exercised.outcome == (None, "no input could be generated (SerializationNotPossible)", False)
