"""The Starlette example, driven over HTTP."""

from __future__ import annotations

from tests.examples.conftest import Start


def test_starlette_app_speaks_the_convention(start_example: Start) -> None:
    """Successes and failures of plain Starlette routes come in the envelope, plain text does not."""
    client, _ = start_example("starlette_app.py")

    created = client.post("/entities", json={"name": "Ada"})
    found = client.get("/entities/1")
    failures = [
        client.post("/entities", json={"name": "Ada"}),
        client.post("/entities", json={}),
        client.post("/entities", content=b"\xff", headers={"content-type": "application/json"}),
        client.post("/entities", content=b'{"name": "Bob"}', headers={"content-type": "text/plain"}),
        client.get("/entities/2"),
        client.delete("/entities/1"),
    ]

    assert created.json() == {"status": "success", "content": {"id": 1}}
    assert found.json() == {"status": "success", "content": {"id": 1, "name": "Ada"}}
    assert (
        [r.status_code for r in failures] == [r.json()["code"] for r in failures] == [409, 400, 400, 415, 404, 405]
    )
    assert client.get("/health").text == "ok"
