"""Which storage a command is about: its options, and what is told when it does not answer."""

from __future__ import annotations

import functools
import logging
import math
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click

from envelope.cli import event_loop
from envelope.cli.streams import is_nowhere
from envelope.cli.tables import ToolError, write_lines, writing
from envelope.errors.tree import ConfigurationError, ServiceUnavailableError
from envelope.events import LOCKS_FOREIGN_KEYS, MAINTENANCE_UNREADABLE
from envelope.storage.errors import StorageUnavailableError
from envelope.storage.urls import check_namespace, read_url
from envelope.terminal import printable, unmistakable

#: What is in the log and nowhere else.
_NOTED = frozenset({LOCKS_FOREIGN_KEYS.name, MAINTENANCE_UNREADABLE.name})

#: How Python shows an object.
_INSIDES = re.compile(r"(?:\s*:)?\s*<.*>", re.DOTALL)

#: What can be answered; nothing is no.
_WORDS = {"y": True, "yes": True, "n": False, "no": False, "": False}

#: What client libraries raise for an answer that is an error.
_ANSWERED = frozenset({"AuthenticationError", "BusyLoadingError", "ResponseError"})

_RIGHTS = "all the rights: 'Keys in the storage' in the documentation"

#: What is in an answer -> what to do.
_ADVICE = {
    r"permissions? to run the '([^']+)' command": rf"the user needs the right +\1 ({_RIGHTS})",
    r"permissions? to access|can't access": rf"the user needs the right ~envelope:* ({_RIGHTS})",
    r"username-password|WRONGPASS|invalid password|NOAUTH|authentication required": (
        "check the user and the password in the URL"
    ),
}

#: The longest that a rate limiter waits.
_LONGEST_S = 30

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Place(NamedTuple):
    """A storage, and whose part of it.

    Attributes:
        url: With its password.
        namespace: Tells services apart.
        timeout_s: How long a question may take.
    """

    url: str
    namespace: str
    timeout_s: float

    @property
    def name(self) -> str:
        """The URL without credentials and options; in a message ``printable`` has to see it."""
        return self.url if _is_file(self.url) else f"{read_url(self.url).name}{urlsplit(self.url).path}"

    @property
    def where(self) -> str:
        """The storage and the namespace, for people."""
        return f"namespace {self.namespace!r} of {self.name}" if self.namespace else self.name

    def describe(self) -> dict[str, str]:
        """Give what every document begins with."""
        return {"storage": self.name, "namespace": self.namespace}


