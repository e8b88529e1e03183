"""Files of ansible-core that travel with a step: where they lie to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KIND: Final = "ansible-core"
"""The kind of these files in a bundle: ansible-core, and the Python packages that it needs."""
FIRST: Final = "ansible/cli/playbook.py"
"""The file that runs playbooks, below the directory; a list of the files begins with it."""


def directory_of(named: Sequence[str]) -> str:
    """Return the directory in the bundle of such files; empty where the list does not begin as it must.

    Args:
        named: The files, as a step names them.
    """
    first = named[0] if named else ""
    return first.removesuffix(f"/{FIRST}") if first.endswith(f"/{FIRST}") else ""


def fault(named: Sequence[str]) -> str:
    """Return what is wrong with the list of the files; empty for nothing.

    Args:
        named: The files, as a step names them.
    """
    directory = directory_of(named)
    if not directory:
        return f"must begin with the file {FIRST} of a directory"
    outside = next((path for path in named if not path.startswith(f"{directory}/")), "")
    return f"names {outside}, which is not in {directory}" if outside else ""
