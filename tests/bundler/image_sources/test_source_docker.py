"""Images come from running engines of every kind, and what the engine lacks is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bundler.image_sources.base import ImageEntry
from bundler.image_sources.docker import EngineSource, _batches, _Inspected
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image
from installer.core.oci import documents
from installer.core.oci.layout import LAYOUT, make_docker_manifest, make_index
from tests.rig.engine import Engine
from tests.rig.httpservers import Page, breaking, serving
from tests.rig.imagebuild import BLOBS, Built, layer, saved_old, tar
from tests.rig.imagesite import Meter
from tests.rig.lyingregistry import push
from tests.rig.memorysink import MemorySink
from tests.rig.product import Product
from tests.rig.registry import Registry
from tests.rig.registryimages import AMD

AMD64 = ("linux/amd64",)
BASE, APP, TOOLS = layer("base", 40_000), layer("app"), layer("tools")
PARENT = Built("waybill-test/parent:1", [BASE, APP])
CHILD = Built("waybill-test/child:1", [BASE, APP, TOOLS])
OTHER = Built("waybill-test/other:1", [BASE, TOOLS])
ALL = (PARENT, CHILD, OTHER)


def wanted(reference: str, name: str = "", line: int = 0) -> ImageEntry:
    return ImageEntry(EngineSource, reference, line=line, name=name)


NAMES = [wanted(each.tag) for each in ALL]


def load(engine: Engine, data: bytes) -> None:
    engine.client.images.load(data)


@pytest.fixture
def engine(every_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each kind of engine, with the images of these tests."""
    monkeypatch.setenv("DOCKER_HOST", every_engine.host)
    load(every_engine, tar(saved_old(ALL)))
    return every_engine


def pack(source: EngineSource, compression: str = "zstd") -> tuple[list[Image], MemorySink]:
    sink = MemorySink(compression)  # type: ignore[arg-type]
    resolved = source.resolve()
    images = source.pack(sink)
    for before, after in zip(resolved, images, strict=True):
        assert (before.reference, before.platform) == (after.reference, after.platform)
        assert before.payload >= sum(each.expanded for each in after.layers)
    assert sum(each.blobs for each in resolved) >= len(sink.blobs)
    return images, sink


def test_every_engine_gives_the_same_images(engine: Engine) -> None:
    images, sink = pack(EngineSource(NAMES, AMD64))
    assert [image.reference for image in images] == [each.tag for each in ALL]
    assert [sink.blobs[image.config] for image in images] == [each.config for each in ALL]
    for image, built in zip(images, ALL, strict=True):
        made = documents.make_manifest(image.config, len(built.config), image.layers)
        assert sink.blobs[image.manifest] == made
    assert len([digest for digest in sink.blobs if digest in {each.digest for each in sink.layers}]) == 3


def test_layers_come_in_the_same_order_each_time(engine: Engine) -> None:
    orders = {tuple(layer.digest for layer in pack(EngineSource(NAMES, AMD64))[1].layers) for _ in range(4)}
    assert len(orders) == 1


def test_what_was_packed_loads_again(engine: Engine) -> None:
    images, sink = pack(EngineSource(NAMES, AMD64), "none")
    files = {BLOBS + name[7:]: data for name, data in sink.blobs.items()}
    files["index.json"] = make_index(images, sink.blobs)
    files["manifest.json"] = make_docker_manifest(images)
    files["oci-layout"] = LAYOUT
    for image in images:
        engine.client.images.remove(image.reference, force=True)
    load(engine, tar(files))
    for image in images:
        assert engine.client.images.get(image.reference).id in (image.config, image.manifest)


def test_everything_that_the_engine_lacks_is_named_at_once(engine: Engine) -> None:
    source = EngineSource([wanted("waybill-test/child:2", line=7), wanted("nosuch:1")], AMD64)
    with pytest.raises(UnfitInputError) as raised:
        source.resolve()
    first, second = raised.value.problems
    assert (first.where, second.where) == ("bundle.yaml:7", "nosuch:1")
    assert "it has waybill-test/child:1" in first.what
    assert "`docker pull nosuch:1`" in second.hint


def test_an_image_for_another_platform_is_named(engine: Engine) -> None:
    with pytest.raises(UnfitInputError, match="is for linux/amd64, not for linux/arm64") as raised:
        EngineSource([wanted(CHILD.tag)], ("linux/arm64",)).resolve()
    assert "--platform linux/arm64" in raised.value.hint


def test_an_id_is_no_name(engine: Engine) -> None:
    short = engine.client.images.get(CHILD.tag).id.removeprefix("sha256:")[:12]
    with pytest.raises(UnfitInputError, match="not a name and tag"):
        EngineSource([wanted(short)], AMD64).resolve()
    assert pack(EngineSource([wanted(short, "chat:1")], AMD64))[0][0].reference == "chat:1"


