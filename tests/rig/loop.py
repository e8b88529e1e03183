"""Real file systems on loop devices, and what is left of them when the power goes."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.rig.needs import ADMIN_PATH, lacks, needs

MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-O", "has_journal"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
MIB = 1024 * 1024
SMALLEST = {"ext4": 48 * MIB, "xfs": 310 * MIB, "btrfs": 130 * MIB}
PASSING = re.compile(r"failed to setup loop device|[Bb]usy|File exists|already mounted|wrong fs type")
"""What `mount` says while another process takes the same device, or the last one on it is not gone yet."""
TRIES, PAUSE = 240, 0.25
_SHUTDOWN, _WITHOUT_FLUSH = 0x8004587D, 2


def _run(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, env={**os.environ, "PATH": ADMIN_PATH}, capture_output=True, check=False)


class Loop:
    """One file system in a file.

    Attributes:
        kind: ext4, xfs or btrfs.
        file: The device, so to speak.
        mount: Where it is mounted, while it is.
    """

    def __init__(self, kind: str, file: Path, mount: Path) -> None:
        self.kind, self.file, self.mount = kind, file, mount

    @classmethod
    def make(cls, kind: str, file: Path, mount: Path, size: int = 0) -> Self:
        """Makes and mounts one, or skips the test where this machine cannot, saying why."""
        needs("loop")
        needs(kind)
        with file.open("wb") as made:
            made.truncate(size or SMALLEST[kind])
        done = _run(*MAKE[kind], str(file))
        assert done.returncode == 0, done.stderr
        mount.mkdir(exist_ok=True)
        loop = cls(kind, file, mount)
        if (failed := loop.attach()) is not None:
            lacks(kind, f"a kernel that mounts {kind} on loop devices: {failed}")
        return loop

    def attach(self) -> str | None:
        """Mount it; return what went wrong, if anything did."""
        if self._held():
            # `mount` would give the device that is there, with what its file system has in memory.
            again = self.file.with_name(f"{self.file.name}.again")
            self.copy(again)
            again.replace(self.file)
        for _ in range(TRIES):
            done = _run("mount", "-t", self.kind, "-o", "loop", str(self.file), str(self.mount))
            said = done.stderr.decode(errors="replace").strip()
            if done.returncode == 0 or not PASSING.search(said):
                break
            time.sleep(PAUSE)
        return None if done.returncode == 0 else said

    def _held(self) -> bool:
        """Whether a device has the file: the mounts of another process keep what was unmounted here."""
        for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
            with suppress(OSError):  # it goes meanwhile
                if entry.read_text().strip() == str(self.file):
                    return True
        return False

    def detach(self) -> None:
        """Unmounts it, also while something still uses it."""
        # What is written when the last mount goes is written now, in case this is not the last.
        _run("sync", "--file-system", str(self.mount))
        if _run("umount", str(self.mount)).returncode != 0:
            _run("umount", "--lazy", str(self.mount))

    def copy(self, to: Path) -> Loop:
        """Copies what the device has by now: what a power cut leaves. Nobody may be writing."""
        to.unlink(missing_ok=True)  # a file of its own: a device may still have the one of this name
        while True:
            subprocess.run(["cp", "--sparse=always", self.file, to], check=True)
            # The kernel writes when it likes. What is the same read twice was all there at one moment.
            if same(self.file, to):
                return Loop(self.kind, to, self.mount)

    def sync(self) -> None:
        """Waits until all of it is on the device."""
        assert _run("sync", "--file-system", str(self.mount)).returncode == 0

    def cut(self) -> None:
        """Cuts the power: the file system takes and gives nothing more, and flushes nothing; not btrfs."""
        fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _WITHOUT_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(fd)


def same(one: Path, other: Path) -> bool:
    """Says whether two files, mostly holes, have the same bytes."""
    with one.open("rb") as first, other.open("rb") as second:
        ends = [os.fstat(file.fileno()).st_size for file in (first, second)]
        if ends[0] != ends[1]:
            return False
        for start, end in sorted({*_data(first.fileno(), ends[0]), *_data(second.fileno(), ends[0])}):
            for at in range(start, end, MIB):
                size = min(MIB, end - at)
                if os.pread(first.fileno(), size, at) != os.pread(second.fileno(), size, at):
                    return False
    return True


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Gives what of a file is no hole."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
