"""SHA-256 in the two spellings of the formats: hex, and `sha256:` + hex as in OCI."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

HEX = re.compile(r"[0-9a-f]{64}")
OCI = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 (FIPS 180-4) of `data` in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def oci_digest(data: bytes) -> str:
    """Return the digest of `data` as the OCI image specification writes it."""
    return "sha256:" + sha256_hex(data)


def hash_pieces(pieces: Iterable[bytes], running: hashlib._Hash) -> Iterator[bytes]:
    """Yield the pieces and update `running` with each."""
    for piece in pieces:
        running.update(piece)
        yield piece


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
