"""The commands of a program as data, read from its Typer application."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """An option.

    Attributes:
        names: `--yes`, `-y`.
        value: The placeholder of its value; empty for a flag.
        choices: The values that it takes; empty if any.
        help: What it does.
    """

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        words: The words that name it, without the program; none for the program itself.
        summary: Its first sentence.
        help: Its description, paragraphs separated by an empty line.
        example: How it is called.
        arguments: Placeholders of its arguments, with their help.
        options: Its options.
        below: Names of the commands that follow it.
    """

    words: tuple[str, ...]
    summary: str
    help: str
    example: str
    arguments: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]
    below: tuple[str, ...]


def commands(app: Any) -> list[Command]:
    """Return the visible commands of a Typer application, the program itself first."""
    from typer.main import get_command

    return list(_walk(get_command(app), ()))


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[Command]:
    below = getattr(command, "commands", {})
    # In the order of the help.
    names = command.list_commands(None) if below else ()
    shown = {name: below[name] for name in names if not below[name].hidden}
    text = (command.help or "").strip()
    epilog = (command.epilog or "").partition("\n")[0]
    yield Command(
        words,
        " ".join(text.partition("\n\n")[0].split()),
        text,
        epilog.removeprefix("Example: ") if epilog.startswith("Example: ") else "",
        tuple(
            (each.metavar or each.name.upper(), getattr(each, "help", "") or "")
            for each in command.params
            if each.param_type_name == "argument"
        ),
        tuple(
            _option(each) for each in command.params if each.param_type_name == "option" and not each.hidden
        ),
        tuple(shown),
    )
    for name, each in shown.items():
        yield from _walk(each, (*words, name))


def _option(option: Any) -> Option:
    flag = bool(option.is_flag)
    choices = tuple(str(each) for each in getattr(option.type, "choices", ()))
    value = "" if flag else (option.metavar or option.type.name.upper())
    return Option(
        (*option.opts, *option.secondary_opts), value, choices, " ".join((option.help or "").split())
    )
