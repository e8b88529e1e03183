"""What a configuration file may say besides its place: who checks it, and what happens when it changes.

`bundle create` checks bundle.yaml with the rules here, and hosts check the manifest with the same rules.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from installer.core.fields import PRINTABLE, PRINTABLE_FORM, Value

FILE = "{file}"
"""Stands for the path of the file in the words of a validator."""
MOST_WORDS = 256
CHECK_SECONDS = 30
"""Time of a validator, unless the file has a `timeout`."""
COMMAND_SECONDS = 60
"""Time of a command of `on_change`, unless the file has a `timeout`."""
MOST_SECONDS = 3600
"""The largest `timeout`: nobody waits longer for a configuration file without looking what is wrong."""
# No hyphen first: systemctl would take it for an option.
UNIT = re.compile(
    r"(?!-)[A-Za-z0-9:_.\\@-]+\.(?:service|socket|timer|target|path|mount|automount|swap|slice)"
)
UNIT_FORM = "the name of a unit with its suffix, such as web.service"


@dataclass(frozen=True, slots=True)
class OnChange:
    """What happens when a file has changed: one of the three, or nothing.

    Attributes:
        reload: The unit that reloads its configuration.
        restart: The unit that is restarted.
        command: The words of a command.
    """

    reload: str = ""
    restart: str = ""
    command: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != NOTHING

    @property
    def unit(self) -> str:
        """The unit that is reloaded or restarted; empty for a command."""
        return self.reload or self.restart

    def text(self) -> str:
        """Return it in words, as an order."""
        if self.command:
            return f"run {command_text(self.command)}"
        return f"reload {self.reload}" if self.reload else f"restart {self.restart}"


NOTHING = OnChange()


def command_text(words: Sequence[str]) -> str:
    """Return a command as a shell would take it; the place of the file stays as in bundle.yaml."""
    return shlex.join(words).replace(f"'{FILE}'", FILE)


def program_fault(words: Sequence[str]) -> str:
    """Return what is wrong with the program of a command; empty where it is right."""
    if not words or not words[0]:
        return "must begin with a program"
    # A relative path would mean another program in each directory.
    if "/" in words[0] and not words[0].startswith("/"):
        return f"begins with {words[0]!r:.80}, but a program is an absolute path or a name without a slash"
    return "has an empty word" if not all(words) else ""


def validator_fault(words: Sequence[str]) -> str:
    """Return what is wrong with the words of a validator; empty where they are right."""
    if fault := program_fault(words):
        return fault
    if FILE in words[0]:
        return f"must not have {FILE} in its first word, which is the program"
    if (count := sum(word.count(FILE) for word in words)) != 1:
        found = f"{count} times" if count else "nowhere"
        return f"must have {FILE} once, in one of its words, but has it {found}"
    return ""


def read_validator(value: Value) -> tuple[str, ...]:
    """Read `validate` of a file of the manifest; note what is wrong with it."""
    words = _words(value)
    if isinstance(value.raw, list) and (fault := validator_fault(words)):
        value.note(fault)
    return words


def read_on_change(value: Value) -> OnChange:
    """Read `on_change` of a file of the manifest; note what is wrong with it."""
    with value.fields() as taken:
        found = OnChange(
            reload=taken.take("reload").text(UNIT, UNIT_FORM) if taken.has("reload") else "",
            restart=taken.take("restart").text(UNIT, UNIT_FORM) if taken.has("restart") else "",
            command=_words(taken.take("command")) if taken.has("command") else (),
        )
    if isinstance(value.raw, dict) and len(value.raw) != 1:
        value.note("must have one of `reload`, `restart` and `command`")
    elif found.unit == "" and (fault := program_fault(found.command)):
        value.note(fault)
    return found


def _words(value: Value) -> tuple[str, ...]:
    return value.items(lambda each: each.text(PRINTABLE, PRINTABLE_FORM), MOST_WORDS)
