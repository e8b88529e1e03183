"""The roots on media, followed from the one that a host trusts: one version after the other.

Names are listed once; content is read one version at a time, within bounds, and the next version only after
this one was verified. Media of any size cost as much memory as one root with its signatures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from installer.core.document_file import read_document
from installer.core.errors import (
    MediaError,
    RefusedError,
    TamperedError,
    UsageError,
    WaybillError,
    os_errors_as,
)
from installer.core.limits import LIMITS
from installer.core.trust.root import ROOT_BYTES, Root, fingerprint
from installer.core.trust.rotation import check_successor
from installer.core.trust.signatures import Signature

MOST_NAMES = 100_000
"""Files in a directory with roots: their names are held in memory."""
_VERSIONED = re.compile(r"([1-9][0-9]{0,15})\.root\.json")
_SIGNATURE = re.compile(r"(.+)\.[0-9a-f]{8}\.(?:sig|sigstore\.json|asc)")
_UNNUMBERED = "root.json"


@dataclass(frozen=True, slots=True)
class Followed:
    """How far media lead.

    Attributes:
        root: The last version that follows.
        data: Its exact bytes.
        where: Its file; empty where nothing followed.
        passed: Version and fingerprint of each version before it, from the first on.
        stopped: Why the version after it was not accepted; None where there is none on the media.
    """

    root: Root
    data: bytes
    where: str
    passed: tuple[tuple[int, str], ...]
    stopped: WaybillError | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    data: bytes
    signatures: tuple[Signature, ...]


class RootMedium:
    """A directory with `N.root.json` and `root.json`, or one root of any name; signatures lie next to each.

    Args:
        path: The directory or the file.

    Raises:
        UsageError: It cannot be listed, has too many files, or has no root.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._named = not path.is_dir()
        self._directory = path.parent if self._named else path
        self._beside: dict[str, list[str]] = {}
        roots = self._list()
        self._roots = [path.name] if self._named else roots
        if not self._roots:
            raise UsageError("contains neither root.json nor N.root.json", where=str(path))

    def _list(self) -> list[str]:
        roots = []
        with (
            os_errors_as(UsageError, "cannot read", str(self._directory)),
            os.scandir(self._directory) as found,
        ):
            for count, entry in enumerate(found):
                if count == MOST_NAMES:
                    raise UsageError(
                        f"contains more than {MOST_NAMES} files",
                        where=str(self._directory),
                        hint="put the roots and their signatures into a directory of their own",
                    )
                if match := _SIGNATURE.fullmatch(entry.name):
                    self._beside.setdefault(match[1], []).append(entry.name)
                elif entry.name == _UNNUMBERED or _VERSIONED.fullmatch(entry.name):
                    roots.append(entry.name)
        return sorted(roots)

    def after(self, root: Root, data: bytes) -> _Candidate | None:
        """Read what may be the version after `root`; None where the media have nothing newer.

        Raises:
            UsageError: It is not there.
            MediaError: It cannot be read.
            TamperedError: It is too large, not a regular file, or has too many signatures.
            RefusedError: A version in between is missing.
        """
        name = f"{root.version + 1}.root.json"
        if name in self._roots:
            return self._read(name)
        # The file without a number is the newest version; a single file is what somebody chose.
        if len(self._roots) == 1 or _UNNUMBERED in self._roots:
            found = self._read(self._roots[0] if len(self._roots) == 1 else _UNNUMBERED)
            return None if found.data == data else found
        numbers = [int(match[1]) for each in self._roots if (match := _VERSIONED.fullmatch(each))]
        if later := [number for number in numbers if number > root.version]:
            what = f"has version {min(later)} of the root, but not version {root.version + 1}"
            raise RefusedError(what, where=str(self._path), hint="bring a directory with all versions")
        return None

    def _read(self, name: str) -> _Candidate:
        beside = sorted(self._beside.get(name, []))
        where = str(self._directory / name)
        # Counted before any is read.
        if len(beside) > LIMITS.signatures:
            raise TamperedError(f"has more than {LIMITS.signatures} signatures", where=where)
        signatures = tuple(
            Signature.parse(each, self._content(each, LIMITS.signature_bytes), name) for each in beside
        )
        return _Candidate(where, self._content(name, ROOT_BYTES), signatures)

    def _content(self, name: str, limit: int) -> bytes:
        path = self._directory / name
        try:
            # A link on media could lead to any file of this host; one that somebody named is their choice.
            return read_document(path, limit, follow=self._named and name == self._path.name)
        except FileNotFoundError:
            raise UsageError("no such file", where=str(path)) from None
        except OSError as error:
            raise MediaError(f"cannot read: {error.strerror}", where=str(path)) from None


def follow(
    root: Root,
    data: bytes,
    medium: RootMedium,
    now: datetime,
    until: Callable[[bytes], bool] = lambda _data: False,
) -> Followed:
    """Go from one root to the last version that follows from it; the first that does not ends it.

    Args:
        root: The root to start from.
        data: Its exact bytes.
        medium: Where the later versions are.
        now: The time.
        until: Returns whether these bytes are the last ones that are asked for.
    """
    where, passed = "", list[tuple[int, str]]()
    while not until(data):
        # Each root is checked against the one before it, never against the first: a gap cannot be jumped.
        try:
            found = medium.after(root, data)
            if found is None:
                break
            new = check_successor(root, found.data, found.signatures, found.name, now)
        except WaybillError as error:
            return Followed(root, data, where, tuple(passed), error)
        passed.append((root.version, fingerprint(data)))
        root, data, where = new, found.data, found.name
    return Followed(root, data, where, tuple(passed), None)
