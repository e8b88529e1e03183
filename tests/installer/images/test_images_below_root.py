"""Images below `--root`: in the engine if a method needs them there, else in the release; and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.core.format import manifest_json
from installer.core.format.checksums import sum_lines
from installer.core.format.manifest import FileEntry
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.host.layout import Layout, release_name
from installer.host.system import System
from installer.images.method import HANDLERS, METHOD
from installer.images.operations import private_name
from installer.images.prune import sweep
from installer.shared.progress import Progress
from installer.state.state import Entry, State, load, save
from installer.transaction.execute import Change, execute
from tests.rig.faulty import snapshot
from tests.rig.imagerelease import ReleaseDirectory
from tests.rig.imagesite import Site

pytestmark = pytest.mark.parametrize("every_engine", ["20", "28-containerd"], indirect=True)


class Root:
    """A product below a root, and the engine of this machine."""

    def __init__(self, site: Site) -> None:
        self.site, self.root, self.product = site, site.tmp / "host", site.name
        self.context = Context(System(self.root), Layout(self.product), Progress(), "t1")
        (self.root / "var/lib/waybill" / self.product).mkdir(parents=True)

    def target(self, sequence: int, *, engine: bool) -> Target:
        directory = f"/var/lib/waybill/{self.product}/release-{sequence}"
        release = ReleaseDirectory(Path(f"{self.root}{directory}"))
        release.image(f"{self.product}/app:{sequence}", ["base", f"layer {sequence}"])
        target = release.target(sequence, directory)
        return replace(target, options={"engine": engine})

    def apply(self, old: Target | None, new: Target | None) -> list[tuple[Op, Json]]:
        done = []
        for op in METHOD.operations(self.context, old, new):
            preimage = json.loads(json.dumps(HANDLERS[op.kind].observe(self.context, op.args)))
            done.append((op, preimage))
            HANDLERS[op.kind].do(self.context, op.args, preimage)
        return done

    def undo(self, done: list[tuple[Op, Json]]) -> None:
        for op, preimage in reversed(done):
            HANDLERS[op.kind].undo(self.context, op.args, preimage)

    def finish(self, done: list[tuple[Op, Json]]) -> None:
        for op, preimage in done:
            HANDLERS[op.kind].finish(self.context, op.args, preimage)

    def everything(self) -> tuple[object, object]:
        return snapshot(self.root), self.site.everything()


@pytest.fixture
def root(site: Site) -> Root:
    return Root(site)


def test_a_method_that_needs_the_engine_brings_the_images_there(root: Root) -> None:
    target = root.target(1, engine=True)
    assert METHOD.check(root.context, None, target) == []
    [line, _] = METHOD.plan(root.context, None, target)
    assert line.startswith(f"load image {root.product}/app:1")
    root.apply(None, target)
    assert root.site.id(f"{root.product}/app:1")
    assert METHOD.drift(root.context, target) == []
    assert METHOD.operations(root.context, target, target) == []


@pytest.mark.parametrize("engine", [True, False], ids=["engine to release", "release to engine"])
def test_the_other_place_is_undone_exactly(root: Root, engine: bool) -> None:
    old = root.target(1, engine=engine)
    root.finish(root.apply(None, old))
    new = root.target(2, engine=not engine)
    before = root.everything()
    done = root.apply(old, new)
    assert done
    root.undo(done)
    assert root.everything() == before
    root.undo(done)
    assert root.everything() == before


def test_from_the_release_to_the_engine_loads_the_image(root: Root) -> None:
    old, new = root.target(1, engine=False), root.target(2, engine=True)
    root.finish(root.apply(None, old))
    assert METHOD.plan(root.context, old, new)[0].startswith(f"load image {root.product}/app:2")
    root.finish(root.apply(old, new))
    assert root.site.id(f"{root.product}/app:2")


def test_from_the_engine_to_the_release_leaves_no_name_in_the_engine(root: Root) -> None:
    before = root.site.everything()
    old, new = root.target(1, engine=True), root.target(2, engine=False)
    root.finish(root.apply(None, old))
    assert f"remove image {root.product}/app:1" in METHOD.plan(root.context, old, new)
    root.finish(root.apply(old, new))
    assert root.site.everything() == before
    assert METHOD.drift(root.context, new) == []


def test_names_that_a_live_host_keeps_are_not_swept_with_those_of_a_root(root: Root) -> None:
    target = root.target(1, engine=True)
    manifest = target.release.manifest
    [image] = manifest.images
    live = replace(
        target, release=replace(target.release, directory=f"{root.root}{target.release.directory}")
    )
    root.site.apply(None, live)
    root.finish(root.apply(None, target))
    sweep(root.context, [manifest], [])
    assert root.site.id(root.site.kept(image))
    assert root.site.id(image.reference), "the live host's containers are made from this name"
    assert not root.site.id(private_name(root.context, image, "kept"))
    sweep(root.site.context, [manifest], [])
    assert not root.site.id(image.reference)


def test_a_bare_root_never_asks_the_engine(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    target = root.target(1, engine=False)
    assert METHOD.check(root.context, None, target) == []
    root.finish(root.apply(None, target))
    assert METHOD.drift(root.context, target) == []
    root.finish(root.apply(target, None))


class Notes(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def blobs(root: Root, target: Target) -> tuple[FileEntry, ...]:
    folder = Path(f"{root.root}{target.release.directory}/images/blobs/sha256")
    [image] = target.release.manifest.images
    expanded = {layer.digest: layer.expanded for layer in image.layers}
    return tuple(
        FileEntry(
            f"images/blobs/sha256/{path.name}", path.stat().st_size, path.name, 0o644, "image",
            expanded=expanded.get(f"sha256:{path.name}", 0),
        )
        for path in sorted(folder.iterdir())
    )  # fmt: skip


def retained(root: Root, target: Target, methods: tuple[str, ...]) -> Entry:
    """Lays a release down as one that the host keeps; only what it says it is is read of it."""
    manifest = replace(target.release.manifest, expires=2**32, files=blobs(root, target))
    name = release_name(manifest.sequence, target.release.identity)
    directory = Path(f"{root.root}{root.context.layout.release(name)}")
    directory.mkdir(parents=True)
    data = manifest_json.dump(manifest)
    manifest_json.parse(data)
    (directory / "bundle.json").write_bytes(data)
    (directory / "SHA256SUMS").write_bytes(b"".join(sum_lines(manifest.files, sha256_hex(data))))
    return Entry(
        name, manifest.version, manifest.sequence, target.release.identity, sha256_hex(data), "000001", "",
        methods=methods,
    )  # fmt: skip


@pytest.mark.parametrize(
    "methods", [("files", "images"), ("compose", "files", "images")], ids=["bare", "compose"]
)
def test_a_release_that_goes_gives_up_what_it_had_in_the_engine(root: Root, methods: tuple[str, ...]) -> None:
    targets = [root.target(number, engine=True) for number in (1, 2, 3, 4)]
    before = root.site.everything()
    root.finish(root.apply(None, targets[0]))
    loaded = root.site.everything()
    entries = [retained(root, target, methods) for target in targets]
    context = replace(root.context, progress=(notes := Notes()))
    make_directory(context.system, context.layout.transactions)
    state = State(entries[2], (entries[2], entries[1], entries[0]), 3, 3)
    save(context.system, context.layout, state)
    execute(context, Change("apply", "000004", state, entries[3], ()), lambda: ())
    assert load(context.system, context.layout).retained == (
        load(context.system, context.layout).current, entries[2], entries[1],
    )  # fmt: skip
    assert root.site.everything() == (before if "compose" in methods else loaded)
    assert notes.told == []
