"""Submodules of a checkout that were not fetched: their directories are empty, and nothing else shows it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

_GITLINK = "160000 "
_DEPTH = 8
_MOST = 1000

Git = Callable[..., tuple[str, str]]


def missing(top: str, git: Git) -> tuple[str, ...]:
    """Return the paths of submodules that are not initialised, from the top of the checkout, sorted.

    Args:
        top: The top of the checkout.
        git: Runs git in a directory.
    """
    return tuple(sorted(_missing(Path(top), "", git, _DEPTH)))


def _missing(directory: Path, above: str, git: Git, depth: int) -> Iterator[str]:
    # `git submodule status` says the same, but is a script that reads .gitmodules; the index is enough.
    listed, _ = git(directory, "ls-files", "--stage", "-z")
    links = [row.partition("\t")[2] for row in listed.split("\0") if row.startswith(_GITLINK)]
    for path in links[:_MOST]:
        # A checkout of its own has a `.git`, as a file or a directory.
        if not os.path.lexists(directory / path / ".git"):
            yield f"{above}{path}"
        elif depth:
            # Submodules of submodules are missing just as silently.
            yield from _missing(directory / path, f"{above}{path}/", git, depth - 1)
