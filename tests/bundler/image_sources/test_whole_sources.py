"""Whole images in the places that they are taken from: what is found, and what cannot be kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.commands.diff import diff_bundles
from bundler.commands.inspect import inspect_bundle
from bundler.config.loader import load
from bundler.image_sources.oci import LayoutSource
from bundler.image_sources.registry import RegistrySource
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import WholeImage
from installer.core.oci import documents
from installer.core.oci.layout import LAYOUT
from installer.shared.progress import Progress
from tests.rig.imagebuild import (
    BLOBS,
    REF,
    Built,
    descriptor,
    digest,
    docker_entry,
    dumps,
    index,
    layer,
    write,
)
from tests.rig.lyingregistry import Lying
from tests.rig.memorysink import MemorySink
from tests.rig.products import BUNDLE, make_product, put
from tests.rig.wholeimages import AMD, ARM, ATTESTATION, ATTESTED, INDEX, STATEMENT

SIGNED = "application/vnd.dev.cosign.simplesigning.v1+json"
PAYLOAD = b'{"critical":{}}'
SIGNATURE = dumps(
    {
        "schemaVersion": 2,
        "config": descriptor(b"{}", documents.CONFIG),
        "layers": [descriptor(PAYLOAD, SIGNED)],
    }
)
ALL = (*AMD.blobs, *ARM.blobs, AMD.config, ARM.config, AMD.manifest, ARM.manifest, ATTESTATION, STATEMENT)
PLATFORMS = ("linux/arm64",)


def sig(top: bytes) -> str:
    return f"sha256-{digest(top)[7:]}.sig"


def saved(folder: Path, top: bytes = INDEX, *entries: dict[str, Any], more: tuple[bytes, ...] = ()) -> Path:
    """Write a layout with an index and further outermost entries."""
    blobs = (*ALL, top, SIGNATURE, PAYLOAD, b"{}", *more)
    files = {BLOBS + digest(data)[7:]: data for data in blobs}
    listed = [descriptor(top, documents.INDEX), *entries]
    return write(folder, {**files, "oci-layout": LAYOUT, "index.json": index(listed)})


def packed(source: LayoutSource | RegistrySource) -> tuple[WholeImage, MemorySink, list[str]]:
    """Return what a source found, what it stored, and the platforms of its images."""
    sink = MemorySink()
    resolved = source.resolve()
    images = source.pack(sink)
    (whole,) = source.whole_images()
    assert len(sink.blobs) <= sum(each.blobs for each in resolved)
    needed = {whole.digest, *(each.manifest for each in whole.attached)}
    assert needed | {blob for each in whole.attached for blob in each.blobs} <= sink.blobs.keys()
    return whole, sink, [each.platform for each in images]


@pytest.mark.parametrize(
    "entry",
    [
        {"annotations": {"kind": "dev.cosignproject.cosign/sigs"}},
        {"annotations": {REF: sig(INDEX)}},
        {"annotations": {REF: f"registry.example/app:{sig(INDEX)}"}},
    ],
    ids=["as cosign saves it", "by its tag", "by its name and tag"],
)
def test_a_layout_has_the_index_and_the_signature_next_to_it(tmp_path: Path, entry: dict[str, Any]) -> None:
    made = saved(tmp_path, INDEX, {**descriptor(SIGNATURE, documents.MANIFEST), **entry})
    source = LayoutSource(made, PLATFORMS, "app:1", whole=True)
    whole, sink, platforms = packed(source)
    assert platforms == ["linux/arm64", "linux/amd64"]
    assert sink.blobs[digest(INDEX)] == INDEX
    assert [(each.manifest, each.tag) for each in whole.attached] == [
        (digest(ATTESTATION), ""),
        (digest(SIGNATURE), sig(INDEX)),
    ]
    assert source.note() is None


def referrer(subject: bytes) -> bytes:
    return dumps(
        {
            "schemaVersion": 2,
            "mediaType": documents.MANIFEST,
            "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [descriptor(PAYLOAD, "application/vnd.dev.sigstore.bundle.v0.3+json")],
            "subject": descriptor(subject, documents.MANIFEST),
        }
    )


def test_a_layout_has_what_refers_to_the_image(tmp_path: Path) -> None:
    refers = referrer(AMD.manifest)
    made = saved(tmp_path, INDEX, descriptor(refers, documents.MANIFEST), more=(refers,))
    whole, _, _ = packed(LayoutSource(made, PLATFORMS, "app:1", whole=True))
    assert whole.attached[-1].subject == digest(AMD.manifest)
    assert whole.attached[-1].blobs == (digest(b"{}"), digest(PAYLOAD))


def test_a_registry_has_what_refers_to_the_image_in_a_list_under_a_tag(lying: Lying) -> None:
    image = Built("one:1", [layer("one")], form="gzip")
    refers = referrer(image.manifest)
    listed = index([descriptor(refers, documents.MANIFEST)])
    lying.tags |= {"one": image.manifest, sig(image.manifest).removesuffix(".sig"): listed}
    blobs = (*image.blobs, image.config, image.manifest, refers, PAYLOAD, b"{}")
    lying.blobs |= {digest(each): each for each in blobs}
    source = RegistrySource(f"{lying.name}/chat:one", ("linux/amd64",), whole=True)
    whole, _, _ = packed(source)
    assert [each.subject for each in whole.attached] == [digest(image.manifest)]
    assert source.note() is None
    stale = index([descriptor(referrer(AMD.manifest), documents.MANIFEST)])
    lying.tags[sig(image.manifest).removesuffix(".sig")] = stale
    lying.blobs[digest(referrer(AMD.manifest))] = referrer(AMD.manifest)
    with pytest.raises(UnfitInputError, match="is listed as referring to"):
        RegistrySource(f"{lying.name}/chat:one", ("linux/amd64",), whole=True).resolve()


def test_what_belongs_to_another_image_is_left_out_with_a_note(tmp_path: Path) -> None:
    entry = {**descriptor(SIGNATURE, documents.MANIFEST), "annotations": {REF: "signature"}}
    source = LayoutSource(saved(tmp_path, INDEX, entry), PLATFORMS, "app:1", whole=True)
    assert len(packed(source)[0].attached) == 1
    note = source.note()
    assert note is not None
    assert note.what.endswith("1 signature")


def test_an_image_without_an_index_has_its_manifest_and_its_signature(lying: Lying) -> None:
    image = Built("one:1", [layer("one")], form="gzip")
    lying.tags |= {"one": image.manifest, sig(image.manifest): SIGNATURE}
    lying.blobs |= {
        digest(each): each for each in (*image.blobs, image.config, image.manifest, PAYLOAD, b"{}")
    }
    whole, _, platforms = packed(RegistrySource(f"{lying.name}/chat:one", ("linux/amd64",), whole=True))
    assert (whole.digest, platforms) == (digest(image.manifest), ["linux/amd64"])
    assert [each.tag for each in whole.attached] == [sig(image.manifest)]


def test_a_signature_that_cannot_be_fetched_is_an_error_and_not_left_out(lying: Lying) -> None:
    image = Built("one:1", [layer("one")], form="gzip")
    lying.tags |= {"one": image.manifest, sig(image.manifest): b"{" + b" " * documents.MAX_DOCUMENT}
    lying.blobs |= {digest(each): each for each in (*image.blobs, image.config, image.manifest)}
    with pytest.raises(UnfitInputError, match=r"\.sig: "):
        RegistrySource(f"{lying.name}/chat:one", ("linux/amd64",), whole=True).resolve()


PLAIN = Built("app:1", [layer("plain")])
NESTED = index([descriptor(index([AMD.platform_entry()]), documents.INDEX), ARM.platform_entry()])
REFUSED: dict[str, tuple[bytes, tuple[bytes, ...], str]] = {
    "an index within an index": (NESTED, (index([AMD.platform_entry()]),), "has an index within its index"),
    "layers that are not compressed": (
        index([PLAIN.platform_entry(), ARM.platform_entry()]),
        (*PLAIN.blobs, PLAIN.config, PLAIN.manifest),
        "has layers that are not compressed",
    ),
    "an attestation that is no manifest": (
        index([ARM.platform_entry(), {**ATTESTED, **descriptor(b'{"a":1}', documents.MANIFEST)}]),
        (b'{"a":1}',),
        "belongs to the image and is not a manifest",
    ),
    "two images for one platform": (
        index([AMD.platform_entry(), ARM.platform_entry(), PLAIN.platform_entry()]),
        (*PLAIN.blobs, PLAIN.config, PLAIN.manifest),
        "contains two images named app:1 for linux/amd64",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_kept_byte_for_byte_is_refused_with_a_hint(tmp_path: Path, fault: str) -> None:
    top, more, what = REFUSED[fault]
    source = LayoutSource(saved(tmp_path, top, more=more), PLATFORMS, "app:1", whole=True)
    with pytest.raises(UnfitInputError, match=what) as caught:
        packed(source)
    assert caught.value.hint


def test_a_place_without_an_index_of_the_platforms_is_refused(tmp_path: Path) -> None:
    made = saved(tmp_path)
    entries = [each.entry(annotations={REF: "app:1"}) for each in (AMD, ARM)]
    (made / "index.json").write_bytes(index(entries))
    with pytest.raises(UnfitInputError, match="but no index of them"):
        LayoutSource(made, PLATFORMS, whole=True).resolve()
    (made / "index.json").unlink()
    (made / "manifest.json").write_bytes(dumps([docker_entry(replace(ARM, tag="app:1"))]))
    with pytest.raises(UnfitInputError, match="or no manifest"):
        LayoutSource(made, PLATFORMS, whole=True).resolve()


def test_a_blob_of_an_attestation_that_is_damaged_is_refused_and_leaves_no_bundle(tmp_path: Path) -> None:
    product = make_product(tmp_path / "product")
    made = saved(product / "layout")
    (made / BLOBS / digest(STATEMENT)[7:]).write_bytes(STATEMENT.upper())
    put(product, "bundle.yaml", BUNDLE + "images: [{oci: layout, as: 'app:1', whole: true}]\n")
    planned = plan_bundle(load(product, "1.4.0"))
    with pytest.raises(UnfitInputError, match="does not match its digest"):
        write_bundle(planned, tmp_path / "b.tar", [], Progress())
    assert not (tmp_path / "b.tar").exists()


def test_what_belongs_to_an_image_is_in_the_view_and_in_the_difference(tmp_path: Path) -> None:
    product = make_product(tmp_path / "product")
    put(product, "bundle.yaml", BUNDLE + "images: [{oci: layout, as: 'app:1', whole: true}]\n")
    signature = {**descriptor(SIGNATURE, documents.MANIFEST), "annotations": {REF: sig(INDEX)}}
    for name, entries in (("unsigned.tar", ()), ("signed.tar", (signature,))):
        saved(product / "layout", INDEX, *entries)
        write_bundle(plan_bundle(load(product, "1.4.0")), tmp_path / name, [], Progress())
    view = inspect_bundle(tmp_path / "signed.tar", "images")
    assert ".sig" not in inspect_bundle(tmp_path / "unsigned.tar", "images").text
    assert f"{digest(INDEX)}, with what belongs to it: listed in its index, sig" in view.text
    (whole,) = view.document["whole_images"]
    assert (whole["reference"], whole["digest"]) == ("app:1", digest(INDEX))
    assert [each["tag"] for each in whole["attached"]] == ["", sig(INDEX)]
    assert sig(INDEX) in diff_bundles(tmp_path / "unsigned.tar", tmp_path / "signed.tar").as_text()
