"""A step that cannot be undone, under every fault: until it is begun old, from then on new, and told so.

The step changes data of its own. So a host that has the old files with the new data, or the other way round,
is a violation, and so is a release that is not whole without a word of it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from installer.commands.status import product_status
from installer.core.errors import IncompleteError
from installer.host.context import Context
from tests.faults import table
from tests.faults.forward import FORWARD, SAVED, STARTED, Fast, stepped
from tests.faults.invariants import Ends, violations
from tests.faults.stories import NEW, OLD, SCRIPTED, copy, install, make_world, on, outside, recover, told
from tests.rig.faulty import Killed
from tests.rig.releases import Member, ReleaseSpec, context
from tests.rig.share import EVERYTHING, share
from tests.rig.tap import tapped

FAULTS = {
    "kill before": "killed before",
    "kill half": "killed in",
    "kill after": "killed after",
    "ENOSPC": "no space, once",
    "EIO": "error",
    "short": "short write",
    "full": "full disk, 0 bytes to recover",
}
HALF = ("kill half", "short")
"""Befall writes alone."""
BEFORE = stepped(OLD, STARTED)
STORIES = {
    "upgrade that cannot be undone": stepped(NEW, FORWARD, STARTED),
    "upgrade with a snapshot": stepped(NEW, SAVED, STARTED),
}


@dataclass(frozen=True)
class Golden:
    """A story that went well: how often something was done, and how it may end."""

    world: Path
    effects: list[str]
    ends: Ends


def changing(effects: list[str]) -> list[int]:
    """Gives the places of effects that change something: a kill after a sync is the one before it."""
    return [at for at, effect in enumerate(effects, 1) if not effect.startswith(("fsync", "sync"))]


def do(within: Context, spec: ReleaseSpec) -> None:
    install(within, spec, SCRIPTED)


@pytest.fixture
def golden(request: pytest.FixtureRequest, fast: Path) -> Iterator[Golden]:
    world = fast / "world"
    make_world(world, "empty")
    (world / "etc/data").write_text("1.0.0\n")
    do(context(Fast(world)), BEFORE)
    root, system = copy(world, fast / "golden"), Fast(fast / "golden")
    do(context(system), STORIES[request.param])
    yield Golden(world, system.trace, Ends(outside(world), outside(root), "1.0.0", "1.1.0", 1))
    shutil.rmtree(world)
    shutil.rmtree(root)


EVERY = pytest.mark.parametrize("golden", STORIES, indirect=True)


def outcome(within: Context, spec: ReleaseSpec) -> str:
    """Does it, and says what the operator is told."""
    try:
        return told(lambda within: do(within, spec), within)
    except Killed:
        return "killed"


def incomplete(root: Path) -> str:
    found = product_status(context(Fast(root))).current
    return found.incomplete if found else ""


def broken(root: Path, golden: Golden, said: str) -> list[str]:
    """Says what is wrong; of a release that says itself that it is not whole, what it lacks may lack."""
    ends = golden.ends
    if incomplete(root):
        now = outside(root)
        lacks = {name for name in ("etc/data", "etc/runs") if now.get(name) != ends.new.get(name)}
        ends = replace(ends, new={**ends.new, **{name: now[name] for name in lacks if name in now}})
    return violations(root, ends, said, boot="1")


@EVERY
@pytest.mark.parametrize("fault", FAULTS)
def test_data_and_release_never_part(
    golden: Golden, fault: str, request: pytest.FixtureRequest, fast: Path
) -> None:
    story = request.node.callspec.params["golden"]
    row = table.row(story, FAULTS[fault], len(golden.effects))
    places = [at for at, effect in enumerate(golden.effects, 1) if fault not in HALF or effect == "write"]
    for at in share(places, 10):
        root = copy(golden.world, fast / "host")
        system = Fast(root, at, fault)
        said = outcome(context(system), STORIES[story])
        if fault == "full" and not system.dead:
            told(recover, context(system))  # it still is full
        row.runs += 1
        where = f"{fault} at {at}, {golden.effects[at - 1]}, {said}"
        if said == "not undone" and not incomplete(root) and fault.startswith("kill"):
            row.broken.append(f"{where}: is whole, and was told not to be")
        row.broken += [f"{where}: {each}" for each in broken(root, golden, said)]
        shutil.rmtree(root)
    assert row.runs > 5
    assert row.broken == []


@EVERY
def test_recovery_that_is_killed_goes_on_the_same_way(
    golden: Golden, request: pytest.FixtureRequest, fast: Path
) -> None:
    story = request.node.callspec.params["golden"]
    row = table.row(story, "killed, recovery killed", len(golden.effects))
    for first in share(changing(golden.effects)[:: 3 if EVERYTHING else 1], 6):
        half = copy(golden.world, fast / "half")
        outcome(context(Fast(half, first, "kill after")), STORIES[story])
        dry = copy(half, fast / "dry")
        trace = Fast(dry)
        recover(context(trace))
        shutil.rmtree(dry)
        for second in share(changing(trace.trace), 5):
            root = copy(half, fast / "host")
            system = Fast(root, second, "kill before" if second % 2 else "kill after")
            with suppress(Killed):
                recover(context(system))
            row.runs += system.dead
            where = f"killed at {first}, recovery at {second}, {trace.trace[second - 1]}"
            row.broken += [f"{where}: {each}" for each in broken(root, golden, "")]
            shutil.rmtree(root)
        shutil.rmtree(half)
    assert row.runs > 5
    assert row.broken == []


@pytest.mark.parametrize("golden", ["upgrade that cannot be undone"], indirect=True)
def test_the_point_of_no_return_is_on_the_disk_before_the_step_begins(golden: Golden, fast: Path) -> None:
    """Whatever of the rest a power cut takes: else the old release would wake up to the new data."""
    spec = STORIES["upgrade that cannot be undone"]
    with tapped(copy(golden.world, fast / "host")) as tap:
        do(on(fast / "host"), spec)
    steps = [step for step in tap.steps if step.name == "command"]
    assert [Path(step.where).name for step in steps] == ["migrate.sh", "start.sh"]
    row = table.row("upgrade that cannot be undone", "power cut in the step", len(tap.steps))
    for state in tap.disk.cut_before(steps[0].at, random.Random(1), 20):
        state.write(fast / "cut")
        within = on(fast / "cut", boot="2")
        recover(within)
        row.runs += 1
        found = product_status(within).current
        row.broken += [] if found and found.version == "1.1.0" else [f"{found and found.version} runs"]
        shutil.rmtree(fast / "cut")
    shutil.rmtree(fast / "host")
    assert row.runs > 0
    assert row.broken == []


@pytest.mark.parametrize("golden", ["upgrade with a snapshot"], indirect=True)
def test_what_was_saved_is_on_the_disk_before_it_is_changed(golden: Golden, fast: Path) -> None:
    with tapped(copy(golden.world, fast / "host")) as tap:
        do(on(fast / "host"), STORIES["upgrade with a snapshot"])
    steps = [Path(step.where).name if step.name == "command" else step.name for step in tap.steps]
    between = steps[steps.index("save.sh") : steps.index("migrate.sh")]
    assert "syncfs" in between
    shutil.rmtree(fast / "host")


@pytest.mark.parametrize("golden", ["upgrade that cannot be undone"], indirect=True)
@pytest.mark.parametrize("which", ["migrate", "start"])
def test_a_program_that_fails_once_there_is_no_way_back_leaves_the_new_release(
    golden: Golden, which: str, fast: Path
) -> None:
    root = copy(golden.world, fast / "host")
    spec = STORIES["upgrade that cannot be undone"]
    failing = Member(b"#!/bin/sh\nexit 1\n", mode=0o755, kind="script")
    with pytest.raises(IncompleteError):
        do(context(Fast(root)), replace(spec, members={**spec.members, f"deploy/{which}.sh": failing}))
    assert f"deploy/{which}.sh" in incomplete(root)
    assert broken(root, golden, "") == []
    do(context(Fast(root)), replace(spec, version="1.1.1", sequence=3))
    assert incomplete(root) == ""
