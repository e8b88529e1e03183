"""System calls at which a run of a program can be killed, and the run that is killed at one of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.rig.hostdir import HostDir
from tests.rig.needs import needs

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "syncfs", "ftruncate", "fallocate",
    "copy_file_range", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
    "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "fchmod",
)  # fmt: skip
KILLED = 137
_LINE = re.compile(r"^\d+ +(\w+)\((.*)$")
_THREAD = re.compile(r"^\d+")


@dataclass(frozen=True)
class KillPoint:
    """One system call of a traced run.

    Attributes:
        call: Its name.
        number: Which of the calls of this name by its thread it is, counted from 1.
        arguments: Its arguments as strace prints them.
    """

    call: str
    number: int
    arguments: str

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


def kill_points(host: HostDir, *words: str | Path) -> list[KillPoint]:
    """Run a command that succeeds; return its calls that change the host, in their order."""
    log = host.root.with_suffix(".strace")
    options = ("-y", "-s", "256", "-o", str(log), "-e", f"trace={','.join(CALLS)}")
    rc, _, err = host.run(*words, under=_strace(*options))
    assert rc == 0, err
    counts, found = Counter[tuple[str, str]](), []
    for line in log.read_text(errors="replace").splitlines():
        match, thread = _LINE.match(line), _THREAD.match(line)
        if match is None or thread is None:
            continue
        call, arguments = match.groups()
        counts[thread[0], call] += 1
        if str(host.root) in arguments and (call != "openat" or "O_CREAT" in arguments):
            found.append(KillPoint(call, counts[thread[0], call], arguments))
    log.unlink()
    return found


def run_and_kill(host: HostDir, point: KillPoint, *words: str | Path) -> bool:
    """Run a command and kill it at a system call; return whether it got there."""
    inject = f"--inject={point.call}:signal=KILL:when={point.number}"
    rc = host.run(*words, under=_strace("-o", os.devnull, inject)).rc
    return rc in (-9, KILLED)


def _strace(*options: str) -> list[str]:
    return [needs("strace"), "-f", "-qq", "--seccomp-bpf", *options, "--"]
