"""Images in a real containerd without Docker, as on nodes of Kubernetes: same steps, same promises."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.commands.status import product_status
from installer.core.errors import TamperedError
from installer.core.format.manifest import Image
from installer.deploy.inventory import InventoryItem
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.layout import Layout
from installer.images import engines
from installer.images.docker_socket import EngineError
from installer.images.method import HANDLERS, METHOD
from installer.images.prune import sweep
from installer.images.repair import repair_images
from installer.shared.child import process
from tests.rig.containerd import NAMESPACE, Containerd
from tests.rig.faulty import Killed
from tests.rig.imagerelease import ReleaseDirectory, plain_layer
from tests.rig.imagerelease import release as release_of
from tests.rig.imagesite import Meter, Recorder, Site
from tests.rig.livedir import LiveDir
from tests.rig.releases import context, install, remove, roll_back

T = TypeVar("T")
pytestmark = pytest.mark.needs("containerd")
SERIAL = itertools.count()


class Node(Site):
    """A node whose containerd gets the images of one product."""

    engine: Any

    def id(self, name: str) -> str:
        return str(self.engine.images().get(full(name), ""))

    def wanted(self, image: Image) -> str:
        return image.manifest

    def everything(self) -> set[str]:
        return {f"{digest} {name}" for name, digest in self.engine.images().items()}


def full(name: str) -> str:
    return name if name.startswith("waybill.local/") else f"docker.io/{name}"


@pytest.fixture
def node(containerd: Containerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("DOCKER_HOST", containerd.host)
    system, meter, name = Recorder(), Meter(), f"node{next(SERIAL)}"
    within = Context(system, Layout(name, str(tmp_path / "state")), meter, "t1")
    yield Node(containerd, within, system, meter, tmp_path, name)  # type: ignore[arg-type]
    if left := list(containerd.images()):
        containerd.ctr("images", "rm", "--sync", *left)


def settled(node: Node) -> set[str]:
    """Return all images with their names, without the names that the kubelet's interface gives them."""
    return {line for line in node.everything() if not line.split()[1].startswith("sha256:")}


def test_a_loaded_image_has_the_signed_id_its_names_and_a_pin(node: Node) -> None:
    release = node.release()
    image = release.image(f"{node.name}/app:1", ["a", "b", "a"])
    (line, engine) = METHOD.plan(node.context, None, release.target())
    assert line.startswith(f"load image {node.name}/app:1, ")
    assert engine.startswith(f"engine: {node.engine.host} (containerd 1.")
    assert engine.endswith(f", namespace {NAMESPACE})")
    assert METHOD.check(node.context, None, release.target()) == []
    node.apply(None, release.target())
    assert node.id(image.reference) == node.id(node.kept(image)) == image.manifest
    assert not any(":staged" in line for line in node.everything())
    label = "io.cri-containerd.pinned"
    pinned = node.engine.ctr("images", "ls", "-q", f'labels."{label}"==pinned').stdout.split()
    assert {full(image.reference), node.kept(image)} <= set(pinned)
    # Whoever starts a container unpacks it, with the snapshotter that it uses.
    assert node.engine.ctr("snapshots", "ls").stdout.count("\n") == 1
    with_layers = engines.connect(node.system)
    assert {layer.digest for layer in image.layers} <= with_layers.contents(image.reference)
    assert METHOD.drift(node.context, release.target()) == []
    assert METHOD.plan(node.context, None, release.target()) == []
    assert node.apply(None, release.target()) == []
    assert node.engine.ctr("images", "ls", "-q", namespace="default").stdout == ""


def test_a_list_of_which_only_the_end_is_known_decides_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = node.release()
    image = release.image(f"{node.name}/app:1", ["a"])
    node.apply(None, release.target())
    engine = engines.connect(node.system)
    known = engine.blobs()
    monkeypatch.setattr(process, "OUTPUT_LIMIT", 80)
    with pytest.raises(EngineError, match="the list is longer than 1 MiB") as caught:
        engine.names("")
    assert "crictl rmi --prune" in caught.value.hint
    with pytest.raises(EngineError, match="the list is longer"):
        engine.remove(image.reference)
    # What is not in this list is only sent again.
    assert engine.blobs() < known


