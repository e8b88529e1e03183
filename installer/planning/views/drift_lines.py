"""Files that were edited on the host, as entries of a list for people."""

from __future__ import annotations

from collections.abc import Iterable

from installer.core.errors import Problem
from installer.planning.drift import Drifted
from installer.shared.terminal.listing import Row

_WORDS = {"refuse": "refused", "keep": "kept", "replace": "replaced"}


def drifted_rows(drifted: Iterable[Drifted]) -> list[Row]:
    """Return an entry for each edited file, with what becomes of it; those that are refused come first."""
    rows = [Row(each.path, each.text(), _WORDS[each.treatment]) for each in drifted]
    return sorted(rows, key=lambda row: row.word != _WORDS["refuse"])


def problem_rows(problems: Iterable[Problem]) -> list[Row]:
    """Return an entry for each place where the host differs from the installed release."""
    return [Row(each.where, f"{each.where} {each.what}", _kind(each.what)) for each in problems]


def _kind(what: str) -> str:
    if what == "is missing":
        return "missing"
    return "edited" if what.startswith("has different content") else "different"
