"""The exceptions of `secrets_allow`, and the record of what they let through."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from installer.core.errors import Problem


@dataclass(frozen=True, slots=True)
class Allowance:
    """One entry of `secrets_allow`.

    Attributes:
        pattern: A glob.
        where: Its place in bundle.yaml.
        reason: Why what it matches is not a secret.
    """

    pattern: str
    where: str
    reason: str = ""


class Allowed(NamedTuple):
    """A finding that was let through: the path as messages name it, what was found, and the reason."""

    path: str
    what: str
    reason: str


@dataclass(slots=True)
class Allowances:
    """All entries of `secrets_allow`, and what they let through.

    Attributes:
        entries: The entries.
        allowed: What they let through, in the order of the checks.
    """

    entries: Sequence[Allowance] = ()
    allowed: list[Allowed] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)

    def let_through(self, shown: str, findings: Sequence[str]) -> bool:
        """Return whether an entry covers a file; if so, record what was found in it.

        Args:
            shown: The file as messages name it.
            findings: What was found in it.
        """
        covering = [entry for entry in self.entries if matches(entry.pattern, shown)]
        # Used even if several match: none of them is superfluous.
        self._used.update(entry.pattern for entry in covering)
        if covering:
            # The first one is the one that a reader of bundle.yaml meets.
            self.allowed += [Allowed(shown, what, covering[0].reason) for what in dict.fromkeys(findings)]
        return bool(covering)

    def unused(self) -> Iterator[Problem]:
        """Yield a problem for each entry that let nothing through: it would hide the next secret."""
        for entry in self.entries:
            if entry.pattern not in self._used:
                what = f"secrets_allow lists {entry.pattern}, but no secret was found there"
                yield Problem(entry.where, what, "remove the entry")


def matches(pattern: str, path: str) -> bool:
    """Whether a glob covers a path: `*` stays within one directory, `**` spans any."""
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    # Everything else of a pattern is text: a dot in a file name matches a dot.
    words = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return re.fullmatch("".join(words.get(part, re.escape(part)) for part in parts), path) is not None
