"""Signatures added to a bundle in place, in the space reserved for them; the payload is not moved.

The new members are written after the place of their first header and made durable. Only then does that one
block turn reserved space into a signature: a process killed at any moment leaves a bundle that reads as
before, or as signed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.append import write_all
from bundler.archive.head import member, reserved_space
from bundler.archive.reading import unverified_bundle
from bundler.signing import Signer
from installer.core.errors import BusyError, UnfitInputError, UsageError, os_errors_as
from installer.core.format.archive import Head
from installer.core.format.manifest import SUMS
from installer.core.format.tar_header import BLOCK, extent
from installer.core.limits import LIMITS
from installer.shared.terminal import interrupts


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle after signing.

    Attributes:
        identity: Identity of the bundle, 64 hex digits.
        added: Names of the signature files that were added; empty if they were there already.
        signatures: Names of all signature files.
    """

    identity: str
    added: tuple[str, ...]
    signatures: tuple[str, ...]


def sign(path: Path, signer: Signer) -> Signed:
    """Sign a bundle in place.

    Args:
        path: The bundle.
        signer: The key to sign with.

    Returns:
        What was added. A bundle that this key has signed before is left as it is.

    Raises:
        UsageError: There is no such file.
        UnfitInputError: The bundle cannot be written to, or has no reserved space left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle, or its list and manifest do not agree.
    """
    return add_signatures(path, lambda sums: signer.files(SUMS, sums), signer.keyid8)


def add_signatures(path: Path, make: Callable[[bytes], Mapping[str, bytes]], keyid8: str = "") -> Signed:
    """Add signature files to a bundle.

    Args:
        path: The bundle.
        make: Returns signature files by name for the exact bytes of SHA256SUMS.
        keyid8: The key, if `make` need not be called when this key has signed before.

    Returns:
        What was added; files whose names are there already are not.

    Raises:
        UnfitInputError: The bundle cannot be written to, or has no reserved space left.
        BusyError: Another process signs it.
        TamperedError: It is not a bundle, or its list and manifest do not agree.
    """
    fd = open_locked(path)
    try:
        with unverified_bundle(path) as bundle:
            before = tuple(bundle.head.signatures)
        # A GPG signature differs each time: a second one by the same key would only fill the reserved space.
        if keyid8 and any(name.startswith(f"{SUMS}.{keyid8}.") for name in before):
            return Signed(bundle.identity, (), before)
        files = {name: data for name, data in make(bundle.head.sums).items() if name not in before}
        if files:
            _write_signatures(fd, path, bundle.head, files)
        return Signed(bundle.identity, tuple(files), before + tuple(files))
    finally:
        os.close(fd)


def _write_signatures(fd: int, path: Path, head: Head, files: Mapping[str, bytes]) -> None:
    # The header of the reserved space follows the list and its signatures.
    offset = extent(len(head.sums)) + sum(extent(len(data)) for data in head.signatures.values())
    new = b"".join(member(name, data, head.mtime) for name, data in files.items())
    left = head.manifest_offset - offset - len(new)
    if left < BLOCK or len(head.signatures) + len(files) > LIMITS.signatures:
        free = max(0, left + len(new) - BLOCK)
        raise UnfitInputError(
            f"no space for another signature: it needs {len(new)} bytes and {free} are free;"
            f" {len(head.signatures)} of at most {LIMITS.signatures} signature files are present",
            where=str(path),
            hint="create the bundle again and sign the new bundle; a bundle has space for about "
            "fifteen signatures",
        )
    region = new + reserved_space(left, head.mtime)[:BLOCK]
    # With it the bundle is signed: a signal must not end the command as if it were not.
    with os_errors_as(UnfitInputError, "cannot be written", path), interrupts.deferred():
        # Everything but the first header: until that is there, readers still see reserved space.
        write_all(fd, region[BLOCK:], offset + BLOCK)
        # The signature must be on the disk before the header that makes readers look at it.
        os.fsync(fd)
        write_all(fd, region[:BLOCK], offset)
        os.fsync(fd)
        interrupts.finish()


def open_locked(path: Path) -> int:
    """Open a bundle for writing and lock it until it is closed: two signers would use the same space.

    Args:
        path: The bundle.

    Returns:
        The file descriptor; closing it releases the lock.

    Raises:
        UsageError: There is no such file.
        UnfitInputError: It cannot be written to.
        BusyError: Another process holds the lock.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("no such bundle", where=str(path), hint="give the path of a bundle file") from None
    except OSError as error:
        raise UnfitInputError(
            f"cannot be signed in place: {error.strerror}",
            where=str(path),
            hint="copy the bundle to a directory that you can write to",
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(
            "is being signed by another process", where=str(path), hint="wait until that process has ended"
        ) from None
    return fd
