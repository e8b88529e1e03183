"""Runs a command line: its words become a call, and what it raises a message, a document and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from installer import __version__
from installer.core.errors import InternalError, OutputError, StoppedError, UsageError, WaybillError
from installer.core.remedies import host_error
from installer.shared.command.console import Console
from installer.shared.terminal import interrupts
from installer.shared.terminal.invocation import command_of, invoke, no_defaults
from installer.shared.terminal.listing import ALL

REPORT = (
    "report it with the lines above: see CONTRIBUTING.md of the project, or SECURITY.md for a "
    "security problem"
)

OF_THE_PROGRAM = ("completion", "man", "licenses", "selftest")
"""Commands of both programs that are about the program itself, and take no defaults."""


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
        by = "SIGINT (Ctrl-C)" if str(error) == "SIGINT" else str(error)
        what = f"interrupted by {by}" if by else "interrupted"
        # Of an interrupted question nothing follows, but what was recovered before it is a change.
        known = () if console.record.facts.get("changed") else getattr(error, "__notes__", ())
        stopped = StoppedError("; ".join([what, *known]))
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


def run_app(
    console: Console,
    app: Any,
    words: Sequence[str],
    arrange: Callable[[list[str]], list[str]] = list,
    defaults: Callable[[Any, Sequence[str]], Mapping[str, Any]] = no_defaults,
) -> int:
    """Run a command line application and return the exit code of the process.

    SIGTERM and SIGHUP (a lost session) end it like Ctrl-C, so that it cleans up; see `interrupts`.

    Args:
        console: The terminal.
        app: A Typer application.
        words: The arguments of the command.
        arrange: Returns them with the command first.
        defaults: Gives the options their defaults, and returns those of the program.
    """
    # Before they are parsed: wrong usage has a document, too.
    console.json_output = "--json" in words[: words.index("--") if "--" in words else None]

    def call() -> int:
        command = command_of(app)
        arranged = arrange(_take_options(console, list(words)))
        console.record.command = command_words(command, arranged)
        # What prints a part of the program must not be stopped by a file of the host or person.
        found = {} if console.record.command in OF_THE_PROGRAM else defaults(command, arranged)
        console.quiet = console.quiet or bool(found.get("quiet"))
        if not any(word.partition("=")[0] == "--log-format" for word in words):
            console.log_format = found.get("log-format", console.log_format)
        return invoke(command, arranged, console.program, console.called)

    with interrupts.handled():
        code = run(console, call)
        # Whatever comes now, the command has ended with this code.
        interrupts.finish()
        return code


def _take_options(console: Console, words: list[str]) -> list[str]:
    """Take `--log-format`, as one word or two, `--quiet` and `--all` from any position.

    Every command takes them: an error of any command may be long, and says that `--all` shows all of it.
    """
    # A process may run several commands: nothing of an earlier one is left.
    console.quiet = console.everything = False
    console.log_format = "text"
    left = list[str]()
    rest = iter(words)
    for word in rest:
        if word == "--":  # what follows is no option, whatever it looks like
            return [*left, word, *rest]
        if word == "--quiet":
            console.quiet = True
            continue
        if word == ALL:
            console.everything = True
            continue
        name, is_one, value = word.partition("=")
        if name != "--log-format":
            left.append(word)
            continue
        given = value if is_one else next(rest, "")
        if given not in ("text", "json"):
            raise UsageError(f"--log-format is text or json, not {given!r}")
        console.log_format = "json" if given == "json" else "text"
    return left


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
