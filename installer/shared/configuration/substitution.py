"""Values that are references: what takes their place, and what messages show of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from installer.core.errors import Problem
from installer.shared.configuration.merge import Merged
from installer.shared.secrecy.declared import REFERENCE

Path = tuple[str | int, ...]
_ABOUT_VALUES = frozenset((
    "allOf", "anyOf", "const", "contains", "dependentSchemas", "else", "enum", "if", "not", "oneOf", "then",
    "uniqueItems",
))  # fmt: skip
"""Keywords of a schema by which a value may be wrong although the fault is told of a group around it."""


class Hidden(str):
    """A text that is compared by what it is, and shown as the reference that it came from."""

    __slots__ = ("shown",)
    shown: str

    def __new__(cls, value: str, shown: str) -> Hidden:
        """Return the text.

        Args:
            value: What it is.
            shown: What is shown instead.
        """
        made = super().__new__(cls, value)
        made.shown = shown
        return made

    @property
    def value(self) -> str:
        """The text itself."""
        return str.__str__(self)

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return self.shown

    def __format__(self, form: str) -> str:
        return format(self.shown, form)


@dataclass(frozen=True, slots=True)
class Substitution:
    """What takes the place of references.

    Attributes:
        resolved: The text for the value at each path.
        unknown: Paths of the references whose value is not known.
        problems: What is wrong with them.
    """

    resolved: Mapping[Path, Hidden] = field(default_factory=dict, repr=False)
    unknown: frozenset[Path] = frozenset()
    problems: tuple[Problem, ...] = ()

    def applied(self, values: dict[str, Any], *, shown: bool = False) -> dict[str, Any]:
        """Return values with the texts in place of the references; what is not concerned is shared.

        Args:
            values: Merged values.
            shown: Whether messages are made of them: then the texts show their references.
        """
        tree: dict[str | int, Any] = {}
        for path, text in self.resolved.items():
            below = tree
            for key in path[:-1]:
                below = below.setdefault(key, {})
            below[path[-1]] = text if shown else text.value
        replaced: dict[str, Any] = _replaced(values, tree)
        return replaced

    def may_be_wrong(self, keyword: str, path: Path) -> bool:
        """Return whether a violation of a schema may be due to the text of a reference.

        Args:
            keyword: The keyword of the schema.
            path: The path of the value that violates it.
        """
        if keyword not in _ABOUT_VALUES:
            return path in self.unknown
        return any(each[: len(path)] == path for each in self.unknown)


NOTHING_REPLACED = Substitution()


def not_resolved(merged: Merged) -> Substitution:
    """Return what is known of references without asking a store: where they are."""
    return Substitution(unknown=frozenset(_references(merged.values, ())))


def dotted_group(path: Path) -> str:
    """Return the key of the value that an entry belongs to: a list counts as one value."""
    return ".".join(takewhile(lambda part: isinstance(part, str), path))  # type: ignore[arg-type]


def _references(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, str) and value.startswith(REFERENCE):
        yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in rows:
        yield from _references(each, (*path, key))


def _replaced(value: Any, tree: Mapping[str | int, Any]) -> Any:
    # A copy on the way only: the merged values stay as the files have them.
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    for key, below in tree.items():
        copy[key] = _replaced(value[key], below) if isinstance(below, dict) else below
    return copy if tree else value
