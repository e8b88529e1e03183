"""The head of a bundle: SHA256SUMS, its signatures, the room for more of them, and bundle.json.

The head is written last, when all digests are known, into space that was kept free for it. What is left
over stays free as `SHA256SUMS.room`: there `bundle sign` puts signatures later, and the payload stays where
it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from installer.core.digest import sha256_hex
from installer.core.format.archive import FILE_MODE, RESERVED_SPACE
from installer.core.format.checksums import sum_lines
from installer.core.format.manifest import MANIFEST, SUMS, FileEntry
from installer.core.format.tar_header import BLOCK, Header, encode, extent, padding
from installer.core.limits import KIB

SPARE = 32 * KIB
"""Least room for signatures: some fifteen of each kind."""
ALIGNMENT = 4 * KIB


def member(name: str, data: bytes, mtime: int) -> bytes:
    """Gives a whole tar member: header, payload, padding."""
    return b"".join(_parts(name, data, mtime))


def _parts(name: str, data: bytes, mtime: int) -> list[bytes]:
    return [encode(Header(name, FILE_MODE, len(data), mtime)), data, bytes(padding(len(data)))]


def room(size: int, mtime: int) -> bytes:
    """Gives the room as a member that takes `size` bytes of the tar, its header included."""
    return encode(Header(RESERVED_SPACE, FILE_MODE, size - BLOCK, mtime)) + bytes(size - BLOCK)


def make_sums(files: tuple[FileEntry, ...], manifest: bytes) -> bytes:
    """Gives SHA256SUMS: one line for each file and for bundle.json, sorted bytewise by path."""
    return b"".join(sum_lines(files, sha256_hex(manifest)))


def size_for(sums_bytes: int, manifest_bytes: int) -> int:
    """Gives the bytes to keep free for a head whose parts have at most these sizes."""
    need = extent(sums_bytes) + extent(manifest_bytes) + BLOCK + SPARE
    return need + -need % ALIGNMENT


def make_head(
    sums: bytes, signatures: Mapping[str, bytes], manifest: bytes, mtime: int, size: int
) -> list[bytes]:
    """Gives the head, in parts of together exactly `size` bytes: list and manifest can be large.

    Args:
        sums: SHA256SUMS.
        signatures: Signature files by name, in the order they are to stand.
        manifest: bundle.json.
        mtime: Seconds since 1970, the same for all members.
        size: What `size_for` said.

    Returns:
        What stands from the start of the tar to the first file of the payload.

    Raises:
        ValueError: It does not fit.
    """
    parts = _parts(SUMS, sums, mtime)
    for name, data in signatures.items():
        parts += _parts(name, data, mtime)
    tail = _parts(MANIFEST, manifest, mtime)
    left = size - sum(map(len, parts)) - sum(map(len, tail))
    if left < BLOCK:
        raise ValueError(f"the head is {BLOCK - left} bytes too large for its place")
    return [*parts, room(left, mtime), *tail]
