"""Store the images of an archive, a layout or an engine's stream in the sink."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from bundler.image_sources.attachments import listed
from bundler.image_sources.base import BlobSink, ImageEntry, ImageSource, ResolvedImage
from bundler.image_sources.content import Payload
from bundler.image_sources.faults import DAMAGED
from bundler.image_sources.saved import choose
from bundler.image_sources.walk import SavedImage
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image, Layer
from installer.core.oci import documents


class SavedImageSource(ImageSource):
    """A source whose images lie in one place: it finds them once, and stores them layer by layer.

    Args:
        place: The file or directory, or the reference.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: all images, by their own names.

    Attributes:
        where: How errors name the place.
        payload: The layers; `find` sets it.
    """

    payload: Payload

    @classmethod
    def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
        """Return the source of one entry."""
        (entry,) = entries
        location = f"{entry.scheme}://{entry.reference}" if entry.scheme else entry.reference
        return cls(entry.path or location, platforms, entry.name)

    def __init__(self, place: Path | str, platforms: Sequence[str], reference: str = "") -> None:
        self.place, self.where = place, str(place)
        self.platforms, self.reference = platforms, reference

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
        return choose(images, self.platforms, self.where, self.reference)

    def resolve(self) -> list[ResolvedImage]:
        """Find the images without reading payload; see `ImageSource`."""
        return [image.resolved(reference) for reference, image in self.chosen]

    def pack(self, sink: BlobSink) -> list[Image]:
        """Store the images, reading each layer that the sink lacks; see `ImageSource`."""
        return [
            store_image(reference, image, self.layers(image, sink), sink, self.where)
            for reference, image in self.chosen
        ]


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
