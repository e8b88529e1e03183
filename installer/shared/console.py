"""The terminal of both commands: stdout for results, stderr for everything else, prompts and exit codes.

The only module besides those in the two `cli` folders that prints.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

from installer import __version__
from installer.core.errors import DeclinedError, UsageError, WaybillError
from installer.shared.humanize import size_text as size
from installer.shared.progress import Progress
from installer.shared.root_hints import point_below
from installer.shared.ui import Ui

LogFormat = Literal["text", "json"]
REPORT = (
    "report it with the lines above: see CONTRIBUTING.md of the project, or SECURITY.md for a "
    "security problem"
)
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def safe(text: str) -> str:
    """Return text with control and bidirectional characters escaped."""
    # Names and notes come from bundles: an escape sequence could rewrite what the operator approved.
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return rows as aligned columns; the first row is the heading, `right` are right-aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numbers = set(right)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


class Console(Ui):
    """The terminal of one run of a command.

    Args:
        program: `bundle` or `install`.
        json_output: Whether results are one JSON document on stdout.
        log_format: How lines on stderr look.
    """

    def __init__(self, program: str, json_output: bool = False, log_format: LogFormat = "text") -> None:
        self.program = program
        self.json_output = json_output
        self.log_format: LogFormat = log_format
        self.root = "/"
        """The directory of the host that the command is about, for hints."""

    def result(self, text: str, document: Callable[[], Any]) -> None:
        """Print a result: the text, or with `--json` the document."""
        if self.json_output:
            print(_document(document()))
        else:
            print(safe(text))
        sys.stdout.flush()

    def rows(self, rows: Sequence[Sequence[str]], alarming: Callable[[Sequence[str]], bool]) -> None:
        """Print a table; on a terminal, the last column wraps and alarming rows are highlighted.

        Args:
            rows: Its rows; the first one is the heading.
            alarming: Returns whether a row is alarming.
        """
        if self.json_output:
            return
        if not sys.stdout.isatty():
            print(safe(table(rows)))
            return
        from rich.console import Console as Rich
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, padding=(0, 2, 0, 0))
        for name in rows[0]:
            shown.add_column(name, no_wrap=name != rows[0][-1], overflow="fold")
        for row in rows[1:]:
            style = "bold red" if alarming(row) else ""
            shown.add_row(*(Text(safe(cell)) for cell in row), style=style)
        Rich(highlight=False, markup=False).print(shown)

    def log(self, text: str, level: str = "info", **fields: Any) -> None:
        """Print a message on stderr, as a line or as JSON."""
        line = safe(text)
        if self.log_format == "json":
            row = {"time": _now(), "level": level, "program": self.program, "message": text, **fields}
            line = json.dumps(row, ensure_ascii=True)
        # A terminal that was closed must not stop a transaction.
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print one thing that happened."""
        self.log(text)

    def warn(self, text: str) -> None:
        """Print something out of the ordinary that stops nothing."""
        self.log(text, "warning")

    def alert(self, text: str) -> None:
        """Print a failure that must not be overlooked although the command goes on."""
        self.log(text, "error")

    def show(self, name: str, text: str, document: Any) -> None:
        """Print on stderr what will be carried out: stdout has the result."""
        if self.log_format == "json":
            self.log(name, **{name: document})
        else:
            self.log(text)

    def error(self, error: WaybillError) -> None:
        """Print an error; with `--json` the document goes to stdout as well."""
        point_below(error, self.root)
        if self.json_output:
            # A script reads one document from stdout, whether the command succeeded or not.
            print(_document(error.as_json()))
        if self.log_format == "json":
            self.log(error.what, "error", **{k: v for k, v in error.as_json().items() if k != "what"})
        else:
            self.log(f"error: {error}")

    def progress(self) -> Progress:
        """Return the object that long operations report to."""
        if self.log_format == "text" and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            return _Bar(self)
        return _Lines(self)

    def ask(self, question: str, flag: str) -> str:
        """Ask for a line.

        Raises:
            UsageError: There is no terminal; the error names the option that answers.
            DeclinedError: The terminal was closed.
        """
        # Never read an answer from a pipe: it might be the next line of a script.
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "this command needs an answer, but no terminal is available", hint=f"give {flag}"
            )
        print(safe(question), end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise DeclinedError("no answer; nothing was changed")
        return line.rstrip("\n")


class _Lines(Progress):
    """Progress as lines: one every five seconds, and one at the end of a phase."""

    EVERY = 5.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._label, self._total, self._done = "", 0, 0
        self._began = self._reported = 0.0

    def start(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._began = self._reported = time.monotonic()

    def advance(self, count: int) -> None:
        # Several threads report bytes.
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported < self.EVERY:
                return
            self._reported = now
        rate = self._done / max(now - self._began, 0.001)
        left = f", {(self._total - self._done) / max(rate, 1):.0f} s left" if self._total else ""
        of = f" of {size(self._total)}" if self._total else ""
        self._line(f"{self._label}: {size(self._done)}{of}, {size(int(rate))}/s{left}")

    def note(self, text: str) -> None:
        self._console.log(text)

    def step(self, text: str, **fields: Any) -> None:
        if self._console.log_format == "json":
            self._console.log(text or str(fields.get("step", "")), **fields)
        else:
            super().step(text)

    def done(self) -> None:
        took = time.monotonic() - self._began
        if self._done:
            self._line(f"{self._label}: {size(self._done)} in {took:.1f} s")

    def _line(self, text: str) -> None:
        if self._console.log_format == "json":
            self._console.log(text, phase=self._label, done=self._done, total=self._total)
        else:
            self._console.log(text)


class _Bar(Progress):
    """Progress as a bar with bytes, rate and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def start(self, label: str, total: int) -> None:
        from rich import progress
        from rich.console import Console as Rich

        self.done()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Rich(stderr=True, highlight=False, markup=False),
        )
        self._bar.start()
        self._task = self._bar.add_task(label, total=total or None)

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(safe(text))
        else:
            self._console.log(text)

    def done(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def run(console: Console, command: Callable[[], None]) -> int:
    """Run a command and turn what it raises into a message and an exit code.

    Args:
        console: The terminal.
        command: The command.

    Returns:
        The exit code of the process.
    """
    try:
        command()
    except WaybillError as error:
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.log("interrupted", "error")
        return 130
    except BrokenPipeError:
        # The reader of the output has ended; Python must not report it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception:  # an internal error: no class of ours covers it
        import traceback

        console.log(traceback.format_exc(), "error")
        console.log(f"internal error in {console.program} {__version__}: {REPORT}", "error")
        return 1
    return 0


def run_app(console: Console, app: Any, words: Sequence[str]) -> int:
    """Run a command line application and return the exit code of the process.

    SIGTERM and SIGHUP (a lost session) end it like Ctrl-C, so that it cleans up.

    Args:
        console: The terminal.
        app: A Typer application.
        words: The arguments of the command.
    """
    # As KeyboardInterrupt, so that every `finally` runs.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    words = list(words)
    return run(console, lambda: _invoke(console, app, _take_log_format(console, words)))


def _take_log_format(console: Console, words: list[str]) -> list[str]:
    """Take `--log-format` from any position: before or after the subcommand, as one word or two."""
    left = []
    rest = iter(words)
    for word in rest:
        name, is_one, value = word.partition("=")
        if name != "--log-format":
            left.append(word)
            continue
        given = value if is_one else next(rest, "")
        if given not in ("text", "json"):
            raise UsageError(f"--log-format is text or json, not {given!r}")
        console.log_format = "json" if given == "json" else "text"
    return left


def _invoke(console: Console, app: Any, words: list[str]) -> None:
    from typer import Abort, Exit, TyperException

    try:
        code = app(args=words or ["--help"], prog_name=console.program, standalone_mode=False)
    except Exit as leaving:
        sys.exit(leaving.exit_code)
    except Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
            sys.exit(UsageError.exit_code)
        hint = f"see `{console.program} --help`; for one command: COMMAND --help"
        raise UsageError(error.format_message(), hint=hint) from None
    # Without standalone mode click returns the code of `Exit` instead of raising it.
    if isinstance(code, int) and code:
        sys.exit(code)


def _document(value: Any) -> str:
    """Return a value as JSON; bytes of a file name that are not text are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return text.encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
