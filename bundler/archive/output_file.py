"""An output file that exists under its name whole, or not at all.

Where the file system can, the file has no name until it is complete (open(2), O_TMPFILE), so that not even
kill -9 leaves anything behind. Elsewhere a hidden sibling is renamed. Its writer holds a lock on it, so that
whoever next writes into the directory can tell what a killed one has left, and removes it.

Large pieces pass by the page cache (open(2), O_DIRECT; docs/adr/0006): one copy of every byte less, and at
the end little is left to sync.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from installer.core.errors import UnfitInputError

PAGE = mmap.PAGESIZE
_LEFT = re.compile(r"\..+\.[0-9]+\.part")


def page_buffer(size: int) -> memoryview:
    """Return memory that starts with a page, as `write_pages` needs it."""
    return memoryview(mmap.mmap(-1, size))


class OutputFile:
    """Collects bytes at any offset; `publish` gives them their name. A context manager that cleans up.

    Attributes:
        path: The final name.
        fd: Descriptor for reading and writing.
    """

    def __init__(self, path: Path) -> None:
        """Open a nameless file in the directory of `path`, which is made where it lacks.

        Raises:
            UnfitInputError: The directory cannot be written to.
        """
        self.path = path
        self._sibling: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_left(path.parent)
            self.fd = self._open()
            self._direct = self._open_direct()
        except OSError as error:
            raise _unwritable(path, error) from None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            fd = os.open(self.path.parent, flags | os.O_TMPFILE, 0o644)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
        else:
            _lock(fd)
            return fd
        self._sibling = self._beside()
        while True:
            fd = os.open(self._sibling, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            _lock(fd)
            if self._sibling.exists():  # else it was taken for left before it was locked
                return fd
            os.close(fd)

    def _open_direct(self) -> int | None:
        """Open the same file again; None where the file system cannot, or is too simple: see `extend`."""
        if self._sibling is not None:
            return None
        try:
            return os.open(f"/proc/self/fd/{self.fd}", os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError:
            return None

    def extend(self, size: int) -> None:
        """Return the file its length before it is written, so that threads which write need not wait in turn.

        Not where each byte of that length would be written as a zero first: FAT and its like have no holes,
        and no nameless files either.

        Raises:
            UnfitInputError: It cannot be that large.
        """
        if self._sibling is None:
            self.truncate(size)

    def write_pages(self, offset: int, view: memoryview) -> None:
        """Write all of `view` at `offset`: whole pages from a `page_buffer` pass by the page cache.

        No page may be written both in this way and, at the same time, with `write_at`.

        Raises:
            UnfitInputError: The disk is full, or failed.
        """
        whole, done = len(view) // PAGE * PAGE, 0
        if self._direct is not None and whole and offset % PAGE == 0:
            # what cannot be written like this, or was not, can be in the other way, which says why if not
            with contextlib.suppress(OSError):
                done = os.pwrite(self._direct, view[:whole], offset)
        self.write_at(offset + done, view[done:])

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data` at `offset`; safe from several threads.

        Raises:
            UnfitInputError: The disk is full, or failed.
        """
        view, done = memoryview(data), 0
        try:
            while done < len(view):
                done += os.pwrite(self.fd, view[done:], offset + done)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def write_parts(self, offset: int, parts: Iterable[bytes]) -> None:
        """Write parts one behind the other from `offset` on; see `write_at`."""
        for part in parts:
            self.write_at(offset, part)
            offset += len(part)

    def truncate(self, size: int) -> None:
        """Cut or extends the file to `size` bytes.

        Raises:
            UnfitInputError: It cannot be that large.
        """
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def publish(self) -> None:
        """Make the bytes durable, then gives them their name; what had the name before is replaced.

        Raises:
            UnfitInputError: The disk is full, or failed.
        """
        try:
            os.fsync(self.fd)
            if self._sibling is None:
                try:
                    self._link(self.path)
                except FileExistsError:
                    # linkat(2) does not replace: a name of its own first
                    sibling = self._beside()
                    with contextlib.suppress(FileNotFoundError):
                        sibling.unlink()
                    self._link(sibling)
                    self._sibling = sibling
            if self._sibling is not None:
                self._sibling.rename(self.path)
                self._sibling = None
            fsync_directory(self.path.parent)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _beside(self) -> Path:
        return self.path.with_name(f".{self.path.name[:200]}.{os.getpid()}.part")

    def _link(self, path: Path) -> None:
        # with a directory descriptor os.link calls linkat(2), which can follow the link in /proc
        os.link(f"/proc/self/fd/{self.fd}", path, src_dir_fd=self.fd, follow_symlinks=True)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        if self._direct is not None:
            os.close(self._direct)
        if self._sibling is not None:
            self._sibling.unlink(missing_ok=True)


def remove_left(directory: Path) -> None:
    """Remove what writers that were killed have left in a directory: siblings that nobody holds a lock on.

    Where a file system has no locks, nothing is removed.
    """
    for path in directory.iterdir():
        if not _LEFT.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(fd)


def _lock(fd: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(path: Path, error: OSError) -> UnfitInputError:
    hints = {
        errno.ENOSPC: "free some space, or name another place with -o",
        errno.EDQUOT: "free some space, or name another place with -o",
        errno.EFBIG: "this file system or a limit of this session does not allow files of that size",
        errno.EACCES: "you may not write there: name another place with -o",
        errno.EROFS: "that file system is read-only: name another place with -o",
    }
    return UnfitInputError(
        f"cannot be written: {error.strerror}", where=str(path), hint=hints.get(error.errno or 0, "")
    )
