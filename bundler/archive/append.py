"""Adds members behind the payload of a bundle, so that a kill at any byte leaves a bundle that still reads.

`installer.core.format.partial_append` says in which order it is written and what may be left behind; here it
is written, finished or taken back. The payload is never touched, and the time does not depend on its size.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from bundler.archive.head import member
from installer.core.errors import TamperedError
from installer.core.format.archive import FILE_MODE, Bundle
from installer.core.format.partial_append import MAX_APPEND_BYTES, STATEMENT_START
from installer.core.format.tar_header import BLOCK, END, Header, decode, encode, extent
from installer.core.trust.approval import NAME, signed_name


def append(fd: int, bundle: Bundle, files: Mapping[str, bytes]) -> None:
    """Adds files; once it returns they are on the disk.

    Args:
        fd: The bundle, open for writing and locked.
        bundle: Its tail was read, and nothing was cut short there.
        files: A statement first, then its signatures.

    Raises:
        OSError: They could not be added; the bundle is as it was.
    """
    new = b"".join(member(name, data, bundle.manifest.created) for name, data in files.items())
    at = bundle.tail_end
    try:
        write(fd, new[BLOCK : 2 * BLOCK], at + BLOCK)
        os.fsync(fd)
        write(fd, new[2 * BLOCK :] + END, at + 2 * BLOCK)
        os.fsync(fd)
        write(fd, new[:BLOCK], at)
        os.fsync(fd)
    except OSError:
        drop(fd, at)
        raise


def repair(fd: int, bundle: Bundle) -> tuple[Literal["finished", "dropped", "nothing"], str]:
    """Finishes an append that was cut short, where everything of it is there; takes it back otherwise.

    Args:
        fd: The bundle, open for writing and locked.
        bundle: Its tail was read.

    Returns:
        What was done, and the name of the statement that was finished.

    Raises:
        OSError: It could not be done; the bundle reads as before.
    """
    present = bundle.read_tail()
    if not bundle.partial_append:
        return "nothing", ""
    at = bundle.tail_end
    first = os.pread(fd, BLOCK, at)
    name, header = _missing(first, os.pread(fd, MAX_APPEND_BYTES, at + BLOCK), bundle.manifest.created)
    if not name or name in present:
        drop(fd, at)
        return "dropped", ""
    write(fd, header, at)
    os.fsync(fd)
    return "finished", name


def _missing(first: bytes, rest: bytes, mtime: int) -> tuple[str, bytes]:
    """Gives name and header of the statement whose payload and signatures are all there; else nothing."""
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
        if header != Header(header.name, FILE_MODE, header.size, mtime) or len(names) > 3:
            return "", b""
        place += extent(header.size)
    signed = {signed_name(name) for name in names}
    if rest[place:] != END or len(signed) != 1 or "" in signed:
        return "", b""
    name = signed.pop()
    whole = encode(Header(name, FILE_MODE, size, mtime))
    fits = NAME.fullmatch(name) and whole.startswith(first.rstrip(b"\0"))
    return (name, whole) if fits else ("", b"")


def drop(fd: int, at: int) -> None:
    """Takes back what was cut short; each state on the way is one that `partial_append` knows.

    Args:
        fd: The bundle, open for writing and locked.
        at: Where the archive ends.

    Raises:
        OSError: It could not be done.
    """
    _shorten(fd, at, BLOCK)
    os.ftruncate(fd, at + len(END))
    write(fd, bytes(BLOCK - len(STATEMENT_START)), at + BLOCK + len(STATEMENT_START))
    _shorten(fd, at + BLOCK, len(STATEMENT_START))
    os.fsync(fd)


def _shorten(fd: int, at: int, size: int) -> None:
    """Makes zeros of what is there, byte by byte from its end: what is left stays a beginning."""
    begun = os.pread(fd, size, at).rstrip(b"\0")
    for place in reversed(range(len(begun))):
        write(fd, b"\0", at + place)


def write(fd: int, data: bytes, offset: int) -> None:
    """Writes all of `data`.

    Raises:
        OSError: It could not be written.
    """
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
