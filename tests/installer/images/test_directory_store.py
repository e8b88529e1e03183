"""Images below `--root`: the embedded store."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.core.errors import TamperedError
from installer.core.format.manifest import Image
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.images.method import HANDLERS, METHOD
from installer.shared.progress import Progress
from tests.rig.imagerelease import ReleaseDirectory, packed, plain_layer

T = TypeVar("T")
Journal = list[tuple[Op, Json]]


class PowerCutError(BaseException):
    """The process ends here."""


class Fragile(System):
    """A directory as host, that can break at each effect."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.count, self.at, self.error = 0, -1, None
        self.after = False

    at: int
    error: BaseException | None

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        self.count += 1
        if self.error is not None and self.count == self.at and not self.after:
            raise self.error
        result = call()
        if self.error is not None and self.count == self.at:
            raise self.error
        return result


@dataclass
class Directory:
    root: Path
    system: Fragile
    context: Context

    @property
    def store(self) -> Path:
        return self.root / "var/lib/waybill/shop/images"

    def release(self, number: int) -> ReleaseDirectory:
        path = self.root / f"var/lib/waybill/shop/releases/{number}"
        path.mkdir(parents=True)
        return ReleaseDirectory(path)

    def target(self, number: int, release: ReleaseDirectory) -> Target:
        return release.target(number, f"/var/lib/waybill/shop/releases/{number}")

    def begin(self, old: Target | None, new: Target | None, journal: Journal) -> None:
        for op in METHOD.operations(self.context, old, new):
            preimage = HANDLERS[op.kind].observe(self.context, op.args)
            journal.append(
                (Op.from_json(json.loads(json.dumps(op.as_json()))), json.loads(json.dumps(preimage)))
            )
            HANDLERS[op.kind].do(self.context, op.args, preimage)

    def undo(self, journal: Journal) -> None:
        for op, preimage in reversed(journal):
            HANDLERS[op.kind].undo(self.context, op.args, preimage)

    def finish(self, journal: Journal) -> None:
        for op, preimage in journal:
            HANDLERS[op.kind].finish(self.context, op.args, preimage)  # type: ignore[attr-defined]

    def apply(self, old: Target | None, new: Target | None) -> Journal:
        journal: Journal = []
        self.begin(old, new, journal)
        self.finish(journal)
        return journal

    def tree(self) -> dict[str, bytes]:
        files = (path for path in self.store.rglob("*") if path.is_file())
        return {str(path.relative_to(self.store)): path.read_bytes() for path in files}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    (tmp_path / "var/lib/waybill/shop").mkdir(parents=True)
    system = Fragile(tmp_path)
    return Directory(tmp_path, system, Context(system, Layout("shop"), Progress(), "t1"))


def blobs(*images: Image) -> set[str]:
    digests = {d for i in images for d in (i.config, i.manifest, *(layer.digest for layer in i.layers))}
    return {f"blobs/sha256/{digest[7:]}" for digest in digests}


