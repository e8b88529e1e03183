"""The one place where the installer changes the host.

Every path is a *host path*: absolute, as the host sees it, found below `root` as in a chroot. Everything that
changes something goes through `System.around`, so that a test can kill, fail or fill the disk at every single
step. Nothing here decides anything.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from installer import process
from installer.core.errors import BusyError
from installer.host import LIST, Answer, Host, Seen, Space
from installer.process import Completed
from installer.resolve import place

__all__ = ["Answer", "Completed", "Lock", "Seen", "Space", "SyncError", "System"]

P = ParamSpec("P")
T = TypeVar("T")

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SYNC_EACH = 8
"""Up to so many files are synced one by one; more of them by one call for the whole file system."""


class SyncError(OSError):
    """What was written may not be on the disk, and no later sync will say so: the kernel has forgotten it."""


class Lock:
    """A held lock; ends with `release` or with the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Gives the lock back; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _effect(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    def wrapper(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self.around(method.__name__.strip("_"), args, lambda: method(self, *args, **kwargs))
        return result

    functools.update_wrapper(wrapper, method)
    return wrapper


class System(Host):
    """A host, and everything that can be done to it."""

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        """Does one effect; the hook for tests."""
        del name, args
        return call()

    def effect(self, name: str, call: Callable[[], T]) -> T:
        """Does an effect that a client library brings about (an engine's), counted like all others.

        Args:
            name: What it is, for traces: `docker.load`.
            call: Does it.
        """
        return self.around(name, (), call)

    @_effect
    def mkdir(self, path: str, mode: int, uid: int = -1, gid: int = -1) -> None:
        """Makes a directory with exactly this mode; its parent has to be there.

        Raises:
            OSError: It is there already, or cannot be made.
        """
        with place(self.root, path) as at:
            os.mkdir(at.name, mode, dir_fd=at.fd)
            fd = os.open(at.name, LIST, dir_fd=at.fd)
            try:
                if (uid, gid) != (-1, -1):
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            finally:
                os.close(fd)

    @_effect
    def write_new(
        self,
        path: str,
        data: bytes | Iterable[bytes | memoryview],
        mode: int,
        uid: int = -1,
        gid: int = -1,
        *,
        sync: bool = True,
    ) -> str:
        """Writes a file that is not there yet; removes it again where that fails.

        Args:
            path: A host path.
            data: Its bytes, or pieces of them.
            mode: Its permission bits, whatever the umask.
            uid: Its owner; -1 for whoever runs us.
            gid: Its group; -1 for whoever runs us.
            sync: Whether it is on the disk when this returns; else `sync_files` is to follow.

        Returns:
            The SHA-256 of what was written, in hex.

        Raises:
            OSError: It is there already, or cannot be written.
        """
        running = hashlib.sha256()
        with place(self.root, path) as at:
            fd = os.open(at.name, _NEW, 0o600, dir_fd=at.fd)
            try:
                for chunk in (data,) if isinstance(data, bytes) else data:
                    running.update(chunk)
                    self._write(fd, chunk)
                if (uid, gid) != (-1, -1):
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
                if sync:
                    self._fsync(fd)
            except Exception:
                with suppress(OSError):
                    os.unlink(at.name, dir_fd=at.fd)
                raise
            finally:
                os.close(fd)
        return running.hexdigest()

    @_effect
    def write_at(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        """Writes into a file that is there, in one call, and waits until it is on the disk.

        Args:
            path: A host path.
            offset: Where in the file.
            data: What.
            truncate: Whether the file ends after it.

        Raises:
            OSError: It could not be written whole; how much of it is there is then unknown.
        """
        with place(self.root, path) as at:
            fd = os.open(at.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.fd)
            try:
                os.lseek(fd, offset, os.SEEK_SET)
                self._write(fd, data)
                if truncate:
                    os.ftruncate(fd, offset + len(data))
                self._fsync(fd)
            finally:
                os.close(fd)

    @_effect
    def _write(self, fd: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    @_effect
    def _fsync(self, fd: int) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            raise SyncError(error.errno, error.strerror) from error

    @_effect
    def sync_dir(self, path: str) -> None:
        """Waits until the entries of a directory are on the disk.

        Raises:
            OSError: They are not.
        """
        with place(self.root, path, follow=True) as at:
            fd = os.open(at.name, LIST, dir_fd=at.fd)
        try:
            self._fsync(fd)
        finally:
            os.close(fd)

    def sync_files(self, paths: Sequence[str]) -> None:
        """Waits until the bytes of files are on the disk; many of them cost one wait per file system.

        Raises:
            OSError: They are not.
        """
        if len(paths) > _SYNC_EACH:
            directories = {path.rpartition("/")[0] or "/" for path in paths}
            for directory in {self.space(each).device: each for each in directories}.values():
                self.sync_fs(directory)
            if _kernel() >= (5, 8):
                return  # before 5.8 syncfs(2) did not report failed writes
        for path in paths:
            with place(self.root, path) as at:
                fd = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.fd)
            try:
                self._fsync(fd)
            finally:
                os.close(fd)

    @_effect
    def sync_fs(self, path: str, *, of_engine: bool = False) -> None:
        """Waits until everything on the file system that holds the directory `path` is on the disk.

        Args:
            path: A host path.
            of_engine: It is the engine's: a path of this machine, whatever the root is.

        Raises:
            OSError: It is not.
        """
        with place("/" if of_engine else self.root, path, follow=True) as at:
            fd = os.open(at.name, LIST, dir_fd=at.fd)
        try:
            if (number := _syncfs(fd)) != 0:
                raise SyncError(number, os.strerror(number), path)
        finally:
            os.close(fd)

    @_effect
    def rename(self, source: str, target: str) -> None:
        """Renames, replacing a file or link (never a directory that has something in it) at the target.

        Raises:
            OSError: It cannot be renamed.
        """
        with place(self.root, source) as old, place(self.root, target) as new:
            os.rename(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd)

    @_effect
    def link(self, source: str, target: str) -> None:
        """Gives a file (or link) a second name.

        Raises:
            OSError: It cannot be done; EXDEV where the two are on different file systems.
        """
        with place(self.root, source) as old, place(self.root, target) as new:
            os.link(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd, follow_symlinks=False)

    @_effect
    def symlink(self, target: str, path: str) -> None:
        """Makes a symbolic link at `path`.

        Raises:
            OSError: Something is there already, or it cannot be made.
        """
        with place(self.root, path) as at:
            os.symlink(target, at.name, dir_fd=at.fd)

    @_effect
    def unlink(self, path: str) -> None:
        """Removes a file or link.

        Raises:
            OSError: It cannot be removed.
        """
        with place(self.root, path) as at:
            os.unlink(at.name, dir_fd=at.fd)

    @_effect
    def rmdir(self, path: str) -> None:
        """Removes an empty directory.

        Raises:
            OSError: It cannot be removed.
        """
        with place(self.root, path) as at:
            os.rmdir(at.name, dir_fd=at.fd)

    @_effect
    def set_owner_mode(self, path: str, mode: int, uid: int = -1, gid: int = -1) -> None:
        """Sets the owner, then the mode, of a file or directory that is no link.

        Raises:
            OSError: It cannot be done.
        """
        with place(self.root, path) as at:
            fd = os.open(at.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=at.fd)
            try:
                if (uid, gid) != (-1, -1):
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            finally:
                os.close(fd)

    def remove_tree(self, path: str) -> None:
        """Removes a directory of ours with all that is in it; links in it are removed, never followed.

        Raises:
            OSError: Something in it cannot be removed.
        """
        seen = self.observe(path, digest=False)
        if seen.kind == "dir":
            for name in self.names(path):
                self.remove_tree(f"{path}/{name}")
            self.rmdir(path)
        elif seen.kind != "absent":
            self.unlink(path)

    @_effect
    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        cwd: str | None = None,
    ) -> Completed:
        """Runs a program on the host; what it says is bounded, and so is its time.

        Args:
            argv: The program and its arguments, paths as `real` gives them.
            timeout: Seconds after which it and its children are killed.
            env: Variables on top of the user's.
            stdin: What it reads.
            cwd: Its working directory, as `real` gives it.
        """
        return process.run(argv, timeout=timeout, env=env, stdin=stdin, cwd=cwd)

    def lock(self, path: str) -> Lock:
        """Takes the lock `path` without waiting; the kernel gives it back when the process ends.

        Raises:
            BusyError: Another process holds it.
            OSError: It cannot be opened.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with place(self.root, path) as at:
            fd = os.open(at.name, flags, 0o600, dir_fd=at.fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BusyError(
                f"another install runs (process {holder or 'unknown'})",
                where=path,
                hint="wait until it has ended",
            ) from None
        with suppress(OSError):  # only a courtesy to whoever finds it taken, who may meet a full disk
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return Lock(fd)


def _syncfs(fd: int) -> int:
    """Gives 0, or what went wrong."""
    return 0 if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0 else ctypes.get_errno()


@functools.cache
def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)
