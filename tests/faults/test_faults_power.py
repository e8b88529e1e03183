"""The power goes: of what was not synced, each write, name and mode may be lost, in any order. Old or new."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.host.system import System
from installer.staging.area import clear
from tests.faults import table
from tests.faults.conftest import Golden
from tests.faults.invariants import violations
from tests.faults.stories import STORIES, Story, on, recover, told
from tests.rig.bundlebuild import BytesMedium
from tests.rig.releases import Notes
from tests.rig.share import EVERYTHING, share
from tests.rig.staging import LAYOUT, STAGING, plan, run
from tests.rig.tap import Tap, tapped

EVERY = pytest.mark.parametrize("story", STORIES.values(), ids=str)
SAMPLES = 40 if EVERYTHING else 3
"""Random choices at each sync, besides: all is lost, nothing is, one thing is, all but one is."""


@EVERY
def test_a_power_cut_at_any_moment_ends_old_or_new(
    story: Story, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row, last = table.row(story.name, "power cut", len(trace.tap.steps)), len(trace.tap.disk.log)
    for end, state in share(list(trace.tap.disk.cuts(SAMPLES)), 150):
        state.write(fast / "host")
        row.runs += 1
        found = violations(fast / "host", trace.ends, trace.told if end == last else "")
        row.broken += [f"power cut at {end}: {each}" for each in found]
        shutil.rmtree(fast / "host")
    assert row.broken == []


@EVERY
def test_a_power_cut_in_the_recovery_from_a_power_cut_ends_old_or_new(
    story: Story, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row, seen = table.row(story.name, "power cut, recovery cut", len(trace.tap.steps)), set[int]()
    firsts = list(trace.tap.disk.cuts(0))
    for end, state in share(firsts if not EVERYTHING else firsts[::4], 5):
        state.write(fast / "first")
        with tapped(fast / "first") as tap:
            recover(on(fast / "first", "2"))
        shutil.rmtree(fast / "first")
        for second, again in share(list(tap.disk.cuts(0)), 10):
            if (key := again.key()) in seen:
                continue
            seen.add(key)
            again.write(fast / "host")
            row.runs += 1
            found = violations(fast / "host", trace.ends, boot="3")
            row.broken += [f"power cut at {end}, in recovery at {second}: {each}" for each in found]
            shutil.rmtree(fast / "host")
    assert row.broken == []


@pytest.mark.parametrize("again", ["recovered", "done again"])
@EVERY
def test_a_power_cut_in_what_follows_a_kill_ends_old_or_new(
    story: Story, again: str, golden: Callable[[Story], Golden], fast: Path
) -> None:
    """What a kill leaves is all to be seen, and not all on the disk: nothing may build on the rest of it."""
    trace = golden(story)
    row = table.row(story.name, f"killed, power cut when {again}", len(trace.tap.steps))
    moments = [(end, half) for end in range(len(trace.tap.disk.log) + 1) for half in (False, True)]
    seen = set[int]()
    few = moments[:: 4 if again == "recovered" else 16] if EVERYTHING else moments
    for end, half in share(few, 6):
        disk = trace.tap.disk.left(fast / "first", end, half)
        start = len(disk.log)
        with Tap(disk):
            told(recover if again == "recovered" else story.verb, on(fast / "first"))
        shutil.rmtree(fast / "first")
        for second, state in share(list(disk.cuts(0, start)), 10):
            if (key := state.key()) in seen:
                continue
            seen.add(key)
            state.write(fast / "host")
            row.runs += 1
            found = violations(fast / "host", trace.ends)
            row.broken += [f"killed at {end}, {again}, power cut at {second}: {each}" for each in found]
            shutil.rmtree(fast / "host")
    assert row.broken == []


def test_what_is_ours_is_ours_when_the_power_goes_while_staging_is_cleared(fast: Path) -> None:
    """Without its manifest nobody could tell any more what of a staged release is ours."""
    (fast / "begin").mkdir()
    run(System(fast / "begin"), BytesMedium(plan().tar()))
    with tapped(fast / "begin") as tap:
        clear(System(fast / "begin"), LAYOUT, Notes())
    tried = 0
    for end, state in share(list(tap.disk.cuts(SAMPLES)), 60):
        root, notes = fast / "host", Notes()
        state.write(root)
        clear(System(root), LAYOUT, notes)
        assert notes.lines == [], end
        assert not list((root / STAGING).iterdir())
        shutil.rmtree(root)
        tried += 1
    assert tried > 20


def test_what_is_ours_is_ours_when_the_power_goes_while_staging_goes_on_after_a_kill(fast: Path) -> None:
    """What says whose it all is may still be in the cache alone, as the killed process left it."""
    (fast / "begin").mkdir()
    with tapped(fast / "begin") as tap:
        run(System(fast / "begin"), BytesMedium(plan().tar()))
    head = next(place for place, change in enumerate(tap.disk.log) if b'"product"' in change.data)
    tried = 0
    for end, half in [(end, half) for end in range(head + 3) for half in (False, True)]:
        disk = tap.disk.left(fast / "killed", end, half)
        start = len(disk.log)
        with Tap(disk):
            run(System(fast / "killed"), BytesMedium(plan().tar()))
        shutil.rmtree(fast / "killed")
        for second, state in share(list(disk.cuts(0, start)), 40):
            root, notes = fast / "host", Notes()
            state.write(root)
            clear(System(root), LAYOUT, notes)
            assert notes.lines == [], (end, half, second)
            assert not (root / STAGING).exists() or not list((root / STAGING).iterdir())
            shutil.rmtree(root)
            tried += 1
    assert tried > 100


def test_the_model_loses_names_bytes_and_modes_that_were_not_synced(fast: Path) -> None:
    root = fast / "disk"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    with tapped(root) as tap:
        fd = os.open(root / "new", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"x" * 1500)
        os.fsync(fd)
        os.rename(root / "new", root / "old")
        os.close(fd)
    found = set()
    for _, state in tap.disk.cuts(20):
        nodes = {path: state.nodes[node].data for path, node in state.paths()}
        found.add((tuple(sorted(nodes)), nodes["old"][:1], nodes.get("new")))
    assert (("old",), b"o", None) in found  # neither name was synced
    assert (("new", "old"), b"o", b"x" * 1500) in found  # the first was
    assert (("old",), b"x", None) in found  # the rename alone was
    lost = [
        state
        for _, state in tap.disk.cuts(SAMPLES)
        if any(node.data[:512] == bytes(512) for node in state.nodes.values())
    ]
    assert lost  # a write is torn into its sectors
