"""Images come from archives of `docker save` of either form and from OCI archives, or a clear error does."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.image_sources.archive import ArchiveSource
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image
from installer.core.oci import documents
from tests.rig.imagebuild import (
    BLOBS,
    Built,
    digest,
    docker_entry,
    dumps,
    index,
    layer,
    layout,
    packed,
    saved_new,
    saved_old,
    tar,
)
from tests.rig.memorysink import MemorySink

AMD64 = ("linux/amd64",)
BASE, APP, TOOLS = layer("base"), layer("app"), layer("tools")
ONE = Built("lan-chat/services:1.4.0", [BASE, APP])
TWO = Built("lan-chat/gateway:1.4.0", [BASE, TOOLS, APP])


def text(members: Mapping[str, bytes | Path], name: str = "manifest.json") -> bytes:
    found = members[name]
    assert isinstance(found, bytes)
    return found


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    def write(members: Mapping[str, bytes | Path]) -> Path:
        path = tmp_path / "images.tar"
        path.write_bytes(tar(members))
        return path

    return write


def pack(
    path: Path, platforms: tuple[str, ...] = AMD64, name: str = "", **sink: Any
) -> tuple[list[Image], MemorySink]:
    into = MemorySink(**sink)
    source = ArchiveSource(path, platforms, name)
    resolved = source.resolve()
    images = source.pack(into)
    for before, after in zip(resolved, images, strict=True):
        assert (before.reference, before.platform) == (after.reference, after.platform)
    assert sum(each.blobs for each in resolved) >= len(into.blobs)
    return images, into


@pytest.mark.parametrize("form", [saved_old, saved_new])
def test_both_forms_of_docker_save_give_the_same_images(
    archive: Callable[..., Path], form: Callable[..., Mapping[str, bytes | Path]]
) -> None:
    images, sink = pack(archive(form([ONE, TWO])))
    assert [image.reference for image in images] == [ONE.tag, TWO.tag]
    assert [image.config for image in images] == [digest(ONE.config), digest(TWO.config)]
    assert sink.blobs[images[0].config] == ONE.config
    assert [each.media_type for each in images[0].layers] == [documents.LAYER_ZSTD] * 2
    manifest = documents.parse_manifest(sink.blobs[images[1].manifest], "manifest")
    assert [each.digest for each in manifest.layers] == [each.digest for each in images[1].layers]
    assert images == pack(archive(saved_old([ONE, TWO])))[0]


@pytest.mark.parametrize("form", [saved_old, saved_new])
def test_layers_that_images_share_are_read_once(archive: Callable[..., Path], form: Any) -> None:
    assert len(pack(archive(form([ONE, TWO])))[1].read) == 3


def test_a_manifest_is_kept_where_every_layer_is(archive: Callable[..., Path]) -> None:
    images, sink = pack(archive(saved_new([ONE])), compression="none")
    assert images[0].manifest == digest(ONE.manifest)
    assert sink.blobs[images[0].manifest] == ONE.manifest


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_an_oci_archive_keeps_compressed_layers_and_manifest(archive: Callable[..., Path], form: str) -> None:
    built = Built("lan-chat/services:1.4.0", [BASE, APP], form=form)
    images, sink = pack(archive(layout([built])))
    assert images[0].manifest == digest(built.manifest)
    assert [sink.blobs[each.digest] for each in images[0].layers] == built.blobs


@pytest.mark.parametrize("members", [saved_old([ONE, TWO]), saved_new([ONE, TWO])], ids=["old", "new"])
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_an_archive_compressed_as_a_whole_gives_the_same(tmp_path: Path, members: Any, form: str) -> None:
    plain, whole = tmp_path / "images.tar", tmp_path / "images.tar.x"
    plain.write_bytes(tar(members))
    whole.write_bytes(packed(plain.read_bytes(), form))
    expected, plain_sink = pack(plain)
    images, sink = pack(whole)
    assert (images, sink.blobs) == (expected, plain_sink.blobs)


def test_only_the_meant_image_of_a_compressed_archive_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "images.tar.gz"
    path.write_bytes(gzip.compress(tar(saved_new([ONE, TWO]))))
    images, sink = pack(path, name=ONE.tag)
    assert [image.reference for image in images] == [ONE.tag]
    assert len(sink.blobs) == 4


def test_a_tag_that_nobody_gave_is_given_by_the_bundle(archive: Callable[..., Path]) -> None:
    nameless = saved_old([ONE])
    nameless["manifest.json"] = text(nameless).replace(b'["lan-chat/services:1.4.0"]', b"null")
    path = archive(nameless)
    assert [image.reference for image in pack(path, name="chat:2")[0]] == ["chat:2"]
    with pytest.raises(UnfitInputError, match="without a name") as raised:
        pack(path)
    assert "as: NAME:TAG" in raised.value.hint


def test_an_image_with_two_tags_is_there_under_both(archive: Callable[..., Path]) -> None:
    members = saved_old([ONE])
    members["manifest.json"] = text(members).replace(
        b'"lan-chat/services:1.4.0"', b'"a:1","docker.io/library/b:2"'
    )
    images, sink = pack(archive(members))
    assert [image.reference for image in images] == ["a:1", "b:2"]
    assert len(sink.read) == 2


def test_one_of_several_images_is_meant_by_its_name(archive: Callable[..., Path]) -> None:
    path = archive(saved_new([ONE, TWO]))
    assert [image.reference for image in pack(path, name=TWO.tag)[0]] == [TWO.tag]
    with pytest.raises(UnfitInputError, match="none of them is named"):
        pack(path, name="other:1")


def test_an_image_for_another_platform_is_refused(archive: Callable[..., Path]) -> None:
    path = archive(saved_old([Built("chat:1", [APP], "linux/arm64/v8")]))
    with pytest.raises(UnfitInputError, match="is for linux/arm64/v8, not for linux/amd64"):
        pack(path)
    assert pack(path, ("linux/amd64", "linux/arm64"))[0][0].platform == "linux/arm64/v8"


def test_an_image_without_layers_is_carried(archive: Callable[..., Path]) -> None:
    assert pack(archive(saved_old([Built("empty:1", [])])))[0][0].layers == ()


def test_an_archive_that_changes_between_looking_and_reading_is_noticed(archive: Callable[..., Path]) -> None:
    path = archive(saved_old([ONE]))
    source = ArchiveSource(path, AMD64)
    source.resolve()
    os.utime(path, (1, 1))
    with pytest.raises(UnfitInputError, match="changed while"):
        source.pack(MemorySink())


def lying(members: Mapping[str, bytes | Path], **changes: bytes | Path | None) -> dict[str, bytes | Path]:
    """Replaces members whose names end like the keys (`__` for `/` or `.`); None takes them away."""
    found = dict(members)
    for key, value in changes.items():
        name = next(name for name in members if name.replace("/", "__").replace(".", "__").endswith(key))
        if value is None:
            del found[name]
        else:
            found[name] = value
    return found


OLD, NEW = saved_old([ONE]), saved_new([ONE])
APP_BLOB = digest(APP)[7:]
OTHER = Built(ONE.tag, [BASE, TOOLS])
BOTH = {**saved_new([ONE]), **OTHER.files}
CONFIG = digest(ONE.config)[7:]
BAD: dict[str, tuple[Mapping[str, bytes | Path], str]] = {
    "no image": ({"readme": b"hello"}, "neither an archive"),
    "no layer": (lying(OLD, layer__tar=None), "does not contain"),
    "a link to a layer that is not there": (
        lying(OLD, layer__tar=Path("../x/layer.tar")),
        "does not contain",
    ),
    "no configuration": ({k: v for k, v in OLD.items() if not k.startswith(CONFIG)}, "does not contain"),
    "a layer whose digest lies, old form": (lying(OLD, layer__tar=TOOLS), "uncompressed digest is"),
    "a layer whose digest lies, new form": (lying(NEW, **{APP_BLOB: TOOLS}), "digest is"),
    "a layer of another size": (lying(NEW, **{APP_BLOB: APP + bytes(512)}), "bytes, not"),
    "a configuration whose digest lies": (lying(OLD, **{CONFIG + "__json": OTHER.config}), "has the digest"),
    "a manifest whose digest lies": (
        lying(NEW, **{digest(ONE.manifest)[7:]: ONE.manifest.replace(b"v1+json", b"v1+jso_", 1)}),
        "has the digest",
    ),
    "manifest.json and index.json disagree on layers": (
        {**BOTH, "manifest.json": dumps([docker_entry(OTHER)])},
        "differently from index.json",
    ),
    "manifest.json and index.json disagree on tags": (
        {**NEW, "manifest.json": dumps([{**docker_entry(ONE), "RepoTags": ["nginx:latest"]}])},
        "describes nginx:latest differently",
    ),
    "two images of one name": (
        {**BOTH, "index.json": layout([ONE, OTHER])["index.json"], "manifest.json": b"[]"},
        "two images named",
    ),
    "a layer's name that climbs": (
        lying(OLD, manifest__json=text(OLD).replace(b"/layer.tar", b"/../../x.tar")),
        "which is outside the archive",
    ),
    "a tag that is none": (
        lying(OLD, manifest__json=text(OLD).replace(b"services:1.4.0", b"services:-rm")),
        "has the tag",
    ),
    "fewer layers than the configuration says": (
        lying(NEW, manifest__json=dumps([{**docker_entry(ONE), "Layers": [BLOBS + digest(BASE)[7:]]}])),
        "layers",
    ),
    "an index that is a manifest too": (
        lying(NEW, index__json=text(NEW, "index.json").replace(b'"manifests"', b'"layers":[],"manifests"')),
        "has both",
    ),
    "a layout of another version": (lying(NEW, **{"oci-layout": b'{"imageLayoutVersion":"9"}'}), "version"),
    "an index with a key twice": (lying(NEW, index__json=b'{"schemaVersion":2,"schemaVersion":2}'), "twice"),
    "an index that is not JSON": (lying(NEW, index__json=b"{"), "not JSON"),
    "a document beyond all measure": (
        lying(NEW, index__json=b" " * (documents.MAX_DOCUMENT + 1)),
        "bytes; a document may have at most",
    ),
    "an index without images": (lying(NEW, index__json=index([]), manifest__json=b"[]"), "contains no image"),
}  # fmt: skip


@pytest.mark.parametrize("whole", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("fault", BAD)
def test_an_archive_that_lies_is_refused(tmp_path: Path, fault: str, whole: bool) -> None:
    members, words = BAD[fault]
    path = tmp_path / "images.tar"
    path.write_bytes(packed(tar(members), "zstd" if whole else "tar"))
    with pytest.raises(
        UnfitInputError, match=f"{words}|does not contain|more than" if whole else words
    ) as raised:
        pack(path)
    assert str(path) in str(raised.value)


def test_a_truncated_archive_is_refused(archive: Callable[..., Path]) -> None:
    path = archive(OLD)
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(8704 * part)])
        with pytest.raises(UnfitInputError, match="ends"):
            pack(path)


@pytest.mark.parametrize(("form", "cut"), [("gzip", -20), ("zstd", -20)])
def test_a_truncated_compressed_archive_is_refused(tmp_path: Path, form: str, cut: int) -> None:
    path = tmp_path / "images.tar.x"
    path.write_bytes(packed(tar(OLD), form)[:cut])
    with pytest.raises(UnfitInputError, match="ends"):
        pack(path)


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello" * 300)
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "absent": "does not exist",
        "text": "is not a tar archive",
        ".": "not a regular",
        "pipe": "not a regular",
    }.items():
        with pytest.raises(UnfitInputError, match=words):
            ArchiveSource(tmp_path / name, AMD64).resolve()


def test_images_for_two_platforms_of_one_name_come_both(archive: Callable[..., Path]) -> None:
    arm = Built(ONE.tag, [BASE, TOOLS], "linux/arm64")
    files: dict[str, bytes | Path] = {
        **ONE.files,
        **arm.files,
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    inner = index([ONE.platform_entry(), arm.platform_entry()])
    files[BLOBS + digest(inner)[7:]] = inner
    outer = {"mediaType": documents.INDEX, "digest": digest(inner), "size": len(inner)}
    files["index.json"] = index([{**outer, "annotations": {documents.REF_NAME: ONE.tag}}])
    path = archive(files)
    images, _ = pack(path, ("linux/amd64", "linux/arm64"))
    assert [(image.reference, image.platform) for image in images] == [
        (ONE.tag, "linux/amd64"),
        (ONE.tag, "linux/arm64"),
    ]
    assert [image.platform for image in pack(path)[0]] == ["linux/amd64"]
    with pytest.raises(UnfitInputError, match="not for linux/s390x"):
        pack(path, ("linux/amd64", "linux/s390x"))