def test_only_the_blobs_that_containerd_lacks_are_sent(node: Node) -> None:
    first, second = node.release(), node.release()
    first.image(f"{node.name}/app:1", ["base", "a"])
    two = second.image(f"{node.name}/app:2", ["base", "a", "new"])
    node.apply(None, first.target())
    (line, *_) = METHOD.plan(node.context, first.target(), second.target(2))
    assert line.endswith("; 2 of 3 layers are already in the engine")
    node.meter.total = node.meter.count = 0
    node.apply(first.target(), second.target(2))
    assert node.meter.total == node.meter.count == two.layers[2].size
    assert METHOD.drift(node.context, second.target(2)) == []


def test_a_name_that_somebody_else_moved_is_theirs(node: Node) -> None:
    release = node.release()
    image, other = (release.image(f"{node.name}/{name}:1", [name]) for name in ("app", "other"))
    done = node.apply(None, release.target())
    node.engine.ctr("images", "tag", "--force", full(other.reference), full(image.reference))
    with pytest.raises(ThirdStateError, match="moved by somebody else") as caught:
        node.undo(done[-1:])
    assert f"`ctr -n {NAMESPACE} images tag --force`" in caught.value.hint
    assert node.id(image.reference) == other.manifest


def test_releases_that_go_leave_nothing_but_what_others_have(node: Node) -> None:
    release = node.release()
    image = release.image(f"{node.name}/app:1", ["base", "a"])
    other = release.image(f"{node.name}/theirs:1", ["base", "t"])
    node.apply(None, release.target())
    node.engine.ctr("images", "tag", full(other.reference), "registry.lan/theirs:1")
    manifest = release.target().release.manifest
    sweep(node.context, [manifest], [])
    assert {line.split()[1] for line in settled(node)} == {"registry.lan/theirs:1"}
    # The kubelet's own name of the image is gone, too, and with it the blobs that nothing else needs.
    assert f"{image.manifest} {image.config}" not in node.everything()
    assert not node.engine.blob(image.layers[1].digest).exists()
    assert node.engine.blob(image.layers[0].digest).exists()
    items = [InventoryItem("image", each.reference, each.config, each.manifest) for each in manifest.images]
    rows = {row.name: (row.how, row.what) for row in METHOD.residue(node.context, items)}
    assert rows[image.reference] == ("gone", "")
    assert rows[other.reference] == ("stays", "it has the name registry.lan/theirs:1")


def test_what_a_container_uses_stays_until_it_is_gone_and_a_second_removal_tells_that_it_went(
    node: Node,
) -> None:
    release = node.release()
    image = release.image(f"{node.name}/app:1", ["a"])
    node.apply(None, release.target())
    node.engine.ctr("containers", "create", "--snapshotter", "native", full(image.reference), "user", "true")
    manifest = release.target().release.manifest
    try:
        sweep(node.context, [manifest], [])
        assert node.id(node.kept(image)) == image.manifest
        items = [InventoryItem("image", image.reference, image.config, image.manifest)]
        (row,) = METHOD.residue(node.context, items)
        assert (row.how, row.what) == ("stays", "container user uses it")
        METHOD.remove_residue(node.context, items)
        assert not METHOD.remove_residue(node.context, items)
    finally:
        node.engine.ctr("containers", "rm", "user")
    assert METHOD.remove_residue(node.context, items)
    assert not METHOD.remove_residue(node.context, items)
    assert settled(node) == set()


def test_drift_names_what_is_missing_or_moved_and_a_repair_loads_it_again(node: Node) -> None:
    release = node.release()
    image = release.image(f"{node.name}/app:1", ["a", "b"])
    target = release.target()
    node.apply(None, target)
    node.engine.ctr("images", "rm", full(image.reference))
    assert [each.what for each in METHOD.drift(node.context, target)] == [
        f"points to no image, not to {image.manifest[7:19]}"
    ]
    node.apply(target, target)
    assert METHOD.drift(node.context, target) == []
    # As after a power cut: the size is right, the bytes are not there.
    blob = node.engine.blob(image.layers[1].digest)
    blob.chmod(0o644)
    blob.write_bytes(bytes(image.layers[1].size))
    assert repair_images(node.context, target.release.manifest, str(release.path)) == [image.reference]
    assert blob.read_bytes() == release.file(image.layers[1].digest).read_bytes()
    assert METHOD.drift(node.context, target) == []


