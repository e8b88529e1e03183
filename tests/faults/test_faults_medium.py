"""The medium is pulled at every read: refused, and the host is as it was; once staged, it is not needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.errors import MediaError
from tests.faults import table
from tests.faults.conftest import Golden
from tests.faults.invariants import violations
from tests.faults.stories import NEW, OLD, STORIES, Story, copy, install, on, tar, told
from tests.rig.bundlebuild import BytesMedium
from tests.rig.tap import tapped


class Stick:
    """A medium that is pulled at its n-th read; 0 for never."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.reads, self.last = at, 0, ""

    def read(self, offset: int, _size: int) -> None:
        self.reads += 1
        if 0 < self.at <= self.reads:
            raise MediaError("cannot be read: Input/output error", where=f"b.tar@{offset}")


@pytest.mark.parametrize("name", ["install", "upgrade"])
def test_a_medium_that_is_pulled_at_any_read_leaves_the_old_host(
    name: str, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace, spec = golden(STORIES[name]), OLD if name == "install" else NEW
    whole = Stick()
    install(on(copy(trace.world, fast / "all")), spec, medium=BytesMedium(tar(spec), whole.read))
    row = table.row(name, "medium pulled", whole.reads)
    for at in range(1, whole.reads + 1):
        root, stick = copy(trace.world, fast / "host"), Stick(at)
        said = told(lambda w, s=stick: install(w, spec, medium=BytesMedium(tar(spec), s.read)), on(root))
        row.runs += 1
        if "cannot be read" not in said:
            row.broken.append(f"pulled at read {at}: was told {said}")
        row.broken += [
            f"pulled at read {at}: {each}" for each in violations(root, trace.ends, said, boot="1")
        ]
        shutil.rmtree(root)
    assert row.runs > 3
    assert row.broken == []


def test_what_is_staged_needs_the_medium_no_more(worlds: Callable[[str], Path], fast: Path) -> None:
    root, stick = copy(worlds("old"), fast / "host"), Stick()
    with tapped(root) as tap:
        last = [0]

        def read(offset: int, size: int) -> None:
            stick.read(offset, size)
            last[0] = len(tap.steps)

        install(on(root), NEW, medium=BytesMedium(tar(NEW), read))
    begun = next(at for at, step in enumerate(tap.steps) if step.where.endswith("000002.log"))
    assert last[0] < begun
