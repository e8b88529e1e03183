"""Which inputs of a release are not as committed: what git says, whatever it is told to overlook.

Files can be hidden from `git status` by marks in the index, by `ignore` of a submodule, by ignore lists that
are not part of the commit, or because they are in a repository of their own.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bundler.provenance import lfs
from bundler.provenance.git_command import GitError, ask, run, without_filters
from bundler.provenance.submodules import DEPTH, GITLINK, MOST

_STATUS = (
    "status",
    "--porcelain=v1",
    "-z",
    "--untracked-files=no",
    "--no-renames",
    # The commit of a submodule counts, whatever its `ignore` says. Git would look at its files by a process
    # that obeys its configuration, so they are looked at below.
    "--ignore-submodules=dirty",
)
# Of the ignore lists only those that are files of the checkout: another machine has these, too.
_OTHERS = ("ls-files", "-z", "--others", "--exclude-per-directory=.gitignore")


@dataclass(slots=True)
class _Changes:
    """Paths that are not as committed, from the top of the checkout.

    Attributes:
        tracked: What differs from the commit; a submodule with another commit is one path.
        untracked: What git neither tracks nor ignores; a repository of its own ends in a slash.
        failed: Where git could not tell.
    """

    tracked: set[str] = field(default_factory=set)
    untracked: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)


def changed_paths(directory: Path, top: str, inputs: Iterable[str]) -> tuple[str, ...]:
    """Return what is not as committed and belongs to the product, or goes into the bundle.

    Args:
        directory: The directory of bundle.yaml.
        top: The top of the checkout, without links.
        inputs: Files that go into the bundle or decide about it, and directories of which all may go in.

    Returns:
        Paths from the top of the checkout, sorted; `… (git status failed)` where git could not tell.
    """
    changes = _Changes()
    _look(Path(top), "", changes, DEPTH)
    # A repository may have several products: only changes below this one's directory count.
    # A link to it is followed: git has the real paths.
    below = _inside(top, os.path.realpath(directory))
    belonging = {path for path in changes.tracked if not below or f"{path}/".startswith(f"{below}/")}
    # Untracked files count only if they go into the bundle: build output lies next to the sources.
    others = (changes.tracked - belonging) | changes.untracked
    if others:
        listed = {path for each in inputs for path in _places(top, each)}
        above = _above(listed)
        belonging |= {path for path in others if _is_input(path.rstrip("/"), listed, above)}
    found = (*belonging, *changes.failed)
    return tuple(sorted(path.encode(*_BYTES).decode("utf-8", "backslashreplace") for path in found))


_BYTES = ("utf-8", "surrogateescape")


def _look(top: Path, prefix: str, changes: _Changes, depth: int) -> None:
    """Add the changes of one checkout, and of its submodules.

    Args:
        top: Its top.
        prefix: What comes before its paths: that of a submodule, with a slash at its end.
        changes: Where they are added.
        depth: How many levels of submodules may follow.
    """
    try:
        listed = run(top, "ls-files", "-v", "--stage", "-z")
        tracked = _tracked_changes(top, listed)
        untracked = run(top, *_OTHERS).split("\0")
    except (GitError, OSError):
        changes.failed.add(f"{prefix.rstrip('/')} (git status failed)".lstrip())
        return
    changes.tracked |= {prefix + path for path in tracked}
    changes.untracked |= {prefix + path for path in untracked if path}
    links = [entry for entry in _entries(listed) if entry.mode == GITLINK]
    if len(links) > MOST or (links and not depth):
        changes.failed.add(f"{prefix}… (more submodules than are looked at)")
    for entry in links[:MOST] if depth else ():
        place = top / entry.path
        # One that was not fetched has no files: it is reported as missing.
        if not os.path.lexists(place / ".git"):
            continue
        # Its `.git` may name the repository of other files, which say nothing about these.
        if ask(place, "rev-parse", "--show-toplevel") == os.path.realpath(place):
            _look(place, f"{prefix}{entry.path}/", changes, depth - 1)
        else:
            changes.tracked.add(prefix + entry.path)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row of the index: its mark, mode, object and path."""

    mark: str
    mode: str
    oid: str
    path: str


def _entries(listed: str) -> Iterator[_Entry]:
    for row in listed.split("\0"):
        if row:
            words, _, path = row.partition("\t")
            mark, mode, oid, _ = words.split(" ")
            yield _Entry(mark, mode, oid, path)


def _tracked_changes(top: Path, listed: str) -> set[str]:
    # `update-index --assume-unchanged` and `--skip-worktree` tell git not to look at a file.
    assumed = [entry.path for entry in _entries(listed) if entry.mark.islower()]
    # A sparse checkout has marks on files that are not there; these go into no bundle.
    skipped = [
        entry.path
        for entry in _entries(listed)
        if entry.mark.upper() == "S" and os.path.lexists(top / entry.path)
    ]
    if not assumed and not skipped:
        return _status(top, listed, None)
    with tempfile.TemporaryDirectory(prefix="waybill-git-") as private:
        index = Path(private) / "index"
        # With its time: git reads again what was written in the same second as the index. To a newer copy
        # such a file would seem to be as it was.
        shutil.copy2(top / run(top, "rev-parse", "--git-path", "index"), index)
        for option, paths in (("--no-assume-unchanged", assumed), ("--no-skip-worktree", skipped)):
            names = b"".join(os.fsencode(path) + b"\0" for path in paths)
            run(top, "update-index", "-z", option, "--stdin", stdin=names, index=index)
        return _status(top, listed, index)


def _status(top: Path, listed: str, index: Path | None) -> set[str]:
    rows = run(top, *without_filters(top), *_STATUS, index=index).split("\0")
    changed = {row[3:] for row in rows if len(row) > 3}
    # Without the filter of Git LFS, a file differs from the pointer that is committed for it.
    modified = {row[3:] for row in rows if row[:2] == " M"}
    pointers = ((entry.path, entry.mode, entry.oid) for entry in _entries(listed) if entry.path in modified)
    return changed - lfs.unchanged(top, pointers)


def _places(top: str, path: str) -> Iterator[str]:
    """Yield the path of an input from the top of the checkout; for a link also that of what it leads to."""
    parent, _, name = path.rpartition("/")
    # The parent is resolved and the name is not: the link itself is a file of the checkout.
    real = [f"{_real(parent or ('/' if path.startswith('/') else '.'))}/{name}"]
    if Path(path).is_symlink():
        real.append(os.path.realpath(path))
    for each in real:
        if inside := _inside(top, each):
            yield inside


@functools.lru_cache(maxsize=4096)
def _real(directory: str) -> str:
    return os.path.realpath(directory)


def _inside(top: str, real: str) -> str:
    """Return a path from the top of the checkout; empty for the top itself and for what is outside."""
    relative = os.path.relpath(real, top)
    return "" if relative in (".", "..") or relative.startswith("../") else relative


def _above(listed: Iterable[str]) -> set[str]:
    """Return all directories that paths are in."""
    found: set[str] = set()
    for path in listed:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def _is_input(path: str, listed: set[str], above: set[str]) -> bool:
    # Of a submodule, or a repository that is no submodule, any file may be an input.
    if path in listed or path in above:
        return True
    # Of a directory that is an input, each file is one.
    while path := path.rpartition("/")[0]:
        if path in listed:
            return True
    return False
