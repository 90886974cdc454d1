"""The command line, inside this process and as its users run it."""

from __future__ import annotations

import json
import os
import pty
import runpy
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest
from click.testing import CliRunner, Result

from envelope import cli

#: Whichever comes first imports schemathesis, and this machine may be busy.
pytestmark = pytest.mark.timeout(60)

SERVICE = """
from fastapi import FastAPI
from envelope import install

app = FastAPI(title="A service")

@app.get("/things")
async def things(offset: int) -> list[int]:
    return [offset]

good = FastAPI(title="Good")
install(good)

@good.post("/things")
async def create() -> int:
    return 1

empty = FastAPI()
install(empty)
"""

COMMAND = Path(sys.executable).with_name("envelope")


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A module in the working directory with a service that knows no convention, and one that does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_cli_service.py").write_text(SERVICE)
    yield "a_cli_service"
    sys.modules.pop("a_cli_service", None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.build_group(), ["check", *arguments])


@pytest.mark.parametrize(
    ("command", "example"),
    [
        (["check"], "check main:app --writes"),
        (["locks"], "locks inspect entity:42"),
        (["limits"], "limits inspect 203.0.113.7"),
        (["maintenance"], "maintenance on --for 10m"),
    ],
)
def test_help_has_an_example_and_is_quick(command, example) -> None:
    """Nothing heavy is imported for it."""
    code = (
        "import sys; from envelope import cli\n"
        "try: cli.main()\n"
        "finally: assert not {'schemathesis', 'rich', 'redis', 'valkey', 'limits'} & {*sys.modules}"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=True, timeout=20
    )

    assert f"\n  envelope {example}\n" in ran.stdout
    assert ran.stderr == ""


def test_version_is_that_of_the_package() -> None:
    """As the metadata says."""
    result = CliRunner().invoke(cli.build_group(), ["--version"])

    assert (result.exit_code, result.output.split()[:2]) == (0, ["envelope,", "version"])


