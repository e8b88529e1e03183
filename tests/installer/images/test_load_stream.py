"""The byte stream that an engine loads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import TamperedError
from installer.core.format.manifest import Image
from installer.images.load_stream import Form, ImageLoad, chain_ids, stream
from tests.rig.imagerelease import ReleaseDirectory, digest, packed, plain_layer

TAG = "waybill.local/shop/0123456789ab:staged"
FORMS: list[Form] = ["docker", "oci"]


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


def ship(
    release: ReleaseDirectory, image: Image, form: Form, left_out: frozenset[int] = frozenset()
) -> bytes:
    return b"".join(stream(ImageLoad(image, release.path, TAG, form, left_out)))


@pytest.fixture
def release(tmp_path: Path) -> ReleaseDirectory:
    return ReleaseDirectory(tmp_path)


@pytest.mark.parametrize("stored", ["tar", "gzip", "zstd"])
def test_docker_form_has_plain_layers_whatever_is_stored(release: ReleaseDirectory, stored: str) -> None:
    image = release.image("shop/app:1", ["a", "b"], stored)
    found = members(ship(release, image, "docker"))
    [entry] = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == [TAG]
    assert digest(found[entry["Config"]]) == image.config
    assert [found[name] for name in entry["Layers"]] == [plain_layer("a"), plain_layer("b")]


@pytest.mark.parametrize("stored", ["tar", "gzip", "zstd"])
def test_oci_form_has_the_stored_bytes_and_the_signed_manifest(
    release: ReleaseDirectory, stored: str
) -> None:
    image = release.image("shop/app:1", ["a", "b"], stored)
    found = members(ship(release, image, "oci"))
    [entry] = json.loads(found["index.json"])["manifests"]
    assert entry["digest"] == image.manifest
    assert entry["annotations"]["io.containerd.image.name"] == TAG
    for name, data in found.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    assert {f"blobs/sha256/{layer.digest[7:]}" for layer in image.layers} <= set(found)


@pytest.mark.parametrize("form", FORMS)
def test_what_names_the_image_comes_last(release: ReleaseDirectory, form: Form) -> None:
    image = release.image("shop/app:1", ["a", "b"])
    last = list(members(ship(release, image, form)))[-1]
    assert last == {"docker": "manifest.json", "oci": "index.json"}[form]


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_used_twice_travels_once(release: ReleaseDirectory, form: Form) -> None:
    image = release.image("shop/app:1", ["a", "b", "a"])
    data = ship(release, image, form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))


def test_layers_left_out_are_named_but_not_sent(release: ReleaseDirectory) -> None:
    image = release.image("shop/app:1", ["a", "b"])
    found = members(ship(release, image, "docker", frozenset({0})))
    [entry] = json.loads(found["manifest.json"])
    assert entry["Layers"][0] not in found
    assert entry["Layers"][1] in found


@pytest.mark.parametrize("form", FORMS)
def test_the_same_release_makes_the_same_bytes(release: ReleaseDirectory, form: Form) -> None:
    image = release.image("shop/app:1", ["a", "b"])
    assert ship(release, image, form) == ship(release, image, form)


def spoil(release: ReleaseDirectory, image: Image, how: str) -> Image:
    """Makes the upper layer lie in one way; gives what the manifest then says."""
    layer = image.layers[1]
    file, good = release.file(layer.digest), plain_layer("b")
    if how == "other bytes":
        file.write_bytes(packed(plain_layer("evil"), "zstd"))
    elif how == "one bit":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif how == "cut short":
        file.write_bytes(file.read_bytes()[:-9])
    elif how == "longer":
        file.write_bytes(file.read_bytes() + b"more")
    elif how == "missing":
        file.unlink()
    elif how == "bomb":
        data = packed(good + bytes(1 << 26), "zstd")
        layer = replace(layer, digest=release.blob(data), size=len(data))
    elif how == "a diff id that lies":
        layer = replace(layer, diff_id=digest(b"something else"))
    return replace(image, layers=(image.layers[0], layer))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "how", ["other bytes", "one bit", "cut short", "longer", "missing", "bomb", "a diff id that lies"]
)
def test_a_lying_layer_never_ends_the_stream(release: ReleaseDirectory, form: Form, how: str) -> None:
    image = spoil(release, release.image("shop/app:1", ["a", "b"]), how)
    sent: list[bytes] = []
    with pytest.raises(TamperedError) as refusal:
        sent.extend(stream(ImageLoad(image, release.path, TAG, form)))
    assert refusal.value.where == f"images/blobs/sha256/{image.layers[1].digest[7:]}"
    assert b"manifest.json" not in b"".join(sent)
    assert b"index.json" not in b"".join(sent)


@pytest.mark.parametrize(("form", "document"), [("docker", "config"), ("oci", "config"), ("oci", "manifest")])
def test_a_changed_document_is_refused(release: ReleaseDirectory, form: Form, document: str) -> None:
    image = release.image("shop/app:1", ["a"])
    file = release.file(getattr(image, document))
    file.write_bytes(file.read_bytes().replace(b"linux", b"linuz").replace(b"tar", b"tax"))
    with pytest.raises(TamperedError, match="digest"):
        ship(release, image, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stored", ["gzip", "zstd"])
def test_memory_stays_flat_however_much_a_layer_is_compressed(
    release: ReleaseDirectory, form: Form, stored: str
) -> None:
    image = release.image("shop/app:1", [bytes(1 << 27)], stored)
    tracemalloc.start()
    total = sum(map(len, stream(ImageLoad(image, release.path, TAG, form))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > (1 << 27 if form == "docker" else 1000)
    assert peak < 24 << 20


def test_progress_counts_every_byte_of_the_layers_once(release: ReleaseDirectory) -> None:
    image = release.image("shop/app:1", ["a", "b"])
    for form in FORMS:
        counts: list[int] = []
        shipment = ImageLoad(image, release.path, TAG, form)
        for _ in stream(shipment, counts.append):
            pass
        assert sum(counts) == shipment.payload


def test_chain_ids_are_those_of_the_specification() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert chain_ids([one, two]) == [one, digest(f"{one} {two}".encode())]
    assert chain_ids([]) == []
