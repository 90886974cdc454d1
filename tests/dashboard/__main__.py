"""Takes the picture of the dashboard, docs/images/dashboard.png, from a real run of four minutes.

uv run --with opentelemetry-exporter-prometheus --with pillow python -m tests.dashboard

A service with everything on, a worker and Valkey are put through bursts, contention, an outage and a deploy, while
Prometheus looks at them each second. Then the queries of each panel are asked, and Chromium photographs what
``drawing`` makes of the answers. Grafana takes no part in it. A query without data is an error, as is a metric that
is not named as the tests think it is, and an alert of the documentation that finds nothing to complain about.

It needs ``prometheus`` and ``chromium`` (Debian's packages), and is no part of CI.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image  # type: ignore[import-not-found]  # uv run --with

from tests.dashboard import drawing
from tests.dashboard.alerts import read_alerts
from tests.dashboard.exported import prometheus_names
from tests.dashboard.load import LASTS_S, WARM_UP_S, Load
from tests.dashboard.panels import read_dashboard, read_panels
from tests.dashboard.processes import ROOT, SCRAPED_EVERY_S, Measured, Prometheus, Service
from tests.openapi.proofs.swagger_ui import browse
from tests.servers.server import Server

PICTURE = ROOT / "docs/images/dashboard.png"

#: Of the picture; there are few, and a palette takes a third of the bytes.
COLOURS = 256

#: Seconds between two points of a line.
STEP_S = 3

#: What Grafana makes of the step and the scrape interval for ``$__rate_interval``.
RATE_S = max(STEP_S + SCRAPED_EVERY_S, 4 * SCRAPED_EVERY_S)


def main() -> int:
    """Run, ask, draw."""
    with (
        Server() as storage,
        Service(storage.url) as service,
        Measured("worker", STORAGE=storage.url, SERVICE=service.url) as worker,
        Prometheus({"api": service.metrics_port, "worker": worker.metrics_port}) as prometheus,
    ):
        span = drawing.Span(time.time() + WARM_UP_S, STEP_S, LASTS_S // STEP_S)
        asyncio.run(Load(service, worker, storage).run())
        answers = [
            (panel, [(query, _ask(prometheus, query.filled(rate_s=RATE_S), span)) for query in panel.queries])
            for panel in read_panels()
        ]
        problems = [
            f"no data: {panel.title}: {query.legend}"
            for panel, answer in answers
            for query, found in answer
            if not found
        ]
        problems += _compare_names(prometheus.names())
        problems += [
            f"never complains: {alert.name}"
            for alert in read_alerts()
            if not _ask(prometheus, alert.within(seconds=8), span)
        ]
    drawn = [(panel, drawing.read_series(answer, span)) for panel, answer in answers]
    page, height = drawing.draw_page(drawn, span, read_dashboard()["title"])
    photograph(page, height)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1024} KB", *problems, sep="\n")
    return 1 if problems else 0


def _compare_names(names: set[str]) -> list[str]:
    ours = {name for name in names if name.startswith("envelope_")}
    expected = prometheus_names().keys()
    return [
        *(f"not exported: {name}" for name in sorted(expected - ours)),
        *(f"not known to the tests: {name}" for name in sorted(ours - expected)),
    ]


def photograph(page: str, height: int) -> None:
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        written = Path(folder) / "page.html"
        written.write_text(page)
        browse(
            written.as_uri(),
            f"screenshot={PICTURE}",
            f"window-size={drawing.WIDTH},{height}",
            folder=Path(folder) / "browser",
        )
    _reduce_colours()


def _reduce_colours() -> None:
    """Keep the most frequent colours: those of areas stay, and the edges of letters take the nearest."""
    picture = Image.open(PICTURE).convert("RGB")
    counted = sorted(picture.getcolors(picture.width * picture.height), reverse=True)[:COLOURS]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in counted for part in colour])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


def _ask(prometheus: Prometheus, expression: str, span: drawing.Span) -> list[dict[str, Any]]:
    return prometheus.ask(expression, span.begin, span.begin + span.steps * span.step_s, span.step_s)


if __name__ == "__main__":
    sys.exit(main())
