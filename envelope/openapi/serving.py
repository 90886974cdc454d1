"""Puts the description of the wire in the place of ``app.openapi``.

FastAPI serves and caches what ``app.openapi()`` gives, and applications put functions of their own there. Ours
stands around whichever is there: it describes a document that is not described yet, and lets any other pass.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette

from envelope.maintenance.maintenance import Maintenance
from envelope.openapi.document import EXTENSION, describe_document
from envelope.openapi.operations import Site, read_operations, sites_in
from envelope.rate_limit.limiter import RateLimiter
from envelope.wire.convention import Convention
from envelope.wire.token_urls import is_fastapi


class Describer:
    """Describes the documents of one installation: the application's own, and those of what is mounted in it.

    Args:
        app: Is installed.
        convention: Of the installation.
        limiter: Of the installation.
        maintenance: Of the installation.
        is_installed: Tells the mounted applications that own their answers.
    """

    def __init__(
        self,
        app: Starlette,
        convention: Convention,
        limiter: RateLimiter | None,
        maintenance: Maintenance | None,
        is_installed: Callable[[Starlette], bool],
    ) -> None:
        self._site = Site(app, (), getattr(app, "root_path", ""))
        self._convention = convention
        self._limiter = limiter
        self._maintenance = maintenance
        self._is_installed = is_installed

    def stand_in(self) -> None:
        """Stand around whatever gives the documents now; may be called again at any time."""
        if "fastapi" not in sys.modules:
            return
        own = [self._site] if is_fastapi(self._site.app) else []
        for site in (*own, *sites_in(self._site, self._is_installed)):
            if not isinstance(site.app.openapi, _Described):
                site.app.openapi = _Described(self, site)

    def describe(self, document: dict[str, Any], site: Site) -> dict[str, Any]:
        """Describe the document of one of the applications."""
        limiter, convention = self._limiter, self._convention
        return describe_document(
            document,
            read_operations(site, convention.exemptions, limiter, self._maintenance),
            shape=convention.writer.shape,
            always_200=convention.always_200,
            limit_fields=limiter.field_names if limiter is not None else (),
        )


class _Described:
    """Stands in the place of ``app.openapi``."""

    def __init__(self, describer: Describer, site: Site) -> None:
        self._describer = describer
        self._site = site
        self._original: Callable[[], dict[str, Any]] = site.app.openapi

    def __call__(self) -> dict[str, Any]:
        self._describer.stand_in()  # at what was mounted meanwhile
        document = self._original()
        if EXTENSION in document:
            return document
        described = self._describer.describe(document, self._site)
        app = self._site.app
        if document is app.openapi_schema:
            # FastAPI's own cache, which it renews when routes are added, and which others empty by setting None.
            app.openapi_schema = described
        return described
