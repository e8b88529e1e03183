"""An output file that exists under its name complete, or not at all.

Where the file system supports it, the file has no name until it is complete (open(2), O_TMPFILE): not even
SIGKILL leaves anything behind. Elsewhere a hidden file in the same directory is renamed. Its writer holds a
lock on it, so that the next writer in the directory recognises and removes what a killed one has left.

Large pieces bypass the page cache (open(2), O_DIRECT; docs/adr/0006): every byte is copied once less, and
little is left to sync at the end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from installer.core.errors import LIMITS_OF_THE_SYSTEM, UnfitInputError
from installer.shared.terminal import interrupts

PAGE = mmap.PAGESIZE
_OF_THE_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EOPNOTSUPP),
)
_LEFTOVER = re.compile(r"\..+\.[0-9]+\.part")


class UnwritableError(UnfitInputError):
    """A file cannot be written.

    Attributes:
        of_place: Whether the path is at fault, and not the disk, which is full or fails.
    """

    of_place = False


def page_buffer(size: int) -> memoryview:
    """Return memory aligned to a page, as `write_pages` needs it."""
    return memoryview(mmap.mmap(-1, size))


class OutputFile:
    """A file that takes bytes at any offset; `publish` gives it its name. A context manager that cleans up.

    Attributes:
        path: The final name.
        fd: Descriptor for reading and writing.
    """

    def __init__(self, path: Path, mode: int = 0o644, *, parents: bool = True) -> None:
        """Open a nameless file in the directory of `path`.

        Args:
            path: The final name.
            mode: Permission bits; the umask applies.
            parents: Create the directory if it does not exist.

        Raises:
            UnfitInputError: The directory cannot be written to.
        """
        self.path = path
        # Commands that make directories have the option; the others take the place as an argument.
        self._option = " with -o" if parents else ""
        self._mode = mode
        self._sibling: Path | None = None
        try:
            if parents:
                path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path.parent)
            # Leftovers go first: after a crash their space may be what this file needs.
            self.fd = self._open()
            self._direct = self._open_direct()
        except OSError as error:
            raise unwritable(path, error, self._option) from None

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            fd = os.open(self.path.parent, flags | os.O_TMPFILE, self._mode)
        except OSError as error:
            # Only "not supported" leads to the fallback; a full disk or missing permission is an error.
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
        else:
            _lock(fd)
            return fd
        self._sibling = self._hidden_name()
        while True:
            fd = os.open(self._sibling, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, self._mode)
            _lock(fd)
            # Between open and lock, another writer may have removed the file as a leftover.
            if self._sibling.exists():
                return fd
            os.close(fd)

    def _open_direct(self) -> int | None:
        """Open the same file again with O_DIRECT; None if the file system does not support it."""
        # A file system without nameless files (FAT) has no O_DIRECT worth using.
        if self._sibling is not None:
            return None
        try:
            # Through /proc, since a nameless file has no other path.
            return os.open(f"/proc/self/fd/{self.fd}", os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError:
            return None

    def extend(self, size: int) -> None:
        """Set the length of the file before it is written, so that threads can write in any order.

        Raises:
            UnfitInputError: It cannot be that large.
        """
        # FAT has no sparse files: extending would write every byte twice. It has no nameless files either.
        if self._sibling is None:
            self.truncate(size)

    def write_pages(self, offset: int, view: memoryview) -> None:
        """Write all of `view` at `offset`; whole pages from a `page_buffer` bypass the page cache.

        No page may be written in this way and with `write_at` at the same time.

        Raises:
            UnfitInputError: The disk is full, or failed.
        """
        # O_DIRECT takes whole pages at page offsets only; the rest goes the normal way.
        whole, done = len(view) // PAGE * PAGE, 0
        if self._direct is not None and whole and offset % PAGE == 0:
            # What O_DIRECT refuses goes through the page cache below, and a real fault shows there.
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
            raise unwritable(self.path, error, self._option) from None

    def write_parts(self, offset: int, parts: Iterable[bytes]) -> None:
        """Write parts one after the other, starting at `offset`; see `write_at`."""
        for part in parts:
            self.write_at(offset, part)
            offset += len(part)

    def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes.

        Raises:
            UnfitInputError: It cannot be that large.
        """
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            raise unwritable(self.path, error, self._option) from None

    @property
    def mode(self) -> int:
        """The permission bits that the file really has: some file systems keep none."""
        return stat.S_IMODE(os.fstat(self.fd).st_mode)

    def publish(self, *, replace: bool = True) -> None:
        """Make the bytes durable, then give them their name.

        Args:
            replace: Replace a file that has the name.

        Raises:
            UnfitInputError: The disk is full, or failed.
            FileExistsError: A file has the name and must not be replaced.
        """
        # A signal is heard before or after it: a temporary name must not stay.
        with interrupts.deferred():
            self._publish(replace)

    def _publish(self, replace: bool) -> None:
        try:
            # Content before name: after a power failure the name must never lead to missing bytes.
            os.fsync(self.fd)
            if self._sibling is None:
                try:
                    self._link(self.path)
                except FileExistsError:
                    if not replace:
                        raise
                    # linkat(2) does not replace a file; rename(2) does, and needs a name of its own first.
                    sibling = self._hidden_name()
                    with contextlib.suppress(FileNotFoundError):
                        sibling.unlink()
                    self._link(sibling)
                    self._sibling = sibling
            elif not replace:
                # An empty file reserves the name against other writers; the rename then fills it.
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode))
            if self._sibling is not None:
                self._sibling.rename(self.path)
                self._sibling = None
            fsync_directory(self.path.parent)
        except FileExistsError:
            raise
        except OSError as error:
            raise unwritable(self.path, error, self._option) from None

    def _hidden_name(self) -> Path:
        return self.path.with_name(f".{self.path.name[:200]}.{os.getpid()}.part")

    def _link(self, path: Path) -> None:
        # With a directory descriptor os.link calls linkat(2), which can follow the link in /proc.
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


