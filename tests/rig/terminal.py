"""A real terminal: a command with a pty as its standard streams, as a person at a keyboard has it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
INTERRUPT = "\x03"
"""What Ctrl-C types."""
# The clock of the rig's bundles and roots; see `trustworld.NOW`.
_INSTALL = (
    "import installer.commands.common.session as session; from tests.rig.trustworld import NOW; "
    "session.utc_now = lambda: NOW; from installer.cli.main import main; main()"
)
_BUNDLE = "from bundler.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command left on its terminal.

    Attributes:
        code: Its exit code.
        raw: Everything that it wrote, escape sequences included; lines end with a newline.
    """

    code: int
    raw: str

    @property
    def text(self) -> str:
        """What a person reads: without escape sequences."""
        return ESCAPE.sub("", self.raw)


def command(program: str, *words: str) -> list[str]:
    """Return the command line that starts `install` or `bundle` from source, as a process of its own.

    The clock of `install` stands at `trustworld.NOW`.
    """
    return [sys.executable, "-c", {"install": _INSTALL, "bundle": _BUNDLE}[program], *words]


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of a person's shell: those of the tests without what concerns colours."""
    passed_over = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM")
    own = {name: value for name, value in os.environ.items() if name not in passed_over}
    return {**own, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **variables}


def on_terminal(
    words: Sequence[str],
    *typed: tuple[str, str],
    columns: int = 80,
    variables: Mapping[str, str] | None = None,
    directory: Path | None = None,
    within: float = 60,
) -> Shown:
    """Run a command on a terminal of its own, which is the controlling one.

    Args:
        words: The command line.
        typed: What a person types, each after a text was shown: `("[y/N]", "n\\n")`.
        columns: The width of the terminal.
        variables: Variables of the environment, besides the usual ones.
        directory: Where it is started.
        within: Seconds after which it is killed: far more than a slow machine needs.

    Raises:
        AssertionError: It took longer, or a text did not come.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    process = subprocess.Popen(
        # A session of its own, so that Ctrl-C becomes a signal for the command alone.
        ["setsid", "--ctty", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=directory,
        env=environment(**(variables or {})),
    )
    os.close(theirs)
    shown, waiting, at = b"", list(typed), 0
    deadline = time.monotonic() + within
    try:
        while data := _read(ours, deadline):
            shown += data
            while waiting and (found := shown.find(waiting[0][0].encode(), at)) >= 0:
                expected, answer = waiting.pop(0)
                at = found + len(expected.encode())
                os.write(ours, answer.encode())
        late = time.monotonic() >= deadline
    finally:
        # Only one that hangs still runs when nothing more can be read.
        if time.monotonic() >= deadline:
            process.kill()
        code = process.wait()
        os.close(ours)
    said = shown.decode(errors="replace").replace("\r\n", "\n")
    assert not late, f"still running after {within:.0f} s: {said}"
    assert not waiting, f"{waiting[0][0]!r} was never shown: {said}"
    return Shown(code, said)


def _read(terminal: int, deadline: float) -> bytes:
    """Return what comes next; empty at the end, and after the deadline."""
    if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        return b""
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the last process on the terminal has ended
        return b""
