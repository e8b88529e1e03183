"""Images come from OCI layouts: nested indexes, platforms, names, and nothing that is not what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bundler.image_sources.oci import LayoutSource
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image
from installer.core.oci import documents
from installer.core.oci.layout import LAYOUT, make_docker_manifest, make_index
from tests.rig.imagebuild import (
    BLOBS,
    NAME,
    REF,
    Built,
    descriptor,
    digest,
    dumps,
    index,
    layer,
    layout,
    packed,
    saved_new,
    tar,
    write,
)
from tests.rig.memorysink import MemorySink
from tests.rig.needs import needs

AMD64 = ("linux/amd64",)
AMD = Built("chat:1", [layer("base"), layer("amd")], form="gzip")
ARM = Built("chat:1", [layer("base"), layer("arm")], "linux/arm64", form="gzip")


def pack(folder: Path, platforms: tuple[str, ...] = AMD64, name: str = "") -> tuple[list[Image], MemorySink]:
    sink = MemorySink()
    source = LayoutSource(folder, platforms, name)
    source.resolve()
    return source.pack(sink), sink


def nested(depth: int, *entries: dict[str, Any]) -> dict[str, bytes]:
    """Puts entries below so many further indexes."""
    files = {**AMD.files, **ARM.files, "oci-layout": LAYOUT}
    below = list(entries)
    for _ in range(depth):
        data = index(below)
        files[BLOBS + digest(data)[7:]] = data
        below = [descriptor(data, documents.INDEX)]
    below = [{**entry, "annotations": {REF: "chat:1"}} for entry in below]
    files["index.json"] = index(below)
    return files


def test_a_layout_keeps_bytes_and_manifest(tmp_path: Path) -> None:
    images, sink = pack(write(tmp_path, layout([AMD])))
    assert (images[0].reference, images[0].manifest) == ("chat:1", digest(AMD.manifest))
    assert {BLOBS + name[7:]: data for name, data in sink.blobs.items()} == AMD.files


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_platforms_are_chosen_from_nested_indexes(tmp_path: Path, depth: int) -> None:
    folder = write(tmp_path, nested(depth, AMD.platform_entry(), ARM.platform_entry()))
    assert [image.manifest for image in pack(folder)[0]] == [digest(AMD.manifest)]
    assert [image.platform for image in pack(folder, ("linux/arm64", "linux/amd64"))[0]] == [
        "linux/arm64",
        "linux/amd64",
    ]


def test_an_index_may_nest_only_so_deep(tmp_path: Path) -> None:
    with pytest.raises(UnfitInputError, match="deeper than 3"):
        pack(write(tmp_path, nested(3, AMD.platform_entry())))


def test_attestations_are_left_out(tmp_path: Path) -> None:
    note = {
        **descriptor(b"absent", documents.MANIFEST),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    assert len(pack(write(tmp_path, nested(1, AMD.platform_entry(), note)))[0]) == 1


def test_blobs_for_other_platforms_need_not_be_there(tmp_path: Path) -> None:
    files = {name: data for name, data in nested(1, AMD.platform_entry(), ARM.platform_entry()).items()
             if name not in ARM.files or name in AMD.files}  # fmt: skip
    folder = write(tmp_path, files)
    assert len(pack(folder)[0]) == 1
    with pytest.raises(UnfitInputError, match="does not contain blobs"):
        pack(folder, ("linux/arm64",))


def test_a_layer_with_one_content_and_two_forms_keeps_both(tmp_path: Path) -> None:
    other = Built("other:1", [layer("base")], form="zstd")
    images, sink = pack(write(tmp_path, layout([AMD, other])))
    assert [image.manifest for image in images] == [digest(AMD.manifest), digest(other.manifest)]
    assert len(sink.read) == 3


@pytest.mark.parametrize("annotations", [{}, {REF: "latest"}, {REF: "1.4.0"}])
def test_a_layout_with_a_tag_only_is_named_by_the_bundle(tmp_path: Path, annotations: dict[str, str]) -> None:
    files = {
        **AMD.files,
        "oci-layout": LAYOUT,
        "index.json": index([AMD.entry(annotations=annotations)]),
    }
    folder = write(tmp_path, files)
    with pytest.raises(UnfitInputError, match="without a name"):
        pack(folder)
    assert pack(folder, name="docker.io/library/chat:2")[0][0].reference == "chat:2"


def test_the_name_for_containerd_goes_before_the_tag(tmp_path: Path) -> None:
    names = {NAME: "docker.io/library/chat:3", REF: "3"}
    files = {**AMD.files, "oci-layout": LAYOUT, "index.json": index([AMD.entry(annotations=names)])}
    assert pack(write(tmp_path, files))[0][0].reference == "chat:3"


def spoiled(name: str, data: bytes) -> dict[str, bytes]:
    return {**layout([AMD]), name: data}


def relabelled(media_type: str) -> dict[str, bytes]:
    manifest = AMD.manifest.replace(documents.LAYER_GZIP.encode(), media_type.encode())
    entry = {**descriptor(manifest, documents.MANIFEST), "annotations": {REF: "chat:1"}}
    return {**layout([AMD]), BLOBS + digest(manifest)[7:]: manifest, "index.json": index([entry])}


TOP = BLOBS + digest(AMD.blobs[1])[7:]
BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "a layer of other bytes": (
        spoiled(TOP, packed(AMD.layers[1], "gzip")[:-1] + b"x"),
        "stream is damaged|digest",
    ),
    "a layer of another size": (spoiled(TOP, b"short"), "is 5 bytes, not"),
    "a layer of another form": (relabelled(documents.LAYER_ZSTD), "is gzip"),
    "a layer that is not uncompressed as said": (relabelled(documents.LAYER_TAR), "is gzip"),
    "a layer that is not for carrying": (
        relabelled("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        "not a supported layer type",
    ),
    "a configuration of other bytes": (
        spoiled(BLOBS + digest(AMD.config)[7:], AMD.config.replace(b"/bin/sh", b"/bin/ls")),
        "has the digest",
    ),
    "a manifest called an index": (
        nested(0, {**AMD.entry(), "mediaType": documents.INDEX}),
        "but is listed as",
    ),
    "a platform that is not the image's": (
        nested(0, AMD.entry(platform={"os": "linux", "architecture": "arm64"})),
        "but listed for",
    ),
    "a configuration that lies about its layers": (
        layout([Built("chat:1", [b"x"], extra={"rootfs": {"type": "layers", "diff_ids": [digest(b"")]}})]),
        "uncompressed digest is",
    ),
    "no oci-layout": (
        {k: v for k, v in layout([AMD]).items() if k != "oci-layout"},
        "does not contain oci-layout",
    ),
    "no index": ({"oci-layout": LAYOUT}, "neither an archive"),
    "schema version 1": (spoiled("index.json", dumps({"schemaVersion": 1})), "schema version 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_layout_that_lies_is_refused(tmp_path: Path, fault: str) -> None:
    files, words = BAD[fault]
    platforms = ("linux/amd64", "linux/arm64") if "platform" in fault else AMD64
    with pytest.raises(UnfitInputError, match=words) as raised:
        pack(write(tmp_path, files), platforms)
    assert str(tmp_path) in str(raised.value)


def test_what_is_no_layout_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(tar(saved_new([AMD])))
    for name, words in {
        "file": "not a directory",
        "absent": "does not exist",
        ".": "neither an archive",
    }.items():
        with pytest.raises(UnfitInputError, match=words) as raised:
            LayoutSource(tmp_path / name, AMD64).resolve()
        assert raised.value.hint


def test_what_we_make_is_a_layout_for_skopeo_and_for_us(tmp_path: Path) -> None:
    skopeo = needs("skopeo")
    images, sink = pack(write(tmp_path / "in", layout([AMD])))
    files = {BLOBS + name[7:]: data for name, data in sink.blobs.items()}
    files["index.json"] = make_index(images, sink.blobs)
    files["manifest.json"] = make_docker_manifest(images)
    files["oci-layout"] = LAYOUT
    folder = write(tmp_path / "out", files)
    assert pack(folder)[0] == images
    subprocess.run(
        [skopeo, "copy", f"oci:{folder}:chat:1", f"dir:{tmp_path}/dir"], check=True, capture_output=True
    )