def test_command_checks_an_application(service, tmp_path) -> None:
    """As it is installed: findings on standard output, nothing on standard error, nothing left behind."""
    ran = subprocess.run(
        [COMMAND, "check", f"{service}:app", "--max-examples", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert ran.returncode == 1
    assert "A service 0.1.0 at a_cli_service:app" in ran.stdout
    assert "ENV001 GET /things: success is not wrapped" in ran.stdout
    assert ran.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a_cli_service.py"]


def test_service_that_keeps_the_convention_passes(service) -> None:
    """Exit code 0; writes have to be allowed."""
    assert run(f"{service}:good", "--writes").exit_code == 0


@pytest.mark.parametrize("app", ["good", "empty"])
def test_check_that_tested_nothing_does_not_pass(service, app) -> None:
    """All operations write, or there is none."""
    result = run(f"{service}:{app}")

    assert result.exit_code == 2
    assert "0 operations tested" in result.output


def test_check_that_was_not_finished_does_not_pass(service) -> None:
    """Its time was over before anything was found."""
    result = run(f"{service}:good", "--writes", "--max-time", "0.000001")

    assert result.exit_code == 2
    assert "The check was not finished" in result.output


@pytest.mark.parametrize(("form", "read"), [("json", json.load), ("junit", parse), ("sarif", json.load)])
def test_report_is_written_to_a_file(service, tmp_path, form, read) -> None:
    """In the format that was asked for; the exit code stays the same."""
    with (tmp_path / "report").open("w"):
        result = run(f"{service}:app", "--max-examples", "1", "--format", form, "--output", "report")

    assert (result.exit_code, result.output) == (1, "")
    with (tmp_path / "report").open() as file:
        assert read(file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such_module:app"], "Error: there is no module 'no_such_module'"),
        (["http://127.0.0.1:9"], "Error: nobody answers at http://127.0.0.1:9/openapi.json"),
        ([], "Missing argument 'TARGET'"),
        (["x:y", "--header", "s3cret"], "give 'Name: value'"),
        (["x:y", "--header", "Näme: s3cret"], "give 'Name: value'"),
        (["x:y", "--header", "Name: s3cret\u0100"], "give 'Name: value'"),
        (["x:y", "--max-examples", "0"], "0 is not in the range"),
        (["x:y", "--output", "/no/such/folder/report"], "there is no folder '/no/such/folder'"),
        (["x:y", "--output", "/"], "is a directory"),
        (["x:y", "-H", "X-A: 1", "-H", "x-a: s3cret"], "x-a stands twice; give it once"),
        (["x:y", "-H", "Content-Type: s3cret"], "content-type is what the check itself sets; leave it out"),
        (["x:y", "--timeout", "nan"], "give a number of seconds"),
        (["x:y", "--max-time", "nan"], "give a number of seconds"),
        (["x:y", "--timeout", "inf"], "inf is not in the range"),
        (["x:y", "--exempt", "hooks"], "'hooks' is neither 'METHOD /path' nor '/path' nor '/path/*'"),
        (["x:y", "--exempt", "GTE /jwks"], "'GTE /jwks' is neither 'METHOD /path'"),
        (["x:y", "--exempt", "GET  /jwks"], "'GET  /jwks' is neither 'METHOD /path'"),
        (["x:y", "--exempt", "/hooks*"], "'/hooks*' is neither 'METHOD /path'"),
        (["no\x1bsuch:app"], "Error: there is no module 'no\\x1bsuch'"),
        (["http://h/\u202ex?q=s3cret"], "the URL http://h/\\u202ex has a query"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments, words) -> None:
    """Exit code 2, and no value of a header field in the message."""
    result = run(*arguments)

    assert result.exit_code == 2
    assert words in result.output
    assert "s3cret" not in result.output


def test_options_reach_the_check(service) -> None:
    """Header fields are parsed, and other options take effect."""
    result = run(
        f"{service}:app", "-H", "Authorization: Bearer t0k3n-value", "-H", "X-A:b", "--exempt", "GET /things",
        "--seed", "3", "--burst", "2", "--timeout", "5", "--max-examples", "2", "--format", "json",
    )  # fmt: skip

    found = json.loads(result.output)["findings"]
    assert "ENV001" not in {each["id"] for each in found}
    curls = [each["curl"] for each in found if each["curl"]]
    assert curls
    assert all("-H 'Authorization: ...' -H 'X-A: ...'" in curl for curl in curls)
    assert "t0k3n" not in result.output


@pytest.mark.parametrize("exempt", ["/", "/*", "/oauth/token", "/hooks/*", "get /jwks", "PROPFIND /a/{b}/*"])
def test_exemptions_have_a_form(exempt) -> None:
    """What is right about them is not what is wrong with the call."""
    result = run("no_such_module:app", "--exempt", exempt)

    assert "there is no module" in result.output


def test_report_of_before_stays_until_there_is_another(tmp_path) -> None:
    """A check that could not begin does not empty it."""
    (tmp_path / "report").write_text("before")

    assert run("no_such_module:app", "--output", str(tmp_path / "report")).exit_code == 2
    assert (tmp_path / "report").read_text() == "before"


def test_what_an_application_prints_is_not_in_the_report(service, tmp_path) -> None:
    """Standard output is for machines."""
    (tmp_path / f"{service}.py").write_text("print('hello')\n" + SERVICE)
    ran = subprocess.run(
        [COMMAND, "check", f"{service}:app", "--max-examples", "1", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert json.loads(ran.stdout)["target"] == f"{service}:app"
    assert ran.stderr == "hello\n"


BROKEN = """
class Application:
    def __getattr__(self, name):
        raise ZeroDivisionError("no settings")

    async def __call__(self, scope, receive, send):
        raise RuntimeError

app = Application()
"""


def test_check_that_fails_itself_is_no_departure(service, tmp_path) -> None:
    """Exit code 2, and the traceback for the report of the bug."""
    (tmp_path / f"{service}.py").write_text(BROKEN)
    result = run(f"{service}:app")

    assert result.exit_code == 2
    assert "ZeroDivisionError: no settings" in result.output
    assert result.output.endswith("Error: the check itself failed, as above; please report it\n")


def test_report_that_cannot_be_written_to_a_file_is_told(service) -> None:
    """In one line, and not as a departure."""
    result = run(f"{service}:good", "--writes", "--max-examples", "1", "--output", "/dev/full")

    assert result.exit_code == 2
    assert result.output == "Error: the report cannot be written: No space left on device\n"


def test_report_that_cannot_be_written_to_standard_output_is_told(service, monkeypatch, capsys) -> None:
    """Not again when Python ends, either."""
    monkeypatch.setattr(sys, "argv", ["envelope", "check", f"{service}:good", "--writes", "--max-examples", "1"])
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "stdout", full)
        cli.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err == "Error: the report cannot be written: No space left on device\n"


KILLING = """
import os, signal
from fastapi import FastAPI

app = FastAPI()

@app.get("/x")
def x() -> None:
    os.kill(os.getpid(), signal.SIGINT)
"""

WAITING = """
import threading
from fastapi import FastAPI

app = FastAPI()

@app.get("/first")
def first() -> int:
    return 1

@app.get("/second")
def second(word: str) -> int:
    print("waiting", flush=True)
    threading.Event().wait(1)
    return 1
"""


def interrupted(tmp_path: Path, source: str, *options: str) -> tuple[int, str | None]:
    """Press Ctrl-C when the application says that it waits."""
    (tmp_path / "a_waiting_service.py").write_text(source)
    process = subprocess.Popen(
        [COMMAND, "check", "a_waiting_service:app", *options, "--output", "report"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=40)
    assert (output, "Traceback" in errors) == ("", False)
    report = tmp_path / "report"
    return process.returncode, report.read_text() if report.exists() else None


def test_interrupted_check_reports_what_it_found(tmp_path) -> None:
    """Exit code 130, as a shell makes of Ctrl-C."""
    code, report = interrupted(tmp_path, WAITING)

    assert code == 130
    assert report is not None
    assert "The check was not finished: interrupted." in report
    assert "ENV001 GET /first" in report


def test_check_that_is_interrupted_before_it_begins_ends_quietly(tmp_path) -> None:
    """While the application is imported there is nothing to report."""
    source = "import threading\nprint('waiting', flush=True)\nthreading.Event().wait(20)\n"

    assert interrupted(tmp_path, source) == (130, None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise KeyboardInterrupt\n", ""),
        (KILLING, "The check was not finished: interrupted."),
    ],
)
def test_interruption_has_the_exit_code_of_shells(service, tmp_path, source, words) -> None:
    """Whether or not there is something to report."""
    (tmp_path / f"{service}.py").write_text(source)
    result = run(f"{service}:app")

    assert result.exit_code == 130
    assert words in result.output


@pytest.mark.parametrize("missing", ["click", "rich", "requests", "schemathesis", "uvicorn", "yaml"])
def test_missing_extra_says_what_to_install(missing, tmp_path) -> None:
    """One line and exit code 2, whatever of it is missing."""
    assert without(missing, tmp_path, "check", "http://127.0.0.1:9") == (
        *(2, ""),
        "envelope check needs more: pip install 'asgi-envelope[check]'\n",
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["locks", "list"], ["maintenance", "status", "check"]])
def test_missing_command_line_says_what_to_install(arguments, tmp_path) -> None:
    """The smaller extra, where nothing is checked."""
    assert without("click", tmp_path, *arguments) == (
        *(2, ""),
        "envelope needs more: pip install 'asgi-envelope[cli]'\n",
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "--help"], ["completion", "zsh"], ["locks", "--help"]]
)
def test_smaller_extra_is_enough_for_the_rest(arguments, tmp_path) -> None:
    """Without what only a check needs."""
    code, output, errors = without("schemathesis", tmp_path, *arguments)

    assert (code, errors) == (0, "")
    assert output


@pytest.mark.parametrize("library", ["redis", "valkey"])
def test_missing_client_library_says_what_to_install(library, tmp_path) -> None:
    """As the service itself would say."""
    code, output, errors = without(library, tmp_path, "locks", "list", "--storage", f"{library}://127.0.0.1:9")

    assert (code, output) == (2, "")
    assert f"install asgi-envelope[{library}]" in errors
    assert errors.count("\n") == 1


def without(missing: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command line where a package is not installed."""
    code = f"import sys; sys.modules[{missing!r}] = None; from envelope.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_main_ends_the_process(monkeypatch, capsys) -> None:
    """With click's exit code, or the hint of a missing extra."""
    monkeypatch.setattr(sys, "argv", ["envelope", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0

    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "asgi-envelope[cli]" in capsys.readouterr().err

    def unchecked() -> None:
        raise ModuleNotFoundError("No module named 'schemathesis'", name="schemathesis.core")

    monkeypatch.setattr(cli, "build_group", unchecked)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "asgi-envelope[check]" in capsys.readouterr().err

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build_group", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


def test_interruption_while_options_are_read_ends_quietly(monkeypatch, capsys) -> None:
    """Click would make exit code 1 of it, which means departures."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    group = cli.build_group()
    option = next(each for each in group.commands["check"].params if each.name == "seed")
    monkeypatch.setattr(option, "callback", interrupt)
    monkeypatch.setattr(cli, "build_group", lambda: group)
    monkeypatch.setattr(sys, "argv", ["envelope", "check", "x:y"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "\n")


def test_module_can_be_run(monkeypatch) -> None:
    """As ``python -m envelope.cli``."""
    monkeypatch.setattr(sys, "argv", ["envelope", "--version"])

    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("envelope.cli", run_name="__main__")


def test_progress_is_shown_on_a_terminal(service) -> None:
    """On standard error, so that a report can be redirected."""
    controller, terminal = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(controller, shown))
    reader.start()
    ran = subprocess.run(
        [COMMAND, "check", f"{service}:app", "--max-examples", "1"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        check=False,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    reader.join()
    os.close(controller)

    assert ran.returncode == 1
    assert b"GET /things" in b"".join(shown)
    assert "\x1b" not in ran.stdout


def _read_all(controller: int, shown: list[bytes]) -> None:
    with suppress(OSError):  # how Linux says that the other end was closed
        while chunk := os.read(controller, 65536):
            shown.append(chunk)