def test_an_image_that_was_pulled_is_taken_by_its_digest(engine: Engine, registry: Registry) -> None:
    push(registry, "pinned/chat", AMD)
    name = f"{registry.name}/pinned/chat:1"
    engine.docker("pull", name)
    found = engine.docker("inspect", "--format", "{{index .RepoDigests 0}}", name).stdout
    digest = found.decode().strip().partition("@")[2]
    source = EngineSource([wanted(f"{name}@{digest}")], AMD64)
    (resolved,) = source.resolve()
    assert digest in resolved.digests
    (image,), _ = pack(source)
    assert image.reference == name
    with pytest.raises(UnfitInputError) as caught:
        EngineSource([wanted(f"{name}@sha256:{'a' * 64}")], AMD64).resolve()
    assert "the Docker engine has no image" in str(caught.value.problems or caught.value)


def test_an_image_that_changes_in_between_is_noticed(engine: Engine) -> None:
    load(engine, tar(saved_old([Built("waybill-test/moving:1", [BASE])])))
    source = EngineSource([wanted("waybill-test/moving:1")], AMD64)
    source.resolve()
    load(engine, tar(saved_old([Built("waybill-test/moving:1", [TOOLS])])))
    with pytest.raises(UnfitInputError, match="changed in the engine"):
        source.pack(MemorySink())


def test_an_image_that_goes_in_between_is_named(engine: Engine) -> None:
    load(engine, tar(saved_old([Built("waybill-test/going:1", [BASE])])))
    source = EngineSource([wanted("waybill-test/going:1")], AMD64)
    source.resolve()
    engine.client.images.remove("waybill-test/going:1", force=True)
    with pytest.raises(UnfitInputError, match="cannot save"):
        source.pack(MemorySink())


def test_a_compressed_image_of_containerd_keeps_its_bytes(
    docker28_containerd: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker28_containerd.host)
    built = Built("waybill-test/packed:1", [BASE, layer("noise", 30_000)], form="gzip")
    files = {**built.files, "oci-layout": LAYOUT}
    packed = [
        Image(
            built.tag, "linux/amd64", "", next(n for n in built.files if built.files[n] == built.manifest), ()
        )
    ]
    manifest = packed[0].manifest.replace(BLOBS, "sha256:")
    named = [Image(built.tag, "linux/amd64", "", manifest, ())]
    files["index.json"] = make_index(named, {manifest: built.manifest})
    load(docker28_containerd, tar(files))
    images, sink = pack(EngineSource([wanted(built.tag)], AMD64))
    assert images[0].manifest == manifest
    assert [sink.blobs[each.digest] for each in images[0].layers] == built.blobs


def test_nothing_is_written_to_a_file_on_the_way(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    source = EngineSource(NAMES, AMD64)
    source.resolve()
    source.pack(MemorySink())
    assert list(tmp_path.iterdir()) == []


def test_create_says_that_it_waits_for_the_engine(engine: Engine, product: Product) -> None:
    from bundler.commands.create import plan_bundle, write_bundle
    from bundler.config.loader import load

    with (product.directory / "bundle.yaml").open("a") as file:
        file.write(f"images: [{PARENT.tag}]\n")
    meter = Meter()
    write_bundle(plan_bundle(load(product.directory, "1.4.0")), product.target, (), meter)
    waiting = "waiting for the Docker engine, which prepares the images before it sends them"
    assert meter.notes.count(waiting) == 1


def test_an_engine_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with pytest.raises(UnfitInputError, match="does not answer: No such file") as raised:
        EngineSource(NAMES, AMD64).resolve()
    assert "systemctl start docker" in raised.value.hint
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        with pytest.raises(UnfitInputError, match="does not answer: Connection refused"):
            EngineSource(NAMES, AMD64).resolve()


def test_an_engine_that_breaks_off_is_told_in_words_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    words = "does not answer: (Connection reset by peer|it broke off)"
    with breaking(path), pytest.raises(UnfitInputError, match=words):
        EngineSource(NAMES, AMD64).resolve()


@pytest.mark.parametrize(
    ("address", "why"),
    [("unix://{}", "authorization denied by plugin opa"), ("foo://x", "Invalid bind address protocol")],
    ids=["a refusal", "another scheme"],
)
def test_an_engine_that_refuses_is_told_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, why: str
) -> None:
    path = tmp_path / "docker.sock"
    body = b'{"message": "authorization denied by plugin opa"}'
    page = Page(403, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)
    monkeypatch.setenv("DOCKER_HOST", address.format(path))
    with serving(page, unix=path), pytest.raises(UnfitInputError, match=why):
        EngineSource(NAMES, AMD64).resolve()


def test_an_engine_that_may_not_be_used_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(path))
        closed.listen()
        path.chmod(0)
        own = os.geteuid()
        if own == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(UnfitInputError, match="may not use") as raised:
                EngineSource(NAMES, AMD64).resolve()
        finally:
            os.seteuid(own)
    assert "group `docker`" in raised.value.hint


def test_images_that_would_come_in_either_order_do_not_come_in_one_stream() -> None:
    def found(name: str, *diff_ids: str) -> _Inspected:
        return _Inspected(wanted(name), f"id of {name}", "linux/amd64", 0, diff_ids, containerd=False)

    parent, child, other = found("parent", "a", "b"), found("child", "a", "b", "c"), found("other", "a", "d")
    assert _batches({0: parent, 1: child, 2: other}) == [{0: parent, 2: other}, {1: child}]
    assert _batches({0: child, 1: other}) == [{0: child, 1: other}]
