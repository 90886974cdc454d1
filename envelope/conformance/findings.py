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
    ("ENV001", "success is not wrapped", ""),
    ("ENV002", "success is not sent as 200", ""),
    ("ENV003", "success has other keys than the two", ""),
    ("ENV004", "success has another status word", ""),
    ("ENV005", "empty success has no content: null", ""),
    ("ENV006", "body is not JSON", ""),
    ("ENV007", "JSON body has another Content-Type", ""),
    ("ENV008", "success is wrapped twice", ""),
    # failures
    ("ENV010", "failure is not in the convention's form", ""),
    ("ENV011", "code is not the status", ""),
    ("ENV012", "failure has another status word", ""),
    ("ENV013", "message has another form", ""),
    ("ENV014", "failure has other keys than the three", ""),
    ("ENV015", "failure tells what went wrong inside", ""),
    ("ENV016", "failure is sent with the status of a success", ""),
    ("ENV017", "success is sent with the status of a failure", ""),
    # header fields
    ("ENV018", "Retry-After is missing", ""),
    ("ENV019", "Retry-After is not whole seconds from 1", ""),
    ("ENV020", "401 has no WWW-Authenticate", ""),
    ("ENV021", "405 has no Allow", ""),
    ("ENV022", "rate-limit fields contradict themselves", ""),
    # how a service answers what is wrong
    ("ENV030", "invalid input is not answered with 400", ""),
    ("ENV031", "invalid input has no error code and list of problems", ""),
    ("ENV032", "malformed JSON is not answered with 400", ""),
    ("ENV033", "NaN is accepted as JSON", ""),
    ("ENV034", "unknown path is not answered with 404", ""),
    ("ENV035", "wrong method is not answered with 405", ""),
    ("ENV036", "wrong Content-Type is not refused", ""),
    ("ENV037", "missing credentials are not answered with 401", ""),
    ("ENV038", "input makes the service fail", ""),
    ("ENV039", "HEAD is not GET without the body", ""),
    ("ENV040", "declared rate limit never refuses", ""),
    ("ENV041", "no complete response", ""),
    # the OpenAPI document
    ("ENV050", "document is not valid OpenAPI", ""),
    ("ENV051", "document shows a success without the envelope", ""),
    ("ENV052", "document shows another status than is sent", ""),
    ("ENV053", "document shows FastAPI's 422", ""),
    ("ENV054", "document leaves out a failure", ""),
    ("ENV055", "document shows a failure in another form", ""),
    ("ENV056", "status is not in the document", ""),
    ("ENV057", "Content-Type is not in the document", ""),
    ("ENV058", "body does not fit the document", ""),
)

#: By id.
RULES = {rule.id: rule for rule in (Rule(*row) for row in _TABLE)}


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
