"""A directory that travels as a whole with a step: a chart, the files of a playbook."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from installer.core.errors import Problem

MOST = 4096
"""Files that one option of a step can name."""


@dataclass(slots=True)
class Folder:
    """What a step names.

    Attributes:
        files: Its files, as paths from bundle.yaml, with their paths in the bundle, the first one first.
        problems: What would not work on a host.
        warnings: What a person should know before a release is made.
        single: The path in the bundle of the one file that is meant; empty where all of them are.
    """

    files: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    single: str = ""

    @property
    def members(self) -> str | list[str]:
        """What bundle.json says of it."""
        return self.single or [member for _, member in self.files]


def files_below(
    source: Path, given: str, where: str, problems: list[Problem], skip: Collection[str] = ()
) -> Iterator[str]:
    """Yield the names of the files below a directory, also of those that begin with a dot.

    Args:
        source: The directory.
        given: Its path in bundle.yaml.
        where: `bundle.yaml:LINE`.
        problems: Gets what cannot be carried.
        skip: Names of directories that are left out, wherever they are.
    """
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in skip)
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            inside = path.relative_to(source).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                what = f"{given}/{inside} is a link or no regular file"
                problems.append(Problem(where, what, "replace it by the file itself"))
            elif path.is_file():
                yield inside
