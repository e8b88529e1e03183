"""`--work-dir`: what is refused as one, and what a small main disk gains by it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, UsageError, WaybillError
from installer.core.format.manifest import BLOBS, Deployment
from installer.host.disk_space import sum_demands
from installer.host.system import System
from installer.planning.method_selection import blobs_apart
from installer.staging.stage import demands
from installer.staging.work_dir import make_area, remove_area, work_dir
from tests.rig import bundlebuild as build
from tests.rig.faulty import FaultySystem
from tests.rig.imagebuild import Built, layer
from tests.rig.imageplan import section
from tests.rig.manifests import IMAGE
from tests.rig.releases import Notes, ReleaseSpec
from tests.rig.staging import LAYOUT, STAGING, opened, plan, run, tree

NOBODY = 65534
LAYER = layer("large", 5_930_000)
IMAGES = section([Built("shop/large:1", [LAYER])])
BIG = plan({**build.FILES, **IMAGES.files}, of=IMAGES)


def world_writable(root: Path) -> None:
    (root / "data").chmod(0o777)


def group_writable(root: Path) -> None:
    (root / "data").chmod(0o775)
    os.chown(root / "data", 0, 50)


def below_one_of_others(root: Path) -> None:
    (root / "data/mine").mkdir()
    os.chown(root / "data", NOBODY, NOBODY)


REFUSED: dict[str, tuple[Callable[[Path], None], str, type[WaybillError], str]] = {
    "missing": (lambda root: None, "nowhere", UsageError, "is not a directory"),
    "a file": (lambda root: (root / "file").touch(), "file", UsageError, "is not a directory"),
    "outside": (lambda root: None, "..", UsageError, "is outside the directory of --root"),
    "world-writable": (world_writable, "data", HostNotReadyError, r"writable by other users \(mode 0777\)"),
    "group-writable": (group_writable, "data", HostNotReadyError, r"writable by other users \(mode 0775\)"),
    "of somebody": (lambda root: os.chown(root / "data", NOBODY, 0), "data", HostNotReadyError, "user 65534"),
    "below": (below_one_of_others, "data/mine", HostNotReadyError, "/data belongs to user 65534"),
    "our state": (
        lambda root: (root / "var/lib/waybill/x").mkdir(parents=True),
        "var/lib/waybill/x", UsageError, "contains the state of Waybill",
    ),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    (root / "data").mkdir(parents=True, mode=0o755)
    return root


@pytest.mark.needs("root")
@pytest.mark.parametrize("fault", REFUSED)
def test_a_directory_that_others_could_change_is_refused(fault: str, root: Path) -> None:
    spoil, name, error, what = REFUSED[fault]
    spoil(root)
    with pytest.raises(error, match=what) as raised:
        work_dir(System(root), LAYOUT, root / name)
    assert raised.value.hint


@pytest.mark.needs("root")
def test_a_read_only_work_directory_is_refused_and_noexec_does_no_harm(root: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "none", root / "data"], check=True)
    try:
        assert work_dir(System(root), LAYOUT, root / "data") == "/data"
        subprocess.run(["mount", "-o", "remount,ro", root / "data"], check=True)
        with pytest.raises(HostNotReadyError, match="is mounted read-only"):
            work_dir(System(root), LAYOUT, root / "data")
    finally:
        subprocess.run(["umount", root / "data"], check=True)


def test_a_shared_directory_with_the_sticky_bit_will_do_and_links_are_followed(root: Path) -> None:
    (root / "data").chmod(0o1777)
    (root / "link").symlink_to("data")
    assert work_dir(System(root), LAYOUT, root / "link") == "/data"
    area = make_area(System(root), LAYOUT, "a" * 64, "/data")
    assert (root / area[1:]).stat().st_mode & 0o777 == 0o700
    assert make_area(System(root), LAYOUT, "a" * 64, "/data") == area


def test_an_area_is_written_down_before_it_is_made(root: Path) -> None:
    system = FaultySystem(root)
    make_area(system, LAYOUT, "a" * 64, "/data")
    names = [line.split()[0] for line in system.trace]
    assert names.index("symlink") < names.index("fsync", names.index("symlink")) < len(names) - 1
    assert names[-1] == "mkdir"


def test_an_area_whose_disk_is_away_is_named(root: Path) -> None:
    system, notes = System(root), Notes()
    area = make_area(system, LAYOUT, "a" * 64, "/data")
    (root / area[1:]).rename(root / "away")
    remove_area(system, LAYOUT, LAYOUT.work_link("a" * 64), notes)
    assert f"{area}, the work directory of a bundle, does not exist" in notes.lines[0]
    assert not list((root / STAGING).iterdir())


@pytest.mark.parametrize("target", ["../../data", "data", "/data", "/data/waybill-lan-chat-" + "b" * 12])
def test_a_link_that_names_no_area_is_removed_and_nothing_else(root: Path, target: str) -> None:
    system, notes = System(root), Notes()
    (root / "data/keep").write_text("x")
    area = make_area(system, LAYOUT, "a" * 64, "/data")
    link = root / LAYOUT.work_link("a" * 64)[1:]
    link.unlink()
    link.symlink_to(target)
    remove_area(system, LAYOUT, LAYOUT.work_link("a" * 64), notes)
    assert f"{target}, the work directory of a bundle, was not created by Waybill" in notes.lines[0]
    assert (root / "data/keep").read_text() == "x"
    assert (root / area[1:]).is_dir()
    assert not list((root / STAGING).iterdir())


@pytest.fixture
def small(root: Path) -> Iterator[Path]:
    """A host whose disk for the state has 4 MiB."""
    state = root / "var/lib/waybill"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "none", state], check=True)
    (state / "ballast").write_bytes(bytes(16 << 20))
    yield root
    subprocess.run(["umount", state], check=True)


@pytest.mark.needs("root")
def test_a_release_fits_with_a_work_directory_that_does_not_fit_without(small: Path) -> None:
    system, tar = System(small), BIG.tar()
    with pytest.raises(HostNotReadyError) as raised:
        run(system, build.BytesMedium(tar))
    (problem,) = raised.value.problems
    assert problem.where == f"/{STAGING}/{opened(build.BytesMedium(tar)).bundle.identity[:12]}"
    assert problem.what == "has 8.4 MB free, needs 10.3 MB"
    assert not list((small / STAGING).iterdir())
    staged = run(system, build.BytesMedium(tar), work="/data")
    blobs = {path: data for path, data in IMAGES.files.items() if path.startswith(BLOBS)}
    assert LAYER in blobs.values()
    assert tree(small, staged.area) == blobs
    assert not (small / staged.directory[1:] / BLOBS).exists()
    assert tree(small, staged.directory).keys() >= build.FILES.keys()


@pytest.mark.needs("root")
def test_every_file_system_is_counted_by_itself(small: Path) -> None:
    system = System(small)
    found = sum_demands(system, demands(BIG.manifest, "linux/amd64", LAYOUT.staging, "/data"))
    assert [need.path for need in found] == [LAYOUT.staging, "/data"]
    assert found[0].bytes < len(LAYER) < found[1].bytes
    (one,) = sum_demands(system, demands(BIG.manifest, "linux/amd64", "/data/x", "/data"))
    assert one.bytes > len(LAYER)


def test_blobs_stay_with_the_release_where_no_engine_takes_them() -> None:
    spec = ReleaseSpec("1.0.0", 1, {}, deploy=(Deployment("compose", {}),), extra={"images": (IMAGE,)})
    none = frozenset[str]()

    def apart(
        live: bool,
        only: frozenset[str] = none,
        skip: frozenset[str] = none,
        registry: bool = False,
        spec: ReleaseSpec = spec,
    ) -> bool:
        return blobs_apart(spec.manifest(), live=live, only=only, skip=skip, running=none, registry=registry)

    assert apart(live=True)
    assert not apart(live=False)
    assert apart(live=False, only=frozenset({"compose"}))
    assert apart(live=True, skip=frozenset({"images"}))
    # Compose takes them from the engine. Without it they go to the registry, which may lose them.
    assert apart(live=True, registry=True)
    assert not apart(live=True, registry=True, spec=replace(spec, deploy=()))
