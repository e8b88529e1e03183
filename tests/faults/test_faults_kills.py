"""Killed before, half-way through and after every operation, and so again in recovery: old or new, exactly.

A kill takes nothing from the cache, so what it leaves is every operation up to it. The trace that says which
these are is compared with the real directory first.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.conftest import Golden
from tests.faults.invariants import violations
from tests.faults.stories import STORIES, Story, copy, on, recover, told
from tests.rig.faulty import snapshot
from tests.rig.share import share
from tests.rig.tap import tapped

EVERY = pytest.mark.parametrize("story", STORIES.values(), ids=str)


@EVERY
def test_the_trace_of_a_story_is_all_that_it_does(
    story: Story, worlds: Callable[[str], Path], fast: Path
) -> None:
    root = copy(worlds(story.before), fast / "real")
    with tapped(root) as tap:
        assert told(story.verb, on(root)) == "done"
    tap.disk.state(tap.disk.so_far(len(tap.disk.log))).write(fast / "replayed")
    assert snapshot(root) == snapshot(fast / "replayed")
    assert len(tap.steps) > 100


@EVERY
def test_a_kill_at_any_operation_ends_old_or_new(
    story: Story, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row = table.row(story.name, "killed before, in, after", len(trace.tap.steps))
    for end, state in share(list(trace.tap.disk.kills()), 60):
        state.write(fast / "host")
        row.runs += 1
        row.broken += [f"killed at {end}: {each}" for each in violations(fast / "host", trace.ends, boot="1")]
        shutil.rmtree(fast / "host")
    assert row.broken == []


@EVERY
def test_recovery_that_is_killed_too_is_recovered_from(
    story: Story, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row = table.row(story.name, "killed, recovery killed", len(trace.tap.steps))
    seen = set[int]()
    for end, state in share(list(trace.tap.disk.kills()), 6):
        state.write(fast / "first")
        with tapped(fast / "first") as tap:
            recover(on(fast / "first"))
        shutil.rmtree(fast / "first")
        for second, again in share(list(tap.disk.kills()), 12):
            if (key := again.key()) in seen:
                continue
            seen.add(key)
            again.write(fast / "host")
            row.runs += 1
            found = violations(fast / "host", trace.ends, boot="1")
            row.broken += [f"killed at {end}, recovery at {second}: {each}" for each in found]
            shutil.rmtree(fast / "host")
    assert row.broken == []
