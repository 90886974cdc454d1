"""The shop's own tests. They know nothing of envelopes, and were not changed for them."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.testing.shop.app import Item, Store, StoredItem, get_store

GOOD = {"Authorization": "Bearer good"}


def test_list_has_both_items(client: TestClient) -> None:
    """The list is an array."""
    response = client.get("/items")

    assert response.status_code == 200
    assert [item["name"] for item in response.json()] == ["lamp", "chair"]


def test_list_obeys_limit(client: TestClient) -> None:
    """One item is asked for."""
    assert client.get("/items", params={"limit": 1}).json() == [{"name": "lamp", "price": 20.5, "id": 1}]


def test_item_reads_byte_for_byte(client: TestClient) -> None:
    """Key order and numbers are those of the model."""
    response = client.get("/items/1")

    assert response.content == b'{"name":"lamp","price":20.5,"id":1}'
    assert response.headers["content-length"] == "35"
    assert response.headers["content-type"] == "application/json"


def test_item_missing_is_404_with_text(client: TestClient) -> None:
    """The detail is a text."""
    response = client.get("/items/9")

    assert response.status_code == 404
    assert response.json() == {"detail": "Item not found"}


def test_item_id_that_is_no_number_is_422(client: TestClient) -> None:
    """FastAPI's own list of problems, whole."""
    response = client.get("/items/lamp")

    assert response.status_code == 422
    assert response.json() == {
        "detail": [
            {
                "type": "int_parsing",
                "loc": ["path", "item_id"],
                "msg": "Input should be a valid integer, unable to parse string as an integer",
                "input": "lamp",
            }
        ]
    }


def test_add_is_201_with_location(client: TestClient) -> None:
    """Status, header and body of what was made."""
    response = client.post("/items", json={"name": "desk", "price": 120}, headers=GOOD)

    assert response.status_code == 201
    assert response.headers["location"] == "/items/3"
    assert StoredItem(**response.json()) == StoredItem(id=3, name="desk", price=120)


def test_add_without_credentials_is_401(client: TestClient) -> None:
    """The challenge is there."""
    response = client.post("/items", json={"name": "desk", "price": 120})

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {"detail": "Not authenticated"}


def test_add_twice_is_409_with_dictionary(client: TestClient) -> None:
    """The detail is an object."""
    response = client.post("/items", json={"name": "lamp", "price": 1}, headers=GOOD)

    assert response.status_code == 409
    assert response.json()["detail"] == {"reason": "exists", "name": "lamp"}


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({"price": 1}, ["body", "name"], "missing"),
        ({"name": "", "price": 1}, ["body", "name"], "string_too_short"),
        ({"name": "x", "price": 0}, ["body", "price"], "greater_than"),
        ({"name": "x", "price": "much"}, ["body", "price"], "float_parsing"),
        ([], ["body"], "model_attributes_type"),
    ],
)
def test_add_of_wrong_body_is_422(client: TestClient, body: object, loc: list[str], kind: str) -> None:
    """Where and what is wrong."""
    response = client.post("/items", json=body, headers=GOOD)

    assert response.status_code == 422
    problem = response.json()["detail"][0]
    assert (problem["loc"], problem["type"]) == (loc, kind)
    assert problem["msg"]


def test_add_of_malformed_json_is_422(client: TestClient) -> None:
    """The place in the text is told."""
    response = client.post("/items", content=b'{"name": ', headers=GOOD | {"Content-Type": "application/json"})

    assert response.status_code == 422
    assert response.json()["detail"][0]["type"] == "json_invalid"


def test_replace_is_seen_by_get(client: TestClient) -> None:
    """A PUT changes what a GET gives."""
    client.put("/items/1", json=Item(name="torch", price=9).model_dump()).raise_for_status()

    assert client.get("/items/1").json()["name"] == "torch"


def test_delete_is_204_without_body(client: TestClient) -> None:
    """Nothing comes back, nor its length."""
    response = client.delete("/items/1")

    assert response.status_code == 204
    assert response.content == b""
    assert "content-length" not in response.headers
    assert client.get("/items/1").status_code == 404


def test_order_mails_in_the_background(client: TestClient, app: FastAPI) -> None:
    """The task has run when the test goes on."""
    response = client.post("/items/1/order")

    assert response.status_code == 202
    assert response.json() == {"ordered": 1}
    assert app.state.store.mails == ["ordered 1"]


def test_order_of_what_is_sold_out_is_410(client: TestClient) -> None:
    """The application's own handler answers in its own way."""
    response = client.post("/items/2/order")

    assert response.status_code == 410
    assert response.headers["x-restock"] == "soon"
    assert response.json() == {"error": "out of stock", "item": 2}


def test_upload_reads_form_and_file(client: TestClient) -> None:
    """Multipart."""
    response = client.post(
        "/items/1/photo", data={"title": "front"}, files={"photo": ("lamp.png", b"\x89PNG", "image/png")}
    )

    assert response.json() == {"title": "front", "name": "lamp.png", "size": 4}


def test_upload_without_title_is_422(client: TestClient) -> None:
    """A field of the form is missing."""
    response = client.post("/items/1/photo", files={"photo": b"x"})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "title"]


def test_download_is_a_file(client: TestClient) -> None:
    """With name and type."""
    response = client.get("/items/1/photo")

    assert response.headers["content-disposition"] == 'attachment; filename="photo.py"'
    assert response.text.startswith('"""The service')


