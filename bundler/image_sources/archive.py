"""Images from archives: both forms of `docker save`, and OCI archives, plain or compressed as a whole.

What `docker load` takes is taken, whichever tool wrote it; see `tarscan` for the little that is refused.

A plain archive is read in place: headers and documents first, then each layer once. One that was compressed
as a whole can only be read from its start, so it is read twice.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from bundler.image_sources.base import BlobSink
from bundler.image_sources.content import (
    ArchiveFile,
    PieceStream,
    StreamedArchive,
    changed_while_read,
    open_regular,
)
from bundler.image_sources.layers import HEAD, ArchiveForm, archive_form, expand
from bundler.image_sources.saved import choose, read_images
from bundler.image_sources.store import SavedImageSource
from bundler.image_sources.walk import SavedImage
from installer.core.format.manifest import Image, Layer


class ArchiveSource(SavedImageSource):
    """One archive, with all its images or with one of them.

    Args:
        place: The archive.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: all images, by their own names.
    """

    key = "archive"
    takes = "file"

    def __init__(self, place: Path | str, platforms: Sequence[str], reference: str = "") -> None:
        super().__init__(place, platforms, reference)
        self._path = Path(place)
        self._form: ArchiveForm = "tar"
        self._streamed: StreamedArchive | None = None

    def find(self) -> list[SavedImage]:
        """Read headers and documents of the archive.

        Raises:
            UnfitInputError: It cannot be read, is damaged or hostile, or lacks an image that is asked for.
        """
        with open_regular(self._path) as file:
            # By content: `docker save | gzip` often keeps the name of a tar file.
            self._form = archive_form(file.read(HEAD))
        if self._form == "tar":
            self.payload = content = ArchiveFile(self._path)
            return read_images(content, self.platforms, self.skipped)
        return read_images(self._stream(None), self.platforms, self.skipped)

    def pack(self, sink: BlobSink) -> list[Image]:
        """Store the images.

        Raises:
            UnfitInputError: The archive is not what its documents say.
        """
        chosen = self.chosen
        if self._form != "tar":
            wanted = {layer.name for _, image in chosen for layer in image.layers}
            streamed = self._streamed = self._stream(sink, wanted)
            again = choose(read_images(streamed, self.platforms), self.platforms, self.where, self.reference)
            # The second pass must describe the same images as the first.
            if again != chosen:
                raise changed_while_read(self.where)
        return super().pack(sink)

    def layers(self, image: SavedImage, sink: BlobSink) -> list[Layer]:
        """Read each layer that the sink lacks; those of a compressed archive went to it with the stream."""
        if self._streamed is not None:
            return [self._streamed.layer(layer.name, sink) for layer in image.layers]
        return super().layers(image, sink)

    def _stream(self, sink: BlobSink | None, wanted: Container[str] = ()) -> StreamedArchive:
        streamed = StreamedArchive(self.where)
        with open_regular(self._path) as file:
            # The whole stream is read, so that what follows the archive is found, too.
            streamed.take(PieceStream(expand(file, self._form, self.where)), sink, wanted)
        return streamed
