"""Convention: one installation's decisions, checked once and shared by its layers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, get_args

from envelope.errors.error_map import ErrorMap
from envelope.errors.failures import EchoValues, FailureFinder
from envelope.errors.tree import ConfigurationError
from envelope.events import WIRE_MISPLACED, log_event
from envelope.wire.bodies import BodyWriter, Shape
from envelope.wire.exemptions import Exemptions

logger = logging.getLogger("envelope.wire")

SuccessStatus = Literal["always-200", "keep"]


class Convention:
    """How one application speaks the convention.

    Args and errors are those of ``envelope.install``.
    """

    def __init__(
        self,
        *,
        errors: ErrorMap | None = None,
        exempt: Sequence[str] = (),
        success_status: SuccessStatus = "always-200",
        shape: Shape = Shape(),  # noqa: B008 - frozen
        echo_values: EchoValues = "safe",
    ) -> None:
        if errors is not None:
            _check_type("errors", errors, ErrorMap, "wrap the rules: errors=ErrorMap({...})")
        _check_type("shape", shape, Shape, "give shape=Shape(content='data')")
        _check_choice("success_status", success_status, get_args(SuccessStatus))
        _check_choice("echo_values", echo_values, get_args(EchoValues))
        self.writer = BodyWriter(shape)
        self.finder = FailureFinder(errors or ErrorMap({}), echo_values)
        self.exemptions = Exemptions(exempt)
        self.always_200 = success_status == "always-200"
        self._said: set[str] = set()

    def warn_once(self, text: str) -> None:
        """Log a warning about how the service is put together, the first time it shows."""
        if text not in self._said:
            self._said.add(text)
            log_event(logger, WIRE_MISPLACED, advice=text)


def _check_type(name: str, value: object, expected: type, mend: str) -> None:
    if not isinstance(value, expected):
        raise ConfigurationError(f"{name} is {value!r}; {mend}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} is {value!r}; choose one of {', '.join(map(repr, choices))}")
