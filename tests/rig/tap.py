"""Every change that this process makes below a directory: counted, told to a `Disk`, and failed at will."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pytest

from installer.host import syscalls
from installer.host.system import System
from installer.shared.child import process
from installer.shared.child.process import Completed
from tests.rig.disk import Disk, Name, Node

REAL: dict[str, Callable[..., Any]] = {
    name: getattr(os, name)
    for name in (
        "open", "write", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "replace", "link", "symlink",
        "unlink", "remove", "rmdir", "mkdir", "fchmod", "fchown",
    )
}  # fmt: skip
SYNCS = ("fsync", "syncfs")
Kind = Literal["", "ENOSPC", "EIO", "short", "fsync", "full", "inodes", "fails", "hangs"]
REACHES: dict[Kind, tuple[str, ...]] = {
    "ENOSPC": ("creat", "write", "mkdir", "symlink", "link", "rename", "fallocate"),
    "EIO": (
        "creat", "write", "mkdir", "symlink", "link", "rename", "unlink", "rmdir", "ftruncate", "fchmod",
        "fallocate",
    ),
    "short": ("write",),
    "fsync": SYNCS,
    "full": ("creat", "write", "mkdir", "symlink", "link", "fallocate"),
    "inodes": ("creat", "mkdir", "symlink"),
    "fails": ("command",),
    "hangs": ("command",),
}  # fmt: skip
"""Which operations a fault can befall."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: its name, for people where, and where in the disk's log it stands."""

    name: str
    where: str
    at: int


