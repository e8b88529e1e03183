"""Whatever reaches the terminal goes through the console: with a bar, as a table, as a question."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from installer.core.errors import UsageError
from installer.shared.command.console import Console
from installer.shared.secrecy.known import Secrets
from tests.rig.hang import ends

TOP = Path(__file__).resolve().parents[3]
SECRET = "hunter22"
TEXT = f"{SECRET} → see `install status`"
SHOWN = "*** -> see `./install status --root /mnt/host`"
WITH_A_BAR = f"""
from installer.shared.command.console import Console
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal import streams
streams.protect()
secrets = Secrets()
secrets.add([{SECRET!r}])
console = Console("install")
console.root, console.called = "/mnt/host", "./install"
console.conceal(secrets)
progress = console.progress()
progress.start("load {SECRET} \\u2192 x", 100)
progress.advance(50)
progress.note("note " + {TEXT!r})
progress.warn("warn " + {TEXT!r})
progress.step("step " + {TEXT!r}, step="do")
console.log("log " + {TEXT!r})
progress.done()
"""


def on_terminal(program: str) -> str:
    """Run a program whose output is a pseudo-terminal; return what it shows there."""
    ours, theirs = os.openpty()
    env = os.environ | {"PYTHONPATH": str(TOP), "TERM": "xterm", "LC_ALL": "C", "COLUMNS": "200"}
    shown = b""
    with (
        ends(),
        subprocess.Popen([sys.executable, "-c", program], env=env, stdout=theirs, stderr=theirs) as child,
    ):
        os.close(theirs)
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:
            pass  # how a pseudo-terminal reports that nobody holds its other end
        assert child.wait() == 0
    os.close(ours)
    return shown.decode()


@pytest.fixture(scope="module")
def with_a_bar() -> str:
    return on_terminal(WITH_A_BAR)


@pytest.mark.parametrize("way", ["note", "warn", "step", "log"])
def test_a_line_above_a_bar_is_like_every_other_line(way: str, with_a_bar: str) -> None:
    assert f"{way} {SHOWN}" in with_a_bar


def test_a_bar_has_no_secret_and_no_symbol_that_the_terminal_lacks(with_a_bar: str) -> None:
    assert "load *** -> x" in with_a_bar
    assert SECRET not in with_a_bar


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("LC_ALL", "C")
    console = Console("install")
    console.root, console.called = "/mnt/host", "./install"
    secrets = Secrets()
    secrets.add([SECRET])
    console.conceal(secrets)
    return console


def test_a_table_is_like_every_other_text(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    console.rows([["event", "about"], ["refused", TEXT]], lambda _: False)
    assert capsys.readouterr().out == f"event    about\nrefused  {SHOWN}\n"


def test_a_secret_that_equals_a_word_of_ours_does_not_spoil_the_document(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = Secrets()
    secrets.add(["usage", "waybill", "because"])
    console.conceal(secrets)
    console.json_output = True
    console.finish(2, UsageError("usage because of waybill"))
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["code"]) == ("waybill/cli/install/v1", "usage")
    assert document["problems"][0]["what"] == "*** *** of ***"


ANSWERING = """
import io, sys
from installer.shared.command import console as module
from installer.shared.command.console import Console
from installer.shared.secrecy.known import Secrets

class Typed(io.StringIO):
    def isatty(self): return True

sys.stdin = Typed("y\\n")
module._in_foreground = lambda: True
secrets = Secrets()
secrets.add([{secret!r}])
console = Console("install")
console.root, console.called, console.quiet = "/mnt/host", "./install", True
console.conceal(secrets)
console.show("plan", "plan " + {text!r}, {{}})
console.ask("question " + {text!r} + " ", "--yes")
"""


def test_a_question_and_what_was_held_back_until_it_are_like_every_other_text() -> None:
    shown = on_terminal(ANSWERING.format(secret=SECRET, text=TEXT))
    assert f"plan {SHOWN}" in shown
    assert f"question {SHOWN}" in shown
    assert SECRET not in shown
