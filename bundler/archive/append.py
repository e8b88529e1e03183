"""Append members to a bundle after its payload, so that a kill at any byte leaves a bundle that can be read.

`installer.core.format.partial_append` defines the order of the writes and the states they may leave; this
module writes, completes or removes an append. The payload is not touched, and the time does not depend on its
size.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from bundler.archive.head import member
from installer.core.errors import TamperedError
from installer.core.format.approval_names import NAME, signed_name
from installer.core.format.archive import FILE_MODE, Bundle
from installer.core.format.partial_append import MAX_APPEND_BYTES, STATEMENT_START
from installer.core.format.tar_header import BLOCK, END, Header, decode, encode, extent
from installer.shared.terminal import interrupts


# The order of the writes is the format's promise, see installer.core.format.partial_append.
def append(fd: int, bundle: Bundle, files: Mapping[str, bytes]) -> None:
    """Add files; once it returns they are on the disk.

    Args:
        fd: The bundle, open for writing and locked.
        bundle: The bundle, its tail read and complete.
        files: A statement first, then its signatures.

    Raises:
        OSError: They could not be added; the bundle is as it was.
    """
    new = b"".join(member(name, data, bundle.manifest.created) for name, data in files.items())
    # A kill in between needs a repair; a signal waits for the end of these few small writes.
    with interrupts.deferred():
        _append(fd, new, bundle.tail_end)
        interrupts.finish()


def _append(fd: int, new: bytes, at: int) -> None:
    try:
        # The second block first: as long as the first is zero, readers see the end of the archive.
        write_all(fd, new[BLOCK : 2 * BLOCK], at + BLOCK)
        # Each fsync separates two states that a reader can tell apart after a power failure.
        os.fsync(fd)
        write_all(fd, new[2 * BLOCK :] + END, at + 2 * BLOCK)
        os.fsync(fd)
        # The header comes last: with it, and only with it, the statement exists.
        write_all(fd, new[:BLOCK], at)
        os.fsync(fd)
    except OSError:
        # A full disk must not leave a bundle that needs a repair.
        drop(fd, at)
        raise


def repair(fd: int, bundle: Bundle) -> tuple[Literal["finished", "dropped", "nothing"], str]:
    """Complete an interrupted append if all of its data is present; otherwise remove it.

    Args:
        fd: The bundle, open for writing and locked.
        bundle: The bundle, its tail read.

    Returns:
        What was done, and the name of the completed statement.

    Raises:
        OSError: It could not be done; the bundle reads as before.
    """
    present = bundle.read_tail()
    if not bundle.partial_append:
        return "nothing", ""
    at = bundle.tail_end
    first = os.pread(fd, BLOCK, at)
    name, header = _missing(first, os.pread(fd, MAX_APPEND_BYTES, at + BLOCK), bundle.manifest.created)
    # The same name twice would be two members of one name, which readers refuse.
    if not name or name in present:
        drop(fd, at)
        return "dropped", ""
    write_all(fd, header, at)
    os.fsync(fd)
    return "finished", name


def _missing(first: bytes, rest: bytes, mtime: int) -> tuple[str, bytes]:
    """Return name and header of a statement whose data is complete; else two empty values."""
    size = rest.find(b"\n") + 1
    place, names = extent(size) - BLOCK, list[str]()
    if not size or any(rest[size:place]):
        return "", b""
    while any(block := rest[place : place + BLOCK]):
        try:
            header = decode(block, "")
        except (TamperedError, IndexError):
            return "", b""
        names.append(header.name)
        # Anything but the headers that `append` writes is not ours to finish.
        if header != Header(header.name, FILE_MODE, header.size, mtime) or len(names) > 3:
            return "", b""
        place += extent(header.size)
    signed = {signed_name(name) for name in names}
    if rest[place:] != END or len(signed) != 1 or "" in signed:
        return "", b""
    name = signed.pop()
    whole = encode(Header(name, FILE_MODE, size, mtime))
    # The part of the header that is on the disk must be a beginning of the one computed here.
    fits = NAME.fullmatch(name) and whole.startswith(first.rstrip(b"\0"))
    return (name, whole) if fits else ("", b"")


def remove(fd: int, at: int) -> None:
    """Remove the last statement of a bundle with its signatures; each state on the way is one of an append.

    Args:
        fd: The bundle, open for writing and locked.
        at: Offset of the header of the statement.

    Raises:
        OSError: It could not be done.
    """
    _shorten(fd, at, BLOCK)
    # Before the file is cut: a header whose data is gone would be a damaged bundle.
    os.fsync(fd)
    drop(fd, at)


def drop(fd: int, at: int) -> None:
    """Remove an incomplete append; each state on the way is one that `partial_append` defines.

    Args:
        fd: The bundle, open for writing and locked.
        at: Offset of the end of the archive.

    Raises:
        OSError: It could not be done.
    """
    # Header first: then what follows is no member any more, whatever of it is still there.
    _shorten(fd, at, BLOCK)
    os.ftruncate(fd, at + len(END))
    write_all(fd, bytes(BLOCK - len(STATEMENT_START)), at + BLOCK + len(STATEMENT_START))
    _shorten(fd, at + BLOCK, len(STATEMENT_START))
    os.fsync(fd)


def _shorten(fd: int, at: int, size: int) -> None:
    """Overwrite with zeros, byte by byte from the end: what remains is always a prefix."""
    begun = os.pread(fd, size, at).rstrip(b"\0")
    # From its end, byte by byte: a kill in between leaves a shorter beginning, which is a known state.
    for place in reversed(range(len(begun))):
        write_all(fd, b"\0", at + place)


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data`.

    Raises:
        OSError: It could not be written.
    """
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
