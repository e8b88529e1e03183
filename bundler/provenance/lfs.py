"""Compare files of Git LFS with their committed pointers, without running `git-lfs`.

The format of a pointer is https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from bundler.provenance.git_command import run
from installer.core.digest import file_digest

_MAX_POINTER = 1024
_POINTER = re.compile(
    rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v[0-9]+\r?\n"
    rb"oid sha256:([0-9a-f]{64})\r?\nsize ([0-9]{1,19})\r?\n?"
)


def unchanged(top: Path, entries: Iterable[tuple[str, str, str]]) -> set[str]:
    """Return the paths of files that are what their committed pointers say.

    Args:
        top: The top of the checkout.
        entries: Path, mode and object of files that differ from what is committed.

    Raises:
        GitError: Git cannot read its objects or attributes.
    """
    with_filter = _with_filter(top, list(entries))
    pointers = dict(_pointers(top, {oid for _, _, oid in with_filter}))
    return {path for path, mode, oid in with_filter if _is(top / path, mode, pointers.get(oid))}


def _with_filter(top: Path, entries: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return the entries whose attributes name the filter of Git LFS: others are shipped as committed."""
    if not entries:
        return []
    names = b"".join(os.fsencode(path) + b"\0" for path, _, _ in entries)
    words = run(top, "check-attr", "-z", "--stdin", "filter", stdin=names).split("\0")
    # Path, attribute and value follow each other.
    chosen = {path for path, value in zip(words[::3], words[2::3], strict=False) if value == "lfs"}
    return [entry for entry in entries if entry[0] in chosen]


def _pointers(top: Path, oids: set[str]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the objects that are pointers, with the SHA-256 and size in bytes that they name."""
    small = []
    for row in _batch(top, "--batch-check", sorted(oids)).decode().splitlines():
        oid, kind, *size = row.split(" ")
        # Sizes first: a file that was committed without Git LFS can be large.
        if kind == "blob" and int(size[0]) <= _MAX_POINTER:
            small.append((oid, int(size[0])))
    data, at = _batch(top, "--batch", [oid for oid, _ in small]), 0
    for oid, length in small:
        at = data.index(b"\n", at) + 1
        if match := _POINTER.fullmatch(data[at : at + length]):
            yield oid, (match[1].decode(), int(match[2]))
        at += length + 1


def _batch(top: Path, option: str, oids: list[str]) -> bytes:
    if not oids:
        return b""
    return (
        os.fsencode(run(top, "cat-file", option, stdin="".join(f"{oid}\n" for oid in oids).encode())) + b"\n"
    )


def _is(path: Path, mode: str, pointer: tuple[str, int] | None) -> bool:
    if pointer is None:
        return False
    try:
        found = path.lstat()
        executable = bool(found.st_mode & stat.S_IXUSR)
        # The digest is the expensive part, so it comes last.
        return (
            stat.S_ISREG(found.st_mode)
            and executable == (mode == "100755")
            and found.st_size == pointer[1]
            and file_digest(path) == pointer[0]
        )
    except OSError:
        return False