def test_a_release_is_installed_upgraded_rolled_back_and_removed(node: Node) -> None:
    own = {number: plain_layer(number) for number in ("base", "1", "2")}
    specs = [
        release_of(
            node.tmp / number, f"{number}.0.0", int(number), {"shop/app:latest": [own["base"], own[number]]}
        )
        for number in ("1", "2")
    ]
    (node.tmp / "host").mkdir()
    host = context(LiveDir(node.tmp / "host"))
    found = []
    for spec in specs:
        install(host, spec)
        found.append(node.engine.images()["docker.io/shop/app:latest"])
        assert product_status(host).drift == ()
    roll_back(host)
    assert node.engine.images()["docker.io/shop/app:latest"] == found[0] != found[1]
    node.engine.ctr("images", "rm", "docker.io/shop/app:latest")
    assert [each.where for each in product_status(host).drift] == ["shop/app:latest"]
    removed = remove(host).removal
    assert removed is not None
    assert (removed.exit_code, removed.counts["image"]) == (0, 2)
    assert node.everything() == set()


def test_a_damaged_release_loads_nothing(node: Node) -> None:
    release = node.release()
    image = release.image(f"{node.name}/app:1", ["a", "b"])
    spoiled = release.file(image.layers[0].digest)
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"!")
    with pytest.raises((TamperedError, StepError)):
        node.apply(None, release.target())
    assert settled(node) == set()


class Dying(Recorder):
    """Dies at one of the commands that change something: after it, or, every second time, before it."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.count = at, 0

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        changes = name == "run" and {"import", "tag", "label", "rm"} & {*args[0]}
        self.count += bool(changes)
        dies = changes and self.count == self.at
        if dies and self.at % 2:
            raise Killed
        result = call()
        if dies:
            raise Killed
        return result


def test_a_kill_at_any_change_is_undone(node: Node) -> None:
    first, second = node.release(), node.release()
    first.image(f"{node.name}/app:latest", ["base", "a"])
    second.image(f"{node.name}/app:latest", ["base", "b"])
    node.apply(None, first.target())
    before = settled(node)
    for at in itertools.count(1):
        dying = Dying(at)
        within = replace(node.context, system=dying)
        done: list[tuple[Op, Json]] = []
        with suppress(Killed):
            for op in METHOD.operations(within, first.target(), second.target(2)):
                done.append((op, json.loads(json.dumps(HANDLERS[op.kind].observe(within, op.args)))))
                HANDLERS[op.kind].do(within, op.args, done[-1][1])
        node.undo(done)
        assert settled(node) == before, f"killed at change {at}"
        # The last time nothing was killed: a failure after the switch is undone, too.
        if dying.count < at:
            break
    # Loaded, kept and pinned, without its name of the load, tagged and pinned.
    assert at == 7


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("containerd:///nowhere.sock", "containerd cannot be reached: No such file"),
        ("containerd://registry.lan/containerd.sock", "is not an address of containerd"),
        ("containerd:///c.sock?name=k8s.io", "is not an address of containerd"),
        ("containerd://[/c.sock", "is not an address of containerd"),
        ("containerd:///c.sock?namespace=../x", "namespace ../x is not a name"),
    ],
)
def test_an_address_that_leads_nowhere_is_named(
    node: Node, monkeypatch: pytest.MonkeyPatch, address: str, what: str
) -> None:
    with pytest.raises(EngineError, match=what) as caught:
        engines.connect(node.system, address)
    assert caught.value.where == address
    assert caught.value.hint
    monkeypatch.setenv("DOCKER_HOST", address)
    release = ReleaseDirectory(node.tmp / "refused")
    release.image("a:1", ["a"])
    assert [each.where for each in METHOD.check(node.context, None, release.target())] == [address]
