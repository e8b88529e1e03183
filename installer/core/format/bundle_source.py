"""What a bundle is read from: opened once, and every byte read once.

Media may vanish, shrink or return other bytes on the second read. Nothing here ever writes to it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from installer.core.errors import HostNotReadyError, MediaError, TamperedError, UsageError
from installer.core.format.wrong_file import STANDARD_INPUT, directory_error
from installer.core.limits import CHUNK, MIB

A_FILE = "give the path of a bundle file"
"""What to do about a bundle that is not there; `open_source` takes more than that."""
MAX_PADDING = 64 * MIB
"""Zero bytes after a bundle that are counted: the largest block of `dd` and of tapes in use."""


class BundleSource(Protocol):
    """A source of bytes.

    Attributes:
        name: How errors name it.
        size: Its size in bytes; None where it is known only at the end.
        parallel: Whether several threads may read at different offsets.
    """

    name: str
    size: int | None
    parallel: bool

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`.

        Raises:
            MediaError: Reading failed.
            TamperedError: It ends before the view is full.
        """

    def at_end(self, offset: int) -> bool:
        """Return whether there is no byte at `offset` or after it."""

    def close(self) -> None:
        """Close the source."""


class FileSource:
    """A regular file or block device, read with pread(2) through one descriptor."""

    parallel = True

    def __init__(self, path: Path, hint: str = A_FILE) -> None:
        """Open `path` for reading.

        Args:
            path: The file.
            hint: What the command takes, where this is not one.

        Raises:
            UsageError: It does not exist, or is not a regular file or block device.
            HostNotReadyError: This user may not read it.
            MediaError: It cannot be opened.
        """
        self.name = str(path)
        try:
            # O_NONBLOCK: opening a FIFO that nobody writes to must fail below, not hang.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError("no such bundle", where=self.name, hint=hint) from None
        except PermissionError as error:
            hint = "run as root, or make the file readable"
            raise HostNotReadyError(
                f"cannot be opened: {error.strerror}", where=self.name, hint=hint
            ) from None
        except OSError as error:
            raise MediaError(f"cannot be opened: {error.strerror}", where=self.name) from None
        try:
            self.size, self._end = self._measure(hint)
        except BaseException:
            os.close(self._fd)
            raise

    def _measure(self, hint: str) -> tuple[int | None, int]:
        """Return the size of a regular file, else None, and where the bytes end."""
        with self._readable():
            status = os.fstat(self._fd)
        if stat.S_ISDIR(status.st_mode):
            raise directory_error(Path(self.name), hint)
        # Of a socket or terminal, size and offsets would mean nothing.
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise UsageError("is not a regular file", where=self.name, hint=hint)
        # /proc/self/mem calls itself a regular file, and has no end.
        with self._readable():
            end = os.lseek(self._fd, 0, os.SEEK_END)
        with suppress(OSError):
            # Sticks read ahead much faster than at single requests.
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return status.st_size if stat.S_ISREG(status.st_mode) else None, end

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MediaError(f"cannot be read: {error.strerror}", where=self.name) from None

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`; see `BundleSource`."""
        if offset + len(view) > self._end:
            # Checked before reading: claimed sizes can add up to more than pread(2) accepts.
            raise truncated_error(self.name, self._end)
        done = 0
        while done < len(view):
            try:
                count = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise MediaError(
                    f"cannot be read: {error.strerror}",
                    where=f"{self.name}@{offset + done}",
                    hint="the media was removed or is damaged: insert it again, or copy the bundle again",
                ) from None
            # The file was truncated, or the stick pulled out, since its size was read.
            if count == 0:
                raise truncated_error(self.name, offset + done)
            done += count

    def at_end(self, offset: int) -> bool:
        """Return whether nothing follows; see `BundleSource`."""
        try:
            return os.pread(self._fd, 1, offset) == b""
        except OSError as error:
            raise MediaError(f"cannot be read: {error.strerror}", where=f"{self.name}@{offset}") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class StreamSource:
    """Standard input or a pipe: read in order, in one go."""

    parallel = False
    size: int | None = None

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Take an open binary stream; `name` is how errors name it."""
        self.name = name
        self._stream = stream
        self._offset = 0

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view`; `offset` is where the stream stands. See `BundleSource`."""
        if offset != self._offset:
            raise AssertionError(
                f"a stream can only be read in order: the position is {self._offset}, requested is {offset}"
            )
        done = 0
        while done < len(view):
            piece = self._read(min(CHUNK, len(view) - done))
            if not piece:
                raise truncated_error(self.name, self._offset)
            view[done : done + len(piece)] = piece
            done += len(piece)

    def at_end(self, offset: int) -> bool:
        """Return whether nothing follows; see `BundleSource`."""
        if offset != self._offset:
            raise AssertionError("a stream can only be read in order")
        return not self._read(1)

    def _read(self, count: int) -> bytes:
        try:
            piece = self._stream.read(count)
        except OSError as error:
            raise MediaError(
                f"cannot be read: {error.strerror}",
                where=f"{self.name}@{self._offset}",
                hint="the program that writes to the pipe failed, or the media that it reads from: "
                "check both, then try again",
            ) from None
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        """Do nothing: the caller owns the stream."""


def open_source(name: str) -> BundleSource:
    """Open a bundle by the argument of a command: a path, or `-` for standard input.

    Raises:
        UsageError: There is no such file.
        MediaError: It cannot be opened.
    """
    if name == "-":
        return StreamSource(sys.stdin.buffer, STANDARD_INPUT)
    return FileSource(Path(name), f"{A_FILE}, or -")


class TruncatedError(TamperedError):
    """A bundle ends too early.

    Attributes:
        length: Where it ends.
    """

    length = 0


def truncated_error(name: str, offset: int, whole: int = 0) -> TruncatedError:
    """Return the error for a bundle that ends too early.

    Args:
        name: How errors name it.
        offset: Where it ends.
        whole: The least number of bytes that it should have; 0 where that is not known.
    """
    there = f"{offset:,} of at least {whole:,} bytes are there; " if whole else ""
    error = TruncatedError(
        f"ends at byte {offset}, but the bundle is longer",
        where=name,
        hint=f"the copy is not complete: {there}copy the bundle again and compare its size",
    )
    error.length = offset
    return error


def zeros_after(medium: BundleSource, offset: int) -> int | None:
    """Return how many zero bytes follow up to the end; None if others do, or more than `MAX_PADDING`.

    Args:
        medium: What is read.
        offset: Where to begin; of a stream, its position.
    """
    # A file is asked first: nearly all end here, and nothing more is read.
    if medium.parallel and medium.at_end(offset):
        return 0
    count = 0
    while count <= MAX_PADDING:
        piece, size = bytearray(CHUNK), CHUNK
        try:
            medium.read_into(offset + count, memoryview(piece))
        except TruncatedError as error:
            size = error.length - offset - count
            # A file says where it ends before it reads; of a stream, these bytes are in the buffer already.
            if medium.parallel:
                medium.read_into(offset + count, memoryview(piece)[:size])
        if any(piece[:size]):
            return None
        count += size
        if size < CHUNK:
            return count
    return None
