"""What the kernel tells in /proc about mounts, locks, processes and boots; a chroot may have no /proc."""

from __future__ import annotations

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
        rows = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    points = (os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m[1], 8)]), row.split()[4])) for row in rows)
    return sorted(set(points))


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
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("exe", "cwd", "root"):
            with suppress(OSError):
                if f"{(process / name).readlink()}/".startswith(f"{directory}/"):
                    found.add(int(process.name))
    return sorted(found)


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
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while we look, and those of other users are visible to root only.
        with suppress(OSError, ValueError):
            if int(process.name) != os.getpid() and _holds(process, wanted):
                found.append(Holder(int(process.name), _user(process), _name(process)))
    return sorted(found, key=lambda each: each.pid)


def _holds(process: Path, wanted: tuple[int, int]) -> bool:
    for each in (process / "fd").iterdir():
        with suppress(OSError):
            status = each.stat()
            if (status.st_dev, status.st_ino) == wanted and int(process.name) in _takers(process, each.name):
                return True
    return False


def _takers(process: Path, fd: str) -> Iterator[int]:
    """Yield who took the locks of an open file; a child has its parent's descriptors, but took none."""
    for line in (process / "fdinfo" / fd).read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.split()
        # lock: 1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF
        if fields[:1] == ["lock:"] and len(fields) > 5 and fields[2] == "FLOCK":
            yield int(fields[5])


def _user(process: Path) -> int:
    lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
    # The real user: a program that is setuid root was still started by somebody else.
    return next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))


def _name(process: Path) -> str:
    return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