def remove_leftovers(directory: Path) -> None:
    """Remove what killed writers have left in a directory: hidden files that nobody holds a lock on.

    Where a file system has no locks, nothing is removed.
    """
    for path in directory.iterdir():
        if not _LEFTOVER.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            # No link is followed, and no pipe waited for: the directory may be writable by others.
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                # A held lock means that its writer is alive: the file stays.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(fd)


def _lock(fd: int) -> None:
    with contextlib.suppress(OSError):
        # Network file systems may have no locks; then leftovers are never removed, which is safe.
        fcntl.flock(fd, fcntl.LOCK_EX)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unwritable(path: Path, error: OSError, option: str) -> UnwritableError:
    """Return the error for a file that cannot be written.

    Args:
        path: The file.
        error: What the system says.
        option: The option that names another place, with a blank before it; empty for an argument.
    """
    elsewhere = f"choose another place{option}"
    directory = shlex.quote(str(path.parent))
    hints = {
        errno.ENOSPC: f"free some space, or {elsewhere}",
        errno.EDQUOT: f"free some space, or {elsewhere}",
        errno.EFBIG: "the file system, or `ulimit -f`, does not allow files of that size",
        errno.EACCES: f"choose a directory that you can write to{option}",
        errno.EROFS: f"the file system is read-only: {elsewhere}",
        errno.ENOENT: f"create its directory with `mkdir -p {directory}`, or correct the path",
        errno.ENOTDIR: "correct the path: a part of it is a file, not a directory",
        **LIMITS_OF_THE_SYSTEM,
    }
    hint = hints.get(error.errno or 0, elsewhere)
    found = UnwritableError(f"cannot be written: {error.strerror}", where=str(path), hint=hint)
    found.of_place = error.errno in _OF_THE_PLACE
    return found
