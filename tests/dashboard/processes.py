"""What runs while the dashboard is filled: the service, its worker, and Prometheus."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx

from tests.servers.process import Process, free_port

ROOT = Path(__file__).parents[2]

#: Seconds between two looks at the service and the worker.
SCRAPED_EVERY_S = 1


class Measured(Process):
    """A Python module of this folder that shows its metrics.

    Args:
        module: Its name.
        arguments: What it is given.
        environment: Of the process, beside ours.
    """

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        super().__init__()
        self.metrics_port = free_port()
        self._module, self._arguments = module, arguments
        self._environment = {"PYTHONPATH": str(ROOT), "METRICS_PORT": str(self.metrics_port), **environment}

    def command(self) -> list[str]:
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        return ["env", *environment, sys.executable, "-m", f"{__package__}.{self._module}", *self._arguments]

    def answers(self) -> bool:
        try:
            return httpx.get(f"http://{self.host}:{self.metrics_port}/metrics", trust_env=False).is_success
        except httpx.TransportError:
            return False


class Service(Measured):
    """The service."""

    def __init__(self, storage: str) -> None:
        super().__init__("service", STORAGE=storage)
        self._arguments = ("--port", str(self.port))
        self.url = f"http://{self.host}:{self.port}"

    def answers(self) -> bool:
        try:
            return super().answers() and httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False


class Prometheus(Process):
    """Prometheus, from Debian's package.

    Args:
        jobs: Ports by the name of the job.
    """

    def __init__(self, jobs: dict[str, int]) -> None:
        super().__init__()
        self._jobs = jobs
        self.url = f"http://{self.host}:{self.port}"

    def prepare(self) -> None:
        """Write what is scraped, and how often."""
        jobs = "".join(
            f"- job_name: {name}\n  static_configs: [{{targets: ['{self.host}:{port}']}}]\n"
            for name, port in self._jobs.items()
        )
        (self.directory / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {SCRAPED_EVERY_S}s}}\nscrape_configs:\n{jobs}"
        )

    def command(self) -> list[str]:
        return [
            *("prometheus", f"--config.file={self.directory / 'prometheus.yml'}", "--log.level=warn"),
            *(f"--storage.tsdb.path={self.directory / 'data'}", f"--web.listen-address={self.host}:{self.port}"),
        ]

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def ask(self, expression: str, begin: float, end: float, step_s: float) -> list[dict[str, Any]]:
        """Give the series of an expression: their labels, and values with their times.

        Raises:
            ValueError: Prometheus cannot read the expression.
        """
        answer = httpx.post(
            f"{self.url}/api/v1/query_range",
            data={"query": expression, "start": str(begin), "end": str(end), "step": str(step_s)},
            trust_env=False,
        ).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']}: {expression}")
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    def names(self) -> set[str]:
        """Give the names of all metrics that were scraped."""
        answer = httpx.get(f"{self.url}/api/v1/label/__name__/values", trust_env=False)
        return set(answer.json()["data"])
