"""A bundle that is read to be copied: each byte once, and refused before the copy counts if it is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from installer.core.errors import MediaError
from installer.core.format.archive import Bundle, open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import StreamSource
from installer.core.format.payload import check_payload
from installer.core.limits import CHUNK

_AGAIN = "publish it again, once nothing writes to it any more"


def read_checked(path: Path, bundle: Bundle, size: int, take: Callable[[bytes], None]) -> None:
    """Read a bundle from its first byte to its last, and compare each member with the list in it.

    No signature is checked: who made the list is not known here.

    Args:
        path: The file.
        bundle: As it was opened before.
        size: Bytes of the file.
        take: Takes all bytes, in their order.

    Raises:
        TamperedError: It is truncated, or something is not as listed.
        MediaError: The file cannot be read, or was changed meanwhile.
    """
    with path.open("rb") as file:
        passing = _Passing(file, path, take)
        # By the reader of every other command, as from a pipe: that is what takes each byte once.
        again = open_bundle(StreamSource(passing, str(path)), unsafe_trust_anyone)  # type: ignore[arg-type]
        if again.head == bundle.head:
            check_payload(again)
            passing.read_rest()
    # What is cut and sent follows the bundle as it was opened.
    if again.head != bundle.head or passing.count != size:
        raise MediaError("was changed while it was read", where=str(path), hint=_AGAIN)


class _Passing:
    def __init__(self, file: BinaryIO, path: Path, take: Callable[[bytes], None]) -> None:
        self._file, self._path, self._take = file, path, take
        self.count = 0

    def read(self, count: int) -> bytes:
        try:
            data = self._file.read(count)
        except OSError as error:
            hint = "the media was removed or is damaged: insert it again, or copy the bundle again"
            where = f"{self._path}@{self.count}"
            raise MediaError(f"cannot be read: {error.strerror}", where=where, hint=hint) from None
        self.count += len(data)
        self._take(data)
        return data

    def read_rest(self) -> None:
        while self.read(CHUNK):
            pass


class UnchangedFile(FileIO):
    """A file that is read once more, in order: its last bytes come only if all are as they were before.

    Args:
        path: The file.
        size: Its size in bytes.
        sha256: Its digest, in hex.
    """

    def __init__(self, path: Path, size: int, sha256: str) -> None:
        super().__init__(path)
        self._where, self._left, self._sha256 = str(path), size, sha256
        self._found = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            MediaError: The file was changed. A server that waits for the last bytes has no whole file then.
        """
        data = super().read(size) or b""
        self._found.update(data)
        self._left -= len(data)
        is_end = self._left <= 0 or not data
        if is_end and (self._left or self._found.hexdigest() != self._sha256):
            raise MediaError("was changed while it was published", where=self._where, hint=_AGAIN)
        return data
