"""The verification service with Swagger UI from files of this machine, and a browser that looks at it.

FastAPI's own page loads Swagger UI from somebody else's server. This one is the same but for that. An operation that
its address names is unfolded, so nobody has to click.
"""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from tests.openapi.proofs.example import Example

BROWSER = "chromium"

#: Milliseconds of the page's own time that the browser lets pass before it looks.
SETTLED_AFTER_MS = 20_000

_PAGE = "/offline-docs"
_FILES = "/swagger-ui"


def make_app() -> FastAPI:
    """Give the verification service with the page."""
    # Only here: it reads its settings from the environment.
    app: FastAPI = importlib.import_module("examples.verification_service.app").app

    app.mount(_FILES, StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get(_PAGE, include_in_schema=False)
    async def show() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "",
            title=app.title,
            swagger_js_url=f"{_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{_FILES}/swagger-ui.css",
            swagger_favicon_url="data:,",
            swagger_ui_parameters={"defaultModelsExpandDepth": -1},
        )

    return app


def service_with_page() -> Example:
    return Example("-m", "uvicorn", "--factory", f"{__name__}:make_app", ENVELOPE_STORAGE="memory://")


def page_of(service: Example) -> str:
    """Give the address at which the update of an entity is unfolded."""
    return f"{service.url}{_PAGE}#/default/update_entity_entities__entity_id__patch"


def browse(url: str, *wanted: str, folder: Path) -> str:
    """Open a page in Chromium without a window, and give what it printed.

    Args:
        url: Of the page.
        wanted: Switches that say what to do with it once it has settled.
        folder: For the browser's files.
    """
    switches = (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars"),
        # Whatever the page asks of the network fails at once: it has all that it needs.
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "no-proxy-server",
        f"virtual-time-budget={SETTLED_AFTER_MS}",
        f"user-data-dir={folder}",
    )
    ran = subprocess.run(
        [BROWSER, *(f"--{switch}" for switch in (*switches, *wanted)), url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{BROWSER} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return ran.stdout
