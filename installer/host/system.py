"""The one place where the installer changes the host.

Every path is a *host path*: absolute, as the host sees it, resolved below `root` as in a chroot. Every effect
goes through `System.around`, so that a test can kill the process, let a call fail or fill the disk at every
single effect. Nothing here decides anything.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from installer.host import syscalls
from installer.host.host import LIST, READ, Host, Seen, Space, opened
from installer.host.http_probe import Answer
from installer.host.inodes import attributes as inode
from installer.host.kernel import Holder
from installer.host.lock import Lock, lock_holders
from installer.host.safe_path import ParentDir, naming, open_parent, removed_after_error
from installer.host.syscalls import SyncError
from installer.shared.child import process
from installer.shared.child.process import Completed

__all__ = ["Answer", "Completed", "Lock", "Seen", "Space", "SyncError", "System"]

P = ParamSpec("P")
T = TypeVar("T")

_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = _WRITE | os.O_CREAT | os.O_EXCL
_SYNC_EACH = 8
"""Up to so many files are synced one by one; more of them by one call for the whole file system."""


def _effect(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    def wrapper(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        # The name and arguments are what a test counts and recognises an effect by.
        with naming(*args[:1]):
            result: T = self.around(method.__name__.strip("_"), args, lambda: method(self, *args, **kwargs))
        return result

    functools.update_wrapper(wrapper, method)
    return wrapper


class System(Host):
    """A host, and every effect that the installer has on it."""

    inherited: tuple[int, ...] = ()  # by every program: see `Lock.shared`

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        """Carry out one effect; tests override it."""
        del name, args
        return call()

    def effect(self, name: str, call: Callable[[], T]) -> T:
        """Carry out an effect of a client library, such as that of an engine, counted like all others.

        Args:
            name: What it is, for traces: `docker.load`.
            call: Does it, in bounded time. No signal ends it: an engine would go on, and change something
                after an undo has looked.
        """
        return self.around(name, (), call)

    @_effect
    def mkdir(self, path: str, mode: int) -> None:
        """Create a directory with exactly this mode; remove it again if that fails. Its parent must exist.

        Raises:
            OSError: It exists already, or cannot be created.
        """
        with self.open_parent(path) as at:
            os.mkdir(at.name, mode, dir_fd=at.fd)
            with removed_after_error(at, os.rmdir), opened(at, LIST) as fd:
                os.fchmod(fd, mode)  # mkdir(2) applies the umask; fchmod(2) does not

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
    ) -> None:
        """Write a new file; remove it again if that fails.

        Args:
            path: A host path.
            data: Its bytes, or pieces of them.
            mode: Its permission bits, whatever the umask.
            uid: Its owner; -1 for the user who runs the installer.
            gid: Its group; -1 for the group of that user.
            sync: Whether it is on the disk when this returns; otherwise `sync_files` must follow.

        Raises:
            OSError: It exists already, or cannot be written.
        """
        # 0600 until its content is complete: nobody reads or runs half of a file.
        with self.open_parent(path) as at, opened(at, _NEW) as fd, removed_after_error(at, os.unlink):
            for chunk in (data,) if isinstance(data, bytes) else data:
                self._write(fd, chunk)
            inode.set_owner_mode(fd, mode, uid, gid)
            if sync:
                self._fsync(fd)

    @_effect
    def write_at(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        """Write into an existing file, in one call, and wait until it is on the disk.

        Args:
            path: A host path.
            offset: The offset in the file.
            data: The bytes.
            truncate: Whether the file is to end after them.

        Raises:
            OSError: It could not be written; an unknown part of it may be in the file.
        """
        # One descriptor for write and sync: a second open could lead to another file.
        with self.open_parent(path) as at, opened(at, _WRITE) as fd:
            os.lseek(fd, offset, os.SEEK_SET)
            self._write(fd, data)
            if truncate:
                os.ftruncate(fd, offset + len(data))
            self._fsync(fd)

    @_effect
    def append(self, path: str, data: bytes) -> None:
        """Append to an existing file, in one call, and wait until it is on the disk.

        The file is opened for appending only, so that it may be marked append-only (`chattr +a`).

        Raises:
            OSError: It could not be appended; an unknown part of it may be in the file.
        """
        with self.open_parent(path) as at, opened(at, _WRITE | os.O_APPEND) as fd:
            self._write(fd, data)
            self._fsync(fd)

    @_effect
    def reserve(self, path: str, size: int) -> None:
        """Reserve `size` bytes of the disk for what will be appended to a file, without changing its length.

        Nothing is reserved on a file system that does not support it.

        Raises:
            OSError: There is not enough space.
        """
        with self.open_parent(path) as at, opened(at, _WRITE | os.O_APPEND) as fd:
            number = syscalls.fallocate(fd, os.fstat(fd).st_size, size)
            # Some file systems cannot reserve, some containers may not: both are no reason to stop.
            if number not in (0, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
                raise OSError(number, os.strerror(number), path)

    @_effect
    def _write(self, fd: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        # write(2) may take less than all: on a nearly full disk, or when a signal comes.
        while view:
            view = view[os.write(fd, view) :]

    @_effect
    def _fsync(self, fd: int) -> None:
        syscalls.fsync(fd)

    @_effect
    def sync_dir(self, path: str) -> None:
        """Wait until the entries of a directory are on the disk.

        Raises:
            OSError: The sync failed.
        """
        with self.open_directory(path) as at, opened(at, LIST) as fd:
            self._fsync(fd)

    def sync_files(self, paths: Sequence[str]) -> None:
        """Wait until the content of files is on the disk, with one sync per file system for many.

        Raises:
            OSError: The sync failed.
        """
        # One sync per file system takes as long as a few fsync(2) calls, however many files were written.
        if len(paths) > _SYNC_EACH:
            self.sync_all({path.rpartition("/")[0] or "/" for path in paths})
            if syscalls.version() >= (5, 8):
                return  # before Linux 5.8, syncfs(2) did not report failed writes: then each file is synced
        for path in paths:
            with self.open_parent(path) as at, opened(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) as fd:
                self._fsync(fd)

    def sync_all(self, directories: Iterable[str]) -> None:
        """Wait until everything on the file systems of some directories is on the disk.

        Raises:
            OSError: The sync failed.
        """
        # One directory per file system is enough.
        for directory in {self.space(each).device: each for each in directories}.values():
            self._sync_holder(directory)

    def _sync_holder(self, directory: str) -> None:
        try:
            self.sync_fs(directory)
        except (FileNotFoundError, NotADirectoryError):
            self._sync_holder(directory.rpartition("/")[0] or "/")

    @_effect
    def sync_fs(self, path: str, *, of_engine: bool = False) -> None:
        """Wait until everything on the file system of the directory `path` is on the disk.

        Args:
            path: A host path.
            of_engine: Whether the path is one of the engine: on this machine, whatever the root is.

        Raises:
            OSError: The sync failed.
        """
        root = "/" if of_engine else self.root
        with open_parent(root, path, follow=True) as at, opened(at, LIST) as fd:
            # Engines write through their own processes: only syncfs(2) reaches their files.
            if (number := syscalls.syncfs(fd)) != 0:
                raise SyncError(number, os.strerror(number), path)

    @_effect
    def rename(self, source: str, target: str) -> None:
        """Rename, replacing a file, a link or an empty directory at the target.

        Raises:
            OSError: It cannot be renamed.
        """
        with (
            self.open_parent(source) as old,
            self.open_parent(target) as new,
            self._leading_elsewhere(old, new),
        ):
            # Both directories are open: nobody can redirect the rename by a link in the path.
            try:
                os.rename(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
            except PermissionError as error:
                error.filename = target  # the old name is mostly that of a temporary file of ours
                raise

    @_effect
    def link(self, source: str, target: str) -> None:
        """Give a file or link a second name.

        Raises:
            OSError: It cannot be linked; EXDEV if the two are on different file systems.
        """
        with self.open_parent(source) as old, self.open_parent(target) as new:
            os.link(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd, follow_symlinks=False)

    @_effect
    def symlink(self, target: str, path: str) -> None:
        """Create a symbolic link at `path`.

        Raises:
            OSError: Something exists there, or it cannot be created.
        """
        with self.open_parent(path) as at:
            os.symlink(target, at.name, dir_fd=at.fd)

    @_effect
    def unlink(self, path: str) -> None:
        """Remove a file or link.

        Raises:
            OSError: It cannot be removed.
        """
        with self.open_parent(path) as at, self._leading_elsewhere(at):
            os.unlink(at.name, dir_fd=at.fd)

    @_effect
    def rmdir(self, path: str) -> None:
        """Remove an empty directory.

        Raises:
            OSError: It cannot be removed.
        """
        with self.open_parent(path) as at, self._leading_elsewhere(at):
            os.rmdir(at.name, dir_fd=at.fd)

    @contextmanager
    def _leading_elsewhere(self, *places: ParentDir) -> Iterator[None]:
        """Forget held directories if one of them, or a link to one, is moved or removed."""
        # Looked at before the effect: afterwards the old name is gone.
        held, moved = self._held, False
        for at in places if held else ():
            with suppress(FileNotFoundError):
                moved |= not stat.S_ISREG(os.stat(at.name, dir_fd=at.fd, follow_symlinks=False).st_mode)
        try:
            yield
        finally:
            if held and moved:
                held.forget()

    @_effect
    def set_owner_mode(
        self, path: str, mode: int, uid: int = -1, gid: int = -1, *, keep_acl: bool = False
    ) -> None:
        """Set the owner, then the mode, of a file or directory; never of what a link points to.

        See `attributes.set_owner_mode` for `keep_acl`.

        Raises:
            OSError: It cannot be changed.
        """
        with self.open_parent(path) as at, opened(at, READ) as fd:
            inode.set_owner_mode(fd, mode, uid, gid, keep_acl=keep_acl)

    @_effect
    def set_attributes(self, path: str, attributes: Mapping[str, bytes], mode: int | None = None) -> None:
        """Set all attributes of a file or directory, then its mode: an ACL has a mode of its own.

        Args:
            path: A host path.
            attributes: Their values, by name.
            mode: Its permission bits; None: those of the ACL.

        Raises:
            OSError: One cannot be set.
        """
        with self.open_parent(path) as at, opened(at, READ) as fd:
            inode.apply(fd, attributes)
            if mode is not None:
                inode.set_owner_mode(fd, mode, -1, -1, keep_acl=True)

    def remove_tree(self, path: str) -> None:
        """Remove a directory of Waybill with its content; remove links in it, and never follow them.

        Raises:
            OSError: Something cannot be removed; EBUSY, before any removal, if something is mounted there.
        """
        # A mount may hold the data of the operator: looked for before the first removal.
        if mounted := self.mounts(path):
            what = "a file system is mounted there; Waybill does not unmount it"
            raise OSError(errno.EBUSY, what, mounted[0])
        with self.hold_directories():
            self._remove_below(path)

    def _remove_below(self, path: str) -> None:
        kind = self.observe(path, digest=False).kind
        if kind == "dir":
            for name in self.names(path):
                self._remove_below(f"{path}/{name}")
            # Depth first: an interruption leaves a smaller tree, which the next run removes.
            self.rmdir(path)
        # A link is removed itself, never what it points to.
        elif kind != "absent":
            self.unlink(path)

    @_effect
    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes | Iterable[bytes] = b"",
        cwd: str | None = None,
        memory: int = 0,
        heard: process.Heard | None = None,
        told: process.Told | None = None,
    ) -> Completed:
        """Run a program on the host; the arguments are those of `process.run`, paths as `real` gives them."""
        try:
            return process.run(
                argv, timeout=timeout, env=env, stdin=stdin, cwd=cwd, inherited=self.inherited,
                memory=memory, heard=heard, told=told,
            )  # fmt: skip
        finally:
            if self._held is not None:
                self._held.forget()  # the program may have moved or mounted something

    def lock(self, path: str, wait: float = 0.0, *, private: str = "") -> Lock:
        """Take the lock `path`; see `Lock.take`."""
        return Lock.take(self.root, path, wait, private=private)

    def lock_holders(self, paths: Sequence[str]) -> list[Holder]:
        """Return who holds one of some locks; see `lock.lock_holders`."""
        return lock_holders(self.root, paths)
