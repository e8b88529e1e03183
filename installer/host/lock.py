"""File locks (flock), which the kernel releases when a process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol, Self

from installer.core.errors import BusyError
from installer.host.kernel import Holder, holders
from installer.host.safe_path import open_parent

_PAUSE = 0.02
_TAKEN = (errno.EAGAIN, errno.EACCES)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LockError(OSError):
    """The file system cannot lock: not another process, but flock(2) itself failed."""


class Sharing(Protocol):
    """What runs programs, and has them keep some descriptors open."""

    inherited: tuple[int, ...]


class Lock:
    """A held lock; ends with the `with` statement, with `release` or with the process."""

    def __init__(self, *fds: int) -> None:
        self._fds = fds

    @classmethod
    def take(cls, root: str, path: str, wait: float = 0.0, *, private: str = "") -> Self:
        """Take a lock.

        The file is 0600: whoever can open a file can lock it, even for reading.

        Args:
            root: The directory that represents `/`.
            path: A host path; created if it does not exist.
            wait: Seconds to wait for another process.
            private: The name of a directory (0700) next to the file, which is locked too: if somebody removes
                the file as a stale lock, a second process still cannot take the lock. Empty for none.

        Raises:
            BusyError: Another process holds it.
            LockError: The file system cannot lock.
            OSError: It cannot be opened.
        """
        until = time.monotonic() + wait
        while True:
            fds = _open(root, path, private)
            try:
                # The file first: processes that take all in the same order cannot block each other.
                _wait(fds[0], path, until, fds[0])
                if private:
                    with suppress(LockError):  # NFS does not lock directories; the file is locked
                        _wait(fds[1], path, until, fds[0])
                        _take_as_before(fds[2], path, fds[0])
                # Somebody may have removed the file or its directory while we waited.
                if _leads_to(root, path, fds[0]):
                    break
            except BaseException:
                _close(fds)
                raise
            _close(fds)
        # The process id is only for people; the lock works without it, also on a full disk.
        with suppress(OSError):
            os.ftruncate(fds[0], 0)
            os.pwrite(fds[0], b"%d\n" % os.getpid(), 0)
        return cls(*fds)

    @contextmanager
    def shared(self, host: Sharing) -> Iterator[None]:
        """Share the lock with every program that a host runs meanwhile.

        It is held until the last of them has ended, also if this process is killed before.
        """
        before, host.inherited = host.inherited, self._fds
        try:
            yield
        finally:
            host.inherited = before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        _close(self._fds)
        self._fds = ()


def lock_holders(root: str, paths: Sequence[str]) -> list[Holder]:
    """Return the processes that hold a lock on one of these files or directories; nothing is locked.

    Args:
        root: The directory that represents `/`.
        paths: Host paths; one that does not exist, or that this user may not open, has no holder to see.
    """
    found = dict[int, Holder]()
    for path in paths:
        with suppress(OSError), open_parent(root, path) as at:
            # For reading only, and without flock(2): to look must not make another command busy.
            fd = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at.fd)
            try:
                found |= {each.pid: each for each in holders(fd)}
            finally:
                os.close(fd)
    return list(found.values())


def _open(root: str, path: str, private: str) -> list[int]:
    """Open what is locked: the file, and with `private` that directory and the one that holds both."""
    fds: list[int] = []
    try:
        with open_parent(root, path) as at:
            # Never removed: a lock on a removed file would be a lock on nothing.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fds.append(os.open(at.name, flags, 0o600, dir_fd=at.fd))
            _make_private(fds[0], 0o600)
            if private:
                fds.append(os.open(private, _DIRECTORY, dir_fd=at.fd))
                _make_private(fds[1], 0o700)
                fds.append(os.open(".", _DIRECTORY, dir_fd=at.fd))
    except BaseException:
        _close(fds)
        raise
    return fds


def _make_private(fd: int, mode: int) -> None:
    # A restored backup or a umask may have opened it to others, who could then lock it.
    if os.fstat(fd).st_mode & 0o077:
        with suppress(OSError):
            os.fchmod(fd, mode)


def _leads_to(root: str, path: str, fd: int) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError), open_parent(root, path) as at:
        return os.path.samestat(os.fstat(fd), os.stat(at.name, dir_fd=at.fd, follow_symlinks=False))
    return False


def _wait(fd: int, path: str, until: float, file: int) -> None:
    while not _try(fd, path):
        if time.monotonic() >= until:
            raise _busy(path, holders(fd), file)
        time.sleep(_PAUSE)


def _busy(path: str, held: Sequence[Holder], file: int) -> BusyError:
    written = os.pread(file, 32, 0).decode("ascii", "replace").strip()
    by = "; ".join(each.text() for each in held) or f"process {written or 'unknown'}"
    return BusyError(
        f"another install is running ({by})",
        where=path,
        hint="wait until it has finished, then try again, or give --wait SECONDS",
    )


def _take_as_before(fd: int, path: str, file: int) -> None:
    """Take the lock that older versions take besides that on the file: on the directory that holds it.

    Every user can open that directory, and so lock it. Such a lock stops nobody: only one of our own user, or
    of root, may be an older `install` whose lock file was removed.
    """
    if not _try(fd, path):
        ours = [each for each in holders(fd) if each.uid in (0, os.geteuid())]
        if ours:
            raise _busy(path, ours, file)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _try(fd: int, path: str) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise LockError(error.errno, error.strerror, path) from None
    return True
