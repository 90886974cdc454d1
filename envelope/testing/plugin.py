"""pytest plugin: fails a test whose application departs from the convention, whatever the test looks at.

Not loaded by itself: a service's root ``conftest.py`` says ``pytest_plugins = ["envelope.testing.plugin"]``.
It needs the extra ``check``, because bodies are compared with the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from starlette.applications import Starlette

from envelope.testing.watching import Watch
from envelope.wire.bodies import Shape

if TYPE_CHECKING:
    from envelope.conformance.contracts.contract import Contract
    from envelope.conformance.findings import Finding

#: Findings that a report tells in full.
_MOST_TOLD = 10


class KeepsConvention(Protocol):
    """Watches an application from now to the end of the test."""

    def __call__(
        self,
        app: Starlette,
        *,
        exempt: Sequence[str] = (),
        ignore: Sequence[str] = (),
        shape: Shape | None = None,
    ) -> None:
        """Watch an application.

        Args:
            app: A Starlette or FastAPI application. With FastAPI, its OpenAPI document is what it promises.
            exempt: Operations (``"GET /jwks"``) or paths (``"/oauth/token"``, ``"/hooks/*"``) whose output is
                sent as it is, beside those that the document names.
            ignore: Ids of departures that are not told: ``"ENV056"``.
            shape: Of the envelopes; None takes the document's, else the convention's.
        """


class _Judgement:
    """What one watched application did in one test."""

    def __init__(self, watch: Watch, ignore: frozenset[str], contract: Callable[[], Contract]) -> None:
        self.watch = watch
        self._ignore = ignore
        self._contract = contract

    def findings(self) -> Iterator[Finding]:
        """Judge the exchanges since the last time."""
        from envelope.conformance.judging import judge, judge_operation  # noqa: PLC0415 - of the extra

        exchanges = self.watch.take()
        if not exchanges:
            return
        contract = self._contract()
        asked = {contract.operation_for(each.request.method, each.request.path) for each in exchanges}
        # Of the document what the test has asked for; a service's whole document is judged by `envelope check`.
        found = [
            *(finding for exchange in exchanges for finding in judge(exchange, contract)),
            *(finding for operation in asked if operation for finding in judge_operation(operation, contract)),
        ]
        yield from (finding for finding in found if finding.rule.id not in self._ignore)


_JUDGEMENTS = pytest.StashKey[list[_Judgement]]()


@pytest.fixture
def keeps_convention(request: pytest.FixtureRequest) -> Iterator[KeepsConvention]:
    """Give what watches every response of an application, with whatever client, and fails the test at its end."""
    _check_extra()
    judgements = request.node.stash.setdefault(_JUDGEMENTS, [])
    with ExitStack() as watches:

        def keep(
            app: Starlette, *, exempt: Sequence[str] = (), ignore: Sequence[str] = (), shape: Shape | None = None
        ) -> None:
            watch = watches.enter_context(Watch(app))
            contract = _contract_of(app, exempt, shape)
            judgements.append(_Judgement(watch, _checked(ignore), contract))

        yield keep
    report = _report(judgements)  # of what other fixtures asked after the test
    if report:
        pytest.fail(report, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed, and tell beside the failure of one that did not."""
    judgements = item.stash.get(_JUDGEMENTS, [])
    try:
        result = yield
    except BaseException:
        item.add_report_section("call", "convention", _report(judgements))
        raise
    report = _report(judgements)
    if report:
        pytest.fail(report, pytrace=False)
    return result


def _check_extra() -> None:
    try:
        import envelope.conformance.contracts.contract  # noqa: F401, PLC0415 - of the extra
    except ModuleNotFoundError as error:
        pytest.fail(
            f"keeps_convention needs {error.name}, which is not installed: pip install 'asgi-envelope[check]'",
            pytrace=False,
        )


def _contract_of(app: Starlette, exempt: Sequence[str], shape: Shape | None) -> Callable[[], Contract]:
    from envelope.conformance.contracts.contract import Contract  # noqa: PLC0415 - of the extra

    openapi: Callable[[], dict[str, Any]] | None = getattr(app, "openapi", None)
    # Not before the responses are there: routes may come late.
    return lambda: Contract(None if openapi is None else openapi(), exempt=exempt, shape=shape)


def _checked(ignore: Sequence[str]) -> frozenset[str]:
    from envelope.conformance.findings import RULES  # noqa: PLC0415 - of the extra

    unknown = [each for each in ignore if each not in RULES] if not isinstance(ignore, str) else [ignore]
    if unknown:
        raise ValueError(f"ignore has {unknown!r}; give ids of departures: ignore=['ENV056']")
    return frozenset(ignore)


def _report(judgements: Sequence[_Judgement]) -> str:
    """Tell what was found, each departure of an operation once; "" if nothing was."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for judgement in judgements:
        for finding in judgement.findings():
            found.setdefault((finding.rule.id, finding.operation), []).append(finding)
    if not found:
        return ""
    told = [_tell(findings) for findings in list(found.values())[:_MOST_TOLD]]
    more = [f"and {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else []
    return "\n\n".join(["The application departs from the convention.", *told, *more])


def _tell(findings: Sequence[Finding]) -> str:
    finding = findings[0]
    lines = [f"{finding.rule.id} {finding.rule.title}: {finding.operation}"]
    if len(findings) > 1:
        lines[0] += f" ({len(findings)} times, the first of them:)"
    lines += [f"  expected: {finding.expected}", f"  came:     {finding.came}"]
    if finding.exchange is not None:  # otherwise the document alone shows it
        lines.append(f"  request:  {finding.exchange.request.as_curl()}")
    return "\n".join(lines)