class Tap:
    """Taps the system calls of this process; a context manager.

    Args:
        disk: What is below the directory; learns of every change.
        fault: What goes wrong; empty for nothing.
        at: At which operation, counted from 1. `full` and `inodes` last; what is freed can be used.
        nameless: Whether the file system has nameless files (O_TMPFILE).
    """

    def __init__(self, disk: Disk, fault: Kind = "", at: int = 0, nameless: bool = True) -> None:
        self.disk, self.fault, self.at = disk, fault, at
        self.steps: list[Step] = []
        self.hit = False
        self._nameless = nameless
        self._free, self._inodes = 0, 0
        self._kept = dict[int, int]()
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        for name in REAL:
            self._patch.setattr(os, name, getattr(self, f"_{name.replace('fdata', 'f')}"))
        self._patch.setattr(syscalls, "syncfs", self._syncfs)
        self._patch.setattr(syscalls, "fallocate", self._fallocate)
        self._patch.setattr(System, "sleep", lambda _self, _seconds: None)
        self._patch.setattr(process, "run", self._run(process.run))
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    # -- the one way through -----------------------------------------------------------------------

    def _step(self, name: str, where: str) -> bool:
        """Counts an operation; says whether it is the one that fails."""
        self.steps.append(Step(name, where, len(self.disk.log)))
        if len(self.steps) != self.at or name not in REACHES.get(self.fault, ()):
            return False
        self.hit = True
        return True

    def _lasting(self) -> bool:
        return self.fault in ("full", "inodes") and 0 < self.at <= len(self.steps)

    def _take(self, name: str, where: str, *, size: int = 0, inode: bool = False) -> None:
        """Counts an operation that may take room."""
        failed = self._step(name, where)
        if failed and self.fault in ("ENOSPC", "EIO"):
            raise _os_error(getattr(errno, self.fault), where)
        if not self._lasting():
            return
        if inode and self._inodes < 1:
            raise _os_error(errno.ENOSPC, where)
        if self.fault == "full" and (size > self._free or (name == "link" and self._free < 1)):
            raise _os_error(errno.ENOSPC, where)
        self._free -= size
        self._inodes -= inode

    def _fail(self, name: str, where: str) -> None:
        if self._step(name, where) and self.fault == "EIO":
            raise _os_error(errno.EIO, where)

    # -- system calls ------------------------------------------------------------------------------

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nameless = flags & os.O_TMPFILE == os.O_TMPFILE
        fresh = nameless or (flags & os.O_CREAT and not _there(path, dir_fd))
        name = self._name(path, dir_fd) if not nameless else self._name(os.path.join(path, "x"), None)
        if nameless and not self._nameless:
            raise _os_error(errno.EOPNOTSUPP, str(path))
        if not fresh or name is None:
            return int(REAL["open"](path, flags, mode, dir_fd=dir_fd))
        self._take("creat", str(path), size=1, inode=True)
        fd = int(REAL["open"](path, flags, mode, dir_fd=dir_fd))
        number = self._came(os.fstat(fd))
        if not nameless:
            self.disk.name((name, number))
        return fd

    def _write(self, fd: int, data: Any) -> int:
        return self._write_at(fd, data, None)

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        return self._write_at(fd, data, offset)

    def _write_at(self, fd: int, data: Any, offset: int | None) -> int:
        number = self._node(fd)
        if number is None:
            return int(REAL["write"](fd, data) if offset is None else REAL["pwrite"](fd, data, offset))
        at = os.lseek(fd, 0, os.SEEK_CUR) if offset is None else offset
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
            at = os.fstat(fd).st_size
        grown = max(0, at + len(data) - max(os.fstat(fd).st_size, self._kept.get(number, 0)))
        self._take("write", f"{number}@{at}+{len(data)}", size=grown)
        short = self.hit and self.fault == "short" and len(self.steps) == self.at
        piece = memoryview(data)[: len(data) // 2] if short else data
        done = int(REAL["pwrite"](fd, piece, at))
        if offset is None:
            os.lseek(fd, at + done, os.SEEK_SET)
        self.disk.write(number, at, bytes(memoryview(data)[:done]))
        if short:
            raise _os_error(errno.ENOSPC, f"{number}@{at}")
        return done

    def _ftruncate(self, fd: int, size: int) -> None:
        number = self._node(fd)
        if number is not None:
            self._fail("ftruncate", str(number))
            self._free += max(0, os.fstat(fd).st_size - size)
            self.disk.cut(number, size)
        REAL["ftruncate"](fd, size)

    def _fsync(self, fd: int) -> None:
        number = self._node(fd)
        if number is None:
            REAL["fsync"](fd)
        else:
            self._synced("fsync", number)

    def _synced(self, name: str, number: int | None) -> None:
        if self._step(name, str(number)):
            self.disk.sync_failed(number)
            raise _os_error(errno.EIO, name)
        self.disk.sync(number)

    def _syncfs(self, _fd: int) -> int:
        try:
            self._synced("syncfs", None)
        except OSError as error:
            return int(error.errno or errno.EIO)
        return 0

    def _fallocate(self, fd: int, _start: int, size: int) -> int:
        """Keeps room behind the end of a file; a crash loses none of it that matters."""
        number = self._node(fd)
        if number is not None:
            try:
                self._take("fallocate", str(number), size=size)
            except OSError as error:
                return int(error.errno or errno.EIO)
            self._kept[number] = os.fstat(fd).st_size + size
        return 0

    def _rename(
        self, source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: Any = None
    ) -> None:
        old, new = self._name(source, src_dir_fd), self._name(target, dst_dir_fd)
        if old is None or new is None:
            REAL["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            return
        self._take("rename", str(target))
        node, replaced = self.disk.now.get(old), self.disk.now.get(new)
        self._freed(target, dst_dir_fd)
        REAL["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if node is not None and node != replaced:
            self.disk.name((old, None), (new, node))

    _replace = _rename

    def _link(
        self,
        source: Any,
        target: Any,
        *,
        src_dir_fd: Any = None,
        dst_dir_fd: Any = None,
        follow_symlinks: bool = True,
    ) -> None:
        new = self._name(target, dst_dir_fd)
        words = {"src_dir_fd": src_dir_fd, "dst_dir_fd": dst_dir_fd, "follow_symlinks": follow_symlinks}
        if new is None:
            REAL["link"](source, target, **words)
            return
        self._take("link", str(target))
        REAL["link"](source, target, **words)
        status = os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=False)
        self.disk.name((new, self.disk.inodes[status.st_dev, status.st_ino]))

    def _symlink(self, target: str, path: Any, *, dir_fd: int | None = None) -> None:
        name = self._name(path, dir_fd)
        if name is not None:
            self._take("symlink", str(path), size=1, inode=True)
        REAL["symlink"](target, path, dir_fd=dir_fd)
        if name is not None:
            self.disk.name(
                (name, self._came(os.stat(path, dir_fd=dir_fd, follow_symlinks=False), str(target)))
            )

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._goes("unlink", path, dir_fd)

    _remove = _unlink

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._goes("rmdir", path, dir_fd)

    def _goes(self, name: str, path: Any, dir_fd: int | None) -> None:
        known = self._name(path, dir_fd)
        if known is not None and _there(path, dir_fd):
            self._fail(name, str(path))
            self._freed(path, dir_fd)
        REAL[name](path, dir_fd=dir_fd)
        if known is not None:
            self.disk.name((known, None))

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = self._name(path, dir_fd)
        if name is not None and not _there(path, dir_fd):
            self._take("mkdir", str(path), size=1, inode=True)
        REAL["mkdir"](path, mode, dir_fd=dir_fd)
        if name is not None:
            self.disk.name((name, self._came(os.stat(path, dir_fd=dir_fd, follow_symlinks=False))))

    def _fchmod(self, fd: int, mode: int) -> None:
        self._meta("fchmod", fd, mode)

    def _fchown(self, fd: int, uid: int, gid: int) -> None:
        self._meta("fchown", fd, uid, gid)

    def _meta(self, name: str, fd: int, *words: int) -> None:
        number, before = self._node(fd), os.fstat(fd)
        if number is not None:
            self._fail("fchmod", str(number))
        REAL[name](fd, *words)
        after = os.fstat(fd)
        if number is not None and _owner_mode(before) != _owner_mode(after):
            self.disk.set(number, *_owner_mode(after))

    def _run(self, real: Callable[..., Completed]) -> Callable[..., Completed]:
        def run(argv: Any, *, timeout: float, **words: Any) -> Completed:
            if self._step("command", " ".join(argv)):
                if self.fault == "fails":
                    return real(["/bin/false"], timeout=timeout)
                return real(["/bin/sleep", "1000"], timeout=0.05)
            return real(argv, timeout=timeout, **words)

        return run

    # -- whose -------------------------------------------------------------------------------------

    def _node(self, fd: int) -> int | None:
        status = os.fstat(fd)
        return self.disk.inodes.get((status.st_dev, status.st_ino))

    def _name(self, path: Any, dir_fd: int | None) -> Name | None:
        """Gives directory and name of a path below ours; None for any other."""
        directory, name = os.path.split(os.fspath(path))
        try:
            if dir_fd is not None and not os.path.isabs(directory):
                status = os.stat(directory, dir_fd=dir_fd) if directory else os.fstat(dir_fd)
            else:
                status = os.stat(directory or ".")
        except OSError:
            return None
        number = self.disk.inodes.get((status.st_dev, status.st_ino))
        return None if number is None else (number, name)

    def _came(self, status: os.stat_result, target: str = "") -> int:
        number = self.disk.register((status.st_dev, status.st_ino))
        kind = {stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}.get(stat.S_IFMT(status.st_mode), "file")
        mode, owner = _owner_mode(status)
        self.disk.nodes[number] = Node(kind, mode, owner, target=target)
        return number

    def _freed(self, path: Any, dir_fd: int | None) -> None:
        try:
            status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        except OSError:
            return
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            self._free += 1 if stat.S_ISDIR(status.st_mode) else status.st_size
            self._inodes += 1


def _there(path: Any, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _owner_mode(status: os.stat_result) -> tuple[int, tuple[int, int]]:
    return stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)


def _os_error(number: int, where: str) -> OSError:
    return OSError(number, os.strerror(number), where)


def tapped(root: Path, fault: Kind = "", at: int = 0, *, nameless: bool = True) -> Tap:
    """Taps what this process does below a directory."""
    return Tap(Disk(root), fault, at, nameless)