def test_the_store_is_an_oci_layout_of_exactly_the_releases_images(directory: Directory) -> None:
    release = directory.release(1)
    images = [release.image("shop/app:1", ["base", "a"]), release.image("redis:7", ["base", "b"], "gzip")]
    directory.apply(None, directory.target(1, release))
    assert set(directory.tree()) == blobs(*images) | {"index.json", "oci-layout"}
    index = json.loads(directory.tree()["index.json"])
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    assert names == ["shop/app:1", "redis:7"]
    assert json.loads(directory.tree()["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_its_blobs_take_no_room_of_their_own(directory: Directory) -> None:
    release = directory.release(1)
    image = release.image("shop/app:1", ["a"])
    directory.apply(None, directory.target(1, release))
    layer = image.layers[0].digest
    assert (directory.store / "blobs/sha256" / layer[7:]).samefile(release.file(layer))


def test_where_links_are_impossible_blobs_are_copied(directory: Directory) -> None:
    release = directory.release(1)
    release.image("shop/app:1", ["a"])

    def no_links(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "no")

    directory.system.link = no_links  # type: ignore[method-assign]
    directory.apply(None, directory.target(1, release))
    assert len(directory.tree()) == 5


def test_an_upgrade_drops_what_no_image_needs_only_after_commit(directory: Directory) -> None:
    first, second = directory.release(1), directory.release(2)
    one = first.image("shop/app:1", ["base", "a"])
    two = second.image("shop/app:2", ["base", "b"])
    old, new = directory.target(1, first), directory.target(2, second)
    directory.apply(None, old)
    journal: Journal = []
    directory.begin(old, new, journal)
    assert blobs(one, two) <= set(directory.tree())
    directory.finish(journal)
    assert set(directory.tree()) == blobs(two) | {"index.json", "oci-layout"}


def test_nothing_new_is_nothing_to_do(directory: Directory) -> None:
    release = directory.release(1)
    release.image("shop/app:1", ["a"])
    target = directory.target(1, release)
    directory.apply(None, target)
    assert METHOD.operations(directory.context, target, target) == []
    assert METHOD.plan(directory.context, target, target) == []


def test_a_blob_that_is_gone_is_drift_and_comes_back(directory: Directory) -> None:
    release = directory.release(1)
    image = release.image("shop/app:1", ["a"])
    target = directory.target(1, release)
    directory.apply(None, target)
    assert METHOD.drift(directory.context, target) == []
    (directory.store / "blobs/sha256" / image.config[7:]).unlink()
    [problem] = METHOD.drift(directory.context, target)
    assert problem.where == "shop/app:1"
    directory.apply(target, target)
    assert METHOD.drift(directory.context, target) == []


def test_removing_the_product_removes_the_store(directory: Directory) -> None:
    release = directory.release(1)
    release.image("shop/app:1", ["a"])
    target = directory.target(1, release)
    directory.apply(None, target)
    assert METHOD.plan(directory.context, target, None) == [
        "remove the image store /var/lib/waybill/shop/images"
    ]
    directory.apply(target, None)
    assert not directory.store.exists()


def test_a_changed_manifest_in_the_release_is_refused(directory: Directory) -> None:
    release = directory.release(1)
    image = release.image("shop/app:1", ["a"])
    release.file(image.manifest).write_bytes(b"{}")
    journal: Journal = []
    with pytest.raises(TamperedError):
        directory.begin(None, directory.target(1, release), journal)
    directory.undo(journal)
    assert not directory.store.exists()


def test_a_blob_cut_short_in_the_store_is_replaced(directory: Directory) -> None:
    first, second = directory.release(1), directory.release(2)
    one = first.image("shop/app:1", ["base"])
    second.image("shop/app:2", ["base", "b"])
    directory.apply(None, directory.target(1, first))
    layer = directory.store / "blobs/sha256" / one.layers[0].digest[7:]
    layer.unlink()
    layer.write_bytes(b"short")
    directory.apply(directory.target(1, first), directory.target(2, second))
    assert layer.read_bytes() == packed(plain_layer("base"), "zstd")


def test_an_image_for_another_platform_is_a_problem(directory: Directory) -> None:
    release = directory.release(1)
    release.image("shop/app:1", ["a"], platform="linux/riscv64")
    [problem] = METHOD.check(directory.context, None, directory.target(1, release))
    assert problem.where == "shop/app:1"


def test_the_plan_names_image_and_size(directory: Directory) -> None:
    release = directory.release(1)
    release.image("shop/app:1", [bytes(3_000_000)], "tar")
    [line] = METHOD.plan(directory.context, None, directory.target(1, release))
    assert line == "store image shop/app:1, 3.0 MB, in /var/lib/waybill/shop/images"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fault", ["kill", "no space"])
@pytest.mark.parametrize("change", ["first", "upgrade", "remove"])
def test_a_fault_at_each_effect_is_undone(tmp_path: Path, change: str, fault: str, after: bool) -> None:
    """Breaks each effect in turn, then undoes from the journal alone, then does it for good."""
    at = 0
    while True:
        at += 1
        root = tmp_path / str(at)
        (root / "var/lib/waybill/shop").mkdir(parents=True)
        system = Fragile(root)
        directory = Directory(root, system, Context(system, Layout("shop"), Progress(), "t1"))
        first, second = directory.release(1), directory.release(2)
        first.image("shop/app:1", ["base", "a"])
        second.image("shop/app:2", ["base", "b"])
        one, two = directory.target(1, first), directory.target(2, second)
        old, new = {"first": (None, one), "upgrade": (one, two), "remove": (one, None)}[change]
        if old is not None:
            directory.apply(None, old)
        before, journal = directory.tree(), []
        error = PowerCutError() if fault == "kill" else OSError(errno.ENOSPC, "no space left")
        system.count, system.at, system.error, system.after = 0, at, error, after
        try:
            directory.begin(old, new, journal)
        except (PowerCutError, OSError):
            system.error = None
            directory.undo(journal)
            assert directory.tree() == before
            directory.undo(journal)
            assert directory.tree() == before
        else:
            assert at > 1
            break
        directory.apply(old, new)
        directory.undo([])
