"""Probes: for each, a service that answers well and some that do not."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from envelope.conformance.asking.probes import PROBES_OF_AN_OPERATION, PROBES_OF_THE_SERVICE, Subject, probe
from envelope.conformance.asking.sending import Sender
from envelope.conformance.contracts.contract import Contract
from envelope.conformance.exchanges import Exchange
from envelope.conformance.ledger import Ledger
from tests.conformance.services import answering, document, hang_after, json_body, parameter, sender_to

ENTITY = json_body({"name": {"type": "string"}, "score": {"type": "number"}}, ["name"])
SECURITY: dict[str, Any] = {"security": [{"bearer": []}]}
HEADERS = (("Authorization", "Bearer t"),)


def success(content=None, **headers) -> Response:
    return JSONResponse({"status": "success", "content": content}, headers=headers)


def failure(status: int, **headers) -> Response:
    return JSONResponse({"code": status, "message": "No.", "status": "failure"}, status, headers=headers)


class Probed(NamedTuple):
    found: dict[str, str]
    notes: list[Any]
    sent: list[Exchange]


def probed(
    operation, answer, method="GET", body=None, content_type="application/json", found=(), **options
) -> Probed:
    """Ask what is asked of one operation, after one good exchange with it."""
    contract, ledger = Contract(document({"/things": {method.lower(): operation}})), Ledger()

    async def endpoint(request: Request) -> Response:
        request.state.body = await request.body()
        response: Response = answer(request)
        return response

    routes = [Route("/things", endpoint, methods=[method, "HEAD", "PROPFIND"])]
    with sender_to(Starlette(routes=routes), sleep=pytest.fail, **options) as (sender, seen):
        headers = (("Content-Type", content_type),) if body is not None else ()
        raw = None if body is None else json.dumps(body).encode()
        sample = sender.send(sender.request(method, "/things", headers=headers, body=raw))
        for rule in found:
            ledger.found(rule, f"{method} /things", expected="", came="", exchange=sample)
        subject = Subject(
            contract=contract,
            sender=sender,
            samples={f"{method} /things": sample},
            operation=contract.operations[0],
        )
        notes = probe(PROBES_OF_AN_OPERATION, subject, ledger)
    rules = {each.finding.rule.id: each.finding.came for each in ledger.findings}
    return Probed({rule: came for rule, came in rules.items() if rule not in found}, notes, seen[1:])


def parsed(request: Request):
    """Read JSON as RFC 8259 has it; None for what is none."""

    def refuse(word: str):
        raise ValueError(word)

    try:
        return json.loads(request.state.body, parse_constant=refuse)
    except ValueError:
        return None


def careful(request: Request) -> Response:
    """Answer as the convention says."""
    if request.headers.get("content-type") != "application/json":
        return failure(415)
    return failure(400) if parsed(request) is None else success()


def test_service_that_reads_json_with_care_has_no_finding() -> None:
    """It is sent malformed JSON, NaN where a number may be, and JSON as text."""
    asked = probed({"requestBody": ENTITY}, careful, "POST", {"name": "Ada", "score": 1})

    assert asked.found == {}
    assert asked.notes == []
    assert [each.request.body for each in asked.sent] == [
        b'{"',
        b'{"name": "Ada", "score": NaN}',
        b'{"name": "Ada", "score": 1}',
    ]
    assert asked.sent[2].request.headers == (("Content-Type", "text/plain"),)


@pytest.mark.parametrize(
    ("body", "schema", "with_nan"),
    [
        ({"a": "x"}, {"properties": {"a": {"type": "string"}}}, b'{"a": NaN}'),
        ({"a": "x"}, {"type": "object"}, b"NaN"),
        ([1, 2], {"type": "array"}, b"[NaN]"),
        ("x", {"type": "string"}, b"NaN"),
    ],
)
def test_nan_stands_where_something_is_read(body, schema, with_nan) -> None:
    """If there is no number, in the place of something that the document names; else alone."""
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}

    assert probed(operation, careful, "PUT", body).sent[1].request.body == with_nan


@pytest.mark.parametrize("status", [200, 422, 415, 500, 307])
def test_malformed_json_that_is_not_answered_with_400_is_found(status) -> None:
    """Also 415: its Content-Type is right."""

    def answer(request: Request) -> Response:
        return JSONResponse({}, status) if request.state.body == b'{"' else careful(request)

    assert probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}).found == {"ENV032": str(status)}


@pytest.mark.parametrize("status", [401, 403, 404, 413])
def test_failure_before_the_body_is_read_is_no_finding(status) -> None:
    """Who asks, and what for, may be looked at first."""

    def answer(request: Request) -> Response:
        return failure(status) if request.state.body == b'{"' else careful(request)

    assert probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}).found == {}


@pytest.mark.parametrize("status", [200, 500])
def test_nan_that_is_accepted_is_found(status) -> None:
    """Python's own parser takes it."""

    def answer(request: Request) -> Response:
        return JSONResponse({}, status) if b"NaN" in request.state.body else careful(request)

    assert probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}).found == {"ENV033": str(status)}
    assert probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}, found=["ENV032"]).found == {}


