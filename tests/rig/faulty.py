"""Hosts that fail on demand: die, run out of space, lose or refuse a write, reboot."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.host.context import Context
from installer.host.host import Space
from installer.host.system import System
from tests.rig.releases import ReleaseSpec, context, install

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


class Cut(System):
    """Dies once, just after a record of a type is in the journal, or after a script has run."""

    def __init__(self, path: Path, after: str, nth: int = 1) -> None:
        super().__init__(path)
        self._after, self._left, self.dead = after, nth, False

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if self.dead:
            raise Killed
        result = super().around(name, args, call)
        written = name == "write_at" and f'"type":"{self._after}"'.encode() in args[2]
        if written or (name == "run" and str(args[0][0]).endswith(self._after)):
            self._left -= 1
            self.dead = self._left == 0
            if self.dead:
                raise Killed
        return result


class Refusing(System):
    """Does not write one type of record."""

    def __init__(self, path: Path, type_: str, error: OSError) -> None:
        super().__init__(path)
        self._type, self._error = type_, error

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == "write_at" and f'"type":"{self._type}"'.encode() in args[2]:
            raise self._error
        return super().around(name, args, call)


class Rebooted(System):
    """The same host after a reboot."""

    def boot_id(self) -> str:
        return "another"


class Mounted(System):
    """A host on which each directory below / is a file system of its own; notes what is synced."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.synced: list[str] = []

    def space(self, path: str) -> Space:
        return replace(super().space(path), device=hash(path.split("/")[1]))

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        result = call()
        self.synced += [f"{name} {args[0]}"] if name in ("sync_fs", "fsync") else []
        return result


def kill_at(within: Context, spec: ReleaseSpec, effect: str, nth: int = 1) -> None:
    """Install, and die just after the nth effect whose trace starts like this."""

    class Dying(FaultySystem):
        seen = 0

        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
            result = super().around(name, args, call)
            self.seen += " ".join([name, *(str(a) for a in args if isinstance(a, str))]).startswith(effect)
            if self.seen == nth:
                self._die()
            return result

    with pytest.raises(Killed):
        install(context(Dying(Path(within.system.root))), spec)


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
        elif not path.is_file():
            found[name] = ("other", mode, owner)
        else:
            found[name] = ("file", path.read_bytes(), mode, owner)
    return found
