"""Kills, errors and full disks at every effect of installing and upgrading files; then recovery."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installer.apply import Applied, apply
from installer.core.errors import NotUndoneError, RolledBackError
from installer.core.manifest import DirectoryEntry, LinkEntry
from installer.operations import Context
from installer.plan import Options, plan_apply
from installer.recover import exclusive
from installer.rollback import plan_rollback
from installer.state import load
from tests.faults.faulty import FaultySystem, Killed, snapshot
from tests.rig.releases import Member, ReleaseSpec, context, stage

OURS = "var/lib/waybill"
OLD = ReleaseSpec(
    "1.0.0",
    1,
    {
        "bin/linux-amd64/chatd": Member(b"old daemon", "/opt/chat/bin/chatd", 0o755),
        "config/chatd.conf": Member(b"port: 1\n", "/etc/chat/chatd.conf", 0o640, "template"),
        "trees/web/index.html": Member(b"<old>", "/opt/chat/web/index.html", kind="tree"),
        "trees/web/gone/deep.js": Member(b"gone", "/opt/chat/web/gone/deep.js", kind="tree"),
        "trees/web/lib/a.js": Member(b"a", "/opt/chat/web/lib/a.js", kind="tree"),
    },
    links=(LinkEntry("trees/web/start", "index.html", "/opt/chat/web/start"),),
)
NEW = ReleaseSpec(
    "1.1.0",
    2,
    {
        "bin/linux-amd64/chatd": Member(b"new daemon!", "/opt/chat/bin/chatd", 0o755),
        "config/chatd.conf": Member(b"port: {{ 1 + 1 }}\n", "/etc/chat/chatd.conf", 0o600, "template"),
        "trees/web/index.html": Member(b"<old>", "/opt/chat/web/index.html", kind="tree"),
        "trees/web/start/a.html": Member(
            b"link became a directory", "/opt/chat/web/start/a.html", kind="tree"
        ),
        "trees/web/new/b.js": Member(b"b", "/opt/chat/web/new/b.js", kind="tree"),
    },
    links=(LinkEntry("trees/web/lib", "new", "/opt/chat/web/lib"),),
    directories=(DirectoryEntry("trees/web/empty", 0o700, "/opt/chat/web/empty"),),
)


def install(within: Context, root: Path, spec: ReleaseSpec) -> Applied:
    with exclusive(within) as (state, _):
        staged = stage(root, spec)
        return apply(within, plan_apply(within, state, staged, Options()))


def back(within: Context, _root: Path, _spec: ReleaseSpec) -> Applied:
    with exclusive(within) as (state, _):
        return apply(within, plan_rollback(within, state, None, Options()))


Verb = Callable[[Context, Path, ReleaseSpec], Applied]


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one: thousands of hosts are made and thrown away."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="waybill-test-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An empty host, one with the old release, one with both, and how each looks."""
    found = {}
    for name, specs in (("empty", ()), ("old", (OLD,)), ("new", (OLD, NEW))):
        root = tmp_path_factory.mktemp(name)
        (root / "etc").mkdir()
        (root / "etc/hostname").write_bytes(b"host\n")
        for spec in specs:
            install(context(FaultySystem(root)), root, spec)
        found[name] = root
    return found


STORIES: dict[str, tuple[str, Verb, ReleaseSpec]] = {
    "first install": ("empty", install, OLD),
    "upgrade": ("old", install, NEW),
    "rollback": ("new", back, OLD),
}
REACHES: dict[str, str | tuple[str, ...]] = {
    "kill half": "write",
    "short": "write",
    "ENOSPC": ("write", "mkdir", "symlink", "link", "rename"),
}
"""Which effects a fault can befall; all where nothing is said."""
FAULTS = ("kill before", "kill after", "kill half", "ENOSPC", "EIO", "short", "full")


def outside(root: Path) -> dict[str, tuple[object, ...]]:
    return snapshot(root, besides=(OURS, "var"))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("story", STORIES)
