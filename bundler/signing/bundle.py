"""`bundle sign`: adds signatures to a bundle in place, in the room kept for them; the payload is not moved.

The new members are written behind the place of their first header, made durable, and only then does that one
block turn the room into a signature. A kill at any moment leaves a bundle that reads as before, or as signed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.head import member, room
from bundler.signing import Signer
from installer.core.errors import BusyError, UnfitInputError, UsageError
from installer.core.format.archive import Head, open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import SUMS
from installer.core.format.tar_header import BLOCK, extent
from installer.core.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Signed:
    """What `sign` did.

    Attributes:
        identity: Of the bundle, in hex.
        added: Names of the signature files that were added; empty where they were there already.
        signatures: Names of all signature files.
    """

    identity: str
    added: tuple[str, ...]
    signatures: tuple[str, ...]


def signature_files(signer: Signer, sums: bytes) -> dict[str, bytes]:
    """Has SHA256SUMS signed and gives the files by their names in the bundle."""
    return {f"{SUMS}.{signer.keyid8}.{form}": data for form, data in sorted(signer.sign(sums).items())}


def sign(path: Path, signer: Signer) -> Signed:
    """Signs a bundle in place.

    Args:
        path: The bundle.
        signer: Whose signature to add.

    Returns:
        What was added. A bundle that this key has signed before is left as it is.

    Raises:
        UsageError: There is no such file.
        UnfitInputError: It cannot be written to, or has no room left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle, or its list and manifest do not agree.
    """

    def make(sums: bytes) -> dict[str, bytes]:
        return signature_files(signer, sums)

    return add_files(path, make, signer.keyid8)


def add_files(path: Path, make: Callable[[bytes], Mapping[str, bytes]], keyid8: str = "") -> Signed:
    """Puts signature files into a bundle.

    Args:
        path: The bundle.
        make: Gives them by their names, for the exact bytes of SHA256SUMS.
        keyid8: Whose they are, where `make` need not be asked if that key has signed before.

    Returns:
        What was added; files whose names are there already are not.

    Raises:
        UnfitInputError: It cannot be written to, or has no room left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle, or its list and manifest do not agree.
    """
    fd = open_locked(path)
    try:
        medium = FileSource(path)
        try:
            bundle = open_bundle(medium, unsafe_trust_anyone)
        finally:
            medium.close()
        before = tuple(bundle.head.signatures)
        if keyid8 and any(name.startswith(f"{SUMS}.{keyid8}.") for name in before):
            return Signed(bundle.identity, (), before)
        files = {name: data for name, data in make(bundle.head.sums).items() if name not in before}
        if files:
            _add(fd, path, bundle.head, files)
        return Signed(bundle.identity, tuple(files), before + tuple(files))
    finally:
        os.close(fd)


def room_offset(head: Head) -> int:
    """Gives where the header of the room is."""
    return extent(len(head.sums)) + sum(extent(len(data)) for data in head.signatures.values())


def _add(fd: int, path: Path, head: Head, files: Mapping[str, bytes]) -> None:
    offset = room_offset(head)
    new = b"".join(member(name, data, head.mtime) for name, data in files.items())
    left = head.manifest_offset - offset - len(new)
    if left < BLOCK or len(head.signatures) + len(files) > LIMITS.signatures:
        free = max(0, left + len(new) - BLOCK)
        raise UnfitInputError(
            f"has no room for another signature: it takes {len(new)} bytes, {free} are free, and"
            f" {len(head.signatures)} of at most {LIMITS.signatures} signature files are there",
            where=str(path),
            hint="create the bundle again and sign that; each bundle has room for some fifteen signatures",
        )
    region = new + room(left, head.mtime)[:BLOCK]
    try:
        _write(fd, region[BLOCK:], offset + BLOCK)
        os.fsync(fd)
        _write(fd, region[:BLOCK], offset)
        os.fsync(fd)
    except OSError as error:
        raise UnfitInputError(f"cannot be written: {error.strerror}", where=str(path)) from None


def _write(fd: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def open_locked(path: Path) -> int:
    """Opens for writing, and keeps other signers out until it is closed: they would use the same room."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("no such bundle", where=str(path), hint="give the path of a bundle file") from None
    except OSError as error:
        raise UnfitInputError(
            f"cannot be signed in place: {error.strerror}",
            where=str(path),
            hint="copy it to where you may write",
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(
            "is being signed by another process", where=str(path), hint="wait until it ends"
        ) from None
    return fd