@pytest.mark.parametrize("status", [200, 500])
def test_json_that_is_sent_as_text_and_read_is_found(status) -> None:
    """A browser sends text to other sites without asking; a failure of the service is no refusal either."""

    def answer(request: Request) -> Response:
        return JSONResponse({}, status) if request.headers["content-type"] == "text/plain" else careful(request)

    assert probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}).found == {"ENV036": str(status)}


def test_conflict_says_that_wrong_json_was_read() -> None:
    """Unless valid input meets it as well."""
    known: list[bytes] = []

    def answer(request: Request) -> Response:
        if request.state.body == b'{"':
            return failure(400)
        known.append(request.state.body)
        return success() if len(known) == 1 else failure(409)

    found = probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}).found

    assert found == {"ENV033": "409", "ENV036": "409"}
    assert probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"}).found == {}


@pytest.mark.parametrize("content", [{"text/plain": {}}, {"application/json": {}, "text/plain": {}}])
def test_operation_that_reads_something_else_is_not_sent_wrong_json(content) -> None:
    """It may read what is no JSON."""
    assert probed({"requestBody": {"content": content}}, careful, "POST", "x").sent == []


@pytest.mark.parametrize("status", [200, 403, 404, 400])
def test_missing_credentials_that_are_not_answered_with_401_are_found(status) -> None:
    """The user's header fields are left out, and only they."""

    def answer(request: Request) -> Response:
        return success() if "authorization" in request.headers else failure(status)

    asked = probed(SECURITY, answer, "DELETE", headers=HEADERS)

    assert asked.found == ({"ENV037": str(status)})
    assert "authorization" not in dict(asked.sent[0].request.headers)


@pytest.mark.parametrize("operation", [SECURITY, {}, {"security": [{}, {"bearer": []}]}])
def test_service_that_asks_for_credentials_where_it_says_so_has_no_finding(operation) -> None:
    """Where they are optional or not declared, nothing is asked."""

    def answer(request: Request) -> Response:
        return success() if "authorization" in request.headers else failure(401, **{"WWW-Authenticate": "Bearer"})

    asked = probed(operation, answer, "DELETE", headers=HEADERS)

    assert asked.found == {}
    assert len(asked.sent) == (1 if operation is SECURITY else 0)


HEAD_OF_GET = {"content-type": "application/json", "content-length": "35"}


@pytest.mark.parametrize(
    ("head", "came"),
    [
        (lambda: failure(404), "404, but GET 200"),
        (lambda: Response(status_code=204), "204, but GET 200"),
        (
            lambda: Response(media_type="text/html"),
            "content-type: text/html; charset=utf-8, but GET has application/json",
        ),
        (
            lambda: Response(headers={"content-type": "application/json", "content-length": "0"}),
            "content-length: 0, but GET has 35",
        ),
    ],
)
def test_head_that_is_not_that_of_get_is_found(head, came) -> None:
    """Status, type and length are compared."""
    asked = probed({}, lambda request: head() if request.method == "HEAD" else success())

    assert asked.found == {"ENV039": came}


@pytest.mark.parametrize(
    "head",
    [
        success,
        lambda: failure(405, Allow="GET"),
        lambda: Response(media_type="application/json", headers={"transfer-encoding": "chunked"}),
    ],
)
def test_head_that_is_that_of_get_is_no_finding(head) -> None:
    """A service need not know the length, nor the method."""
    asked = probed({}, lambda request: head() if request.method == "HEAD" else success())

    assert asked.found == {}
    assert [each.request.method for each in asked.sent] == ["GET", "HEAD", "GET"]


