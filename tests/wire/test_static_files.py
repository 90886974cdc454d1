"""Files beside an API: they pass as they are; what is not there is an envelope."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from envelope import install
from tests.wire.apps import client_of, failure, serve


def _app(folder: Path, *, html: bool = False) -> Starlette:
    app = Starlette(routes=[Mount("/static", StaticFiles(directory=folder, html=html))])
    install(app)
    return app


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", b'{"a": 1}'), ("a.txt", b"text"), ("a.html", b"<p>"), ("a.bin", b"\x00")]
)
def test_file_passes(tmp_path: Path, name: str, content: bytes) -> None:
    """Case 68: a .json file is a file, not the API's output."""
    (tmp_path / name).write_bytes(content)

    response = client_of(_app(tmp_path)).get(f"/static/{name}")

    assert response.status_code == 200
    assert response.content == content
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["etag"]


def test_range_of_a_json_file_passes(tmp_path: Path) -> None:
    """Case 12: the parts of a file and the file are the same bytes."""
    (tmp_path / "a.json").write_bytes(b'{"a": 1}')
    client = client_of(_app(tmp_path))

    part = client.get("/static/a.json", headers={"Range": "bytes=0-3"})
    beyond = client.get("/static/a.json", headers={"Range": "bytes=100-200"})

    assert (part.status_code, part.content) == (206, b'{"a"')
    assert beyond.status_code == 416
    assert "content-range" in beyond.headers


def test_unchanged_file_passes(tmp_path: Path) -> None:
    """Case 8: a conditional request is answered by its headers."""
    (tmp_path / "a.json").write_bytes(b"{}")
    client = client_of(_app(tmp_path))
    etag = client.get("/static/a.json").headers["etag"]

    response = client.get("/static/a.json", headers={"If-None-Match": etag})

    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)


def test_missing_file_is_an_envelope(tmp_path: Path) -> None:
    """Case 68: StaticFiles raises an HTTPException."""
    client = client_of(_app(tmp_path))

    assert client.get("/static/none.json").json() == failure(404, "Not Found")
    assert client.post("/static/none.json").json() == failure(405, "Method Not Allowed")
    assert client.get("/static/../../etc/passwd").json()["code"] == 404


def test_page_for_missing_files_passes(tmp_path: Path) -> None:
    """Case 68: a site's own 404 page is a page."""
    (tmp_path / "404.html").write_text("<h1>nothing here</h1>")

    response = client_of(_app(tmp_path, html=True)).get("/static/none")

    assert (response.status_code, response.text) == (404, "<h1>nothing here</h1>")


def test_json_file_that_an_endpoint_returns_passes(tmp_path: Path) -> None:
    """Case 12: a FileResponse can be asked for in ranges, so it is never wrapped."""
    (tmp_path / "a.json").write_bytes(b'{"a": 1}')
    app = Starlette(routes=[Route("/", serve(FileResponse(tmp_path / "a.json")))])
    install(app)

    response = client_of(app).get("/")

    assert response.content == b'{"a": 1}'
    assert response.headers["accept-ranges"] == "bytes"
