"""What the kernel tells in /proc about mounts, locks, processes and boots; a chroot may have no /proc."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

UNKNOWN_BOOT = "unknown"
"""The id of a boot that the kernel does not tell."""
_OCTAL = re.compile(rb"\\([0-7]{3})")
"""The escapes of blanks and the like in /proc/self/mountinfo."""


def boot_id() -> str:
    """Return the id of this boot of the kernel; always the same one where there is no /proc.

    After a failed sync nothing continues in the same boot: without /proc, until a boot with it.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return UNKNOWN_BOOT


def mount_points(directory: str) -> list[str]:
    """Return the mount points at and below a directory of this machine.

    Without /proc: those on another file system than what holds them. A bind mount of the same file system is
    not among these.
    """
    if (points := mount_table()) is None:
        return sorted(_by_device(directory))
    return [point for point in points if f"{point}/".startswith(f"{directory}/")]


def mount_table() -> list[str] | None:
    """Return all mount points of this machine, sorted; None without /proc."""
    try:
        return list(_points(Path("/proc/self/mountinfo").read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None


@functools.lru_cache(maxsize=1)  # it is asked for at every directory, and seldom another one
def _points(table: bytes) -> tuple[str, ...]:
    points = (_OCTAL.sub(lambda m: bytes([int(m[1], 8)]), row.split()[4]) for row in table.splitlines())
    return tuple(sorted({os.fsdecode(point) for point in points}))


def _by_device(directory: str) -> set[str]:
    found = set[str]()
    for place, names, _ in os.walk(directory):
        for name in (".", *names):
            path = Path(place, name)
            if not path.is_symlink() and path.stat().st_dev != path.parent.stat().st_dev:
                found.add(str(path))
    return found


def users(directory: str) -> list[int]:
    """Return the visible processes that run a program from a directory or work in it."""
    found = set()
    # Processes of other users are visible to root only; for others the answer is incomplete.
    for pid in _processes():
        for name in ("exe", "cwd", "root"):
            with suppress(OSError):
                if f"{Path(f'/proc/{pid}/{name}').readlink()}/".startswith(f"{directory}/"):
                    found.add(pid)
    return sorted(found)


def _processes() -> list[int]:
    """Return the ids of the visible processes; none without /proc."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    return []


def started(pid: int) -> str:
    """Return when a process started, in ticks since the boot; empty where it does not run any more.

    Its number is given to another one later. One that has ended runs no more, also if nobody waits for it.
    """
    with suppress(OSError, IndexError):
        # proc(5): the name of the program, in parentheses, may contain anything.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    return ""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock.

    Attributes:
        pid: Its id.
        uid: The user who started it (the real user id).
        name: Of its program, as the kernel has it.
    """

    pid: int
    uid: int
    name: str

    def text(self) -> str:
        """Return it for people."""
        return f"process {self.pid}, {self.name}, of user {self.uid}"


_FIRST_PIDS = 0xEFFFFFFC
"""The inode of the first PID namespace: PROC_PID_INIT_INO of the kernel's proc_ns.h."""


def sees_every_process() -> bool:
    """Return whether no process of this machine is hidden: from root, outside of every container."""
    with suppress(OSError):
        return os.geteuid() == 0 and Path("/proc/self/ns/pid").stat().st_ino == _FIRST_PIDS
    return False


def holders(fd: int) -> list[Holder]:
    """Return the processes that took a lock on what `fd` is open on, as far as this user can see them.

    Not /proc/locks: it has the number of the device, which on btrfs and overlayfs is not that of the file.

    Args:
        fd: A descriptor of the file or directory.
    """
    status = os.fstat(fd)
    wanted, found = (status.st_dev, status.st_ino), []
    # Without /proc nobody is found.
    for pid in _processes():
        # Processes end while we look, and those of other users are visible to root only.
        with suppress(OSError, ValueError):
            if pid != os.getpid() and _holds(pid, wanted):
                found.append(Holder(pid, _user(pid), _read(pid, "comm").strip()))
    return sorted(found, key=lambda each: each.pid)


def _holds(pid: int, wanted: tuple[int, int]) -> bool:
    with os.scandir(f"/proc/{pid}/fd") as descriptors:
        for each in descriptors:
            with suppress(OSError):
                status = each.stat()
                if (status.st_dev, status.st_ino) == wanted and pid in _takers(pid, each.name):
                    return True
    return False


def _takers(pid: int, fd: str) -> Iterator[int]:
    """Yield who took the locks of an open file; a child has its parent's descriptors, but took none."""
    for line in _read(pid, f"fdinfo/{fd}").splitlines():
        fields = line.split()
        # lock: 1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF
        if fields[:1] == ["lock:"] and len(fields) > 5 and fields[2] == "FLOCK":
            yield int(fields[5])


def _user(pid: int) -> int:
    # The real user: a program that is setuid root was still started by somebody else.
    return next(int(line.split()[1]) for line in _read(pid, "status").splitlines() if line.startswith("Uid:"))


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