def with_storage(inside: str) -> Callable[[Command], Command]:
    """Give a command the options of a storage; its first argument is the place that they name.

    Args:
        inside: What does the same in the service's own code, where the storage may be its memory.
    """

    def read(_: click.Context, __: click.Parameter, url: str) -> str:
        if _is_file(url):
            return url
        try:
            scheme = read_url(url).scheme
        except ConfigurationError as error:
            raise click.BadParameter(printable(error)) from None
        if scheme == "memory":
            raise click.BadParameter(
                "memory:// is the memory of the service's own process, where no other process can look; ask there:"
                f" {inside}"
            )
        if not scheme:  # of which nothing is repeated, for it may be a password
            raise click.BadParameter("this is no URL; write it as 'redis://host:6379/0'")
        return url

    options = (
        click.option(
            "--storage",
            envvar="ENVELOPE_STORAGE",
            required=True,
            callback=read,
            metavar="URL",
            help="The URL that the service has. ENVELOPE_STORAGE is the better place for one with a password:"
            " everybody on this machine sees the arguments of a command.",
        ),
        click.option(
            "--namespace",
            envvar="ENVELOPE_NAMESPACE",
            default="",
            callback=_read_namespace,
            metavar="NAME",
            help="Of the service; also in ENVELOPE_NAMESPACE  [default: none].",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0.01, _LONGEST_S),
            callback=_read_seconds,
            default=2.0,
            show_default=True,
            metavar="SECONDS",
            help="For each answer of the storage.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(storage: str, namespace: str, timeout_s: float, **others: Any) -> Any:
            return command(Place(storage, namespace, timeout_s), **others)

        for option in reversed(options):
            run = option(run)
        return run  # type: ignore[return-value]

    return decorate


def ask(place: Place, work: Callable[[], Coroutine[Any, Any, T]], doubt: str = "") -> T:
    """Run what asks a storage, in an event loop of its own.

    Args:
        place: The storage.
        work: Asks it.
        doubt: What is not known if it does not answer.

    Raises:
        ToolError: The storage does not answer, or is none.
    """
    with told(place, doubt):
        return event_loop.run(work())


@contextmanager
def told(place: Place, doubt: str = "") -> Iterator[None]:
    """Tell in one line what is wrong with a storage.

    Args:
        place: The storage.
        doubt: What is not known if it does not answer.

    Raises:
        ToolError: It does not answer, or is none.
    """
    logger, notes = logging.getLogger("envelope"), _Notes()
    logger.addHandler(notes)  # without one, Python would print what is told here already
    try:
        yield
    except (ServiceUnavailableError, StorageUnavailableError) as error:
        what = f"{printable(place.name)} {_explain(list(_causes_of(error)))}"
        raise ToolError(f"{what}{doubt and '; '}{doubt}") from None
    except ConfigurationError as error:
        raise ToolError(printable(error)) from None
    finally:
        logger.removeHandler(notes)


def confirm(question: str) -> bool:
    """Ask whoever sits at the terminal, on standard error; no answer is no.

    Raises:
        ToolError: The question would not be seen.
    """
    if is_nowhere(sys.stderr):
        raise ToolError("this asks first, on standard error, which nobody sees")
    while True:
        with writing(err=True):
            click.echo(f"{unmistakable(question)} [y/N]: ", nl=False, err=True)
        # Not click.confirm(): it makes the same of Ctrl-D and Ctrl-C, and misses a Ctrl-C that comes at once.
        answer = sys.stdin.readline()
        if not answer:
            write_lines("", err=True)  # Ctrl-D leaves the line open
        if (word := answer.strip().lower()) in _WORDS:
            return _WORDS[word]
        write_lines("Answer y or n.", err=True)


def check_terminal(otherwise: str) -> None:
    """Refuse where nobody can be asked.

    Args:
        otherwise: The option that stands for the answer.

    Raises:
        click.UsageError: Standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"this asks first, and standard input is no terminal; give {otherwise}")


class _Notes(logging.Handler):
    """Says it on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event_name", "") in _NOTED:
            write_lines(f"Warning: {record.getMessage()}", err=True)


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    """Give what a failure comes from, that of the storage first."""
    cause: BaseException | None = error
    if not isinstance(error, StorageUnavailableError):
        cause = error.__cause__ or error.__context__ or error
    while cause is not None:
        yield cause
        # Of a cluster, each server's failure is only noted.
        noted = getattr(cause, "incident", None)
        cause = cause.__cause__ or (noted if isinstance(noted, BaseException) else None)


def _explain(causes: Sequence[BaseException]) -> str:
    """Say whether a storage did not answer, or what it answered and what to do."""
    for cause in causes:
        if _ANSWERED & {base.__name__ for base in type(cause).__mro__}:
            answer = _clean(cause)
            return f"answered: {answer}{_advise(answer)}"
    if not getattr(causes[0], "is_outage", True):
        return f"answered, but {_clean(causes[0])}"
    return f"does not answer: {_clean(causes[0])}"


def _advise(answer: str) -> str:
    for form, advice in _ADVICE.items():
        if found := re.search(form, answer, re.IGNORECASE):
            return f"; {found.expand(advice)}"
    return ""


def _clean(error: BaseException) -> str:
    # Client libraries show their own insides along, and some show passwords there.
    return printable(_INSIDES.sub("", str(error))).rstrip(" .:")


def _is_file(url: str) -> bool:
    return url.partition(":")[0].lower() == "file"


def _read_namespace(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        check_namespace(value)
    except ConfigurationError as error:
        raise click.BadParameter(printable(error)) from None
    return value


def _read_seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("give a number of seconds")  # it is in every range
    return value
