"""Submodules of a checkout that were not fetched: their directories are empty, and nothing else shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bundler.provenance.git_command import ask

GITLINK = "160000"
"""The mode of a submodule in an index."""
DEPTH = 8
"""How many levels of submodules in submodules are looked at."""
MOST = 1000
"""How many submodules of one checkout are looked at."""


def missing(top: str) -> tuple[str, ...]:
    """Return the paths of submodules that are not initialised, from the top of the checkout, sorted.

    Args:
        top: The top of the checkout.
    """
    return tuple(sorted(_missing(Path(top), "", DEPTH)))


def _missing(directory: Path, above: str, depth: int) -> Iterator[str]:
    # `git submodule status` says the same, but is a script that reads .gitmodules; the index is enough.
    listed = ask(directory, "ls-files", "--stage", "-z")
    links = [row.partition("\t")[2] for row in listed.split("\0") if row.startswith(f"{GITLINK} ")]
    for path in links[:MOST]:
        # A checkout of its own has a `.git`, as a file or a directory.
        if not os.path.lexists(directory / path / ".git"):
            yield f"{above}{path}"
        elif depth:
            # Submodules of submodules are missing just as silently.
            yield from _missing(directory / path, f"{above}{path}/", depth - 1)
