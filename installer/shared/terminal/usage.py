"""Says in plain words how a command is used, and what is wrong with the words that were typed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from installer.core.errors import UsageError

_UNSET = "in a script, check that the variable is set"
_PLAIN = (
    (re.compile(r"Got unexpected extra arguments?\(?s?\)? \((.*)\)", re.DOTALL), r"unexpected argument: \1"),
    (re.compile(r"Missing (?:argument|option) '([^']*)'(?: / '[^']*')*"), r"\1 is missing"),
    (re.compile(r"Option '([^']*)' does not take a value"), r"\1 takes no value"),
    (re.compile(r"Invalid value for '([^']*)'(?: / '[^']*')*: (.*)", re.DOTALL), r"\1: \2"),
)
"""Sentences of the library, and what is said instead."""


def plain(what: str) -> str:
    """Return a sentence of the library in the words of this program."""
    what = what.strip().rstrip(".")
    for sentence, words in _PLAIN:
        if match := sentence.fullmatch(what):
            return match.expand(words)
    return what


def describe_plainly(command: Any) -> None:
    """Let the help of a command, and of those below it, show ranges and arguments as manual pages do.

    Args:
        command: The command; it is changed. Without this, the help has `1<=x<=100` and `{BUNDLE}`.
    """
    for each in command.params:
        low, high = getattr(each.type, "min", None), getattr(each.type, "max", None)
        if low is not None and high is not None:
            each.type._describe_range = partial(str, f"from {low} to {high}")
        # Braces are for a choice, as in {bash|zsh}.
        if each.param_type_name == "argument" and each.required and each.metavar and "|" not in each.metavar:
            each.make_metavar = _Metavar(each.metavar)
    for each in getattr(command, "commands", {}).values():
        describe_plainly(each)


class _Metavar:
    """The placeholder of an argument that must be given: the same in the usage and below it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, ctx: Any, *, usage: bool = False) -> str:
        del ctx, usage
        return self.name


def check_values(command: Any, words: Sequence[str]) -> None:
    """Refuse an empty argument, and an option in place of a value.

    Both are what a script passes if a variable is not set: `--root "$DIR"` would mean this directory, and
    `--env $ENV --yes` an environment of the name `--yes`.

    Args:
        command: The command that the words are for.
        words: The words.

    Raises:
        UsageError: A word is empty, or an option has no value.
    """
    # Of other commands, too: `plan` has no `--yes`, and it is no environment all the same.
    names = {"--help", *_all_options(command)}
    rest = iter(words)
    for word in rest:
        if word == "--":
            return
        name, is_one, value = word.partition("=")
        taking = {each for option in _options(command) if not option.is_flag for each in option.opts}
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
        elif not word:
            raise UsageError("an argument is empty", hint=f"give it; {_UNSET}")
        elif name in taking and is_one and not value:
            raise _no_value(name, "its value is empty")
        elif word in taking:
            after = next(rest, None)
            if not after:
                raise _no_value(name, "nothing follows it" if after is None else "its value is empty")
            if after.partition("=")[0] in names:
                raise _no_value(name, f"{after} is an option")


def _no_value(name: str, why: str) -> UsageError:
    return UsageError(f"{name} has no value: {why}", hint=f"give a value, or leave {name} out; {_UNSET}")


def _options(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option"]


def _all_options(command: Any) -> Iterator[str]:
    """Yield the names of all options of a command, and of those below it."""
    for option in _options(command):
        yield from (*option.opts, *option.secondary_opts)
    for each in getattr(command, "commands", {}).values():
        yield from _all_options(each)
