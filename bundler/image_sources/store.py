"""Store the images of an archive, a layout or an engine's stream in the sink."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from bundler.image_sources.attachments import listed
from bundler.image_sources.base import BlobSink, ImageEntry, ImageSource, ResolvedImage
from bundler.image_sources.content import Payload
from bundler.image_sources.faults import DAMAGED, as_input
from bundler.image_sources.saved import choose
from bundler.image_sources.walk import ImageWalk, SavedImage
from bundler.image_sources.whole import Near, SavedWhole, whole_image
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image, Layer, WholeImage
from installer.core.oci import documents


class SavedImageSource(ImageSource):
    """A source whose images lie in one place: it finds them once, and stores them layer by layer.

    Args:
        place: The file or directory, or the reference.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: all images, by their own names.
        whole: Whether images are taken as their makers pushed them.

    Attributes:
        where: How errors name the place.
        payload: The layers; `find` sets it.
        walk: The way to the images; `find` sets it where whole images are possible.
    """

    payload: Payload
    walk: ImageWalk

    @classmethod
    def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
        """Return the source of one entry."""
        (entry,) = entries
        location = f"{entry.scheme}://{entry.reference}" if entry.scheme else entry.reference
        place, more = entry.path or location, {"whole": True} if entry.whole else {}
        return cls(place, platforms, entry.name, **more)

    def __init__(
        self, place: Path | str, platforms: Sequence[str], reference: str = "", *, whole: bool = False
    ) -> None:
        self.place, self.where = place, str(place)
        self.platforms, self.reference, self.whole = platforms, reference, whole

    @abstractmethod
    def find(self) -> list[SavedImage]:
        """Return the images of the place, without reading layers."""

    def layers(self, image: SavedImage, sink: BlobSink) -> list[Layer]:
        """Store the layers of an image, from the lowest; do not read those that the sink has."""
        layers = []
        for layer in image.layers:
            # Only an uncompressed layer may be replaced by a stored form of other bytes.
            compressed = documents.layer_form(layer.media_type) in ("gzip", "zstd")
            stored = sink.find(layer.diff_id, layer.digest if compressed else "")
            if stored is None:
                with self.payload.open(layer.name, layer.size) as stream:
                    stored = sink.layer(stream, layer)
            layers.append(stored)
        return layers

    @cached_property
    def chosen(self) -> list[tuple[str, SavedImage]]:
        """The images for the bundle with their references; the first answer is kept."""
        images = self.find()
        if not images and self.skipped:
            what = f"contains no image, but {listed(self.skipped)}"
            hint = "give the reference or the file of the image itself"
            raise UnfitInputError(what, where=self.where, hint=hint)
        platforms = [*self.platforms]
        if self.whole:
            # Those of the bundle first: what Docker loads of several platforms is the first one.
            platforms += sorted({image.platform for image in images} - set(platforms))
        return choose(images, platforms, self.where, self.reference)

    def beside(self, digests: Sequence[str]) -> Iterable[Near]:
        """Return what lies next to an image and belongs to it; nothing by default."""
        del digests
        return ()

    @cached_property
    def _wholes(self) -> tuple[SavedWhole, ...]:
        groups: dict[str, list[SavedImage]] = {}
        for reference, image in self.chosen if self.whole else ():
            groups.setdefault(reference, []).append(image)
        with as_input():
            return tuple(whole_image(self.walk, *row, self.beside) for row in groups.items())

    def whole_images(self) -> tuple[WholeImage, ...]:
        """Return the images that are packed as their makers pushed them; see `ImageSource`."""
        return tuple(each.described() for each in self._wholes)

    def resolve(self) -> list[ResolvedImage]:
        """Find the images without reading payload; see `ImageSource`."""
        found = [image.resolved(reference) for reference, image in self.chosen]
        for each in self._wholes:
            at = next(at for at, image in enumerate(found) if image.reference == each.reference)
            blobs, payload = found[at].blobs + each.blobs, found[at].payload + each.payload
            found[at] = replace(found[at], blobs=blobs, payload=payload)
        return found

    def pack(self, sink: BlobSink) -> list[Image]:
        """Store the images, reading each layer that the sink lacks; see `ImageSource`."""
        images = [
            store_image(reference, image, self.layers(image, sink), sink, self.where)
            for reference, image in self.chosen
        ]
        for each in self._wholes:
            own = [image for image in images if image.reference == each.reference]
            each.store(own, self.payload, sink, self.where)
        return images


def store_image(
    reference: str, image: SavedImage, layers: Sequence[Layer], sink: BlobSink, where: str
) -> Image:
    """Store the documents of an image whose layers are stored.

    The original manifest is kept if it still describes the stored layers; otherwise a new one is made.

    Raises:
        UnfitInputError: A layer is not the one that the configuration names.
    """
    for described, stored in zip(image.layers, layers, strict=True):
        # The configuration is what the image id covers: it decides.
        if stored.diff_id != described.diff_id:
            raise UnfitInputError(
                f"the layer's uncompressed digest is {stored.diff_id}, but the configuration of "
                f"{reference} has {described.diff_id}",
                where=described.where,
                hint=DAMAGED,
            )
    config = sink.document(image.config, where=f"{where}: configuration of {reference}")
    manifest = image.manifest
    # A kept manifest keeps the digest that registries and signatures know.
    unchanged = manifest is not None and all(
        stored.digest == described.digest
        and documents.layer_form(stored.media_type) == documents.layer_form(described.media_type)
        for described, stored in zip(image.layers, layers, strict=True)
    )
    if manifest is not None and unchanged:
        layers = [
            replace(stored, media_type=described.media_type)
            for described, stored in zip(image.layers, layers, strict=True)
        ]
    else:
        layers = [
            replace(stored, media_type=documents.oci_layer_type(stored.media_type)) for stored in layers
        ]
        manifest = documents.make_manifest(config, len(image.config), layers)
    digest = sink.document(manifest, where=f"{where}: manifest of {reference}")
    return Image(reference, image.platform, config, digest, tuple(layers))
