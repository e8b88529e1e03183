"""Processes that a program left behind when it was killed: found by a variable of their environment.

A program may start others in sessions of their own. No signal to its process group reaches those, and the end
of the installer does not end them: they would go on changing the host while a recovery undoes what they did.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK = "WAYBILL_RUN"
"""The variable. Each run of such a program has a value of its own, which all of its children inherit."""
_WAIT = 10.0
"""Seconds until processes that were killed have to be gone."""
_TURN = 0.05


def end_marked(mark: str) -> bool:
    """Kill every process with a mark, and what these started; wait until they are gone.

    Args:
        mark: The value of the variable.

    Returns:
        Whether none is left. A process that waits for a broken disk cannot be killed.
    """
    deadline = time.monotonic() + _WAIT
    # Again until none is found: one may start another while they are looked for.
    while found := _marked(f"{MARK}={mark}".encode()):
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(_TURN)
    return True


def _marked(wanted: bytes) -> set[int]:
    parents, found = dict[int, int](), set[int]()
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while we look. One that is ending has lost its memory, and its environment with it: it
        # does nothing any more.
        with suppress(OSError, ValueError, IndexError):
            pid = int(process.name)
            parents[pid] = _parent(process)
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.add(pid)
    found.discard(os.getpid())
    # `sudo` and `su` start their commands with another environment.
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _parent(process: Path) -> int:
    # pid (name) state parent …: the name may have blanks and brackets in it.
    fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[1]) if fields[0] != b"Z" else 0
