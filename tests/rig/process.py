"""Daemons of the rig: started in a session of their own, ended by pid, and never outliving the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Daemon:
    """A background process with a log file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.command, self.log = list(command), log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                # The kernel ends it when the tests are killed and cannot.
                ["setpriv", "--pdeathsig", "TERM", "--", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float = 300) -> None:
        """Waits for readiness; a daemon that ends or takes too long fails with the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                state = f"ended with {code}" if code is not None else f"not ready after {seconds} s"
                raise RuntimeError(f"{self.command[0]} {state}:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, size: int = 4000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def kill(self) -> None:
        """Kills the daemon outright, as a fault: what it started stays behind."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30) -> None:
        """Asks the daemon to end; kills it when it does not."""
        if self.process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


def children_of_this_process() -> set[int]:
    """Return the pids of all children, those included that ended and were not waited for.

    An engine of the rig may be one of them, so a test compares what it finds before and after.
    """
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            # the name of the program stands in parentheses and may contain any of them (proc_pid_stat(5))
            parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                children.add(int(stat.parent.name))
    return children
