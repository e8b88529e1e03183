"""Images as their makers pushed them: with the index, for all its platforms, and with their signatures.

cosign 2 finds a signature by a tag next to the image, `sha256-….sig`, cosign 3 among the manifests that refer
to the image by OCI 1.1; BuildKit lists attestations in the index. All are kept byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bundler.image_sources.attachments import artifact_type
from bundler.image_sources.base import BlobSink
from bundler.image_sources.content import Payload
from bundler.image_sources.walk import ImageWalk, SavedImage, SavedLayer
from installer.core.digest import oci_digest
from installer.core.errors import TamperedError, UnfitInputError
from installer.core.format.entries.whole_images import of_tag
from installer.core.format.manifest import Attachment, Image, WholeImage
from installer.core.oci import documents, whole

ENDS = ("sig", "att", "sbom")
"""The ends of cosign's tags."""
_KINDS = {"sigs": "sig", "atts": "att", "sboms": "sbom"}
"""What `cosign save` calls them in a layout."""
_HINT = "take the image without `whole: true`"


@dataclass(frozen=True, slots=True)
class Near:
    """The way to a manifest that belongs to an image.

    Attributes:
        entry: The manifest.
        tag: Its tag; empty for none.
        subject: Digest of what it refers to; empty where a tag or the index of the image leads to it.
    """

    entry: documents.Descriptor
    tag: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class SavedAttachment:
    """A manifest that belongs to an image, as its place has it.

    Attributes:
        near: The way to it.
        manifest: Its bytes.
        blobs: Its configuration and layers.
    """

    near: Near
    manifest: bytes
    blobs: tuple[SavedLayer, ...]


@dataclass(frozen=True, slots=True)
class SavedWhole:
    """What a whole image has besides its images for single platforms.

    Attributes:
        reference: Name and tag in the bundle.
        digest: Of the index; of the only manifest where there is none.
        index: The bytes of the index; empty where there is none.
        attached: What belongs to it.
    """

    reference: str
    digest: str
    index: bytes
    attached: tuple[SavedAttachment, ...]

    @property
    def blobs(self) -> int:
        """The largest number of blobs that it adds to a bundle."""
        return bool(self.index) + sum(1 + len(each.blobs) for each in self.attached)

    @property
    def payload(self) -> int:
        """The largest number of bytes that it adds."""
        sizes = [len(each.manifest) + sum(blob.size for blob in each.blobs) for each in self.attached]
        return len(self.index) + sum(sizes)

    def described(self) -> WholeImage:
        """Return its entry in the manifest of a bundle."""
        attached = (
            Attachment(
                oci_digest(each.manifest),
                tuple(blob.digest for blob in each.blobs),
                each.near.tag,
                each.near.subject,
            )
            for each in self.attached
        )
        return WholeImage(self.reference, self.digest, tuple(attached))

    def store(self, images: Iterable[Image], payload: Payload, sink: BlobSink, where: str) -> None:
        """Store what belongs to it; its images are stored.

        Raises:
            UnfitInputError: An image was changed on its way, or a blob does not match its digest.
        """
        entries = documents.parse_index(self.index, where).manifests if self.index else ()
        listed = {each.digest for each in entries} or {self.digest}
        if not {each.manifest for each in images} <= listed:
            what = "has layers that are not compressed, which a bundle stores in another form"
            hint = f"push the image with compressed layers, or {_HINT}"
            raise UnfitInputError(what, where=where, hint=hint)
        if self.index:
            sink.document(self.index, where=f"{where}: index of {self.reference}")
        for each in self.attached:
            for blob in each.blobs:
                with payload.open(blob.name, blob.size) as stream:
                    sink.blob(stream, blob)
            sink.document(each.manifest, where=f"{where}: {each.near.entry.digest}")


def whole_image(
    walk: ImageWalk,
    reference: str,
    images: Sequence[SavedImage],
    beside: Callable[[Sequence[str]], Iterable[Near]],
) -> SavedWhole:
    """Return what an image has besides its images for single platforms.

    Args:
        walk: The place of the image.
        reference: Name and tag in the bundle.
        images: Its images, for all platforms.
        beside: Returns what lies next to manifests or an index, by the digests of these.

    Raises:
        UnfitInputError: The index has what a bundle cannot keep.
    """
    top = images[0].top
    own = {oci_digest(each.manifest or b"") for each in images}
    index, others = walk.indexes.get(top, b""), list[Near]()
    # An archive of an old Docker has neither an index nor manifests.
    if not (index or own == {top}) or any(each.top != top for each in images):
        what = "has images for several platforms, but no index of them, or no manifest"
        raise UnfitInputError(f"{reference} {what}", where=walk.where, hint=_HINT)
    if index:
        entries = documents.parse_index(index, walk.where).manifests
        others = [Near(each) for each in entries if each.digest not in own]
    # What the index lists, and is found in another way, too, is listed.
    for each in beside([top, *sorted(own - {top})]):
        others += [] if each.entry.digest in {known.entry.digest for known in others} else [each]
    attached = tuple(_attachment(walk, each) for each in others)
    return SavedWhole(reference, top, index, attached)


def _attachment(walk: ImageWalk, near: Near) -> SavedAttachment:
    data, where = walk.checked(near.entry)
    is_listed = not near.tag and not near.subject
    try:
        if is_listed and not near.entry.artifact and not artifact_type(data, where):
            what = f"has two images for {near.entry.platform or 'one platform'} in its index"
            raise UnfitInputError(what, where=walk.where, hint=_HINT)
        found = whole.parse_attached(data, where)
    except TamperedError as error:
        hint = f"remove it from the index, or {_HINT}"
        raise UnfitInputError(
            f"belongs to the image and {error.what}", where=error.where, hint=hint
        ) from None
    blobs = tuple(
        SavedLayer(walk.place(name), "", blob.digest, blob.media_type, blob.size, name)
        for blob in found.blobs
        for name in (walk.layer(blob),)
    )
    if near.subject and found.subject != near.subject:
        what = f"is listed as referring to {near.subject}, but does not"
        raise UnfitInputError(what, where=where, hint=_HINT)
    return SavedAttachment(near, data, blobs)


def tags_of(digest: str) -> Iterator[str]:
    """Yield the tags by which cosign finds what belongs to a manifest."""
    yield from (f"{digest.replace(':', '-')}.{end}" for end in ENDS)


def saved_tag(entry: documents.Descriptor, image: str) -> str:
    """Return the tag of cosign that an entry of a layout stands for; empty for any other entry.

    Args:
        entry: The entry, outermost in the layout.
        image: The digest of the image of the layout: `cosign save` saves one, and names no tags.
    """
    name = entry.annotations.get(documents.REF_NAME, "").rpartition(":")[2]
    if of_tag(name):
        return name
    end = _KINDS.get(entry.artifact.rpartition("/")[2], "") if entry.artifact.startswith("dev.cosign") else ""
    return f"{image.replace(':', '-')}.{end}" if end else ""
