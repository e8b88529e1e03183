"""Images from archives: both forms of `docker save`, and OCI archives, plain or compressed as a whole.

A plain archive is read in place: headers and documents first, then each layer once. One that was compressed
as a whole can only be read from its start, so it is read twice.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Self

from bundler.image_sources.base import BlobSink, ImageEntry
from bundler.image_sources.content import ArchiveFile, Expanded, Payload, StreamedArchive, open_regular
from bundler.image_sources.layers import Form, sniff
from bundler.image_sources.saved import choose, read_images
from bundler.image_sources.store import SavedImageSource, store_layers, streamed_layers
from bundler.image_sources.walk import SavedImage
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image, Layer


class ArchiveSource(SavedImageSource):
    """One archive, with all its images or with one of them.

    Args:
        path: The archive.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: all images, by their own names.
    """

    key = "archive"
    takes = "file"

    @classmethod
    def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
        """Return the source of one entry."""
        (entry,) = entries
        return cls(entry.path or Path(entry.reference), platforms, entry.name)

    def __init__(self, path: Path, platforms: Sequence[str], reference: str = "") -> None:
        super().__init__(str(path), platforms, reference)
        self._path = path
        self._form: Form = "tar"
        self._content: Payload | StreamedArchive

    def find(self) -> list[SavedImage]:
        """Read headers and documents of the archive.

        Raises:
            UnfitInputError: It cannot be read, is damaged or hostile, or lacks an image that is asked for.
        """
        with open_regular(self._path) as file:
            # By content: `docker save | gzip` often keeps the name of a tar file.
            self._form = sniff(file.read(4))
        if self._form == "tar":
            content = self._content = ArchiveFile(self._path)
            return read_images(content, self.platforms)
        return read_images(self._stream(None), self.platforms)

    def pack(self, sink: BlobSink) -> list[Image]:
        """Store the images.

        Raises:
            UnfitInputError: The archive is not what its documents say.
        """
        chosen = self.chosen
        if self._form != "tar":
            streamed = self._content = self._stream(
                sink, {layer.name for _, image in chosen for layer in image.layers}
            )
            again = choose(read_images(streamed, self.platforms), self.platforms, self.where, self.reference)
            # The second pass must describe the same images as the first.
            if again != chosen:
                raise UnfitInputError(
                    "changed while it was read",
                    where=self.where,
                    hint="do not change the file while the bundle is created, and try again",
                )
        return super().pack(sink)

    def layers(self, image: SavedImage, sink: BlobSink) -> list[Layer]:
        """Read each layer that the sink lacks; those of a compressed archive went to it with the stream."""
        if isinstance(self._content, StreamedArchive):
            return streamed_layers(image, self._content, sink)
        return store_layers(image, self._content, sink)

    def _stream(self, sink: BlobSink | None, wanted: Container[str] = ()) -> StreamedArchive:
        streamed = StreamedArchive(self.where)
        with open_regular(self._path) as file:
            # The whole stream is read, so that what follows the archive is found, too.
            streamed.take(Expanded(file, self._form, self.where), sink, wanted)
        return streamed
