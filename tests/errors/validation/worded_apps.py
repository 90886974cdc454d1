"""FastAPI apps whose validation errors are answered with our messages."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from envelope.errors.validation.messages import validation_messages
from envelope.errors.validation.request_schema import request_schema


def worded(app: FastAPI, **options: Any) -> TestClient:
    """Gives a client of the app; a 400 carries the list of messages."""

    @app.exception_handler(RequestValidationError)
    async def answer(request: Request, exc: RequestValidationError) -> JSONResponse:
        schema = request_schema(request.scope)
        return JSONResponse(
            validation_messages(exc.errors(), schema=schema, body=exc.body, **options), status_code=400
        )

    return TestClient(app)


def post_app(annotation: Any) -> FastAPI:
    """An app whose `POST /` takes the annotation as its JSON body."""
    app = FastAPI()

    def endpoint(item: Any) -> None:
        pass

    endpoint.__annotations__ = {"item": annotation, "return": None}
    app.post("/")(endpoint)
    return app
