"""The exceptions of `secrets_allow`, and the record of what they let through."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
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

    def in_images(self) -> Allowed:
        """Return how the record of exceptions names this one, before it is known what it lets through."""
        return Allowed(self.pattern, "any finding in files of images", self.reason)


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

    def for_images(self) -> Allowances:
        """Return the entries that have let nothing through yet, and can name files of images.

        What is in an image is known only when it is packed.
        """
        return Allowances(
            [each for each in self.entries if each.pattern not in self._used and names_image(each.pattern)]
        )

    def unused(self, *, but_images: bool = False) -> Iterator[Problem]:
        """Yield a problem for each entry that let nothing through: it would hide the next secret.

        Args:
            but_images: Whether entries that can name files of images are left out.
        """
        for entry in self.entries:
            if entry.pattern not in self._used and not (but_images and names_image(entry.pattern)):
                what = f"secrets_allow lists {entry.pattern}, but no secret was found there"
                yield Problem(entry.where, what, "remove the entry")


def names_image(pattern: str) -> bool:
    """Return whether a pattern can name a file of an image, which messages show as `NAME:TAG:/PATH`."""
    return ":/" in pattern or pattern.startswith("**")


def matches(pattern: str, path: str) -> bool:
    """Return whether a glob covers a path: `*` stays within one directory, `**` spans any."""
    return _Glob.of(pattern).matches(path)


class _Glob:
    """A pattern as sets of positions, which are bits of numbers: no pattern makes a path be read twice.

    A position is before the sign that is to come. All positions that a path can have led to are kept at once.
    """

    def __init__(self, pattern: str) -> None:
        # Everything else of a pattern is text: a dot in a file name matches a dot.
        signs = re.findall(r"\*\*/|\*\*|.", pattern, re.DOTALL)
        self._name = self._any = self._directories = self._one = 0
        self._text: dict[str, int] = {}
        position = 1
        for sign in signs:
            if sign == "**/":
                self._directories |= position
            elif sign == "**":
                self._any |= position
            elif sign == "*":
                self._name |= position
            else:
                if sign == "?":
                    self._one |= position
                else:
                    self._text[sign] = self._text.get(sign, 0) | position
                # The signs above stand for nothing, too, so they have no position of their own.
                position <<= 1
        self._end = position

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(pattern: str) -> _Glob:
        """Return a pattern, made ready once for many paths."""
        return _Glob(pattern)

    def matches(self, path: str) -> bool:
        """Return whether the pattern covers a path."""
        # Within the directories of a `**/` only a slash leads on.
        at, within = 1, 0
        for sign in path:
            within |= at & self._directories
            moved = (at & self._text.get(sign, 0)) << 1 | at & self._any
            if sign == "/":
                moved |= within
            else:
                moved |= (at & self._one) << 1 | at & self._name
            at = moved
        return bool(at & self._end)
