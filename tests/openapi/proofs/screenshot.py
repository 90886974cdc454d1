"""Takes the picture of the documentation, docs/images/swagger-ui.png.

uv run python -m tests.openapi.proofs.screenshot
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.openapi.proofs.example import ROOT
from tests.openapi.proofs.swagger_ui import browse, page_of, service_with_page

PICTURE = ROOT / "docs/images/swagger-ui.png"

#: In pixels; it ends below the header fields of 423.
WIDTH, HEIGHT = 1200, 2354


def main() -> None:
    PICTURE.parent.mkdir(exist_ok=True)
    # The browser may still be writing when it has ended.
    with service_with_page() as service, TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browse(page_of(service), f"screenshot={PICTURE}", f"window-size={WIDTH},{HEIGHT}", folder=Path(folder))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
