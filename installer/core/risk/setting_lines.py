"""The lines of files that set up the host: sysusers.d, tmpfiles.d, sysctl.d, modules-load.d and udev rules.

Only what Waybill has to know of them is read: what a line changes, and whether systemd would understand it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

Fault = tuple[int, str]
"""The number of a line, and what is wrong with it."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?")
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,55}")
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:@-]*")
_TMPFILE = re.compile(r"([fFwdDevqQpLcbCxXrRzZtThHaA])([-+!=~^$]*)")
_WORD = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|(\S+)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_RULE = re.compile(r"\s*[A-Z_]+(?:\{[^}]*\})?\s*(?:==|!=|\+=|-=|:=|=)\s*[ei]?\"(?:[^\"\\]|\\.)*\"\s*,?")
CREATING = "dDvqQfFLpcbC"
"""Types of lines of tmpfiles.d that create their path."""


class User(NamedTuple):
    """A line of sysusers.d.

    Attributes:
        line: Its number.
        kind: `u` a user with its group, `g` a group, `m` a user that becomes member of a group, `r` a range.
        name: The user or group.
        id: The number, or for `m` the group; `-` where systemd chooses one.
    """

    line: int
    kind: str
    name: str
    id: str


class Accounts(NamedTuple):
    """Users and groups by their names.

    Attributes:
        users: The numbers of users.
        groups: The numbers of groups.
    """

    users: dict[str, int]
    groups: dict[str, int]


