"""A machine whose power can be cut: on one disk are the data of a real Docker engine and a host's files."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.rig.engine import Engine, wait_for
from tests.rig.loop import Loop


class Machine:
    """A disk, and the engine that runs on it.

    Attributes:
        disk: The file system.
        kind: The engine, one of `tests.rig.engine.KINDS`.
        engine: While it runs.
    """

    def __init__(self, disk: Loop, home: Path, kind: str = "20") -> None:
        self.disk, self.kind, self._home = disk, kind, home
        self.engine: Engine | None = None

    @property
    def root(self) -> Path:
        """The host's files."""
        return self.disk.mount / "host"

    def start(self) -> Engine:
        """Mounts the disk, unless that was done, and starts the engine."""
        if not os.path.ismount(self.disk.mount) and (failed := self.disk.attach()) is not None:
            raise RuntimeError(f"the disk {self.disk.file} cannot be mounted: {failed}")
        self._home.mkdir(exist_ok=True)
        self.engine = Engine.launch(self.kind, home=self._home, data=self.disk.mount / "docker")
        return self.engine

    def off(self) -> None:
        """Ends everything that runs, at once, and takes the disk away."""
        found = self._processes()
        if self.engine is not None:
            self.engine.close()
            self.engine.kill()
            self.engine = None
        _signal(found, signal.SIGKILL)
        wait_for("the engine's processes end", lambda: not any(map(is_running, found)))
        Engine.unmount_below(self._home)
        Engine.unmount_below(self.disk.mount)
        shutil.rmtree(self._home, ignore_errors=True)  # as /run is empty after a boot
        if os.path.ismount(self.disk.mount):
            self.disk.detach()

    def device(self, to: Path) -> Loop:
        """Copies what the device has at this moment: what is left of it when the power goes now."""
        with self._stopped():
            return self.disk.copy(to)

    def elsewhere(self) -> None:
        """Has somebody else write a file and sync it, as a log does.

        On ext4 and xfs that brings all names and modes of everybody to the disk, but not the bytes of files.
        """
        fd = os.open(self.disk.mount / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, b"line\n")
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        found = self._processes()
        try:
            _signal(found, signal.SIGSTOP)
            yield
        finally:
            _signal(found, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """Gives the processes that name the engine's home, and all that they have started."""
        parents, found = dict[int, int](), set[int]()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if f"{self._home}/".encode() in (entry / "cmdline").read_bytes():
                        found.add(int(entry.name))
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # an engine's helpers come and go
            os.kill(pid, number)


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that is dead and not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