def test_head_is_not_held_against_what_changes_by_itself() -> None:
    """Two GETs with different lengths or statuses say nothing of HEAD."""
    lengths, statuses = iter(range(99)), iter([200, 200, 500, 404])

    assert probed({}, lambda _: success("x" * next(lengths))).found == {}
    assert probed({}, lambda _: JSONResponse({}, next(statuses))).found == {}


@pytest.mark.parametrize("status", [423, 429, 503])
def test_probe_that_meets_a_limit_is_noted(status) -> None:
    """It says nothing of the operation."""

    def answer(request: Request) -> Response:
        return failure(status) if request.state.body == b'{"' else careful(request)

    asked = probed({"requestBody": ENTITY}, answer, "POST", {"name": "Ada"})

    assert asked.found == {}
    assert asked.notes == [("POST /things", f"ENV032 not tested because of {status}")]


@pytest.mark.parametrize("limited", ["GET", "HEAD"])
def test_head_that_meets_a_limit_is_noted(limited) -> None:
    """Either way it cannot be compared."""
    count = iter(range(9))

    def answer(request: Request) -> Response:
        return failure(429) if request.method == limited and next(count) == (limited == "GET") else success()

    asked = probed({}, answer)

    assert asked.found == {}
    assert asked.notes == [("GET /things", "ENV039 not tested because of 429")]


# The service as a whole


def asked_of_service(paths, routes, samples=(), burst=0) -> Probed:
    contract, ledger = Contract(document(paths)), Ledger()
    with sender_to(Starlette(routes=routes), sleep=pytest.fail) as (sender, seen):
        taken = {f"{method} {path}": sender.send(sender.request(method, path)) for method, path in samples}
        subject = Subject(contract=contract, sender=sender, samples=taken, burst=burst)
        notes = probe(PROBES_OF_THE_SERVICE, subject, ledger)
    found = {f"{each.finding.rule.id} {each.finding.operation}": each.finding.came for each in ledger.findings}
    return Probed(found, notes, seen[len(samples) :])


def fine(_: Request) -> Response:
    return success()


def test_starlette_keeps_the_convention_for_paths_and_methods() -> None:
    """An unknown path is 404; a method that a path does not have is 405, asked for with safe methods only."""
    asked = asked_of_service(
        {
            "/things": {"get": {}},
            "/things/{id}": {"put": {"parameters": [parameter("path", "id", format="uuid")]}},
        },
        [Route("/things", fine), Route("/things/{id:uuid}", fine, methods=["PUT"])],
    )

    assert asked.found == {}
    assert [(each.request.method, each.request.path, each.status) for each in asked.sent] == [
        ("GET", "/envelope-check-knows-no-such-path", 404),
        ("PROPFIND", "/things", 405),
        ("GET", "/things/00000000-0000-4000-8000-000000000000", 405),
    ]


@pytest.mark.parametrize("status", [200, 403, 400, 500])
def test_unknown_path_that_is_not_answered_with_404_is_found(status) -> None:
    """A page for every path is what a client reads as success."""
    asked = asked_of_service({}, [Route("/{path:path}", lambda _: JSONResponse({}, status))])

    assert asked.found == {"ENV034 GET /envelope-check-knows-no-such-path": str(status)}


def test_service_that_has_every_path_is_not_asked_for_an_unknown_one() -> None:
    """Its document says so."""
    asked = asked_of_service({"/{path}": {"get": {}}}, [Route("/{path:path}", fine)])

    assert [each.request.method for each in asked.sent] == ["PROPFIND"]


@pytest.mark.parametrize("status", [200, 404, 501])
def test_wrong_method_that_is_not_answered_with_405_is_found(status) -> None:
    """GET and PROPFIND were tried."""
    answer = Route("/things", lambda _: JSONResponse({}, status), methods=["GET", "PROPFIND"])
    asked = asked_of_service({"/things": {"post": {}}}, [answer])

    assert asked.found == {"ENV035 GET /things": str(status)}
    assert len(asked.sent) == 3


def test_route_that_is_not_in_the_document_is_no_finding() -> None:
    """It may serve GET; then another method tells."""
    asked = asked_of_service({"/things": {"post": {}}}, [Route("/things", fine)])

    assert asked.found == {}


