"""The tiers example, driven over HTTP: in one process, and on a server that two processes share."""

from __future__ import annotations

import httpx
import pytest

from tests.examples.conftest import Start
from tests.servers.server import Server

FREE = {"x-api-key": "free-token"}
PAID = {"x-api-key": "paid-token"}


def remaining(response: httpx.Response) -> dict[str, int]:
    """Read what is left of each limit from the draft's field."""
    items = [item.partition(";r=") for item in response.headers["ratelimit"].split(", ")]
    return {name.strip('"'): int(rest.partition(";")[0]) for name, _, rest in items}


def test_tiers_have_their_own_limits(start_example: Start) -> None:
    """Nobody gets three requests a minute, a free account ten, a paying one more; health is free for all."""
    client, _ = start_example("tiers.py")

    anonymous = [client.get("/entities/1").status_code for _ in range(4)]
    unknown = client.get("/entities/1", headers={"x-api-key": "guessed"})
    free = [client.get("/entities/1", headers=FREE).status_code for _ in range(11)]
    paid = [client.get("/entities/1", headers=PAID).status_code for _ in range(12)]

    assert anonymous == [200, 200, 200, 429]
    assert unknown.status_code == 429
    assert unknown.json() == {
        "code": 429,
        "message": "You have reached the request rate limit. Try your request again later.",
        "status": "failure",
    }
    assert 1 <= int(unknown.headers["retry-after"]) <= 120
    assert free == [200] * 10 + [429]
    assert paid == [200] * 12
    assert client.get("/health").status_code == 200


def test_a_verification_is_charged_what_it_took(start_example: Start) -> None:
    """Three are charged, and what the verification did not need goes back; the tier's own limits count requests."""
    client, _ = start_example("tiers.py")

    one = client.post("/entities/3/verify", headers=FREE)
    three = client.post("/entities/2/verify", headers=FREE)
    refused = client.post("/entities/3/verify", headers=FREE)

    assert one.json()["content"]["checks"] == "1"
    limit = "6/minute POST /entities/{entity_id}/verify"
    assert remaining(one) == {"10/minute": 9, "100/day": 99, limit: 5}
    assert remaining(three) == {"10/minute": 8, "100/day": 98, limit: 2}
    assert refused.status_code == 429
    assert remaining(refused) == remaining(three)


def test_processes_share_a_server(start_example: Start, valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a server by its URL, two processes count together."""
    valkey.flush()
    monkeypatch.setenv("STORAGE", valkey.url)
    clients = [start_example("tiers.py")[0] for _ in range(2)]

    statuses = [clients[index % 2].get("/entities/1", headers=FREE).status_code for index in range(12)]

    assert statuses == [200] * 10 + [429] * 2
    assert not [key for key in valkey.call("KEYS", "*") if "token" in key or "Curious" in key]
