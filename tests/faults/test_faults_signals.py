"""Real signals to a real process, at every operation: old or new, and the exit code says which."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.invariants import violations
from tests.faults.stories import copy
from tests.faults.upgrade import Upgrade, environment, from_source
from tests.rig.executables import executables
from tests.rig.needs import needs
from tests.rig.share import share

CALLS = (
    "openat", "read", "write", "fsync", "syncfs", "ftruncate", "renameat", "linkat", "symlinkat", "unlinkat",
    "mkdirat",
)  # fmt: skip
QUIET = ("-f", "-qq", "--seccomp-bpf")
LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
TOLD = {0: "done", 20: "rolled back", 130: "refused: interrupted"}
SHARE = 3
"""Runs of each system call and kind of signal in `make test`."""
WAYS = {"TERM": "{at}", "HUP": "{at}", "INT": "{at}+1"}
"""When they are sent: at one call; as by somebody who keeps pressing Ctrl-C, at that and every later one."""


@pytest.fixture(scope="module")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> Upgrade:
    needs("strace")
    base = tmp_path_factory.mktemp("signals")
    return Upgrade.make(base, from_source(base))


def calls_of(command: list[str], log: Path, *places: str) -> dict[str, list[int]]:
    """Run a command; by system call, return which of its calls of that name concern one of some places."""
    words = ["strace", "-f", "-qq", "-y", "-s", "256", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    subprocess.run([*words, "--", *command], env=environment(), capture_output=True, check=True)
    counts, found = Counter[tuple[str, str]](), dict[str, list[int]]()
    for line in log.read_text(errors="replace").splitlines():
        if match := LINE.match(line):
            pid, name, rest = match.groups()
            counts[pid, name] += 1
            if any(place in rest for place in places):
                found.setdefault(name, []).append(counts[pid, name])
    return found


@pytest.fixture(scope="module")
def calls(upgrade: Upgrade, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """The calls of the upgrade that concern the host or the bundle."""
    base = tmp_path_factory.mktemp("traced")
    root = copy(upgrade.world, base / "host")
    found = calls_of(upgrade.command(root), base / "strace.log", str(root), str(upgrade.bundle))
    assert {"write", "fsync", "unlinkat", "linkat", "mkdirat"} <= found.keys()
    return found


@pytest.mark.parametrize("number", WAYS)
def test_a_signal_at_a_system_call_leaves_old_or_new(
    number: str, upgrade: Upgrade, calls: dict[str, list[int]], fast: Path
) -> None:
    row = table.row("an upgrade as a process", f"SIG{number}", sum(map(len, calls.values())))
    codes = Counter[int]()
    for name, places in calls.items():
        for at in share(places, SHARE):
            root = copy(upgrade.world, fast / f"host-{row.runs}")
            inject = f"--inject={name}:signal={number}:when={WAYS[number].format(at=at)}"
            words = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", os.devnull, inject, "--"]
            done = subprocess.run(
                [*words, *upgrade.command(root)],
                env=environment(),
                capture_output=True,
                check=False,
                timeout=600,
            )
            row.runs += 1
            codes[done.returncode] += 1
            where = f"{name} {at}, exit {done.returncode}"
            if done.returncode not in TOLD or b"Traceback" in done.stderr:
                row.broken.append(f"{where}: {done.stderr.decode()[-2000:]}")
            row.broken += [f"{where}: {each}" for each in left_open(root)]
            told = TOLD.get(done.returncode, "")
            row.broken += [f"{where}: {each}" for each in violations(root, upgrade.ends, told)]
    assert row.broken == []
    assert codes.keys() == TOLD.keys()


BUNDLE = {
    "create": ["create", "1.4.0", "-C", "{product}", "-o", "{at}/made.tar", "--key", "{key}"],
    "keygen": ["keygen", "{at}/made"],
    "approve": [
        *("approve", "{at}/b.tar", "--role", "security", "--env", "production", "--key", "{key}"),
        *("--release-key", "{public}", "--yes"),
    ],
}


@pytest.mark.parametrize("verb", BUNDLE)
def test_a_signal_to_bundle_leaves_all_or_nothing(verb: str, upgrade: Upgrade, fast: Path) -> None:
    values = {"product": upgrade.bundle.with_name("1.4.0"), "key": upgrade.desk.key}
    values["public"] = upgrade.desk.home / "release.pub"

    def begin(name: str) -> tuple[Path, list[str], dict[str, int]]:
        place = fast / name
        place.mkdir()
        (place / "b.tar").write_bytes(upgrade.bundle.read_bytes())
        words = [word.format(at=place, **values) for word in BUNDLE[verb]]
        return place, [str(upgrade.programs.bundle), *words], sizes(place)

    place, command, before = begin("whole")
    found = calls_of(command, fast / "strace.log", str(place))
    after, row = sizes(place), table.row(f"bundle {verb}", "signals", sum(map(len, found.values())))
    assert after != before
    for name, places in found.items():
        for at in share(places, SHARE):
            place, command, _ = begin(f"{name}-{at}")
            inject = f"--inject={name}:signal={('TERM', 'INT', 'HUP')[row.runs % 3]}:when={at}+1"
            done = run(["strace", *QUIET, "-o", os.devnull, inject, "--", *command])
            row.runs += 1
            expected = {0: after, 130: before}.get(done.returncode)
            if sizes(place) != expected:
                row.broken.append(
                    f"{name} {at}, exit {done.returncode}: {sizes(place)} {done.stderr.decode()}"
                )
    assert row.broken == []


def sizes(place: Path) -> dict[str, int]:
    """The files of a directory; signatures differ in size by a byte or two, archives do not."""
    return {path.name: path.stat().st_size // 512 for path in place.iterdir()}


def run(words: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, env=environment(), capture_output=True, check=False, timeout=600)


def left_open(root: Path) -> list[str]:
    """What an orderly end does not leave to the next command; staged files it may."""
    return [str(path) for path in (root / "var/lib/waybill/lan-chat/txn").glob("*") if path.suffix != ".done"]


@pytest.mark.parametrize("program", ["source", "shipped"])
def test_signals_that_were_ignored_at_the_start_stay_ignored(
    program: str, upgrade: Upgrade, fast: Path, tmp_path: Path
) -> None:
    """`nohup` and `&` in a script: a lost session, or Ctrl-C for the job in the foreground."""
    root = copy(upgrade.world, fast / "host")
    install = upgrade.programs.install if program == "source" else executables().install
    inject = "--inject=fsync:signal=HUP:when=1+2", "--inject=write:signal=INT:when=1+2"
    command = [str(install), *upgrade.command(root)[1:]]
    traced = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(tmp_path / "log"), *inject, "--", *command]
    script = 'trap "" HUP INT; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *traced], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "log").read_text().count("--- SIG") > 10
    assert violations(root, upgrade.ends, "done") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_shipped_executable_undoes_at_a_signal_and_not_at_a_second_one(
    number: signal.Signals, upgrade: Upgrade, fast: Path
) -> None:
    """The read end of its output is the clock: it is sent as soon as it says what it does."""
    root = copy(upgrade.world, fast / "host")
    command = [str(executables().install), *upgrade.command(root)[1:]]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        assert running.stdout is not None
        said = b""
        for line in running.stdout:
            said += line
            if b"place files" in line or number.name.encode() in line:
                running.send_signal(number)
    told = TOLD[running.returncode]
    assert (running.returncode == 20) == (f"interrupted by {number.name}: rolling back".encode() in said)
    assert left_open(root) == []
    assert violations(root, upgrade.ends, told) == []
