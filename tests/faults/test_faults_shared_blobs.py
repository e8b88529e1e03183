"""Blobs that releases share, while things go wrong: every retained release has all of its own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from installer.core.format.manifest import blob_path
from installer.host.system import System
from installer.planning.plan import Options
from installer.shared.progress import Progress
from installer.staging.area import clear
from installer.staging.work_dir import work_dir
from installer.state.releases.damage import all_damage
from tests.faults import stories, table
from tests.faults.conftest import Golden
from tests.faults.invariants import violations
from tests.faults.stories import Story, copy, on
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.imagebuild import Built, digest, layer
from tests.rig.imageplan import Section, section
from tests.rig.releases import Member, Notes, ReleaseSpec
from tests.rig.share import EVERYTHING, share
from tests.rig.staging import LAYOUT, STAGING, Writes, plan, run, tree

BASE = layer("base", 9000)
SHARED = blob_path(digest(BASE))
ONE, TWO, THREE = (section([Built("shop/app:1", [BASE, layer(name)])]) for name in ("one", "two", "three"))


def spec(number: int, images: Section) -> ReleaseSpec:
    """Gives a release of images that stay in its directory."""
    members = {path: Member(data, kind="image") for path, data in images.files.items()}
    manifest = {"images": tuple(images.images)}
    return ReleaseSpec(f"1.{number}.0", number, members, platforms=("linux/amd64",), extra=manifest)


SPECS = [spec(number, images) for number, images in enumerate((ONE, TWO, THREE), 1)]
KEPT = Options(keep=2)
STORIES = [
    Story("upgrade with shared blobs", "one", lambda within: stories.install(within, SPECS[1]), "1.2.0"),
    Story(
        "upgrade and prune of shared blobs",
        "two",
        lambda within: stories.install(within, SPECS[2], KEPT),
        "1.3.0",
    ),
    Story("rollback with shared blobs", "two", stories.back, "1.1.0"),
    Story("remove with shared blobs", "two", stories.remove, ""),
]
EVERY = pytest.mark.parametrize("story", STORIES, ids=str)


def names(root: Path) -> list[Path]:
    """The names of the shared blob, in all releases."""
    return sorted(root.glob(f"var/lib/waybill/lan-chat/releases/*/{SHARED}"))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Hosts with one release, and with two."""
    base, made = tmp_path_factory.mktemp("worlds"), dict[str, Path]()

    def give(name: str) -> Path:
        if name not in made:
            stories.make_world(base / name, "empty")
            for each in SPECS[: 1 if name == "one" else 2]:
                stories.install(on(base / name), each)
            made[name] = base / name
        return made[name]

    return give


def test_releases_share_what_they_both_have(worlds: Callable[[str], Path]) -> None:
    first, second = names(worlds("two"))
    assert first.stat().st_ino == second.stat().st_ino


@EVERY
@pytest.mark.parametrize("fault", ["kill", "power cut"])
def test_every_retained_release_has_its_blobs_whatever_goes_wrong(
    story: Story, fault: str, golden: Callable[[Story], Golden], fast: Path
) -> None:
    trace = golden(story)
    row = table.row(story.name, fault, len(trace.tap.steps))
    disk = trace.tap.disk
    states = disk.kills() if fault == "kill" else disk.cuts(40 if EVERYTHING else 1)
    for end, state in share(list(states), 18):
        state.write(fast / "host")
        row.runs += 1
        found = violations(fast / "host", trace.ends, boot="1" if fault == "kill" else "2")
        row.broken += [f"{fault} at {end}: {each}" for each in found]
        shutil.rmtree(fast / "host")
    assert row.broken == []


def test_a_damaged_shared_blob_is_damage_of_every_release_that_has_it(
    worlds: Callable[[str], Path], fast: Path
) -> None:
    root = fast / "host"
    shutil.copytree(worlds("one"), root, symlinks=True)
    for each in SPECS[1:]:
        stories.install(on(root), each)
    assert len({path.stat().st_ino for path in names(root)}) == 1
    data = names(root)[0].read_bytes()
    names(root)[0].write_bytes(data[::-1])
    found = all_damage(on(root).system, LAYOUT, stories.state(root).retained, Progress(), digests=True)
    assert [each.entry.version for each in found] == ["1.3.0", "1.2.0", "1.1.0"]
    assert all(len(each.changed) == 1 and each.changed[0].endswith(SHARED) for each in found)


def test_an_old_release_that_goes_leaves_the_blobs_of_the_others(
    worlds: Callable[[str], Path], fast: Path
) -> None:
    root = copy(worlds("one"), fast / "host")
    stories.install(on(root), SPECS[1])
    stories.install(on(root), SPECS[2], Options(keep=1))
    (left,) = names(root)
    assert left.stat().st_nlink == 1
    assert left.read_bytes() == BASE


@pytest.mark.parametrize("fault", ["kill before", "kill after"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one place", "with a work directory"])
def test_staging_goes_on_wherever_it_was_killed_and_shares_again(
    fault: str, apart: bool, tmp_path: Path
) -> None:
    old, new = (plan({**build.FILES, **each.files}, "1.4.0", each) for each in (ONE, TWO))
    medium = BytesMedium(new.tar())

    def start(name: str) -> tuple[Path, Path, str]:
        root = tmp_path / name
        (root / "data").mkdir(parents=True, mode=0o755)
        staged = run(System(root), BytesMedium(old.tar()))
        retained = root / LAYOUT.release(f"1-{staged.identity[:12]}")[1:]
        retained.parent.mkdir()
        (root / staged.directory[1:]).rename(retained)
        return root, retained, work_dir(System(root), LAYOUT, root / "data") if apart else ""

    golden, _, work = start("golden")
    counting = FaultySystem(golden)
    run(counting, medium, work=work)
    for at in share(range(1, len(counting.trace) + 1), 25):
        root, retained, work = start(f"{at}")
        before = snapshot(retained)
        with suppress(Killed):
            run(FaultySystem(root, at, fault), medium, work=work)
        assert snapshot(retained) == before, at
        writing = Writes(root)
        staged = run(writing, medium, work=work)
        place = root / (staged.area or staged.directory)[1:]
        found = {**tree(root, staged.directory), **tree(place, "/")}
        assert {path: found[path] for path in TWO.files} == TWO.files, at
        assert (place / SHARED).stat().st_ino == (retained / SHARED).stat().st_ino, at
        assert hashlib.sha256(BASE).digest() not in {
            hashlib.sha256(each).digest() for each in writing.written
        }
        clear(System(root), LAYOUT, Notes())
        assert not list((root / STAGING).iterdir())
        assert not list((root / "data").iterdir())
        shutil.rmtree(root)
