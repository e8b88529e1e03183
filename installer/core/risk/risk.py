"""A risk, and a program that a release runs: what an officer has to see before approving."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

Kind = Literal["root", "host", "port", "writable", "command", "unread"]
KINDS: dict[Kind, str] = {
    "root": "runs as root",
    "host": "gets at the host",
    "port": "listens",
    "writable": "everybody may change it",
    "command": "read this first",
    "unread": "NOT EXAMINED",
}
"""Each kind in words, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Risk:
    """One thing in a release that decides over the host.

    Attributes:
        kind: One of `KINDS`.
        where: The file in the bundle and the place in it.
        what: What it does, in one sentence.
    """

    kind: Kind
    where: str
    what: str

    def as_json(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Program:
    """A script or a command that a release runs on the host, outside of containers.

    Attributes:
        where: The file in the bundle and the place in it.
        user: Who it runs as.
        text: The command, or the text of the script.
    """

    where: str
    user: str
    text: str

    def as_json(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Further:
    """A file that an examined file refers to, to be examined by the same rules.

    Attributes:
        what: How it refers to it, in words.
        path: Its path in the bundle; any other where it is not in the bundle.
        base: The directory in the bundle that paths in it are relative to.
    """

    what: str
    path: str
    base: str


Found = Iterable[Risk | Program]
Examine = Callable[[str, Any], Found]
Follow = Callable[[Any, str], Iterable[Further]]
"""Examines one file of a step: its path in the bundle and its content, as text or, of YAML, as values."""


def by_rules(where: str, text: str, rules: Sequence[tuple[re.Pattern[str], str]], most: int) -> Found:
    """Yield what the lines of a file open on the host, each with its number.

    Args:
        where: Its path in the bundle.
        text: Its text.
        rules: What to look for in a line, and what it means.
        most: Findings at most; that there are more is a finding, too.
    """
    found = (
        Risk("host", f"{where}:{number}", what)
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, what in rules
        if pattern.search(line)
    )
    yield from islice(found, most)
    # Silence about the rest would look like harmlessness.
    if next(found, None):
        yield Risk("unread", where, f"has more than {most} findings: the rest was not examined")
