"""The console: questions at a real terminal, and text that cannot steer one."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pytest
import typer

from installer.core.errors import OutputError, UsageError, WaybillError
from installer.shared.command import console as consoles
from installer.shared.command.command_line import run, run_app
from installer.shared.command.console import Console
from installer.shared.terminal import streams
from installer.shared.terminal.text import json_text, safe
from tests.rig.answers import Document
from tests.rig.hang import ends

TOP = Path(__file__).resolve().parents[3]
STEERING = (
    "\x00\x07\x08\x0b\r\x1b\x7f\x85\x9b\u061c\u200e\u200f\u202a\u202e\u2066\u2069\u200b\ufeff\U000e0041"
)
UNSAFE = re.compile(f"[{re.escape(STEERING)}\ud800-\udfff]")


def test_text_is_shown_with_what_could_steer_a_terminal_escaped() -> None:
    shown = safe(f"a\tb\nc {STEERING}\udcff é 漢 → 🙂")
    assert shown.startswith("a\tb\nc \\x00\\x07")
    assert shown.endswith("\\U000e0041\\udcff é 漢 → 🙂")
    assert not UNSAFE.search(shown)


def test_json_escapes_the_same_characters_and_has_the_same_value() -> None:
    value = {f"key{STEERING}": [f"{STEERING}\udcff\t\n é 漢 🙂", 1, None]}
    for indent in (None, 1):
        shown = json_text(value, indent)
        assert not UNSAFE.search(shown)
        assert "é 漢 🙂" in shown
        assert json.loads(shown) == value


def test_a_warning_is_marked_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console("install")
    for text in ("the clock is behind", "WARNING: this is NOT in the audit log"):
        console.warn(text)
    console.progress().warn("WARNING: the metrics were not written")
    assert capsys.readouterr().err.splitlines() == [
        "warning: the clock is behind",
        "WARNING: this is NOT in the audit log",
        "WARNING: the metrics were not written",
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_output_is_escaped(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console("install", log_format="json" if log_format == "json" else "text")
    for json_output in (False, True):
        console.json_output = json_output
        console.result(f"text {STEERING}", lambda: {"name": STEERING})
        console.rows([["NAME"], [STEERING]], lambda _: False)
        console.error(WaybillError(STEERING, where=STEERING, hint=STEERING))
        console.show("plan", STEERING, {"name": STEERING})
        console.finish(10, WaybillError(STEERING, where=STEERING, hint=STEERING))
        for tell in (console.note, console.warn, console.alert, console.progress().note):
            tell(STEERING)
        console.progress().start(STEERING, 1)
    said = capsys.readouterr()
    assert "\\u202e" in said.out
    assert "\\u202e" in said.err
    assert not UNSAFE.search(said.out + said.err)


def test_an_internal_error_and_an_interruption_are_documents_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise ValueError("no class of ours")

    def stops() -> None:
        raise KeyboardInterrupt("SIGTERM")

    console = Console("install", json_output=True, log_format="json")
    assert run(console, fails) == 1
    said = capsys.readouterr()
    document = Document.read(said.out)
    assert (document["code"], document["exit"]) == ("internal", 1)
    assert "ValueError: no class of ours" in document.what
    assert "report it" in document.hint
    assert [(line["level"], line["event"]) for line in map(json.loads, said.err.splitlines())] == [
        ("error", "traceback"),
        ("error", "error"),
        ("error", "ended"),
    ]
    assert run(console, stops) == 130
    document = Document.read(capsys.readouterr().out)
    assert (document["code"], document.what) == ("interrupted", "interrupted by SIGTERM")


@pytest.mark.parametrize("recovered", [True, False])
def test_an_interrupted_question_says_that_nothing_was_changed_unless_something_was(
    recovered: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console("install")

    def asks() -> None:
        console.tell(changed=recovered)
        with streams.question():
            raise KeyboardInterrupt("SIGTERM")

    assert run(console, asks) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    nothing = "" if recovered else "; no answer; nothing was changed"
    assert said == f"error: interrupted by SIGTERM{nothing}"


def test_no_exception_of_a_command_is_taken_for_one_of_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    """Typer takes EPIPE for a closed stdout, and ends without a word; it may be from an engine's socket."""
    app, console = typer.Typer(), Console("install")

    @app.command()
    def epipe(_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    @app.command()
    def stop(_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        signal.raise_signal(signal.SIGHUP)

    for word, code, error in (
        ("epipe", 15, "host-not-ready"),
        ("stop", 130, "interrupted"),
        ("other", 2, "usage"),
    ):
        assert run_app(console, app, [word, "--json"]) == code
        assert json.loads(capsys.readouterr().out)["code"] == error


class Full:
    """A stream on a full disk."""

    def write(self, _text: str) -> None:
        raise OSError(28, "No space left on device")

    def isatty(self) -> bool:
        return False


def test_a_result_that_is_lost_is_an_error_only_where_it_was_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    for json_output in (False, True):
        install = Console("install", json_output)
        assert run(install, lambda install=install: install.result("text", dict)) == 0  # type: ignore[misc]
    Console("bundle", output_counts=True).result("text", dict)
    warned = capsys.readouterr().err.splitlines()
    assert [line.partition("; ")[0] for line in warned] == [
        "warning: the result cannot be written to standard output: No space left on device"
    ] * 3
    bundle = Console("bundle", output_counts=True)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        bundle.result("text", dict, asked_for=True)
    assert (caught.value.exit_code, caught.value.hint[:26]) == (4, "what the command did stand")
    bundle.json_output = True
    assert run(bundle, lambda: bundle.result("text", dict)) == 4
    # The command failed by itself: that counts.
    assert run(bundle, lambda: (_ for _ in ()).throw(UsageError("wrong"))) == 2


ASK = """
import sys, time
from pathlib import Path
from installer.core.errors import WaybillError
from installer.shared.terminal import interrupts, streams
from installer.shared.command.command_line import run, run_app
from installer.shared.command.console import Console
streams.protect()
interrupts.install()
ready, go = map(Path, sys.argv[1:3])
ready.write_text("")
go.read_text()
console = Console("install")
answer = lambda: console.result(console.ask("Upgrade chat 1.0 \\u2192 2.0? [y/N] ", "--yes"), dict)
sys.exit(run(console, answer))
"""


class Terminal:
    """A pseudo-terminal with a process whose controlling terminal it is."""

    def __init__(self, ours: int, asking: subprocess.Popen[bytes], ready: Path, go: Path) -> None:
        self._ours, self.asking, self._ready, self._go = ours, asking, ready, go
        self.shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def wait_until_it_runs(self) -> None:
        self._ready.read_text()

    def let_it_ask(self) -> None:
        self._go.write_text("")

    def read_until(self, text: bytes) -> None:
        while text not in self.shown:
            self.shown += os.read(self._ours, 4096)

    def rest(self) -> bytes:
        try:
            while chunk := os.read(self._ours, 4096):
                self.shown += chunk
        except OSError:
            pass  # how a pseudo-terminal reports that nobody holds its other end
        return self.shown


@contextmanager
def terminal(tmp_path: Path, *wrap: str) -> Iterator[Terminal]:
    """Start a program that asks, on a terminal; `wrap` starts it in another way."""
    ours, theirs = os.openpty()
    ready, go = tmp_path / "ready", tmp_path / "go"
    for each in (ready, go):
        os.mkfifo(each)
    words = ["setsid", "--ctty", *wrap, sys.executable, "-c", ASK, str(ready), str(go)]
    env = os.environ | {"PYTHONPATH": str(TOP)}
    asking = subprocess.Popen(words, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        with ends(within=120):
            yield Terminal(ours, asking, ready, go)
    finally:
        asking.kill()
        asking.wait()
        os.close(ours)


def test_keys_typed_before_the_question_do_not_answer_it(tmp_path: Path) -> None:
    with terminal(tmp_path) as at:
        at.wait_until_it_runs()
        at.type(b"y\ny\n")
        at.read_until(b"y\r\ny\r\n")  # the terminal has echoed them: they are in its queue
        at.let_it_ask()
        at.read_until("→ 2.0? [y/N] ".encode())
        at.type(b"later\n")
        assert b"later\r\nlater\r\n" in at.rest()
        assert at.asking.wait() == 0


def test_end_of_file_typed_before_the_question_is_no_answer_either(tmp_path: Path) -> None:
    with terminal(tmp_path) as at:
        at.wait_until_it_runs()
        at.type(b"\x04\x04y\n")
        at.read_until(b"y\r\n")
        at.let_it_ask()
        at.read_until(b"[y/N] ")
        at.type(b"y\n")
        at.rest()
        assert at.asking.wait() == 0


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 17)], ids=["Ctrl-C", "Ctrl-D"])
def test_a_key_at_the_question_stops_at_once(tmp_path: Path, key: bytes, code: int) -> None:
    with terminal(tmp_path) as at:
        at.wait_until_it_runs()
        at.let_it_ask()
        at.read_until(b"[y/N] ")
        at.type(key)
        at.rest()
        assert at.asking.wait() == code


