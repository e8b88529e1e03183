"""The manual page of a program, in the language of man(7), made from its commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from installer.shared.command_tree.tree import Command, Option
from installer.shared.terminal.called import rename

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def page(name: str, version: str, tree: Sequence[Command], exits: Iterable[tuple[str, str]] = ()) -> str:
    """Return a manual page of section 1.

    Args:
        name: The name of the page: `waybill-install`.
        version: The version of the program.
        tree: Its commands, the program itself first.
        exits: Exit codes with their meaning.
    """
    program, *rest = tree
    lines = [
        f'.TH {name.upper()} 1 "" "Waybill {_text(version)}" "Waybill"',
        ".nh",
        ".SH NAME",
        f"{_text(name)} \\- {_text(program.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
    ]
    if name.endswith("install"):
        lines += [f".B {_text(name)}", ".I BUNDLE", "[OPTIONS]", ".br"]
    lines += [f".B {_text(name)}", ".I COMMAND", "[OPTIONS]", ".SH DESCRIPTION", *_paragraphs(program.help)]
    if program.options:
        lines += [".SH OPTIONS", *_options(program.options)]
    lines.append(".SH COMMANDS")
    for command in rest:
        if command.below:
            continue
        lines += _command(name, command)
    rows = list(exits)
    if rows:
        lines += [
            ".SH EXIT STATUS",
            *(line for row in rows for line in (".TP", f".B {row[0]}", _text(row[1]))),
        ]
    return "\n".join([*lines, ""])


def _command(name: str, command: Command) -> list[str]:
    shown = " ".join(word for word, _ in command.arguments)
    lines = [
        f".SS {_text(' '.join([name, *command.words]))} {_text(shown)}".rstrip(),
        *_paragraphs(command.help),
    ]
    for word, text in command.arguments:
        if text:
            lines += [".TP", f".I {_text(word)}", _text(text)]
    lines += _options(command.options)
    if command.example:
        example = rename(f"Example: {command.example}", name.rpartition("-")[2], name)
        lines += [".PP", _text(example)]
    return lines


def _options(options: Iterable[Option]) -> list[str]:
    lines = []
    for option in options:
        names = ", ".join(f"\\fB{_text(each)}\\fR" for each in option.names)
        value = f" \\fI{_text(option.value)}\\fR" if option.value else ""
        lines += [".TP", f"{names}{value}", _text(option.help)]
    return lines


def _paragraphs(text: str) -> list[str]:
    found = [" ".join(each.replace("\b", "").split()) for each in text.split("\n\n")]
    lines = [line for each in found if each for line in (".PP", _text(each))]
    return lines[1:]  # a heading begins a paragraph itself


def _text(text: str) -> str:
    """Return text as man(7) shows it: nothing in it is a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    # troff reads bytes: `man` converts a page in UTF-8 for it, other readers do not.
    escaped = _NOT_ASCII.sub(lambda found: f"\\[u{ord(found[0]):04X}]", escaped)
    # A line that starts with one of these would be a request.
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
