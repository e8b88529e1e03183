"""The terminal of both commands: stdout for results, stderr for everything else, prompts and exit codes.

The only module besides those in the two `cli` folders that prints. Output that cannot be written never
changes what a command does: see `streams`.
"""

from __future__ import annotations

import os
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

from installer import __version__
from installer.core.errors import (
    DeclinedError,
    InternalError,
    OutputError,
    StoppedError,
    UsageError,
    WaybillError,
)
from installer.core.remedies import commands_below, host_error, point_below
from installer.shared.progress import Progress
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal import interrupts, streams
from installer.shared.terminal.colour import coloured
from installer.shared.terminal.listing import error_text
from installer.shared.terminal.narrow import fits, stacked
from installer.shared.terminal.progress_view import progress_view
from installer.shared.terminal.text import json_text, safe, table
from installer.shared.ui import Ui

LogFormat = Literal["text", "json"]
REPORT = (
    "report it with the lines above: see CONTRIBUTING.md of the project, or SECURITY.md for a "
    "security problem"
)


class Console(Ui):
    """The terminal of one run of a command.

    Args:
        program: `bundle` or `install`.
        json_output: Whether results are one JSON document on stdout.
        log_format: How lines on stderr look.
        output_counts: Whether a command fails if a result that was asked for on stdout cannot be written. Not
            for `install`, whose exit code says what became of the host.
    """

    def __init__(
        self,
        program: str,
        json_output: bool = False,
        log_format: LogFormat = "text",
        *,
        output_counts: bool = False,
    ) -> None:
        self.program = program
        self.json_output = json_output
        self.log_format: LogFormat = log_format
        self.root = "/"
        """The directory of the host that the command is about, for hints."""
        self._output_counts = output_counts
        self._secrets = Secrets()

    def conceal(self, secrets: Secrets) -> None:
        """Remember what must not be shown."""
        self._secrets = secrets

    def result(self, text: str, document: Callable[[], Any], *, asked_for: bool = False) -> None:
        """Print a result: the text, or with `--json` the document.

        Args:
            text: For people.
            document: Returns the same as JSON.
            asked_for: Whether the text on stdout is what the command is for, like the document of `--json`.

        Raises:
            OutputError: It was asked for and cannot be written, and that counts; see `output_counts`.
        """
        hide = self._secrets.hide_in
        typed = commands_below(text, self.root)
        plain = "" if self.json_output else coloured(safe(hide(typed)), sys.stdout)
        shown = json_text(hide(document()), indent=1) if self.json_output else plain
        failure = streams.write(sys.stdout, f"{shown}\n")
        if failure is None:
            return
        what = f"the result cannot be written to standard output: {failure.strerror or failure}"
        if self._output_counts and (self.json_output or asked_for):
            raise OutputError(what)
        self.warn(f"{what}; the exit code says how the command ended")

    def rows(self, rows: Sequence[Sequence[str]], alarming: Callable[[Sequence[str]], bool]) -> None:
        """Print a table; on a terminal, the last column wraps and alarming rows are highlighted.

        Args:
            rows: Its rows; the first one is the heading.
            alarming: Returns whether a row is alarming.
        """
        if self.json_output:
            return
        if sys.stdout is None or not sys.stdout.isatty():
            streams.write(sys.stdout, f"{safe(table(rows))}\n")
            return
        from rich.console import Console as Rich
        from rich.table import Table
        from rich.text import Text

        rich = Rich(highlight=False, markup=False)
        safe_rows = [[safe(cell) for cell in row] for row in rows]
        if not fits(safe_rows, rich.width):
            for number, line in stacked(safe_rows, rich.width):
                with suppress(OSError):
                    rich.print(Text(line, style="bold red" if alarming(rows[number]) else ""), soft_wrap=True)
            return
        shown = Table(box=None, padding=(0, 2, 0, 0))
        for name in rows[0]:
            shown.add_column(name, no_wrap=name != rows[0][-1], overflow="fold")
        for row in rows[1:]:
            style = "bold red" if alarming(row) else ""
            shown.add_row(*(Text(safe(cell)) for cell in row), style=style)
        with suppress(OSError):
            rich.print(shown)

    def log(self, text: str, level: str = "info", **fields: Any) -> None:
        """Print a message on stderr, as a line or as JSON."""
        # Scripts and engines speak here, too: what is secret goes before it leaves this process.
        text = self._secrets.hide(commands_below(text, self.root))
        line = coloured(safe(text), sys.stderr)
        if self.log_format == "json":
            more = self._secrets.hide_in(fields)
            line = json_text(
                {"time": _now(), "level": level, "program": self.program, "message": text, **more}
            )
        # A terminal that was closed must not stop a transaction: there is nobody to tell.
        streams.write(sys.stderr, f"{line}\n")

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
        self._secrets.hide_error(error)
        if self.json_output:
            # A script reads one document from stdout, whether the command succeeded or not.
            streams.write(sys.stdout, f"{json_text(error.as_json(), indent=1)}\n")
        if self.log_format == "json":
            self.log(error.what, "error", **{k: v for k, v in error.as_json().items() if k != "what"})
        else:
            self.log(f"error: {error_text(error, everything=self.everything)}")

    def progress(self) -> Progress:
        """Return the object that long operations report to."""
        return progress_view(self)

    def ask(self, question: str, flag: str) -> str:
        """Ask for a line.

        Raises:
            UsageError: There is no terminal; the error names the option that answers.
            DeclinedError: The terminal was closed.
        """
        # Never read an answer from a pipe: it might be the next line of a script.
        if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr) and _in_foreground()):
            raise UsageError(
                "this command needs an answer, but no terminal is available", hint=f"give {flag}"
            )
        with interrupts.waiting():
            _discard_typed()
            streams.write(sys.stderr, safe(question))
            line = sys.stdin.readline()
        if not line:
            raise DeclinedError("no answer; nothing was changed")
        return line.rstrip("\n")


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


