"""Files of playbooks: what a step says of them, and where they lie to each other."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

KIND: Final = "playbook"
"""The kind of these files in a bundle: the playbook, and all that is in its directory."""


def fault(named: Sequence[str], undo: str = "") -> str:
    """Return what is wrong with the list of the files of a playbook; empty for nothing.

    Args:
        named: The playbook, then the other files of its directory.
        undo: The playbook that undoes it; empty for none.
    """
    directory = posixpath.dirname(named[0])
    if not directory or not named[0].endswith((".yml", ".yaml")):
        return "must begin with a playbook in a directory, whose name ends in .yml or .yaml"
    outside = next((path for path in named if not path.startswith(f"{directory}/")), "")
    if outside:
        return f"names {outside}, which is not in {directory}"
    if undo and (undo not in named or posixpath.dirname(undo) != directory):
        return f"does not have {undo} next to the playbook"
    return ""
