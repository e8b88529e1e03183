"""The head of a bundle: SHA256SUMS, its signatures, the space reserved for more of them, and bundle.json.

The head is written last, when all digests are known, into space that was reserved for it. What remains
is the member `SHA256SUMS.room`: `bundle sign` writes signatures there later, and the payload stays where
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

# Enough that everybody who approves can sign, too; small against any payload.
SPARE = 32 * KIB
"""The least space reserved for signatures, in bytes: about fifteen of each kind."""
# The payload starts on a page: large files are then written with O_DIRECT.
ALIGNMENT = 4 * KIB


def member(name: str, data: bytes, mtime: int) -> bytes:
    """Return a whole tar member: header, payload, padding."""
    return b"".join(_parts(name, data, mtime))


def _parts(name: str, data: bytes, mtime: int) -> list[bytes]:
    return [encode(Header(name, FILE_MODE, len(data), mtime)), data, bytes(padding(len(data)))]


def reserved_space(size: int, mtime: int) -> bytes:
    """Return the reserved space as a member of `size` bytes, its header included."""
    return encode(Header(RESERVED_SPACE, FILE_MODE, size - BLOCK, mtime)) + bytes(size - BLOCK)


def make_sums(files: tuple[FileEntry, ...], manifest: bytes) -> bytes:
    """Return SHA256SUMS: one line for each file and for bundle.json, sorted bytewise by path."""
    return b"".join(sum_lines(files, sha256_hex(manifest)))


def size_for(sums_bytes: int, manifest_bytes: int) -> int:
    """Return the bytes to reserve for a head whose parts have at most these sizes."""
    need = extent(sums_bytes) + extent(manifest_bytes) + BLOCK + SPARE
    # Rounded up, so that a few bytes more or less of manifest do not move the payload.
    return need + -need % ALIGNMENT


def make_head(
    sums: bytes, signatures: Mapping[str, bytes], manifest: bytes, mtime: int, size: int
) -> list[bytes]:
    """Return the head, in parts of together exactly `size` bytes: list and manifest can be large.

    Args:
        sums: SHA256SUMS.
        signatures: Signature files by name, in the order in which they are written.
        manifest: bundle.json.
        mtime: Seconds since 1970, the same for all members.
        size: The result of `size_for`.

    Returns:
        Everything from the start of the tar to the first file of the payload.

    Raises:
        ValueError: It does not fit.
    """
    parts = _parts(SUMS, sums, mtime)
    for name, data in signatures.items():
        parts += _parts(name, data, mtime)
    tail = _parts(MANIFEST, manifest, mtime)
    left = size - sum(map(len, parts)) - sum(map(len, tail))
    # The reserved space needs a header of its own, even if nothing is left in it.
    if left < BLOCK:
        raise ValueError(f"the head is {BLOCK - left} bytes larger than the space reserved for it")
    return [*parts, reserved_space(left, mtime), *tail]
