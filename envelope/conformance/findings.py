"""What can be found: the departures from the convention, each with an id that never changes.

An id that was published keeps its meaning; one that is given up is not used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from envelope.conformance.exchanges import Exchange


class Rule(NamedTuple):
    """A departure that can be found.

    Attributes:
        id: ``ENV001`` and so on; stable.
        title: What is wrong, in a few words: what a table shows.
        why: What the convention says, and what a client suffers; one or two sentences.
    """

    id: str
    title: str
    why: str


_TABLE = (
    # successes
    Rule(
        "ENV001",
        "success is not wrapped",
        'Every JSON success is {"status": "success", "content": ...}. A client that unwraps all answers '
        "in one place finds no content here.",
    ),
    Rule(
        "ENV002",
        "success is not sent as 200",
        "A success has one status, 200, whatever was done (unless the service keeps its own: "
        'success_status="keep"). A client that asks for 200 takes this one for a failure.',
    ),
    Rule(
        "ENV003",
        "success has other keys than the two",
        "The envelope has exactly two keys, so that nothing of a service can collide with them. What "
        "stands beside content is lost where the client unwraps.",
    ),
    Rule(
        "ENV004",
        "success has another status word",
        "The word is always the same, so that a client can compare it. Another one reads as a failure, or"
        " as something new.",
    ),
    Rule(
        "ENV005",
        "empty success has no content: null",
        "content is always there; where there is nothing to return it is null. A client that parses every"
        " body fails on an empty one.",
    ),
    Rule(
        "ENV006",
        "body is not JSON",
        "The Content-Type says JSON, the body is none (RFC 8259; NaN, Infinity and other charsets than "
        "UTF-8 are none either). The client's parser fails before it sees status or code.",
    ),
    Rule(
        "ENV007",
        "JSON body has another Content-Type",
        "Clients choose the parser by Content-Type, which is application/json. Under another type the "
        "body reaches the caller as text, unparsed.",
    ),
    Rule(
        "ENV008",
        "success is wrapped twice",
        "The envelope stands once around what the service returns. A client that unwraps once gets the "
        "second envelope for content.",
    ),
    # failures
    Rule(
        "ENV010",
        "failure is not in the convention's form",
        "Every failure, whoever made it, is an object of code, message and status. A client that cannot "
        "read one failure has to guess about all.",
    ),
    Rule(
        "ENV011",
        "code is not the status",
        "code repeats the HTTP status, as a number. If they differ, proxies and clients act on different "
        "failures.",
    ),
    Rule(
        "ENV012",
        "failure has another status word",
        "The word is always the same and is what tells a failure from a success where only the body is "
        "left, as in a queue or a log.",
    ),
    Rule(
        "ENV013",
        "message has another form",
        "message is a text; with an error code or a list of problems it is an object of error_code and "
        "message. Anything else cannot be shown or compared without knowing the endpoint.",
    ),
    Rule(
        "ENV014",
        "failure has other keys than the three",
        "A failure has exactly three keys, status among them. Details belong into message, where clients "
        "look for them.",
    ),
    Rule(
        "ENV015",
        "failure tells what went wrong inside",
        "A traceback, SQL, a path or the text of an exception helps an attacker and nobody else. It "
        "belongs into the log of the service.",
    ),
    Rule(
        "ENV016",
        "failure is sent with the status of a success",
        "A failure has a status from 400 on. With 200 it is cached, not retried and counted as a success "
        "by everything between service and client.",
    ),
    Rule(
        "ENV017",
        "success is sent with the status of a failure",
        "A success has a status of 2xx. With another one clients throw it away, raise an error, or send "
        "the request again.",
    ),
    # header fields
    Rule(
        "ENV018",
        "Retry-After is missing",
        "423, 429 and 503 say when it is worth trying again. Without it clients come back at once, all of them.",
    ),
    Rule(
        "ENV019",
        "Retry-After is not whole seconds from 1",
        "Clients sleep for this many seconds. A date needs a true clock, a fraction or text cannot be "
        "parsed, and 0 is a loop without a pause.",
    ),
    Rule(
        "ENV020",
        "401 has no WWW-Authenticate",
        "HTTP asks for a challenge with every 401 (RFC 9110, 15.5.2). Libraries need it to know which "
        "credentials to send.",
    ),
    Rule(
        "ENV021",
        "405 has no Allow",
        "HTTP asks for the allowed methods with every 405 (RFC 9110, 15.5.6). Without them the client can"
        " only guess.",
    ),
    Rule(
        "ENV022",
        "rate-limit fields contradict themselves",
        "X-RateLimit-* and RateLimit say how much is left and until when; Reset is UTC epoch seconds. A "
        "client that paces itself by figures that cannot be true waits for nothing, or is refused.",
    ),
    # how a service answers what is wrong
    Rule(
        "ENV030",
        "invalid input is not answered with 400",
        "A request that does not fit the document is the client's mistake: 400. Another status sends the "
        "client to another branch, and 2xx means that the input was taken as it was.",
    ),
    Rule(
        "ENV031",
        "invalid input has no error code and list of problems",
        "What is wrong with the input is said as error_code and a list of texts. Without them a form "
        "cannot show what to correct.",
    ),
    Rule(
        "ENV032",
        "malformed JSON is not answered with 400",
        "A body that is no JSON is invalid input: 400. As a 500 it wakes somebody up, as a 2xx it hides a"
        " broken client.",
    ),
    Rule(
        "ENV033",
        "NaN is accepted as JSON",
        "NaN and Infinity are not JSON (RFC 8259, 6). A service that reads them stores values that no "
        "other parser will take back.",
    ),
    Rule(
        "ENV034",
        "unknown path is not answered with 404",
        "What is not there is a 404, as a failure of the convention. The framework's own answer is the "
        "first that a client with a wrong URL meets.",
    ),
    Rule(
        "ENV035",
        "wrong method is not answered with 405",
        "A resource without this method is a 405, with Allow. A 404 says that the resource is gone.",
    ),
    Rule(
        "ENV036",
        "wrong Content-Type is not refused",
        "A body of another type than the document names has not been understood and is refused with 400 "
        "or 415. Read by guesswork it means something else one day; it is also how forms of other sites "
        "get past CORS.",
    ),
    Rule(
        "ENV037",
        "missing credentials are not answered with 401",
        "Without credentials the answer is 401, not 403 and not data. Clients renew their token at a 401 "
        "and give up at a 403.",
    ),
    Rule(
        "ENV038",
        "input makes the service fail",
        "Input never makes a service fail: what it cannot take it refuses with 400. A 500 is retried, "
        "raises an alarm, and shows where to attack.",
    ),
    Rule(
        "ENV039",
        "HEAD is not GET without the body",
        "HEAD has status and header fields of GET and no body (RFC 9110, 9.3.2). Caches and monitors "
        "believe what it says.",
    ),
    Rule(
        "ENV040",
        "declared rate limit never refuses",
        "The document or the rate-limit fields name a limit, and nobody was refused beyond it. Clients "
        "pace themselves for nothing, and the service is not protected.",
    ),
    Rule(
        "ENV041",
        "no complete response",
        "The connection ended before a response was complete, or none came in time. The client cannot "
        "know whether anything was done.",
    ),
    # the OpenAPI document
    Rule(
        "ENV050",
        "document is not valid OpenAPI",
        "Generators and validators refuse such a document or, worse, skip a part of it.",
    ),
    Rule(
        "ENV051",
        "document shows a success without the envelope",
        "Generated clients parse what the document shows. Without the envelope they look for fields where"
        " status and content are.",
    ),
    Rule(
        "ENV052",
        "document shows another status than is sent",
        "Successes are sent as 200. A generated client that knows 201 or 204 only takes the real answer "
        "for undocumented.",
    ),
    Rule(
        "ENV053",
        "document shows FastAPI's 422",
        "Invalid input is answered with 400 in the form of a failure. FastAPI's 422 with detail is never "
        "sent, and clients handle what does not come.",
    ),
    Rule(
        "ENV054",
        "document leaves out a failure",
        "Bad input, missing credentials, unknown objects and crashes have answers, and clients are "
        "generated from the document. What is not in it ends as an unexpected status.",
    ),
    Rule(
        "ENV055",
        "document shows a failure in another form",
        "All failures have one form. A client generated from this document reads this one wrongly.",
    ),
    Rule(
        "ENV056",
        "status is not in the document",
        "The document names the statuses that an operation answers with. A generated client has no branch"
        " for another one.",
    ),
    Rule(
        "ENV057",
        "Content-Type is not in the document",
        "The document names the types that an operation answers with. A generated client parses by it.",
    ),
    Rule(
        "ENV058",
        "body does not fit the document",
        "The body does not validate against the schema of the document. A generated client fails on it, "
        "or drops what it does not know.",
    ),
)

#: By id.
RULES = {rule.id: rule for rule in _TABLE}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One departure of one service.

    Attributes:
        rule: Which.
        operation: ``"GET /entities/{entity_id}"`` as the document names it; the path if it names none.
        expected: What the convention asks for here.
        came: What was seen; quotes no more of a body than is needed, and no credentials.
        exchange: The request that shows it; None if the document alone does.
    """

    rule: Rule
    operation: str
    expected: str
    came: str
    exchange: Exchange | None = None