def test_every_fault_ends_in_exactly_the_old_or_the_new_host(
    story: str, fault: str, worlds: dict[str, Path], fast: Path
) -> None:
    before, verb, spec = STORIES[story]
    golden = fast / "golden"
    shutil.copytree(worlds[before], golden, symlinks=True)
    old = outside(golden)
    counting = FaultySystem(golden)
    verb(context(counting), golden, spec)
    new = outside(golden)
    assert len(counting.trace) > 30
    assert old != new

    ends = set()
    for at, effect in enumerate(counting.trace, 1):
        if not effect.startswith(REACHES.get(fault, "")):
            continue
        root = fast / f"{at}"
        shutil.copytree(worlds[before], root, symlinks=True)
        system = FaultySystem(root, at, fault)
        outcome = run(verb, system, root, spec)
        if len(system.trace) < at:
            continue  # fewer effects this time: writes of varying length
        told = outside(root)
        assert (outcome == "not undone") <= (fault == "EIO"), f"{at}: {effect}"
        if outcome == "rolled back":
            assert told == old, f"{at}: {effect}"
        elif outcome == "done":
            assert told == new, f"{at}: {effect}"
        healthy = context(FaultySystem(root))
        with exclusive(healthy) as (state, _):
            pass
        now = outside(root)
        wanted = new if state.current and state.current.version == spec.version else old
        assert now == wanted, f"{at}: {effect}"
        ends.add(state.current.version if state.current else "")
        whole = snapshot(root)
        with exclusive(healthy) as (again, recovered):
            assert (again, recovered) == (state, [])
        assert snapshot(root) == whole
        assert_clean(root, healthy)
        shutil.rmtree(root)
    assert spec.version in ends or fault not in ("kill after", "kill before")


def run(verb: Verb, system: FaultySystem, root: Path, spec: ReleaseSpec) -> str:
    try:
        applied = verb(context(system), root, spec)
    except Killed:
        return "killed"
    except RolledBackError:
        return "rolled back"
    except NotUndoneError:
        return "not undone"
    except Exception as error:  # a fault before or after the transaction itself
        if system.trace and len(system.trace) >= system.at > 0:
            return f"error {error}"
        raise
    return "pending" if applied.pending else "done"


def assert_clean(root: Path, within: Context) -> None:
    base = root / OURS / "lan-chat"
    state = load(within.system, within.layout)
    kept = {entry.name for entry in state.kept}
    assert {path.name for path in (base / "releases").glob("*")} == kept
    assert {path.name for path in (base / "rendered").glob("*")} == {entry.record for entry in state.kept}
    assert not list((base / "staging").glob("*"))
    assert not [path for path in (base / "txn").glob("*") if path.suffix != ".done"]
    assert not [path for path in root.rglob("*") if ".waybill-" in path.name or path.name.endswith(".new")]


@pytest.mark.parametrize("story", STORIES)
def test_recovery_that_is_killed_too_is_recovered_from(
    story: str, worlds: dict[str, Path], fast: Path
) -> None:
    before, verb, spec = STORIES[story]
    golden = fast / "golden"
    shutil.copytree(worlds[before], golden, symlinks=True)
    old = outside(golden)
    counting = FaultySystem(golden)
    verb(context(counting), golden, spec)
    new = outside(golden)
    count = len(counting.trace)
    for at in range(count // 4, count, max(count // 6, 1)):
        killed = fast / f"{at}"
        shutil.copytree(worlds[before], killed, symlinks=True)
        assert run(verb, FaultySystem(killed, at, "kill after"), killed, spec) == "killed"
        second = 0
        while True:
            second += 1
            root = fast / f"{at}-{second}"
            shutil.copytree(killed, root, symlinks=True)
            system = FaultySystem(root, second, "kill after")
            try:
                with exclusive(context(system)):
                    pass
            except Killed:
                pass
            healthy = context(FaultySystem(root))
            with exclusive(healthy) as (state, _):
                version = state.current.version if state.current else ""
            assert outside(root) == (new if version == spec.version else old), f"{at}, then {second}"
            assert_clean(root, healthy)
            shutil.rmtree(root)
            if len(system.trace) < second:
                break
        shutil.rmtree(killed)
