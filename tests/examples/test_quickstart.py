"""The quickstart, driven over HTTP as its first lines promise."""

from __future__ import annotations

import shlex

from tests.examples.conftest import Start

ADA = {"email": "ada@example.com", "name": "Ada", "date_of_birth": "1815-12-10"}


def test_quickstart_prints_curl_lines_that_work(start_example: Start) -> None:
    """What each of the three printed lines asks for is answered as the convention says."""
    client, printed = start_example("quickstart.py")
    lines = [shlex.split(line) for line in printed if line.strip().startswith("curl ")]

    responses = [
        client.post(line[2], content=line[6], headers={"content-type": "application/json"})
        if "-d" in line
        else client.get(line[2])
        for line in lines
    ]

    assert [response.status_code for response in responses] == [200, 400, 200]
    assert responses[1].json()["message"] == {
        "error_code": "invalid_input",
        "message": ["'offset' is a required property"],
    }


def test_quickstart_serves_an_entity_from_creation_to_deletion(start_example: Start) -> None:
    """Create, list, get, update and delete answer with 200 and the content in its envelope."""
    client, _ = start_example("quickstart.py")
    ada = {**ADA, "id": 1, "status": "unverified"}

    created = client.post("/entities", json=ADA)
    listed = client.get("/entities", params={"offset": 0, "limit": 10})
    found = client.get("/entities/1")
    updated = client.put("/entities/1", json={**ADA, "name": "Ada Lovelace"})
    deleted = client.delete("/entities/1")
    gone = client.get("/entities/1")

    assert [r.status_code for r in (created, listed, found, updated, deleted, gone)] == [200] * 5 + [404]
    assert created.json() == found.json() == {"status": "success", "content": ada}
    assert created.headers["location"] == "/entities/1"
    assert listed.json() == {"status": "success", "content": [ada]}
    assert updated.json()["content"]["name"] == "Ada Lovelace"
    assert deleted.json() == {"status": "success", "content": None}


def test_quickstart_fails_in_the_shapes_of_the_convention(start_example: Start) -> None:
    """400, 404, 405, 409 and 500 have the failure's shape, and the 500 says nothing."""
    client, _ = start_example("quickstart.py")
    client.post("/entities", json=ADA)

    responses = [
        client.get("/entities"),
        client.post("/entities", content=b'{"email": NaN}', headers={"content-type": "application/json"}),
        client.get("/entities/2"),
        client.get("/nothing/here"),
        client.patch("/entities"),
        client.post("/entities", json=ADA),
        client.get("/bug"),
    ]

    assert [r.status_code for r in responses] == [400, 400, 404, 404, 405, 409, 500]
    for response in responses:
        body = response.json()
        assert list(body) == ["code", "message", "status"]
        assert (body["code"], body["status"]) == (response.status_code, "failure")
    assert responses[5].json()["message"] == {
        "error_code": "resource_conflict",
        "message": "Entity already exists",
    }
    assert responses[6].json()["message"] == "Internal Server Error"
