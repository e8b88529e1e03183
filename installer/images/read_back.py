"""Reads the archive of an image that an engine exports, without keeping it."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from typing import IO, cast

from installer.core.errors import TamperedError
from installer.core.limits import CHUNK


class _Pieces:
    """Pieces of bytes, read like a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest = iter(pieces), b""

    def read(self, count: int) -> bytes:
        held = [self._rest]
        # tarfile wants full reads: a short one would look like the end.
        while sum(map(len, held)) < count and (piece := next(self._pieces, b"")):
            held.append(piece)
        whole = b"".join(held)
        self._rest = whole[count:]
        return whole[:count]


def digests(pieces: Iterable[bytes]) -> frozenset[str]:
    """Return the digests of all regular files in an archive that an engine exports.

    Raises:
        TamperedError: The archive ends too early, or is not an archive.
    """
    found: set[str] = set()
    try:
        # As a stream, because an export can be larger than the memory or the disk.
        with tarfile.open(fileobj=cast(IO[bytes], _Pieces(pieces)), mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is None:
                    continue
                running = hashlib.sha256()
                while piece := file.read(CHUNK):
                    running.update(piece)
                found.add("sha256:" + running.hexdigest())
    except tarfile.TarError as error:
        raise TamperedError(f"the engine exported an image incompletely: {error}") from error
    return frozenset(found)
