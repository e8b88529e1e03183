"""Runs a command line application: words to a command, wrong usage to an error that shows how it is right."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from installer.core.errors import UsageError
from installer.core.schema_errors import did_you_mean
from installer.shared.terminal import streams
from installer.shared.terminal.called import rename
from installer.shared.terminal.charset import as_shown, shows_utf8
from installer.shared.terminal.text import safe
from installer.shared.terminal.usage import check_values, describe_plainly, plain

_NO_NUMBER = re.compile(r"is not a valid int(eger)?( range)?$")
_WHOLE = "is not a whole number"
_LETTER = 2
"""Characters of an option of one letter."""


class _CarriedError(Exception):
    """Takes an exception through Typer, which would end the program without a word or a document."""


def no_defaults(program: Any, words: Sequence[str]) -> Mapping[str, Any]:
    """Leave every option as it is."""
    del program, words
    return {}


def command_of(app: Any) -> Any:
    """Return the command of a Typer application; each call makes another one."""
    from typer.main import get_command

    command = get_command(app)
    describe_plainly(command)
    return command


def invoke(command: Any, words: Sequence[str], program: str, called: str) -> int:
    """Run the command that the words name.

    Args:
        command: The command of an application; it is changed.
        words: The arguments; none at all is wrong usage, which is answered with the help.
        program: Its name, as examples have it.
        called: How the program was called, for its help.

    Returns:
        The exit code that the command chose; 0 for none.

    Raises:
        UsageError: The words are no command, do not fit it, or have no value where one is needed.
        KeyboardInterrupt: A signal or a person ended it.
    """
    from typer import Abort, Exit, TyperException

    _rename_commands(command, program, called)
    inside = command.invoke

    def carry(context: Any) -> Any:
        try:
            return inside(context)
        # Of an EPIPE it thinks that it is from stdout; it may be from an engine's socket.
        except (KeyboardInterrupt, OSError) as error:
            raise _CarriedError from error

    command.invoke = carry
    # A script that forgot the arguments must not go on, as if something had been done.
    if not words:
        context = command.make_context(called, [], resilient_parsing=True)
        return _show_help(context.get_help())
    check_values(command, words)
    try:
        code = command(args=list(words), prog_name=called, standalone_mode=False)
    except _CarriedError as carried:
        raise carried.__cause__ or carried from None
    except Exit as leaving:
        return int(leaving.exit_code)
    except Abort:
        raise KeyboardInterrupt from None
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return _show_help(str(error))
        raise _usage_error(error, called) from None
    # Without standalone mode the code of `Exit`, or of the command, is returned.
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


def _rename_commands(command: Any, program: str, called: str) -> None:
    """Let the help of a command, and of those below it, name the program as it was called."""
    if called == program and shows_utf8():
        return
    command.epilog = as_shown(rename(command.epilog or "", program, called))
    command.help = as_shown(rename(command.help or "", program, called))
    for each in command.params:
        if text := getattr(each, "help", ""):
            each.help = as_shown(rename(text, program, called))
    for each in getattr(command, "commands", {}).values():
        _rename_commands(each, program, called)


def _show_help(text: str) -> int:
    streams.write(sys.stderr, f"{safe(text)}\n")
    return UsageError.exit_code


def _usage_error(error: Any, called: str) -> UsageError:
    """Return wrong usage with what was probably meant, and the example of the command."""
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "") or called
    what = plain(error.format_message())
    hints = []
    wrong = getattr(error, "option_name", "")
    if type(error).__name__ == "NoSuchOption":
        what = f"there is no option {wrong}"
        close = did_you_mean(wrong, _options(context)) or _long_form(wrong, context)
        hints += [f"did you mean {close}?"] if close else []
    elif what.startswith("No such command") and context is not None:
        word = what.partition("'")[2].partition("'")[0]
        what = f"there is no command {word!r:.80}"
        shown = [name for name, each in context.command.commands.items() if not each.hidden]
        close = did_you_mean(word, shown)
        hints += [f"did you mean `{path} {close}`?"] if close else []
    elif what.startswith("unexpected argument: ") and "--product" in _options(context):
        # Commands for one product take it as it is; those for all of them have an option.
        hints.append(f"name a product by `{path} --product PRODUCT`")
    elif _NO_NUMBER.search(what):
        unit = getattr(getattr(error, "param", None), "metavar", "")
        what = _NO_NUMBER.sub(_WHOLE + (" of seconds" if unit == "SECONDS" else ""), what)
    example = example_of(getattr(context, "command", None))
    if example:
        hints.append(f"for example: `{example}`")
    elif not hints:
        hints.append(f"`{path} --help` lists the commands")
    return UsageError(what, hint="; ".join(hints))


def _long_form(wrong: str, context: Any) -> str:
    """Return the only option that begins with a letter: other programs have `-q` for `--quiet`."""
    # Options of the program can be given anywhere.
    names = {*_options(context), *(_options(context.find_root()) if context is not None else ())}
    begun = [name for name in names if len(wrong) == _LETTER and name.startswith(f"-{wrong}")]
    return begun[0] if len(begun) == 1 else ""


def _options(context: Any) -> list[str]:
    if context is None:
        return []
    shown = [each for each in context.command.params if each.param_type_name == "option" and not each.hidden]
    return [name for each in shown for name in each.opts if name.startswith("--")]


def example_of(command: Any) -> str:
    """Return the example in the help of a command; empty where it has none."""
    first = (getattr(command, "epilog", "") or "").partition("\n")[0]
    return first.removeprefix("Example: ").partition("    (")[0] if first.startswith("Example: ") else ""