class TmpFile(NamedTuple):
    """A line of tmpfiles.d.

    Attributes:
        line: Its number.
        type: The letter that says what happens.
        path: The path.
        rest: Mode, owner, group, age and argument.
    """

    line: int
    type: str
    path: str
    rest: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the path is one path: without patterns, and without specifiers of this host."""
        path = self.path.rstrip("/") or "/"
        return (
            path[:1] == "/"
            and path.isprintable()
            and posixpath.normpath(path) == path
            and not (set(path) & set("*?[%"))
        )


class Setting(NamedTuple):
    """A line of sysctl.d.

    Attributes:
        line: Its number.
        key: The key with dots.
        path: The file of the kernel.
        value: The value.
    """

    line: int
    key: str
    path: str
    value: str

    @property
    def is_exact(self) -> bool:
        """Whether the key is the name of one setting, so that its file is below /proc/sys."""
        return _KEY.fullmatch(self.key) is not None and not re.search(r"[./]{2}|[./]\Z", self.key)


def users(text: str) -> Iterator[User]:
    """Yield the users and groups of a file of sysusers.d."""
    for number, line in _lines(text):
        words = [*_words(line), "-", "-"]
        # No program finds a user by such a name, and none looks for it.
        name = words[1] if words[1].isprintable() else repr(words[1])
        yield User(number, words[0].rstrip("!"), name, words[2])


def fixed_numbers(text: str) -> Accounts:
    """Return the users and groups of a file of sysusers.d whose numbers it says, with these."""
    found = Accounts({}, {})
    for user in users(text):
        number, sign, group = user.id.partition(":")
        if user.kind == "g" and number.isdecimal():
            found.groups[user.name] = int(number)
        elif user.kind == "u" and number.isdecimal():
            found.users[user.name] = int(number)
            # With the name of a group behind the colon no group is created.
            if not sign or group.isdecimal():
                found.groups[user.name] = int(group or number)
    return found


def tmpfiles(text: str) -> Iterator[TmpFile]:
    """Yield the paths of a file of tmpfiles.d."""
    for number, line in _lines(text):
        words = [*_words(line), ""]
        yield TmpFile(number, words[0][:1], words[1], tuple(words[2:-1]))


def settings(text: str) -> Iterator[Setting]:
    """Yield the settings of the kernel of a file of sysctl.d."""
    for number, line in _lines(text, "#;"):
        given, _, value = line.partition("=")
        key = given.strip().removeprefix("-").strip()
        # As systemd does: what the first separator is, the other one means the opposite.
        first = next((sign for sign in key if sign in "./"), ".")
        path = key.translate(str.maketrans("./", "/.")) if first == "." else key
        yield Setting(number, path.translate(str.maketrans("./", "/.")), f"/proc/sys/{path}", value.strip())


def modules(text: str) -> Iterator[tuple[int, str]]:
    """Yield the modules of a file of modules-load.d, each with the number of its line."""
    yield from _lines(text, "#;")


def module_names(text: str) -> list[str]:
    """Return the modules of files of modules-load.d, each once, without lines that are none."""
    return list(dict.fromkeys(name for _, name in modules(text) if _MODULE.fullmatch(name)))


def _user_faults(text: str) -> Iterator[Fault]:
    for user in users(text):
        if user.kind not in ("u", "g", "m", "r"):
            yield user.line, f"begins with {user.kind!r:.20}, but a line begins with u, g, m or r"
        elif user.kind != "r" and not _NAME.fullmatch(user.name):
            yield user.line, f"{user.name!r:.60} is not the name of a user or group"
        elif user.kind == "m" and not _NAME.fullmatch(user.id):
            yield user.line, f"says no group for {user.name}"


def _tmpfile_faults(text: str) -> Iterator[Fault]:
    for number, line in _lines(text):
        words = [*_words(line), "", ""]
        if not _TMPFILE.fullmatch(words[0]):
            yield number, f"begins with {words[0]!r:.20}, which is no type of tmpfiles.d"
        elif not words[1].startswith(("/", "%")):
            yield number, f"{words[1]!r:.120} is not an absolute path"
        elif "/../" in f"{words[1]}/":
            yield number, f"{words[1]!r:.120} has `..` in it"


def _setting_faults(text: str) -> Iterator[Fault]:
    for each in settings(text):
        if not each.value:
            yield each.line, "is not KEY=VALUE"
        # What a pattern changed could not be put back: what it meets is only known while it is applied.
        elif not each.is_exact:
            yield each.line, f"{each.key!r:.120} is not the name of one setting of the kernel"


def _module_faults(text: str) -> Iterator[Fault]:
    for number, name in modules(text):
        if not _MODULE.fullmatch(name):
            yield number, f"{name!r:.60} is not the name of one kernel module"


def _rule_faults(text: str) -> Iterator[Fault]:
    for number, line in _lines(text.replace("\\\n", " ")):
        if _RULE.sub("", line).strip():
            yield number, 'is not a list of KEY=="value" and KEY="value"'


SettingKind = Literal["sysusers", "tmpfiles", "modules", "sysctl", "udev"]
_FAULTS: Mapping[SettingKind, Callable[[str], Iterator[Fault]]] = {
    "sysusers": _user_faults,
    "tmpfiles": _tmpfile_faults,
    "modules": _module_faults,
    "sysctl": _setting_faults,
    "udev": _rule_faults,
}
KINDS: tuple[SettingKind, ...] = ("sysusers", "tmpfiles", "modules", "sysctl", "udev")
"""The kinds of files that are read here."""


def faults(kind: SettingKind, text: str) -> Iterator[Fault]:
    """Yield the lines that the program that applies a file would not understand.

    Args:
        kind: One of KINDS.
        text: The text of the file.
    """
    yield from control_characters(text)
    yield from _FAULTS[kind](text)


def control_characters(text: str) -> Iterator[Fault]:
    """Yield the lines with characters at which some programs begin a new line, and an editor does not."""
    for number, line in enumerate(text.split("\n"), 1):
        if _CONTROL.search(line):
            yield number, "has a control character, such as a carriage return: save it with LF line endings"


def _lines(text: str, comments: str = "#") -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if line and line[0] not in comments:
            yield number, line


def _words(line: str) -> list[str]:
    return [found[1] or found[2] or found[3] or "" for found in _WORD.finditer(line)]
