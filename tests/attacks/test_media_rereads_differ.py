"""A medium that answers one thing when it is checked and another when it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.core.errors import TamperedError
from installer.core.format.tar_header import BLOCK
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress
from installer.staging.stage import stage
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Plan
from tests.rig.trustworld import World

EVIL = b"EVIL"


class TwoFaced(BytesMedium):
    """Gives each byte as it is when it is first asked for, and evil ones from then on."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._given = bytearray(len(data))

    def read_into(self, offset: int, view: memoryview) -> None:
        super().read_into(offset, view)
        for at in range(len(view)):
            if self._given[offset + at]:
                view[at] = EVIL[at % len(EVIL)]
        self._given[offset : offset + len(view)] = b"\1" * len(view)


def staged(medium: BytesMedium, plan: Plan, root: Path) -> dict[str, bytes]:
    """Takes a bundle as `install` does; gives what lies in the staging area, by path."""
    from installer.core.verify import open_trusted

    world = World(plan=plan)
    opened = open_trusted(medium, world.trust(), lambda _: world.host)
    _, result = stage(opened, System(root), Layout("lan-chat"), Progress())
    place = root / result.directory.lstrip("/")
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_staged_is_what_was_hashed_whatever_a_second_reading_says(
    world: World, tmp_path: Path
) -> None:
    found = staged(TwoFaced(world.tar()), world.plan, tmp_path)
    for part in world.plan.payload:
        assert found[part.name] == part.data
    assert found["SHA256SUMS"] == world.sums
    assert not any(EVIL in data for data in found.values())


def test_a_head_that_changes_after_it_was_judged_changes_nothing(world: World, tmp_path: Path) -> None:
    """The whole head turns into another, also signed one, once its signature was looked at."""
    other = World(plan=build.plan({"docs/ROLLBACK.md": b"evil\n"}, room=512, rollback="docs/ROLLBACK.md"))
    good, evil = world.tar(), other.tar()
    reads: list[int] = []

    class Swapped(BytesMedium):
        def read_into(self, offset: int, view: memoryview) -> None:
            first = offset < BLOCK and 0 not in reads
            reads.append(offset)
            chosen = good if first or offset not in reads[:-1] else evil
            piece = chosen[offset : offset + len(view)].ljust(len(view), b"\0")
            view[:] = piece

    found = staged(Swapped(good), world.plan, tmp_path)
    assert found["SHA256SUMS"] == world.sums
    assert found["docs/ROLLBACK.md"] == b"Go back.\n"


def test_a_payload_that_turns_evil_before_it_is_read_is_refused_and_nothing_stays(
    world: World, tmp_path: Path
) -> None:
    data = world.tar().replace(b"alpha\n", b"EVILa\n")
    with pytest.raises(TamperedError, match="docs/a does not match the signed list"):
        staged(BytesMedium(data), world.plan, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
