"""Runs a command line: its words become a call, and what it raises a message, a document and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from installer import __version__
from installer.core.errors import InternalError, OutputError, StoppedError, UsageError, WaybillError
from installer.core.remedies import host_error
from installer.shared.console import Console
from installer.shared.terminal import interrupts, streams
from installer.shared.terminal.text import safe

REPORT = (
    "report it with the lines above: see CONTRIBUTING.md of the project, or SECURITY.md for a "
    "security problem"
)


def run(console: Console, command: Callable[[], int | None]) -> int:
    """Run a command, print its document where one is asked for, and turn what it raises into a message.

    Args:
        console: The terminal.
        command: The command; it may return an exit code.

    Returns:
        The exit code of the process.
    """
    console.begin()
    code, error = _outcome(console, command)
    if error is not None:
        console.error(error)
    try:
        console.finish(code, error)
    except OutputError as lost:
        console.error(lost)
        return lost.exit_code
    except KeyboardInterrupt:
        # Nobody reads the document any more, and somebody does not want to wait for that.
        return StoppedError.exit_code
    return code


def _outcome(console: Console, command: Callable[[], int | None]) -> tuple[int, WaybillError | None]:
    """Run a command; return its exit code and its error."""
    try:
        return command() or 0, None
    except WaybillError as error:
        return error.exit_code, error
    except KeyboardInterrupt as error:
        stopped = StoppedError(f"interrupted by {error}" if str(error) else "interrupted")
        return stopped.exit_code, stopped
    except OSError as error:
        # A disk can fail at any read: the place and the reason help, a traceback does not.
        failed = host_error(error)
        return failed.exit_code, failed
    except Exception as error:  # an internal error: no class of ours covers it
        import traceback

        console.log(traceback.format_exc(), "error", event="traceback")
        return InternalError.exit_code, _internal(console, error)


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
    # Before they are parsed: wrong usage has a document, too.
    console.json_output = "--json" in words[: words.index("--") if "--" in words else None]
    with interrupts.handled():
        code = run(console, lambda: _invoke(console, app, words))
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


def _invoke(console: Console, app: Any, words: list[str]) -> int:
    """Parse a command line and call its command; return its exit code where it did not raise."""
    from typer import Abort, Exit, TyperException
    from typer.main import get_command

    command: Any = get_command(app)
    console.record.command = command_words(command, words)
    words = _take_log_format(console, words)
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
        return int(leaving.exit_code)
    except Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            streams.write(sys.stderr, f"{safe(str(error))}\n")
            return UsageError.exit_code
        # The context knows the command as it was typed: `install trust init`.
        command = getattr(getattr(error, "ctx", None), "command_path", "") or console.program
        hint = f"see `{command} --help`"
        raise UsageError(error.format_message(), hint=hint) from None
    # Without standalone mode the code of `Exit` is returned instead of raised.
    return code if isinstance(code, int) else 0


def command_words(group: Any, words: Sequence[str]) -> str:
    """Return the words of a command line that name the command, `trust init`; empty where none does.

    Args:
        group: The parsed application.
        words: The command line, without the program.
    """
    found = []
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            # An option of the program itself; a command may follow. Only this one has a value.
            if word == "--log-format":
                next(rest, None)
            continue
        group = getattr(group, "commands", {}).get(word)
        if group is None:
            break
        found.append(word)
    return " ".join(found)
