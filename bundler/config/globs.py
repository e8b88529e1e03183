"""The patterns of `exclude`: a part of gitignore(5), without negation and character classes.

    *.map          that name at any depth
    /dist          only at the top of the tree
    js/*.map       a path from the top of the tree, because it has a slash
    cache/         directories only, at any depth
    docs/**/draft  `**` stands for any number of directories, also none

`*` and `?` never match a slash. A directory that matches is left out with everything in it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

_ANY_DEPTH = "**"


def glob_fault(pattern: str) -> str | None:
    """Return why a pattern is not valid, or None if it is."""
    if pattern.startswith("!"):
        return "starts with !, but a pattern cannot bring back what another one excludes"
    if any(sign in pattern for sign in "[]{}\\"):
        return "has one of [ ] { } \\, which patterns do not know; ? matches any one character"
    parts = pattern.removeprefix("/").removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, `.` or `..` component"
    # `a**b` means one thing to git and another to shells.
    if any(_ANY_DEPTH in part and part != _ANY_DEPTH for part in parts):
        return "has ** next to other characters; it must be a component of its own"
    # It would match all of the tree, the tree's own files too.
    if all(part == _ANY_DEPTH for part in parts):
        return "matches everything"
    return None


class Glob:
    """A pattern of `exclude`, made ready for many paths.

    Args:
        pattern: A pattern without a fault.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._directories_only = pattern.endswith("/")
        text = pattern.removesuffix("/")
        # As in gitignore(5): a slash ties the pattern to the top, except one at the end.
        self._at_any_depth = "/" not in text
        parts = text.removeprefix("/").split("/")
        # fnmatch needs no backtracking: `*a*a*a*b` is no trap.
        self._parts = [None if part == _ANY_DEPTH else re.compile(fnmatch.translate(part)) for part in parts]

    def matches(self, path: str, *, is_directory: bool) -> bool:
        """Return whether the pattern matches a path itself; what lies below a directory is not asked for.

        Args:
            path: The path from the top of the tree, with `/` between its components.
            is_directory: Whether it is a directory.
        """
        if self._directories_only and not is_directory:
            return False
        if self._at_any_depth:
            part = self._parts[0]
            return part is not None and part.match(path.rpartition("/")[2]) is not None
        return self._matches_all(path.split("/"))

    def _matches_all(self, names: Sequence[str]) -> bool:
        # All positions in the pattern that the names so far can have led to: nothing is tried twice.
        at = self._skipped({0})
        for name in names:
            reached = set()
            for number in at:
                if number == len(self._parts):
                    continue
                part = self._parts[number]
                if part is None:
                    reached.add(number)
                elif part.match(name):
                    reached.add(number + 1)
            at = self._skipped(reached)
        return len(self._parts) in at

    def _skipped(self, at: set[int]) -> set[int]:
        """Add the positions behind each `**`, which may stand for no directory."""
        found = set(at)
        for number in sorted(at):
            while number < len(self._parts) and self._parts[number] is None:
                number += 1  # noqa: PLW2901  the position moves on
                found.add(number)
        return found
