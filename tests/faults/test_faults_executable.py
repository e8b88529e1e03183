"""The shipped executable: strace fails or kills it at single system calls; old or new, and it says which."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.invariants import violations
from tests.faults.stories import copy
from tests.faults.upgrade import Upgrade
from tests.rig.executables import executables
from tests.rig.needs import needs
from tests.rig.share import share

CALLS = (
    "openat", "write", "pwrite64", "fsync", "syncfs", "ftruncate", "renameat", "renameat2", "linkat",
    "symlinkat", "unlinkat", "mkdirat", "fchmod",
)  # fmt: skip
ERRORS = {
    "ENOSPC": ("write", "linkat", "symlinkat", "mkdirat", "renameat"),
    "EIO": ("fsync", "syncfs", "write", "renameat", "unlinkat", "ftruncate"),
}
LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
_UNSTARTED = (126, 255)
"""Exit codes of a program that could not be unpacked or started; the host is as it was."""
SHARE = 2
"""Runs of each system call and fault in `make test`."""


class Site(Upgrade):
    """The upgrade of a host, which strace can look at."""

    def run(self, root: Path, *strace: str) -> int:
        """Upgrades under strace; gives the exit code, 137 for killed."""
        words = ["strace", "-f", "-qq", "--seccomp-bpf", *strace, "--", *self.command(root)]
        done = subprocess.run(words, capture_output=True, check=False, timeout=300)
        return 137 if done.returncode in (-9, 137) else done.returncode


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    needs("strace")
    return Site.make(tmp_path_factory.mktemp("executable"), executables())


@pytest.fixture
def calls(site: Site, fast: Path) -> dict[str, list[int]]:
    """By system call: which of a process's calls of that name concern the host, counted from 1."""
    root, log = copy(site.world, fast / "traced"), fast / "strace.log"
    code = site.run(root, "-y", "-s", "256", "-o", str(log), "-e", f"trace={','.join(CALLS)}")
    assert code == 0
    counts, found = Counter[tuple[str, str]](), dict[str, list[int]]()
    for line in log.read_text(errors="replace").splitlines():
        if match := LINE.match(line):
            pid, name, rest = match.groups()
            counts[pid, name] += 1
            if str(root) in rest and (name != "openat" or "O_CREAT" in rest):
                found.setdefault(name, []).append(counts[pid, name])
    shutil.rmtree(root)
    return found


def told(code: int) -> str:
    """What an exit code tells the operator; 126 is that of a program that could not even be unpacked."""
    return {
        0: "done",
        20: "rolled back",
        21: "not undone",
        15: "refused: exit 15",
        126: "refused",
        255: "refused",
    }.get(code, "")


def test_the_executable_is_traced_as_it_ships(site: Site, calls: dict[str, list[int]]) -> None:
    assert {"write", "fsync", "unlinkat", "linkat", "mkdirat"} <= calls.keys()
    assert sum(map(len, calls.values())) > 100


@pytest.mark.parametrize("fault", ["KILL", *ERRORS])
def test_a_system_call_that_fails_or_kills_leaves_old_or_new(
    fault: str, site: Site, calls: dict[str, list[int]], fast: Path
) -> None:
    row = table.row("dist/install under strace", fault, sum(map(len, calls.values())))
    hit = Counter[int]()
    for name in calls if fault == "KILL" else ERRORS[fault]:
        for at in share(calls.get(name, []), SHARE):
            root = copy(site.world, fast / "host")
            how = "signal=KILL" if fault == "KILL" else f"error={fault}"
            code = site.run(root, "-o", os.devnull, f"--inject={name}:{how}:when={at}")
            row.runs += 1
            hit[code] += 1
            where = f"{name} {at}: {fault}, exit {code}"
            if code not in (*_UNSTARTED, *((137,) if fault == "KILL" else (0, 15, 20, 21))):
                row.broken.append(f"{where}: is no exit code that was promised")
            if fault == "KILL":
                again = subprocess.run(
                    [site.programs.install, "recover", "--root", root], capture_output=True, check=False
                )
                if again.returncode != 0:
                    row.broken.append(f"{where}: recover says {again.stderr.decode()}")
            row.broken += [f"{where}: {each}" for each in violations(root, site.ends, told(code))]
            shutil.rmtree(root)
    assert hit[137 if fault == "KILL" else 20] > 0
    assert row.broken == []
