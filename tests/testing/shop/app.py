"""The service: a small shop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Response,
    UploadFile,
)
from fastapi import Request as FastAPIRequest
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.websockets import WebSocket

HERE = Path(__file__).parent


class Item(BaseModel):
    name: str = Field(min_length=1)
    price: float = Field(gt=0)


class StoredItem(Item):
    id: int


class OutOfStock(Exception):
    def __init__(self, item_id: int) -> None:
        self.item_id = item_id


class Store:
    def __init__(self) -> None:
        self.items = {1: StoredItem(id=1, name="lamp", price=20.5), 2: StoredItem(id=2, name="chair", price=80)}
        self.mails: list[str] = []


def get_store(request: FastAPIRequest) -> Store:
    store: Store = request.app.state.store
    return store


def get_user(authorization: Annotated[str | None, Header()] = None) -> str:
    if authorization != "Bearer good":
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    return "ada"


StoreOf = Annotated[Store, Depends(get_store)]


def create_app() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.store = Store()
        yield
        app.state.closed = True

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(SessionMiddleware, secret_key="not secret")
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])

    @app.exception_handler(OutOfStock)
    async def sold_out(request: Request, exc: OutOfStock) -> JSONResponse:
        return JSONResponse({"error": "out of stock", "item": exc.item_id}, 410, {"X-Restock": "soon"})

    @app.get("/items")
    def list_items(store: StoreOf, limit: int = 10) -> list[StoredItem]:
        return list(store.items.values())[:limit]

    @app.get("/items/{item_id}")
    def get_item(item_id: int, store: StoreOf) -> StoredItem:
        if item_id not in store.items:
            raise HTTPException(404, "Item not found")
        return store.items[item_id]

    @app.post("/items", status_code=201)
    def add_item(item: Item, store: StoreOf, response: Response, user: str = Depends(get_user)) -> StoredItem:
        if any(known.name == item.name for known in store.items.values()):
            raise HTTPException(409, {"reason": "exists", "name": item.name})
        stored = StoredItem(id=len(store.items) + 1, **item.model_dump())
        store.items[stored.id] = stored
        response.headers["Location"] = f"/items/{stored.id}"
        return stored

    @app.put("/items/{item_id}")
    def replace_item(item_id: int, item: Item, store: StoreOf) -> StoredItem:
        store.items[item_id] = StoredItem(id=item_id, **item.model_dump())
        return store.items[item_id]

    @app.delete("/items/{item_id}", status_code=204)
    def delete_item(item_id: int, store: StoreOf) -> None:
        store.items.pop(item_id, None)

    @app.post("/items/{item_id}/order", status_code=202)
    def order(item_id: int, store: StoreOf, tasks: BackgroundTasks) -> dict[str, Any]:
        if item_id == 2:
            raise OutOfStock(item_id)
        tasks.add_task(store.mails.append, f"ordered {item_id}")
        return {"ordered": item_id}

    @app.post("/items/{item_id}/photo")
    async def upload(
        item_id: int, photo: Annotated[UploadFile, File()], title: Annotated[str, Form()]
    ) -> dict[str, Any]:
        return {"title": title, "name": photo.filename, "size": len(await photo.read())}

    @app.get("/items/{item_id}/photo")
    def download(item_id: int) -> FileResponse:
        return FileResponse(HERE / "app.py", filename="photo.py", media_type="text/x-python")

    @app.get("/export.csv")
    def export(store: StoreOf) -> StreamingResponse:
        rows = (f"{item.id},{item.name}\n" for item in store.items.values())
        return StreamingResponse(rows, media_type="text/csv")

    @app.get("/export.json")
    def export_json(store: StoreOf) -> StreamingResponse:
        def parts() -> Iterator[str]:
            yield "["
            yield ",".join(item.model_dump_json() for item in store.items.values())
            yield "]"

        return StreamingResponse(parts(), media_type="application/json")

    @app.get("/events")
    def events() -> StreamingResponse:
        return StreamingResponse(iter(["data: 1\n\n", "data: 2\n\n"]), media_type="text/event-stream")

    @app.get("/catalogue")
    def catalogue() -> list[str]:
        return ["a long line of the catalogue"] * 200

    @app.post("/login")
    def login(response: Response, name: str = Form(), password: str = Form()) -> dict[str, str]:
        if password != "right":
            raise HTTPException(403)
        response.set_cookie("who", name)
        return {"hello": name}

    @app.get("/me")
    def me(who: Annotated[str | None, Cookie()] = None) -> str | None:
        return who

    @app.get("/count")
    def count(request: Request) -> int:
        request.session["count"] = request.session.get("count", 0) + 1
        return int(request.session["count"])

    @app.get("/old")
    def old() -> RedirectResponse:
        return RedirectResponse("/items", 308)

    @app.get("/page")
    def page() -> HTMLResponse:
        return HTMLResponse("<h1>shop</h1>")

    @app.get("/wrapped")
    def wrapped() -> dict[str, Any]:
        return {"status": "success", "content": 1}

    @app.get("/cached")
    def cached(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        if if_none_match == '"1"':
            return Response(status_code=304, headers={"ETag": '"1"'})
        return JSONResponse({"version": 1}, headers={"ETag": '"1"'})

    @app.get("/teapot")
    def teapot() -> JSONResponse:
        return JSONResponse(["short", "stout"], 418)

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("no secret")

    @app.get("/unavailable")
    def unavailable() -> None:
        raise HTTPException(503, "closed for stocktaking")

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"echo": await websocket.receive_text()})
        await websocket.close()

    async def report(request: Request) -> None:
        raise StarletteHTTPException(404, "no such report")

    app.mount("/reports", Starlette(routes=[Route("/{name}", report)]))
    app.mount("/static", StaticFiles(directory=HERE))
    return app
