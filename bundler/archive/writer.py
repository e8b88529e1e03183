"""The deterministic writer: the payload first, each input read once, the head last.

Files whose sizes are known are hashed and written by one thread for each core, every file at its own
offset, small neighbours together. Layers, whose stored size is not known before, follow one after the other.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle
from threading import Event

from bundler.archive.output_file import PAGE, OutputFile, page_buffer
from bundler.image_sources.lane import DEPTH, Lane
from installer.core.errors import UnfitInputError, os_errors_as
from installer.core.format.manifest import FileEntry
from installer.core.format.tar_header import BLOCK, Header, encode, extent, padding
from installer.core.limits import CHUNK

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Input:
    """A file of the bundle before it is read.

    Attributes:
        entry: Its entry, with the size that it has now and an empty digest.
        top: The file, or a directory with a `/` at its end; empty if `data` has the bytes.
        cut: Index in the entry's path of the part below the directory `top`; 0 if `top` is the file.
        data: Content that does not come from a file.
    """

    entry: FileEntry
    top: str = ""
    cut: int = 0
    data: bytes = b""

    @property
    def source(self) -> str:
        """The file to read; empty if `data` has the bytes. Computed on demand: there may be 250,000."""
        return self.top + self.entry.path[self.cut :] if self.cut else self.top


def write_files(
    output: OutputFile, offset: int, inputs: Sequence[Input], mtime: int, advance: Advance
) -> list[FileEntry]:
    """Write files whose sizes are known, in their order.

    Args:
        output: The bundle.
        offset: Of the first header.
        inputs: The files.
        mtime: Seconds since 1970, for the headers.
        advance: Receives the number of bytes written; called from several threads.

    Returns:
        The entries with their digests.

    Raises:
        UnfitInputError: An input cannot be read, or changed while it was read; or the disk is full.
    """
    # Threads write at their own offsets: without a length, each would extend the file and wait for the
    # others.
    output.extend(end_of(offset, inputs))
    writing = _Writing(output, mtime, advance, Event())
    # Hashing dominates, and hashlib releases the interpreter lock: one thread for each core.
    with ThreadPoolExecutor(os.cpu_count() or 1, "pack") as pool:
        futures = [pool.submit(writing.group, place, group) for place, group in _groups(offset, inputs)]
        try:
            return [entry for future in futures for entry in future.result()]
        finally:
            # After an error the other threads should not go on reading gigabytes.
            writing.stop.set()
            for future in futures:
                future.cancel()


def end_of(offset: int, inputs: Sequence[Input]) -> int:
    """Return the offset after the last of `inputs` if the first starts at `offset`."""
    return offset + sum(extent(item.entry.size) for item in inputs)


def _groups(offset: int, inputs: Sequence[Input]) -> Iterator[tuple[int, Sequence[Input]]]:
    """Cut the inputs into runs: neighbours that fit into one chunk together, each larger one alone."""
    start, size = 0, 0
    for index, item in enumerate(inputs):
        need = extent(item.entry.size)
        # Small neighbours share one write call: a tree of icons is thousands of files.
        if index > start and size + need > CHUNK:
            yield offset, inputs[start:index]
            start, offset, size = index, offset + size, 0
        size += need
    if start < len(inputs):
        yield offset, inputs[start:]


def _header(entry: FileEntry, mtime: int) -> bytes:
    return encode(Header(entry.tar_name, entry.mode & 0o755, entry.size, mtime))


def write_header(output: OutputFile, offset: int, entry: FileEntry, mtime: int) -> None:
    """Write the header of a file and the padding after its payload."""
    output.write_at(offset, _header(entry, mtime))
    if tail := padding(entry.size):
        output.write_at(offset + BLOCK + entry.size, bytes(tail))


@dataclass(frozen=True, slots=True)
class _Writing:
    """The writing of one file, as each thread does it."""

    output: OutputFile
    mtime: int
    advance: Advance
    stop: Event

    def group(self, offset: int, group: Sequence[Input]) -> list[FileEntry]:
        """Write neighbours: those that fit into one chunk with one call, a large one as it is read."""
        # A large file streams; holding it in memory would make memory depend on its size.
        if len(group) == 1 and group[0].source and group[0].entry.size >= CHUNK - BLOCK:
            item = group[0]
            digest = self._copy(offset + BLOCK, item.source, item.entry.size)
            write_header(self.output, offset, item.entry, self.mtime)
            return [replace(item.entry, sha256=digest)]
        entries: list[FileEntry] = []
        parts: list[bytes | bytearray] = []
        for item in group:
            if self.stop.is_set():
                break
            data = _whole(item.source, item.entry.size) if item.source else item.data
            parts += (_header(item.entry, self.mtime), data, bytes(padding(len(data))))
            entries.append(replace(item.entry, sha256=hashlib.sha256(data).hexdigest()))
            self.advance(len(data))
        self.output.write_at(offset, b"".join(parts))
        return entries

    def _copy(self, offset: int, source: str, size: int) -> str:
        """Copy exactly `size` bytes and return their SHA-256; refuse a file that changes meanwhile."""
        fd, before = _open(source, size)
        digest = hashlib.sha256()
        with os.fdopen(fd, "rb", 0), Lane("hash") as hashing, Lane("write") as writing:
            buffers, done = cycle([page_buffer(CHUNK) for _ in range(DEPTH)]), 0
            while done < size and not self.stop.is_set():
                # The first piece is shorter, so that all others start on a page of the output.
                length = min(CHUNK - (offset + done) % PAGE, size - done)
                piece = next(buffers)[:length]
                _fill(fd, piece, source)
                hashing.put(digest.update, piece)
                writing.put(self.output.write_pages, offset + done, piece)
                done += length
                self.advance(length)
            # A file that a build is still writing would get a digest of something that never existed.
            _same(before, os.fstat(fd), source)
        return digest.hexdigest()


def _whole(source: str, size: int) -> bytearray:
    """Read a small file that must have `size` bytes before and after."""
    fd, before = _open(source, size)
    try:
        data = bytearray(size)
        _fill(fd, memoryview(data), source)
        _same(before, os.fstat(fd), source)
    finally:
        os.close(fd)
    return data


def _same(before: os.stat_result, after: os.stat_result, source: str) -> None:
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise _changed(source)


def _open(source: str, size: int) -> tuple[int, os.stat_result]:
    """Open a file that must still be a regular file of `size` bytes."""
    with os_errors_as(UnfitInputError, "cannot be read", source):
        # O_NONBLOCK: a pipe that took the file's place must not block the build for ever.
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        os.close(fd)
        raise _changed(source)
    return fd, status


def _fill(fd: int, view: memoryview, source: str) -> None:
    done = 0
    with os_errors_as(UnfitInputError, "cannot be read", source):
        while done < len(view):
            count = os.readv(fd, [view[done:]])
            if not count:
                raise _changed(source)
            done += count


def _changed(source: str) -> UnfitInputError:
    return UnfitInputError(
        "changed while it was read",
        where=source,
        hint="wait until the build that writes it has finished, then run `bundle create` again",
    )