def _in_foreground() -> bool:
    """Return whether this process may read from the terminal: a job in the background would be stopped."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return True  # not the terminal of this session: it has no jobs, and nothing stops a read


def _discard_typed() -> None:
    """Discard what was typed before the question: it is no answer to it.

    Right before, not after: a program that types the answer as soon as it sees the question must be heard.
    """
    with suppress(OSError, ValueError, termios.error):
        # First what the question is about has to leave for the terminal, which may be a slow serial line.
        termios.tcdrain(sys.stderr.fileno())
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


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
    except KeyboardInterrupt as error:
        console.error(StoppedError(f"interrupted by {error}" if str(error) else "interrupted"))
        return StoppedError.exit_code
    except OSError as error:
        # A disk can fail at any read: the place and the reason help, a traceback does not.
        failed = host_error(error)
        console.error(failed)
        return failed.exit_code
    except Exception as error:  # an internal error: no class of ours covers it
        import traceback

        console.log(traceback.format_exc(), "error")
        console.error(_internal(console, error))
        return InternalError.exit_code
    return 0


def _internal(console: Console, error: Exception) -> InternalError:
    what = f"internal error in {console.program} {__version__}: {type(error).__name__}"
    return InternalError(f"{what}: {error}" if str(error) else what, hint=REPORT)


def run_app(console: Console, app: Any, words: Sequence[str]) -> int:
    """Run a command line application and return the exit code of the process.

    SIGTERM and SIGHUP (a lost session) end it like Ctrl-C, so that it cleans up; see `interrupts`.

    Args:
        console: The terminal.
        app: A Typer application.
        words: The arguments of the command.
    """
    words = list(words)
    with interrupts.handled():
        code = run(console, lambda: _invoke(console, app, _take_log_format(console, words)))
        # Whatever comes now, the command has ended with this code.
        interrupts.finish()
        return code


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


class _CarriedError(Exception):
    """Takes an exception through Typer, which would end the program without a word or a document."""


def _invoke(console: Console, app: Any, words: list[str]) -> None:
    from typer import Abort, Exit, TyperException
    from typer.main import get_command

    command: Any = get_command(app)
    invoke = command.invoke

    def carry(context: Any) -> Any:
        try:
            return invoke(context)
        # Of an EPIPE it thinks that it is from stdout; it may be from an engine's socket.
        except (KeyboardInterrupt, OSError) as error:
            raise _CarriedError from error

    command.invoke = carry
    try:
        code = command(args=words or ["--help"], prog_name=console.program, standalone_mode=False)
    except _CarriedError as carried:
        raise carried.__cause__ or carried from None
    except Exit as leaving:
        sys.exit(leaving.exit_code)
    except Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            streams.write(sys.stderr, f"{safe(str(error))}\n")
            sys.exit(UsageError.exit_code)
        # The context knows the command as it was typed: `install trust init`.
        command = getattr(getattr(error, "ctx", None), "command_path", "") or console.program
        hint = f"see `{command} --help`"
        raise UsageError(error.format_message(), hint=hint) from None
    # Without standalone mode the code of `Exit` is returned instead of raised.
    if isinstance(code, int) and code:
        sys.exit(code)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