def test_a_terminal_that_goes_away_at_the_question_stops_it(tmp_path: Path) -> None:
    with terminal(tmp_path) as at:
        at.wait_until_it_runs()
        at.let_it_ask()
        at.read_until(b"[y/N] ")
        at.asking.send_signal(signal.SIGHUP)
        assert at.asking.wait() == 130


@pytest.mark.parametrize("elsewhere", ["< answers", "2> said"])
def test_without_a_terminal_the_flag_is_named(tmp_path: Path, elsewhere: str) -> None:
    (tmp_path / "answers").write_text("y\n")
    with terminal(tmp_path, "sh", "-c", f'cd {tmp_path}; exec "$@" {elsewhere}', "sh") as at:
        at.wait_until_it_runs()
        at.let_it_ask()
        shown = at.rest()
        assert at.asking.wait() == UsageError.exit_code
    said = shown.decode() if "answers" in elsewhere else (tmp_path / "said").read_text()
    assert "no terminal is available" in said
    assert "give --yes" in said


def test_a_job_in_the_background_is_not_stopped_by_its_question(tmp_path: Path) -> None:
    """Reading from the terminal would stop it (SIGTTIN), with the lock held."""
    with terminal(tmp_path, "bash", "-mc", '"$@" & wait $!', "bash") as at:
        at.wait_until_it_runs()
        at.let_it_ask()
        assert b"give --yes" in at.rest()
        assert at.asking.wait() == UsageError.exit_code


def test_what_asks_has_a_way_out_without_job_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is not that of our session has no foreground group, and is read."""
    ours, theirs = os.openpty()
    with open(theirs) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert consoles._in_foreground()
    os.close(ours)
