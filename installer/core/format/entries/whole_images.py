"""Images as their makers pushed them: their entry in the manifest, and the rules of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator

from installer.core.digest import OCI
from installer.core.fields import Value
from installer.core.format.manifest import Attachment, Manifest, WholeImage, blob_path

MOST = 256
"""Manifests that belong to one image, and blobs of one of them."""
_DIGEST = "`sha256:` and 64 hex digits"
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]{0,254}")
TAG = re.compile(r"(sha256)-([0-9a-f]{64})\.(?:sig|att|sbom)")
"""The tags by which cosign finds what belongs to an image: the digest of that is in them."""
_TAG_FORM = "`sha256-`, 64 hex digits, and `.sig`, `.att` or `.sbom`"


def read_whole_image(value: Value) -> WholeImage:
    """Read one element of `whole_images`; problems are noted in the document of `value`."""
    with value.fields() as taken:
        return WholeImage(
            reference=taken.take("reference").text(_REFERENCE, "an image reference"),
            digest=taken.take("digest").text(OCI, _DIGEST),
            attached=taken.take("attached", []).items(_attachment, MOST),
        )


def _attachment(value: Value) -> Attachment:
    with value.fields() as taken:
        return Attachment(
            manifest=taken.take("manifest").text(OCI, _DIGEST),
            blobs=taken.take("blobs").items(lambda each: each.text(OCI, _DIGEST), MOST),
            tag=taken.optional_text("tag", TAG, _TAG_FORM),
            subject=taken.optional_text("subject", OCI, _DIGEST),
        )


def faults(manifest: Manifest, paths: Container[str]) -> Iterator[str]:
    """Yield what is wrong with the whole images of a manifest.

    Args:
        manifest: The manifest.
        paths: The paths of its files.
    """
    counts = Counter(each.reference for each in manifest.whole_images)
    yield from (f"{name} is a whole image twice" for name, count in counts.items() if count > 1)
    # The top of another image would be taken for an index that nobody compares.
    tops = {each.manifest for each in manifest.images}
    for whole in manifest.whole_images:
        images = {each.manifest for each in manifest.images if each.reference == whole.reference}
        if not images:
            yield f"{whole.reference} is a whole image, but not among the images"
        if whole.digest in tops and images != {whole.digest}:
            yield f"{whole.reference} is for several platforms, but has no index"
        manifests = [each.manifest for each in whole.attached]
        if len({*images, whole.digest, *manifests}) != len(images | {whole.digest}) + len(manifests):
            yield f"{whole.reference} has a manifest twice"
        tags = [each.tag for each in whole.attached if each.tag]
        if len(set(tags)) != len(tags):
            yield f"{whole.reference} has a tag twice"
        # What belongs to another image would be found next to that one.
        known = {*images, whole.digest}
        yield from (
            f"{whole.reference} has the tag {tag} of another image"
            for tag in tags
            if of_tag(tag) not in known
        )
        for each in whole.attached:
            if each.subject and (each.tag or each.subject not in known):
                yield f"{whole.reference}: {each.manifest} has a tag, or refers to another image"
            if len(set(each.blobs)) != len(each.blobs):
                yield f"{whole.reference}: {each.manifest} has a blob twice"
        for digest in (whole.digest, *manifests, *(blob for each in whole.attached for blob in each.blobs)):
            if blob_path(digest) not in paths:
                yield f"{whole.reference}: {digest} is not in the bundle"


def of_tag(tag: str) -> str:
    """Return the digest of what a tag of cosign belongs to."""
    match = TAG.fullmatch(tag)
    return f"{match[1]}:{match[2]}" if match else ""
