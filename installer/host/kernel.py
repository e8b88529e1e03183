"""What the kernel tells in /proc about mounts, processes and boots; a chroot may have no /proc."""

from __future__ import annotations

import os
import re
from contextlib import suppress
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
    try:
        rows = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return sorted(_by_device(directory))
    points = [os.fsdecode(_OCTAL.sub(lambda m: bytes([int(m[1], 8)]), row.split()[4])) for row in rows]
    return sorted({point for point in points if f"{point}/".startswith(f"{directory}/")})


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
