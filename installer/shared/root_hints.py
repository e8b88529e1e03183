"""Hints for a host below --root: commands get the option, and paths of Waybill are those of this machine."""

from __future__ import annotations

import re
from dataclasses import replace

from installer.core.errors import WaybillError

_COMMAND = re.compile(r"`install (?![^`]*--root)([^`]+)`")
# Not within a longer path, which is that of this machine already.
_PLACE = re.compile(r"(?<![\w./-])/(?:etc|var/lib)/waybill\b")


def point_below(error: WaybillError, root: str) -> None:
    """Let the hints of an error name commands and files of a host below a root directory.

    Args:
        error: The error; its hints are changed.
        root: The directory; `/` changes nothing.
    """
    if root == "/":
        return
    error.hint = below(error.hint, root)
    error.problems = tuple(replace(each, hint=below(each.hint, root)) for each in error.problems)


def below(hint: str, root: str) -> str:
    """Return one hint for a host below a root directory."""
    placed = _PLACE.sub(lambda found: root + found[0], hint)
    return _COMMAND.sub(lambda found: f"`install {found[1]} --root {root}`", placed)
