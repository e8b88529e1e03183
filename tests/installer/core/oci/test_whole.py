"""A whole image is what its signed manifest says, to the last blob of a signature, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from installer.core.errors import NeedsNewerError, TamperedError
from installer.core.format.features import WHOLE_IMAGES
from installer.core.format.manifest import Attachment, WholeImage
from tests.rig import bundlebuild as build
from tests.rig.imagebuild import Built, descriptor, digest, dumps, index, layer
from tests.rig.imageplan import Section, section, verify
from tests.rig.wholeimages import AMD, ARM, ATTESTATION, ATTESTED, INDEX, STATEMENT

OTHER = Built("other:1", [layer("other")], form="gzip")
PAYLOAD = b'{"critical":{}}'
SIGNATURE = dumps(
    {
        "schemaVersion": 2,
        "config": descriptor(b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(PAYLOAD, "application/vnd.dev.cosign.simplesigning.v1+json")],
    }
)
REFERRER = dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [descriptor(PAYLOAD, "application/vnd.dev.sigstore.bundle.v0.3+json")],
        "subject": descriptor(AMD.manifest, "application/vnd.oci.image.manifest.v1+json"),
    }
)
TAG = f"sha256-{digest(INDEX)[7:]}.sig"
ATTACHED = (
    Attachment(digest(ATTESTATION), (digest(b"{}"), digest(STATEMENT))),
    Attachment(digest(SIGNATURE), (digest(b"{}"), digest(PAYLOAD)), TAG),
    Attachment(digest(REFERRER), (digest(b"{}"), digest(PAYLOAD)), subject=digest(AMD.manifest)),
)
WHOLE = WholeImage(AMD.tag, digest(INDEX), ATTACHED)


def made(whole: WholeImage = WHOLE, *, top: bytes = INDEX, more: tuple[bytes, ...] = ()) -> build.Plan:
    """Return a signed bundle with the image, and another one."""
    found: Section = section([AMD, ARM, OTHER])
    for data in (top, ATTESTATION, SIGNATURE, REFERRER, b"{}", STATEMENT, PAYLOAD, *more):
        found.blob(data)
    if top != INDEX and whole is WHOLE:
        tag = f"sha256-{digest(top)[7:]}.sig"
        whole = WholeImage(AMD.tag, digest(top), (ATTACHED[0], replace(ATTACHED[1], tag=tag), ATTACHED[2]))
    return build.signed(found.plan(whole_images=(whole,)))


def with_first(**changes: object) -> WholeImage:
    """Return the image with another first attachment."""
    return replace(WHOLE, attached=(replace(ATTACHED[0], **changes), *ATTACHED[1:]))  # type: ignore[arg-type]


def with_last(**changes: object) -> WholeImage:
    """Return the image with another referrer."""
    return replace(WHOLE, attached=(*ATTACHED[:2], replace(ATTACHED[2], **changes)))  # type: ignore[arg-type]


def test_a_whole_image_passes_from_a_file_and_a_pipe_and_requires_a_word() -> None:
    data = made().tar()
    assert verify(data).manifest.whole_images == (WHOLE,)
    assert verify(build.stream(data)).manifest.whole_images == (WHOLE,)
    assert b'"requires":[\n"whole-images/1"\n]' in data


def test_an_image_for_one_platform_is_whole_without_an_index() -> None:
    found = section([OTHER])
    whole = WholeImage(OTHER.tag, digest(OTHER.manifest))
    data = build.signed(found.plan(whole_images=(whole,))).tar()
    assert verify(data).manifest.whole_images == (whole,)


def test_a_reader_without_the_word_asks_for_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from installer.core.format import features

    monkeypatch.setattr(features, "KNOWN", features.KNOWN - {WHOLE_IMAGES})
    data = made().tar()
    with pytest.raises(NeedsNewerError, match="requires whole-images/1"):
        build.open_bundle(build.BytesMedium(data), build.unsafe_trust_anyone)


LISTED: dict[str, tuple[Callable[[], build.Plan], str]] = {
    "an image that is not listed": (lambda: made(replace(WHOLE, reference="none:1")), "not among the images"),
    "a manifest of several as the top": (
        lambda: made(replace(WHOLE, digest=digest(AMD.manifest))), "for several platforms, but has no index",
    ),
    "the manifest of another image as the top": (
        lambda: made(replace(WHOLE, digest=digest(OTHER.manifest))), "for several platforms, but has no",
    ),
    "an attachment twice": (
        lambda: made(replace(WHOLE, attached=(ATTACHED[0],) * 2)), "has a manifest twice",
    ),
    "an image as an attachment": (
        lambda: made(with_first(manifest=digest(ARM.manifest))), "has a manifest twice",
    ),
    "a tag twice": (lambda: made(with_first(tag=TAG)), "has a tag twice"),
    "the tag of another image": (
        lambda: made(with_first(tag=f"sha256-{'0' * 64}.sig")), "of another image",
    ),
    "a subject that is another image": (
        lambda: made(with_last(subject=digest(OTHER.manifest))), "refers to another image",
    ),
    "a subject and a tag": (
        lambda: made(with_last(tag=f"{TAG[:-3]}att")), "has a tag, or refers to another image",
    ),
    "a blob twice": (lambda: made(with_first(blobs=(digest(b"{}"),) * 2)), "has a blob twice"),
    "a blob that is missing": (lambda: made(with_first(blobs=(digest(b"absent"),))), "is not in the bundle"),
}  # fmt: skip


@pytest.mark.parametrize("fault", LISTED)
def test_a_list_that_contradicts_itself_is_refused_before_any_blob_is_read(fault: str) -> None:
    make, what = LISTED[fault]
    assert what in build.refusal(make()).what


def with_index(*entries: dict[str, object]) -> bytes:
    return index(entries)


BAD: dict[str, tuple[Callable[[], build.Plan], str]] = {
    "a blob that nothing names": (lambda: made(more=(b"stray",)), "belongs to no image of the manifest"),
    "an index that lacks an image": (
        lambda: made(top=with_index(AMD.platform_entry(), ATTESTED)), "has other manifests than app:1",
    ),
    "an index with the image of another": (
        lambda: made(
            top=with_index(AMD.platform_entry(), ARM.platform_entry(), ATTESTED, OTHER.platform_entry())
        ),
        "has other manifests than app:1",
    ),
    "an index that lacks an attestation": (
        lambda: made(top=with_index(AMD.platform_entry(), ARM.platform_entry())), "has other manifests",
    ),
    "an index that swaps platforms": (
        lambda: made(
            top=with_index(
                AMD.entry(platform={"os": "linux", "architecture": "arm64"}), ARM.platform_entry(), ATTESTED
            )
        ),
        "lists the image for linux/amd64 as one for linux/arm64",
    ),
    "an index with a wrong size": (
        lambda: made(top=with_index(AMD.platform_entry(), {**ARM.platform_entry(), "size": 1}, ATTESTED)),
        "has another size for sha256:",
    ),
    "an index that is none": (
        lambda: made(top=b'{"schemaVersion":2,"manifests":[],"layers":[]}'), "has both",
    ),
    "an index of another kind": (
        lambda: made(top=INDEX.replace(b"image.index.v1", b"image.other.v1")), "is not a media type of",
    ),
    "an attestation with its blobs in another order": (
        lambda: made(with_first(blobs=(digest(STATEMENT), digest(b"{}")))),
        "has other blobs than",
    ),
    "a referrer that refers to something else": (
        lambda: made(with_last(subject=digest(ARM.manifest))), "refers to another image than the manifest",
    ),
    "an attestation that is an index": (
        lambda: made(
            replace(WHOLE, attached=(*ATTACHED, Attachment(digest(b"{}"), (), f"{TAG[:-3]}att")))
        ),
        "is not a manifest of schema version 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_section_that_is_not_what_was_signed_is_refused(fault: str) -> None:
    make, what = BAD[fault]
    with pytest.raises(TamperedError) as caught:
        verify(make().tar())
    assert what in caught.value.what
    assert (caught.value.exit_code, caught.value.step) == (11, 20)


def test_what_belongs_to_an_image_is_compared_with_its_digest() -> None:
    data = bytearray(made().tar())
    at = data.index(PAYLOAD)
    data[at + 2 : at + 3] = b"X"
    with pytest.raises(TamperedError) as caught:
        build.read(bytes(data))
    assert caught.value.exit_code == 11
