"""Power cuts on real file systems: what the device has after each effect is mounted and recovered."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.faults import table
from tests.faults.conftest import Golden
from tests.faults.invariants import violations
from tests.faults.stories import STORIES, Host, Story, copy, told
from tests.rig.loop import MAKE, Loop
from tests.rig.releases import context
from tests.rig.share import EVERYTHING

T = TypeVar("T")


class Copying(Host):
    """A host whose disk is copied after effects: every one that is asked for, counted from 1."""

    def __init__(self, root: Path, loop: Loop, into: Path, wanted: Callable[[int], bool]) -> None:
        super().__init__(root)
        self._loop, self._into, self._wanted = loop, into, wanted
        self.copies: list[tuple[str, Path]] = []
        self._count = 0

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        result = call()
        self._count += 1
        if self._wanted(self._count):
            self.keep(f"{self._count} {name} {args[0] if args else ''}")
        return result

    def keep(self, label: str) -> None:
        to = self._into / f"{len(self.copies)}.img"
        self._loop.copy(to)
        self.copies.append((label, to))


@pytest.fixture(params=list(MAKE))
def loop(request: pytest.FixtureRequest, fast: Path) -> Iterator[Loop]:
    made = Loop.make(request.param, fast / "disk.img", fast / "mount")
    yield made
    made.detach()


@pytest.mark.parametrize("story", STORIES.values(), ids=str)
def test_what_the_disk_has_at_a_power_cut_is_recovered(
    story: Story, loop: Loop, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    root = copy(trace.world, loop.mount / "host")
    loop.sync()
    (fast / "copies").mkdir()
    host = Copying(root, loop, fast / "copies", lambda count: EVERYTHING or count % 12 == 0)
    assert told(story.verb, context(host)) == "done"
    host.keep("the end")
    loop.detach()
    row = table.row(f"{story.name}, on {loop.kind}", "power cut", len(trace.tap.steps))
    for label, file in host.copies:
        cut = Loop(loop.kind, file, loop.mount)
        assert cut.attach() is None, label
        row.runs += 1
        said = "done" if label == "the end" else ""
        row.broken += [f"{label}: {each}" for each in violations(loop.mount / "host", trace.ends, said)]
        cut.detach()
        file.unlink()
    shutil.rmtree(fast / "copies")
    assert row.runs > 5
    assert row.broken == []


def test_a_file_that_was_not_synced_is_lost_so_the_cut_is_one(fast: Path) -> None:
    loop = Loop.make("ext4", fast / "disk.img", fast / "mount")
    try:
        (loop.mount / "lost").write_bytes(b"x" * 100_000)
        cut = loop.copy(fast / "cut.img")
    finally:
        loop.detach()
    assert cut.attach() is None
    try:
        lost = loop.mount / "lost"
        assert not lost.exists() or lost.stat().st_size == 0
    finally:
        cut.detach()
