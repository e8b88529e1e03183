"""Defaults of options from a file, so that a host or a desk need not repeat them in every command.

    wait: 60              # for every command that has the option
    apply:
      timeout: 1800       # for this command

A command line comes before a variable, a variable before the file. Only options on a list can be set: what a
person decides for each run, such as `--yes` or the role of an approval, is never taken from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from installer.core.errors import Problem, UsageError
from installer.core.schema_errors import spelling_hint

Commands = dict[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file of defaults may set.

    Attributes:
        name: The path of the file, for messages.
        allowed: Options that may have a default, without the dashes.
        apart: Commands with an option of such a name that means something else, as `("trust revoke", "key")`.
    """

    name: str
    allowed: Collection[str]
    apart: Collection[tuple[str, str]] = ()

    def reaches(self, words: tuple[str, ...], option: str) -> bool:
        """Return whether an option of the command `words` may have a default."""
        return option in self.allowed and (" ".join(words), option) not in self.apart


@dataclass(slots=True)
class _Reading:
    rules: Rules
    commands: Commands
    where: Callable[[tuple[str | int, ...]], str]
    problems: list[Problem] = field(default_factory=list)
    found: list[tuple[Any, Any]] = field(default_factory=list)
    shown: dict[int, tuple[Any, dict[str, str]]] = field(default_factory=dict)

    def problem(self, path: tuple[str, ...], what: str, hint: str) -> None:
        self.problems.append(Problem(self.where(path), what, hint))


def apply_defaults(program: Any, data: bytes, rules: Rules) -> dict[str, Any]:
    """Give the options of a program the defaults of a file, and let the help show them.

    Args:
        program: The parsed application; it is changed.
        data: The file.
        rules: What it may set.

    Returns:
        What the file sets for the program itself: `quiet`, `log-format`.

    Raises:
        UsageError: The file is not valid; all problems at once, each with its line.
    """
    from installer.shared.strict_yaml import load

    document = load(data, rules.name)
    value = document.value if document.value is not None else {}
    if document.problems or not isinstance(value, Mapping):
        raise UsageError(
            "the file of defaults cannot be read",
            where=rules.name,
            hint="it has one option on each line, such as `wait: 60`",
            problems=document.problems,
        )
    reading = _Reading(rules, _commands(program, ()), document.where)
    of_program = {name: each for name, each in value.items() if name in _PROGRAM and name in rules.allowed}
    for name, each in of_program.items():
        values = _PROGRAM[name]
        # By type, too: 1 is no `true`.
        if not any(type(each) is type(value) and each == value for value in values):
            listed = " or ".join(_plain(value) for value in values)
            reading.problem((name,), f"{each!r:.40} is no value of --{name}", f"give {listed}")
    _take(reading, value, (), of_program)
    if reading.problems:
        raise UsageError("the file of defaults is not valid", where=rules.name, problems=reading.problems)
    # All or nothing: a command that goes on without the file must not have half of it.
    for option, each in reading.found:
        option.default = each
    _show(reading)
    return of_program


_PROGRAM: dict[str, tuple[Any, ...]] = {"quiet": (True, False), "log-format": ("text", "json")}
"""Options of the program itself, with their values."""


def _commands(command: Any, words: tuple[str, ...]) -> Commands:
    found: Commands = {words: command}
    for name, each in getattr(command, "commands", {}).items():
        found |= _commands(each, (*words, name))
    return found


def _options(command: Any) -> dict[str, Any]:
    """Return the options of a command by their long names."""
    options = [each for each in command.params if each.param_type_name == "option"]
    return {name[2:]: each for each in options for name in each.opts if name.startswith("--")}


def _take(
    reading: _Reading, value: Mapping[str, Any], words: tuple[str, ...], passed_over: Collection[str] = ()
) -> None:
    """Take the part of the file that is about the command `words` and those below it."""
    below = {each: command for each, command in reading.commands.items() if each[: len(words)] == words}
    names = {each[len(words)] for each in below if len(each) > len(words)}
    known = {
        name
        for each, command in below.items()
        for name in _options(command)
        if reading.rules.reaches(each, name)
    }
    rest = [name for name in value if name not in passed_over]
    # What is about one command comes after what is about several, wherever it is in the file.
    for name in sorted(rest, key=lambda each: each in names):
        path, each = (*words, name), value[name]
        if name in names and isinstance(each, Mapping):
            _take(reading, each, path)
        elif name in names:
            what = f"{name} is a command: its options are needed here"
            reading.problem(path, what, "indent them below it")
        elif name not in known:
            _refuse(reading, path, below, known | names)
        else:
            _set(reading, path, each, below)


def _refuse(reading: _Reading, path: tuple[str, ...], below: Commands, known: Collection[str]) -> None:
    name = path[-1]
    if any(name in _options(command) for command in below.values()):
        reading.problem(
            path, f"--{name} cannot have a default: it is decided for each run", "remove the line"
        )
        return
    listed = ", ".join(sorted(known))
    reading.problem(
        path, f"{name} is not an option or command here", spelling_hint(name, known, f"known: {listed}")
    )


def _set(reading: _Reading, path: tuple[str, ...], value: Any, below: Commands) -> None:
    from typer import TyperException

    for words, command in below.items():
        option = _options(command).get(path[-1])
        if option is None or not reading.rules.reaches(words, path[-1]):
            continue
        try:
            reading.found.append((option, _converted(option, value)))
        except (TyperException, TypeError, ValueError) as error:
            # Without "Invalid value for": the line is named.
            said = getattr(error, "message", "") or str(error)
            reading.problem(path, f"is not valid: {said.rstrip('.')}", f"give {_form(option)}")
            return
        # By its command: a line that is about fewer commands is taken later, and replaces the text.
        shown = f"--{path[-1]}" if option.is_flag else f"--{path[-1]} {value}"
        reading.shown.setdefault(id(command), (command, {}))[1][path[-1]] = shown


def _show(reading: _Reading) -> None:
    """Let the help of each command end with its defaults."""
    for command, options in reading.shown.values():
        line = f"Defaults of {reading.rules.name}: {', '.join(options.values())}"
        command.epilog = f"{command.epilog}\n\n{line}" if command.epilog else line


def _form(option: Any) -> str:
    """Return what the value of an option looks like, for the hint about another one."""
    if option.is_flag:
        return "true or false"
    if choices := getattr(option.type, "choices", ()):
        return f"one of {', '.join(choices)}"
    low, high = getattr(option.type, "min", None), getattr(option.type, "max", None)
    if low is not None and high is not None:
        return f"a whole number from {low} to {high}, such as `{option.opts[0].lstrip('-')}: {min(60, high)}`"
    return f"one word in place of {option.metavar}"


def _plain(value: Any) -> str:
    """Return a value as the file has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _converted(option: Any, value: Any) -> Any:
    """Return a value of the file as the option has it.

    Raises:
        TyperException: It does not fit the option.
        ValueError: It has another form.
    """
    if option.is_flag:
        if not isinstance(value, bool):
            raise ValueError("true or false is needed here")
        return value
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        return [option.type.convert(_word(each), option, None) for each in values]
    return option.type.convert(_word(value), option, None)


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("one word or number is needed here")  # noqa: TRY004 - of the file, not of the code
    # A key, pasted in place of its file: help and messages would repeat it.
    if len(str(value).splitlines()) > 1:
        raise ValueError("one line is needed here")
    return str(value)