def test_wrong_method_is_asked_where_an_object_is() -> None:
    """With an id that was made up, 404 may come first."""
    routes = [
        Route("/things/{id}", lambda request: success() if request.path_params["id"] == "7" else failure(404))
    ]
    paths = {"/things/{id}": {"put": {"parameters": [parameter("path", "id", type="integer")]}}}

    asked = asked_of_service(paths, [Route("/things/{id}", fine, methods=["PUT"])])
    assert [each.request.path for each in asked.sent] == ["/envelope-check-knows-no-such-path", "/things/1"]
    missing = asked_of_service(paths, routes=[])
    assert missing.found == {}

    contract, ledger = Contract(document(paths)), Ledger()
    with sender_to(Starlette(routes=routes)) as (sender, seen):
        sample = sender.send(sender.request("GET", "/things/7"))
        probe(
            PROBES_OF_THE_SERVICE,
            Subject(contract=contract, sender=sender, samples={"PUT /things/{id}": sample}),
            ledger,
        )
    assert seen[-1].request.path == "/things/7"


def test_exempt_path_is_not_asked_for_a_wrong_method() -> None:
    """Another specification says what it answers."""
    contract = Contract(document({"/things": {"post": {}}}), exempt=["POST /things"])
    with sender_to(Starlette()) as (sender, seen):
        probe(PROBES_OF_THE_SERVICE, Subject(contract=contract, sender=sender, samples={}), Ledger())

    assert len(seen) == 1


LIMITED = {"responses": {"200": {"description": "Fine."}, "429": {"description": "Too many."}}}


@pytest.mark.parametrize(("limit", "burst"), [(3, 5), (4, 5)])
def test_rate_limit_that_refuses_is_no_finding(limit, burst) -> None:
    """No more is sent than it takes."""
    count = iter(range(99))
    routes = [Route("/things", lambda _: failure(429) if next(count) >= limit else success())]

    asked = asked_of_service({"/things": {"get": dict(LIMITED)}}, routes, [("GET", "/things")], burst)

    assert asked.found == {}
    assert [each.status for each in asked.sent].count(429) == 1


def test_rate_limit_that_never_refuses_is_found() -> None:
    """Only where the document declares it, and where the operation could be exercised."""
    paths = {"/things": {"get": dict(LIMITED)}, "/free": {"get": {}}, "/unseen": {"get": dict(LIMITED)}}
    routes = [Route(path, fine) for path in paths]
    asked = asked_of_service(paths, routes, [("GET", "/things"), ("GET", "/free")], 5)

    assert asked.found == {"ENV040 GET /things": "5 requests and no 429"}
    assert len(asked.sent) == 1 + 3 + 5


@pytest.mark.parametrize(
    ("fields", "is_found"),
    [
        ({"X-RateLimit-Remaining": "9{}"}, False),
        ({"RateLimit": '"1hour";r=9{};t=3600'}, False),
        ({"X-RateLimit-Remaining": "95"}, True),  # and does not fall: nobody counts
        ({"X-RateLimit-Remaining": "0"}, True),
        ({"RateLimit": '"1hour";r=0;t=3600'}, True),
        ({"X-RateLimit-Remaining": "many"}, True),
    ],
)
def test_rate_limit_above_the_burst_is_noted(fields, is_found) -> None:
    """The service says itself that requests are left."""
    left = itertools.cycle(range(9, -1, -1))

    def count(_: Any) -> Any:
        number = next(left)
        return success(**{name: value.format(number) for name, value in fields.items()})

    routes = [Route("/things", count)]

    asked = asked_of_service({"/things": {"get": dict(LIMITED)}}, routes, [("GET", "/things")], 5)

    assert bool(asked.found) is is_found
    note = "ENV040 not tested because of a limit above 5 requests; allow more with --burst"
    assert asked.notes == ([] if is_found else [("GET /things", note)])


def test_no_burst_is_sent_unless_it_is_allowed() -> None:
    """It may be somebody's production."""
    asked = asked_of_service({"/things": {"get": dict(LIMITED)}}, [Route("/things", fine)], [("GET", "/things")])

    assert len(asked.sent) == 2


def test_probe_without_a_response_is_a_finding() -> None:
    """As every request that is not answered."""
    ledger = Ledger()
    with answering(hang_after(b"")) as url:
        sender = Sender(url, timeout_s=0.1)
        probe(PROBES_OF_THE_SERVICE, Subject(contract=Contract(document({})), sender=sender, samples={}), ledger)
        sender.close()

    assert [(each.finding.rule.id, each.finding.came) for each in ledger.findings] == [
        ("ENV041", "no complete response within 0.1 s")
    ]