def test_download_of_a_range_is_206(client: TestClient) -> None:
    """Four bytes of the file."""
    response = client.get("/items/1/photo", headers={"Range": "bytes=3-6"})

    assert response.status_code == 206
    assert response.text == "The "


def test_export_streams_csv(client: TestClient) -> None:
    """Line by line."""
    with client.stream("GET", "/export.csv") as response:
        assert list(response.iter_lines()) == ["1,lamp", "2,chair"]


def test_export_streams_json(client: TestClient) -> None:
    """An array in three parts, without a length."""
    response = client.get("/export.json")

    assert "content-length" not in response.headers
    assert [item["id"] for item in response.json()] == [1, 2]


def test_events_come_as_they_are(client: TestClient) -> None:
    """Server-sent events."""
    assert client.get("/events").text == "data: 1\n\ndata: 2\n\n"


def test_catalogue_is_compressed(client: TestClient) -> None:
    """It is long, and the client reads gzip."""
    response = client.get("/catalogue")

    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) < 1000
    assert response.json() == ["a long line of the catalogue"] * 200


def test_login_sets_cookie(client: TestClient) -> None:
    """And the client brings it back."""
    response = client.post("/login", data={"name": "ada", "password": "right"})

    assert response.cookies["who"] == "ada"
    assert client.get("/me").json() == "ada"


def test_login_with_wrong_password_is_403(client: TestClient) -> None:
    """The detail is the reason phrase."""
    response = client.post("/login", data={"name": "ada", "password": "wrong"})

    assert response.status_code == 403
    assert response.json() == {"detail": "Forbidden"}


def test_me_without_cookie_is_null(client: TestClient) -> None:
    """A JSON null is a body."""
    response = client.get("/me")

    assert (response.status_code, response.content) == (200, b"null")


def test_count_lives_in_the_session(client: TestClient) -> None:
    """The session's cookie goes there and back."""
    assert [client.get("/count").json() for _ in range(3)] == [1, 2, 3]


def test_old_path_redirects(client: TestClient) -> None:
    """Followed by default."""
    response = client.get("/old")

    assert response.history[0].status_code == 308
    assert len(response.json()) == 2


def test_page_is_html(client: TestClient) -> None:
    """Not JSON at all."""
    assert client.get("/page").text == "<h1>shop</h1>"


def test_body_that_looks_like_an_envelope_is_the_body(client: TestClient) -> None:
    """It always was."""
    assert client.get("/wrapped").json() == {"status": "success", "content": 1}


def test_cached_is_304(client: TestClient) -> None:
    """With its ETag and no body."""
    assert client.get("/cached").headers["etag"] == '"1"'
    response = client.get("/cached", headers={"If-None-Match": '"1"'})

    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"1"')


def test_teapot_returns_a_failure_of_its_own(client: TestClient) -> None:
    """A response with the status of a failure and a list."""
    response = client.get("/teapot")

    assert (response.status_code, response.json()) == (418, ["short", "stout"])


def test_unknown_path_is_404(client: TestClient) -> None:
    """The router's own."""
    response = client.get("/nowhere")

    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


def test_wrong_method_is_405(client: TestClient) -> None:
    """With the methods that there are."""
    response = client.patch("/items")

    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})
    assert set(response.headers["allow"].split(", ")) <= {"GET", "POST"}


def test_head_is_405_as_fastapi_has_it(client: TestClient) -> None:
    """No route has HEAD."""
    response = client.head("/items/1")

    assert (response.status_code, response.content) == (405, b"")


def test_broken_raises_into_the_test(client: TestClient) -> None:
    """As the test client does."""
    with pytest.raises(ZeroDivisionError, match="no secret"):
        client.get("/broken")


def test_broken_is_500_for_clients(quiet_client: TestClient) -> None:
    """Starlette's plain text."""
    response = quiet_client.get("/broken")

    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_unavailable_has_no_headers_of_ours(client: TestClient) -> None:
    """Nobody gave a Retry-After."""
    response = client.get("/unavailable")

    assert (response.status_code, response.json()) == (503, {"detail": "closed for stocktaking"})
    assert "retry-after" not in response.headers


def test_cors_is_answered(client: TestClient) -> None:
    """The preflight and the request."""
    origin = {"Origin": "https://shop.example"}
    preflight = client.options("/items", headers=origin | {"Access-Control-Request-Method": "GET"})

    assert (preflight.status_code, preflight.text) == (200, "OK")
    assert client.get("/items/9", headers=origin).headers["access-control-allow-origin"] == "https://shop.example"


def test_mounted_application_answers_in_plain_text(client: TestClient) -> None:
    """Starlette's own form of a failure."""
    response = client.get("/reports/x")

    assert (response.status_code, response.text) == (404, "no such report")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


def test_static_files_are_served(client: TestClient) -> None:
    """And the missing one is a 404."""
    assert client.get("/static/app.py").status_code == 200
    assert client.get("/static/none.py").json() == {"detail": "Not Found"}


def test_store_can_be_overridden(client: TestClient, app: FastAPI) -> None:
    """The client's application is the one that has the overrides."""
    empty = Store()
    empty.items.clear()
    assert client.app is app
    client.app.dependency_overrides[get_store] = lambda: empty

    assert client.get("/items").json() == []


def test_chat_echoes(client: TestClient) -> None:
    """A websocket."""
    with client.websocket_connect("/chat") as websocket:
        websocket.send_text("hi")
        assert websocket.receive_json() == {"echo": "hi"}
