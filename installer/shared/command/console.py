"""The terminal of both commands: stdout for results, stderr for everything else, prompts and exit codes.

The only module besides those in the two `cli` folders that prints. Output that cannot be written never
changes what a command does: see `streams`.
"""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Literal

from installer.core.errors import DeclinedError, OutputError, Problem, UsageError, WaybillError
from installer.core.remedies import below, commands_below, point_below, rename_hints
from installer.shared.command.run_record import OURS, RunRecord, Shapes, problem_rows
from installer.shared.command.ui import Ui
from installer.shared.progress import Progress
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal import interrupts, streams
from installer.shared.terminal.called import called_as, rename
from installer.shared.terminal.charset import as_shown
from installer.shared.terminal.colour import coloured, is_coloured
from installer.shared.terminal.listing import error_text
from installer.shared.terminal.narrow import fits, stacked
from installer.shared.terminal.progress_view import progress_view
from installer.shared.terminal.text import json_text, safe, table

LogFormat = Literal["text", "json"]


WARNING = "warning: "
"""Begins each line about something out of the ordinary that stops nothing."""


class Console(Ui):
    """The terminal of one run of a command.

    Args:
        program: `bundle` or `install`.
        json_output: Whether results are one JSON document on stdout.
        log_format: How lines on stderr look.
        shapes: The fields of each command's document, besides those of every document.
        output_counts: Whether a command fails if a result that was asked for on stdout cannot be written. Not
            for `install`, whose exit code says what became of the host.
    """

    def __init__(
        self,
        program: str,
        json_output: bool = False,
        log_format: LogFormat = "text",
        *,
        shapes: Shapes | None = None,
        output_counts: bool = False,
    ) -> None:
        self.program = program
        self.json_output = json_output
        self.log_format: LogFormat = log_format
        self.root = "/"
        """The directory of the host that the command is about, for hints."""
        self.called = called_as(program)
        """The words that start this program again, for hints."""
        self.quiet = False
        """Whether only warnings, errors and questions are printed, and documents of `--json`."""
        self._withheld = ""
        self._output_counts = output_counts
        self._shapes = shapes or {}
        self.begin()

    def conceal(self, secrets: Secrets) -> None:
        """Remember what must not be shown."""
        self._secrets = secrets

    def begin(self) -> None:
        """Forget what is known of an earlier run: a process may run several commands."""
        self.root = "/"
        self.record = RunRecord(self.program, self._shapes)
        self._secrets = Secrets()

    def tell(self, **facts: Any) -> None:
        """Take down facts about the run as soon as they are known; see `Ui.tell`."""
        self.record.tell(**facts)

    def result(
        self, text: str, document: Callable[[], Mapping[str, Any]], *, asked_for: bool = False
    ) -> None:
        """Print the text of a result; with `--json` keep it for the document, which ends the run.

        Args:
            text: For people.
            document: Returns the same as JSON: the fields of the command, and common ones that it knows.
            asked_for: Whether the text on stdout is what the command is for, like the document of `--json`.

        Raises:
            OutputError: It was asked for and cannot be written, and that counts; see `output_counts`.
        """
        if self.json_output:
            # Not before the end: an error that follows belongs to the same document.
            self.answer(document)
            return
        # What a command is for, like a sheet, is no report of what it did.
        if asked_for or (text and not self.quiet):
            self._write_result(coloured(self.shown(text), sys.stdout), counts=asked_for)

    def shown(self, text: str) -> str:
        """Return text for people, as everything has to be that reaches the terminal.

        Without secrets, commands as they can be typed here, symbols as the terminal has them, and nothing in
        it that steers a terminal.
        """
        return safe(as_shown(self._said(text)))

    def _said(self, text: str) -> str:
        """Return text for people and documents: commands can be typed here, what is secret is hidden."""
        return self._secrets.hide(self._typed(text))

    def _typed(self, text: str) -> str:
        """Return text whose commands can be typed here: for this host, by the name that this program has."""
        return rename(commands_below(text, self.root), self.program, self.called)

    def answer(self, document: Callable[[], Mapping[str, Any]]) -> None:
        """Keep what belongs to the document of the run, and print nothing: an error is about to follow."""
        if self.json_output:
            self.record.answer(document())

    def finish(self, code: int, error: WaybillError | None = None) -> None:
        """Print the document of the run, where `--json` asks for one.

        Args:
            code: The exit code.
            error: Why the run failed; None where it did not.

        Raises:
            OutputError: It cannot be written, and that counts.
        """
        # `--help` has no result: it is the answer itself.
        if self.json_output and (code or self.record.answered):
            document = self.record.document(code, error)
            # Scripts compare these words, which are ours: a secret that equals one must not blank it.
            ours = {name: document[name] for name in OURS}
            shown = self._secrets.hide_in(document) | ours
            self._write_result(json_text(shown, indent=1), counts=code == 0)
        if self.log_format == "json":
            level = "info" if code in (0, 3) else "error"
            self.log(f"ended with exit code {code}", level, event="ended", exit=code)

    def _write_result(self, shown: str, *, counts: bool) -> None:
        failure = streams.write(sys.stdout, f"{shown}\n")
        if failure is None:
            return
        what = f"the result cannot be written to standard output: {failure.strerror or failure}"
        if self._output_counts and counts:
            raise OutputError(what)
        self.warn(f"{what}; the exit code says how the command ended")

    def rows(self, rows: Sequence[Sequence[str]], alarming: Callable[[Sequence[str]], bool]) -> None:
        """Print a table; on a terminal, the last column wraps and alarming rows are highlighted.

        Args:
            rows: Its rows; the first one is the heading.
            alarming: Returns whether a row is alarming.
        """
        if self.json_output or self.quiet:
            return
        # Records of earlier versions may have what is hidden today.
        safe_rows = [[self.shown(cell) for cell in row] for row in rows]
        if sys.stdout is None or not sys.stdout.isatty():
            streams.write(sys.stdout, f"{table(safe_rows)}\n")
            return
        from rich.console import Console as Rich
        from rich.table import Table
        from rich.text import Text

        # Without colours, rich would still write bold.
        rich = Rich(highlight=False, markup=False, color_system="auto" if is_coloured(sys.stdout) else None)
        if not fits(safe_rows, rich.width):
            for number, line in stacked(safe_rows, rich.width):
                with suppress(OSError):
                    rich.print(Text(line, style="bold red" if alarming(rows[number]) else ""), soft_wrap=True)
            return
        shown = Table(box=None, padding=(0, 2, 0, 0))
        for name in safe_rows[0]:
            shown.add_column(name, no_wrap=name != safe_rows[0][-1], overflow="fold")
        for row, cells in zip(rows[1:], safe_rows[1:], strict=True):
            style = "bold red" if alarming(row) else ""
            shown.add_row(*map(Text, cells), style=style)
        with suppress(OSError):
            rich.print(shown)

    def log(self, text: str, level: str = "info", **fields: Any) -> None:
        """Print a message on stderr, as a line or as JSON; the document of `--json` has warnings, too."""
        # Scripts and engines speak here, too: what is secret goes before it leaves this process.
        text = self._said(text)
        if isinstance(hint := fields.get("hint"), str):
            fields["hint"] = rename(below(hint, self.root), self.program, self.called)
        self.keep(text, level, fields)
        if self.quiet and level == "info":
            return
        # In documents and structured logs the level says it. What warns loudly of itself has said it already.
        is_marked = level != "warning" or text.startswith(WARNING.upper())
        shown = text if is_marked else f"{WARNING}{text}"
        line = coloured(safe(as_shown(shown)), sys.stderr)
        if self.log_format == "json":
            line = json_text(self.record.log_row(text, level, self._secrets.hide_in(fields)))
        # A terminal that was closed must not stop a transaction: there is nobody to tell.
        streams.write(sys.stderr, f"{line}\n")

    def keep(self, text: str, level: str, fields: Mapping[str, Any]) -> None:
        """Keep a message for the document: a step of a transaction, or a warning."""
        if "step" in fields:
            self.record.step(fields)
        elif level == "warning" or fields.get("event") == "failure":
            where, hint, code = (fields.get(name) or "" for name in ("where", "hint", "code"))
            self.record.warn(Problem(where, fields.get("what") or text, hint, code))

    def warn_about(self, problem: Problem) -> None:
        """Print a warning that has a place and a remedy."""
        problem = replace(problem, hint=below(problem.hint, self.root))
        self.log(str(problem), "warning", event="warning", **asdict(problem))

    def note(self, text: str) -> None:
        """Print one thing that happened."""
        self.log(text)

    def warn(self, text: str) -> None:
        """Print something out of the ordinary that stops nothing."""
        self.log(text, "warning", event="warning")

    def alert(self, text: str) -> None:
        """Print a failure that must not be overlooked although the command goes on."""
        self.log(text, "error", event="failure")

    def show(self, name: str, text: str, document: Any) -> None:
        """Print on stderr what will be carried out: stdout has the result."""
        if name in self._shapes.get(self.record.command, ()):
            self.record.fields[name] = document
        if self.quiet:
            self._withheld = text  # until somebody is asked about it
        elif self.log_format == "json":
            self.log(name, event=name, **{name: document})
        else:
            self.log(text)

    def error(self, error: WaybillError) -> None:
        """Print an error on stderr; the document of the run has it as well."""
        point_below(error, self.root)
        rename_hints(error, lambda hint: rename(hint, self.program, self.called))
        self._secrets.hide_error(error)
        if self.log_format == "json":
            first, *more = problem_rows(error)
            self.log(error.what, "error", event="error", exit=error.exit_code, **first, problems=more)
        else:
            self.log(f"error: {error_text(error, everything=self.everything)}", "error")

    def progress(self) -> Progress:
        """Return the object that long operations report to."""
        return progress_view(self, bar=not self.quiet)

    def ask(self, question: str, flag: str) -> str:
        """Ask for a line.

        Raises:
            UsageError: There is no terminal; the error names the option that answers.
            DeclinedError: The terminal was closed.
        """
        return self._ask(question, flag, fresh=True)

    def ask_more(self, question: str, flag: str) -> str:
        """Ask for the rest of an answer: what was pasted with its first line counts."""
        return self._ask(question, flag, fresh=False)

    def _ask(self, question: str, flag: str, *, fresh: bool) -> str:
        # Never read an answer from a pipe: it might be the next line of a script.
        if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr) and _in_foreground()):
            raise UsageError(
                "this command needs an answer, but no terminal is available", hint=f"give {flag}"
            )
        if self._withheld:
            streams.write(sys.stderr, f"{self.shown(self._withheld)}\n")
            self._withheld = ""
        with interrupts.waiting(), streams.question():
            if fresh:
                _discard_typed()
            streams.write(sys.stderr, self.shown(question))
            line = sys.stdin.readline()
        if not line:
            raise DeclinedError(streams.AT_QUESTION)
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
