"""Every operation fails once, or from there on: no space, an error, a short write, a sync, a program."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.errors import NotUndoneError
from tests.faults import table
from tests.faults.conftest import Golden
from tests.faults.invariants import violations
from tests.faults.stories import SCRIPTS, STORIES, Story, copy, on, outside, recover, told
from tests.rig.disk import Disk
from tests.rig.share import EVERYTHING, share
from tests.rig.tap import REACHES, Kind, tapped

EVERY = pytest.mark.parametrize("story", STORIES.values(), ids=str)
NAMES: dict[Kind, str] = {
    "ENOSPC": "no space, once",
    "EIO": "error",
    "short": "short write",
    "full": "full disk, 0 bytes to recover",
    "inodes": "no inodes, none to recover",
    "fsync": "sync fails, then power cut",
    "fails": "command fails",
    "hangs": "command hangs",
}


def places(trace: Golden, fault: Kind, most: int) -> list[int]:
    """Gives the operations that a fault can befall, counted from 1."""
    found = [at for at, step in enumerate(trace.tap.steps, 1) if step.name in REACHES[fault]]
    return list(share(found, most))


@EVERY
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "short", "full", "inodes"])
def test_an_operation_that_fails_leaves_the_old_host_or_the_new_one(
    story: Story, fault: Kind, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row = table.row(story.name, NAMES[fault], len(trace.tap.steps))
    for at in places(trace, fault, 8):
        root = copy(trace.world, fast / "host")
        with tapped(root, fault, at) as tap:
            said = told(story.verb, on(root))
            begun = (root / "var/lib/waybill/lan-chat/lock").exists()
            after = told(recover, on(root)) if fault in ("full", "inodes") else "done"  # it still is full
        if tap.hit:
            row.runs += 1
            where = f"{fault} at {at}, {tap.steps[at - 1]}"
            if said == "not undone" and fault != "EIO":
                row.broken.append(f"{where}: was not undone")
            if begun and after != "done":
                row.broken.append(f"{where}: recovery without room is {after}")
            if said == "rolled back" and outside(root) != trace.ends.old:
                row.broken.append(f"{where}: was told {said}, and the files are not the old ones")
            row.broken += [f"{where}: {each}" for each in violations(root, trace.ends, said, boot="1")]
        shutil.rmtree(root)
    assert row.runs > 0
    assert row.broken == []


@EVERY
def test_a_sync_that_failed_is_never_believed_the_next_time(
    story: Story, golden: Callable[[Story], Golden], fast: Path
) -> None:
    """The kernel reports a lost write once. What it was to save is gone when the power goes."""
    trace = golden(story)
    row = table.row(story.name, NAMES["fsync"], len(trace.tap.steps))
    for at in places(trace, "fsync", 12):
        root = copy(trace.world, fast / "host")
        with tapped(root, "fsync", at) as tap:
            said = told(story.verb, on(root))
            again = told(recover, on(root))  # in the same boot
        if tap.hit:
            row.runs += 1
            where = f"sync failed at {at}, {tap.steps[at - 1]}, {said}, {again}"
            if again == "not undone" and said not in ("not undone", "pending"):
                row.broken.append(f"{where}: recovery is refused for no reason")
            row.broken += [
                f"{where}: {each}" for each in _after_power_cut(tap.disk, fast / "cut", trace, said)
            ]
        shutil.rmtree(root)
    assert row.runs > 0
    assert row.broken == []


def _after_power_cut(disk: Disk, root: Path, trace: Golden, said: str) -> list[str]:
    found = []
    for state in disk.cut_before(len(disk.log), random.Random(1), 2):
        state.write(root)
        found += violations(root, trace.ends, said)
        shutil.rmtree(root)
    return found


def test_after_a_sync_failed_on_the_way_back_nothing_is_done_before_a_reboot(
    golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(STORIES["upgrade"])
    (switch,) = [step for step in trace.tap.steps if step.name == "rename" and step.where == "current"]
    root, disk = fast / "host", trace.tap.disk
    disk.state(disk.so_far(switch.at + 1)).write(root)
    with tapped(root) as dry:
        recover(on(root))
    # Once it is put away, all is done.
    (ended,) = [at for at, step in enumerate(dry.steps) if step.where.endswith(".done")]
    syncs = [at for at, step in enumerate(dry.steps[:ended], 1) if step.name == "fsync"]
    refused = 0
    for at in syncs:
        shutil.rmtree(root)
        disk.state(disk.so_far(switch.at + 1)).write(root)
        with tapped(root, "fsync", at):
            said = told(recover, on(root))
        if said == "not undone":
            with pytest.raises(NotUndoneError, match="failed to write") as caught:
                recover(on(root))
            assert "reboot" in caught.value.hint
            refused += 1
            assert violations(root, trace.ends, boot="2") == []
    assert refused > 3


@pytest.mark.parametrize("fault", ["fails", "hangs"])
def test_a_command_that_fails_or_hangs_is_undone(
    fault: Kind, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(SCRIPTS)
    row = table.row(SCRIPTS.name, NAMES[fault], len(trace.tap.steps))
    for at in places(trace, fault, 99):
        root = copy(trace.world, fast / "host")
        with tapped(root, fault, at) as tap:
            said = told(SCRIPTS.verb, on(root))
        assert tap.hit
        row.runs += 1
        if said != "rolled back":
            row.broken.append(f"{fault} at {at}: was told {said}")
        row.broken += [f"{fault} at {at}: {each}" for each in violations(root, trace.ends, said, boot="1")]
        shutil.rmtree(root)
    assert row.runs > 0
    assert row.broken == []


@EVERY
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "short", "fsync"])
def test_recovery_in_which_an_operation_fails_is_recovered_from(
    story: Story, fault: Kind, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row = table.row(f"recover of {story.name}", NAMES[fault], len(trace.tap.steps))
    disk = trace.tap.disk
    for end in share(range(0, len(disk.log), 3 if EVERYTHING else 9), 3):
        disk.state(disk.so_far(end)).write(fast / "first")
        with tapped(copy(fast / "first", fast / "dry")) as dry:
            recover(on(fast / "dry"))
        shutil.rmtree(fast / "dry")
        reached = [at for at, step in enumerate(dry.steps, 1) if step.name in REACHES[fault]]
        for at in share(reached, 4):
            root = copy(fast / "first", fast / "host")
            with tapped(root, fault, at) as tap:
                told(recover, on(root))
            if tap.hit:
                row.runs += 1
                where = f"killed at {end}, {fault} in recovery at {at}, {tap.steps[at - 1]}"
                row.broken += [f"{where}: {each}" for each in violations(root, trace.ends, boot="2")]
            shutil.rmtree(root)
        shutil.rmtree(fast / "first")
    assert row.broken == []
