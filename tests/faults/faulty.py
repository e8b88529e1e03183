"""A host that fails on demand: dies, runs out of space, or loses a write, at the k-th effect."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from installer.host.system import System

T = TypeVar("T")
_TAKES_SPACE = ("write_new", "mkdir", "symlink", "link")


class Killed(BaseException):
    """What `kill -9` is to a real process; nothing after it has any effect."""


class FaultySystem(System):
    """Counts effects, remembers them, and makes one of them fail.

    Args:
        root: The directory that stands for the host.
        at: Which effect fails, counted from 1; 0 for none.
        fault: `kill before`, `kill after`, `kill half`, `ENOSPC`, `EIO`, `short`, or `full`
            (no new name and no new file from there on; what is allocated can be written).
    """

    def __init__(self, root: Path, at: int = 0, fault: str = "") -> None:
        super().__init__(root)
        self.at = at
        self.fault = fault
        self.trace: list[str] = []
        self.dead = False

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if self.dead:
            raise Killed
        self.trace.append(" ".join([name, *(str(arg)[:120] for arg in args[:2] if isinstance(arg, str))]))
        if self.fault == "full" and 0 < self.at <= len(self.trace) and name in _TAKES_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if len(self.trace) != self.at:
            return call()
        if self.fault == "kill before":
            self._die()
        if self.fault in ("ENOSPC", "EIO"):
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number))
        if self.fault in ("kill half", "short") and name == "write":
            os.write(args[0], bytes(args[1][: len(args[1]) // 2]))
            if self.fault == "short":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._die()
        result = call()
        if self.fault == "kill after":
            self._die()
        return result

    def _die(self) -> None:
        self.dead = True
        raise Killed

    def sleep(self, seconds: float) -> None:
        """Time is not what is tested here."""

    def _fsync(self, fd: int) -> None:
        """A kill takes nothing away that is in the cache: waiting for the disk would prove nothing."""
        self.around("fsync", (fd,), lambda: None)

    def sync_fs(self, path: str, *, of_engine: bool = False) -> None:
        self.around("sync_fs", (path,), lambda: None)


def snapshot(root: Path, *, besides: tuple[str, ...] = ()) -> dict[str, tuple[Any, ...]]:
    """Gives everything below a directory: kind, content, mode, link target, byte for byte."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(besides):
            continue
        status = path.lstat()
        mode, owner = status.st_mode & 0o7777, (status.st_uid, status.st_gid)
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("dir", mode, owner)
        else:
            found[name] = ("file", path.read_bytes(), mode, owner)
    return found
