"""Images below `--root` without an engine: they stay in the release, and the old store is removed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from installer.core.format.manifest import blob_path
from installer.deploy.method import Target
from installer.deploy.method_registry import handler
from installer.deploy.operation import Json, Op
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.images.method import METHOD
from installer.shared.progress import Progress
from tests.rig.faulty import snapshot
from tests.rig.imagerelease import ReleaseDirectory

BASE = "var/lib/waybill/shop"


@dataclass
class Site:
    root: Path
    context: Context

    @property
    def store(self) -> Path:
        return self.root / BASE / "images"

    def release(self, number: int) -> ReleaseDirectory:
        path = self.root / f"{BASE}/releases/{number}"
        path.mkdir(parents=True)
        return ReleaseDirectory(path)

    def target(self, number: int, release: ReleaseDirectory) -> Target:
        return release.target(number, f"/{BASE}/releases/{number}")

    def make_store(self) -> None:
        """Make what version 0.9 left below `--root`."""
        blobs = self.store / "blobs/sha256"
        blobs.mkdir(parents=True)
        (blobs / ("0" * 64)).write_bytes(b"blob")
        (self.store / "index.json").write_text("{}")
        (self.store / "oci-layout").write_text("{}")

    def begin(self, old: Target | None, new: Target | None) -> list[tuple[Op, Json]]:
        done = []
        for op in METHOD.operations(self.context, old, new):
            preimage = json.loads(json.dumps(handler(op.kind).observe(self.context, op.args)))
            done.append((op, preimage))
            handler(op.kind).do(self.context, op.args, preimage)
        return done


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / BASE).mkdir(parents=True)
    return Site(tmp_path, Context(System(tmp_path), Layout("shop"), Progress(), "t1"))


@pytest.fixture
def target(site: Site) -> Target:
    release = site.release(1)
    release.image("shop/app:1", [bytes(3_000_000)], "tar")
    return site.target(1, release)


def test_the_plan_says_that_an_image_is_not_loaded(site: Site, target: Target) -> None:
    [line] = METHOD.plan(site.context, None, target)
    assert line == "store image shop/app:1, 3.0 MB, in the release without loading it"
    assert METHOD.plan(site.context, target, target) == []
    assert METHOD.plan(site.context, target, None) == []


def test_the_plan_counts_a_layer_of_several_images_once(site: Site) -> None:
    release = site.release(1)
    release.image("shop/app:1", [bytes(3_000_000), bytes(20_000)], "tar")
    release.image("shop/job:1", [bytes(3_000_000), bytes(5_000)], "tar")
    release.image("shop/also:1", [bytes(5_000)], "tar")
    assert METHOD.plan(site.context, None, site.target(1, release)) == [
        "store image shop/app:1, 3.0 MB, in the release without loading it",
        "store image shop/job:1, 5.0 kB, in the release without loading it; 1 of 2 layers are stored already",
        "store image shop/also:1 in the release without loading it; all its layers are stored already",
    ]


def test_the_plan_counts_a_layer_of_a_retained_release_as_stored(site: Site, target: Target) -> None:
    release = site.release(2)
    image = release.image("shop/app:2", [bytes(3_000_000), bytes(20_000)], "tar")
    new = site.target(2, release)
    shared = frozenset({blob_path(image.layers[0].digest)})
    new = replace(new, release=replace(new.release, shared=shared))
    [line] = METHOD.plan(site.context, target, new)
    assert line == (
        "store image shop/app:2, 20.0 kB, in the release without loading it; 1 of 2 layers are stored already"
    )


def test_nothing_is_done_outside_of_the_release(site: Site, target: Target) -> None:
    assert METHOD.operations(site.context, None, target) == []
    assert METHOD.operations(site.context, target, None) == []


def test_a_blob_that_is_gone_is_drift(site: Site, target: Target) -> None:
    assert METHOD.drift(site.context, target) == []
    [image] = target.release.manifest.images
    ReleaseDirectory(site.root / f"{BASE}/releases/1").file(image.config).unlink()
    [problem] = METHOD.drift(site.context, target)
    assert (problem.where, problem.what) == ("shop/app:1", "is incomplete in the directory of the release")


def test_a_truncated_layer_is_drift(site: Site, target: Target) -> None:
    [image] = target.release.manifest.images
    file = ReleaseDirectory(site.root / f"{BASE}/releases/1").file(image.layers[0].digest)
    file.write_bytes(file.read_bytes()[:-1])
    [problem] = METHOD.drift(site.context, target)
    assert (problem.where, problem.what) == ("shop/app:1", "is incomplete in the directory of the release")


def test_an_image_for_another_platform_is_a_problem(site: Site) -> None:
    release = site.release(1)
    release.image("shop/app:1", ["a"], platform="linux/riscv64")
    [problem] = METHOD.check(site.context, None, site.target(1, release))
    assert problem.where == "shop/app:1"


# -- the store of earlier versions -------------------------------------------------------------------


@pytest.mark.parametrize("change", ["upgrade", "removal"])
def test_the_next_transaction_removes_it(site: Site, target: Target, change: str) -> None:
    site.make_store()
    (done,) = site.begin(target, target if change == "upgrade" else None)
    assert site.store.is_dir(), "until COMMIT an earlier version may still need it"
    handler(done[0].kind).finish(site.context, done[0].args, done[1])
    assert not site.store.exists()
    handler(done[0].kind).finish(site.context, done[0].args, done[1])


def test_undoing_that_leaves_it(site: Site, target: Target) -> None:
    site.make_store()
    before = snapshot(site.root)
    ((op, preimage),) = site.begin(target, target)
    handler(op.kind).undo(site.context, op.args, preimage)
    assert snapshot(site.root) == before


@pytest.mark.parametrize(("index", "stays"), [("absent", False), ('{"manifests":[]}', True)])
def test_an_operation_of_an_earlier_version_is_undone(site: Site, index: str, stays: bool) -> None:
    site.make_store()
    args = {"images": [{"reference": "shop/app:1"}], "release": f"/{BASE}/releases/1"}
    for _ in range(2):
        handler("image.store").undo(site.context, args, {"index": index})
        assert site.store.exists() == stays


def test_a_committed_operation_of_an_earlier_version_is_ended(site: Site) -> None:
    site.make_store()
    args = {"images": [{"reference": "shop/app:1"}], "release": f"/{BASE}/releases/1"}
    for _ in range(2):
        handler("image.store").finish(site.context, args, {"index": "absent"})
        assert not site.store.exists()
