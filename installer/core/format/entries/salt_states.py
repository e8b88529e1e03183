"""Files of Salt states: what a step says of them, and how Salt calls what is in them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

KIND: Final = "deploy"
"""The kind of these files in a bundle."""
STATE = "init.sls"
"""The first file of a state with the name of its directory."""
TOP = "top.sls"
"""The first file of a directory that says by itself which states it applies."""
SLS = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
"""The name of a state, as `include` in a state has it."""
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def root_of(named: Sequence[str]) -> str:
    """Return the directory that `salt://` leads to.

    Args:
        named: What a step says: all files of the directory, `init.sls` or `top.sls` first.
    """
    directory = posixpath.dirname(named[0])
    return directory if _is_top(named) else posixpath.dirname(directory)


def state_of(named: Sequence[str]) -> str:
    """Return the name of the state that is applied; empty where `top.sls` says it."""
    return "" if _is_top(named) else posixpath.basename(posixpath.dirname(named[0]))


def has_state(named: Sequence[str], state: str) -> bool:
    """Return whether a state is among the files of a step, by its name."""
    path = f"{root_of(named)}/{state.replace('.', '/')}"
    return f"{path}.sls" in named or f"{path}/{STATE}" in named


def fault(named: Sequence[str]) -> str:
    """Return what is wrong with the list of the files of a step; empty for nothing."""
    directory, first = posixpath.split(named[0])
    # The directory above it is what `salt://` leads to: it is one of the bundle's own.
    if first not in (STATE, TOP) or "/" not in directory:
        return f"must begin with the file {STATE} or {TOP} of a directory below deploy"
    if not _is_top(named) and not _NAME.fullmatch(posixpath.basename(directory)):
        return f"begins with a state whose name is not {_NAME.pattern}"
    outside = next((path for path in named if not path.startswith(f"{directory}/")), "")
    return f"names {outside}, which is not in {directory}" if outside else ""


def faults(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the states of a step, each with the key of the option.

    Args:
        options: Of a step of any method, of the right types.
    """
    named = options.get("state")
    if not named:
        return
    if found := fault(named):
        yield "state", found
    elif found := undo_fault(named, str(options.get("undo", ""))):
        yield "undo", found


def undo_fault(named: Sequence[str], undo: str) -> str:
    """Return what is wrong with the state that undoes a step; empty for nothing, and where there is none."""
    if not undo or has_state(named, undo):
        return ""
    return f"is {undo}, but {root_of(named)} has no {undo.replace('.', '/')}.sls"


def _is_top(named: Sequence[str]) -> bool:
    return posixpath.basename(named[0]) == TOP
