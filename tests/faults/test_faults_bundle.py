"""`create` and `approve` under every fault: a bundle is there whole or not at all, an approval likewise."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundler.approvals.approval import ApprovalRequest
from bundler.commands import approve
from installer.core.errors import UnfitInputError
from installer.core.format.tar_header import END
from tests.faults import table
from tests.faults.stories import copy
from tests.rig import bundlebuild as build
from tests.rig.disk import State
from tests.rig.faulty import snapshot
from tests.rig.product import EPOCH, Product
from tests.rig.share import share
from tests.rig.tap import REACHES, Kind, Tap, tapped
from tests.rig.trustworld import APPROVALS, NOW, TEAM, World, person

ASKED = ApprovalRequest("ops", "production", change_id="CHG-7", rollback_to="v1.3.0", notes="ready")
OPS = person(TEAM["ops"]).signer


@dataclass(frozen=True)
class Work:
    """One verb of `bundle`: where it begins, what it does, and what is wrong with what is left of it."""

    name: str
    begin: Callable[[Path], object]
    verb: Callable[[Path], object]
    wrong: Callable[[Path, Done], Iterator[str]]
    nameless: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Done:
    """A work that went well, and the disk under it."""

    work: Work
    before: Path
    after: Path
    tap: Tap


def create(root: Path) -> None:
    Product(root).create()


def half_created(root: Path, done: Done) -> Iterator[str]:
    target, wanted = Product(root).target, Product(done.after).target.read_bytes()
    if target.exists() and target.read_bytes() != wanted:
        yield "a bundle that is not whole has the name"
    left = [name for name in Product(root).leftovers() if done.work.nameless or not name.endswith(".part")]
    if left:
        yield f"left behind: {left}"
    create(root)
    if target.read_bytes() != wanted:
        yield "made again, it has other bytes"


def begin_approval(root: Path) -> None:
    root.mkdir()
    (root / "b.tar").write_bytes(replace(World(), approvals=APPROVALS[:2]).tar())


def approve_it(root: Path) -> None:
    approve.approve_bundle(root / "b.tar", OPS, ASKED, NOW)


def half_approved(root: Path, done: Done) -> Iterator[str]:
    path, before = root / "b.tar", (done.before / "b.tar").read_bytes()
    wanted = build.read((done.after / "b.tar").read_bytes()).read_tail()
    found = build.read(path.read_bytes()).read_tail()
    if not path.read_bytes().startswith(before[: -len(END)]):
        yield "the payload was changed"
    if len(found) not in (len(wanted), len(wanted) - 3):
        yield f"counts {len(found)} approval files"
    approve.repair(path)
    if len(build.read(path.read_bytes()).read_tail()) != len(wanted):
        approve_it(root)
    if set(build.read(path.read_bytes()).read_tail()) != set(wanted):
        yield "repaired and approved, it has other approvals"


WORKS = (
    Work("create", Product.make, create, half_created),
    Work("create, no O_TMPFILE", Product.make, create, half_created, nameless=False),
    Work("approve", begin_approval, approve_it, half_approved),
)
EVERY = pytest.mark.parametrize("work", WORKS, ids=str)


@pytest.fixture
def done(work: Work, fast: Path, monkeypatch: pytest.MonkeyPatch) -> Done:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    work.begin(fast / "before")
    with tapped(copy(fast / "before", fast / "after"), nameless=work.nameless) as tap:
        work.verb(fast / "after")
    return Done(work, fast / "before", fast / "after", tap)


def check(states: list[State], done: Done, row: table.Row, fast: Path) -> None:
    distinct = list({state.key(): state for state in states}.values())
    for state in share(distinct, 80):
        state.write(fast / "cut")
        row.runs += 1
        row.broken += list(done.work.wrong(fast / "cut", done))
        shutil.rmtree(fast / "cut")
    assert row.runs >= 3
    assert row.broken == []


@EVERY
def test_the_trace_is_all_that_is_done(work: Work, done: Done, fast: Path) -> None:
    done.tap.disk.state(done.tap.disk.so_far(len(done.tap.disk.log))).write(fast / "replayed")
    assert snapshot(fast / "replayed") == snapshot(done.after)


@EVERY
def test_a_kill_at_any_operation_leaves_it_whole_or_not_at_all(work: Work, done: Done, fast: Path) -> None:
    disk = done.tap.disk
    row = table.row(work.name, "killed before, in, after", len(done.tap.steps))
    ends = range(len(disk.log) + 1)
    check([disk.state(disk.so_far(end, half)) for end in ends for half in (False, True)], done, row, fast)


@EVERY
def test_a_power_cut_at_any_moment_leaves_it_whole_or_not_at_all(work: Work, done: Done, fast: Path) -> None:
    disk, chance = done.tap.disk, random.Random(20261124)
    row = table.row(work.name, "power cut", len(done.tap.steps))
    ends = [end for end, change in enumerate(disk.log) if change.kind == "sync"] + [len(disk.log)]
    check([state for end in ends for state in disk.cut_before(end, chance, 10)], done, row, fast)


NAMES: dict[Kind, str] = {
    "ENOSPC": "no space, once",
    "EIO": "error",
    "short": "short write",
    "full": "full disk",
    "inodes": "no inodes",
    "fsync": "sync fails",
}


@EVERY
@pytest.mark.parametrize("fault", NAMES)
def test_an_operation_that_fails_is_told_and_leaves_nothing(
    work: Work, done: Done, fault: Kind, fast: Path
) -> None:
    row = table.row(work.name, NAMES[fault], len(done.tap.steps))
    reached = [at for at, step in enumerate(done.tap.steps, 1) if step.name in REACHES[fault]]
    for at in share(reached, 12):
        root, told = copy(done.before, fast / "host"), False
        with tapped(root, fault, at, nameless=work.nameless) as tap:
            try:
                work.verb(root)
            except UnfitInputError:
                told = True
        row.runs += 1
        where = f"{fault} at {at}, {tap.steps[at - 1]}"
        if not told and (fault != "full" or snapshot(root) == snapshot(done.before)):
            row.broken.append(f"{where}: says that all is well")
        row.broken += [f"{where}: {each}" for each in work.wrong(root, done)]
        shutil.rmtree(root)
    assert row.broken == []
