"""Images from archives: both forms of `docker save`, and OCI archives, plain or compressed as a whole.

A plain archive is read in place: headers and documents first, then each layer once. One that was compressed
as a whole can only be read from its start, so it is read twice.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Self

from bundler.image_sources.base import BlobSink, ImageEntry, ImageSource, ResolvedImage
from bundler.image_sources.content import ArchiveFile, Expanded, Payload, StreamedArchive, open_regular
from bundler.image_sources.layers import Form, sniff
from bundler.image_sources.saved import choose, read_images
from bundler.image_sources.store import store_image, store_layers, streamed_layers
from bundler.image_sources.walk import SavedImage
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image


class ArchiveSource(ImageSource):
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
        self._path = path
        self._platforms = platforms
        self._reference = reference
        self._form: Form = "tar"
        self._content: Payload | None = None
        self._chosen: list[tuple[str, SavedImage]] | None = None

    def resolve(self) -> list[ResolvedImage]:
        """Read headers and documents of the archive.

        Raises:
            UnfitInputError: It cannot be read, is damaged or hostile, or lacks an image that is asked for.
        """
        where = str(self._path)
        return [image.resolved(reference, where) for reference, image in self._resolved()]

    def pack(self, sink: BlobSink) -> list[Image]:
        """Read each layer that the sink lacks.

        Raises:
            UnfitInputError: The archive is not what its documents say.
        """
        where = str(self._path)
        chosen = self._resolved()
        if self._content is None:
            passing = StreamedArchive(where)
            self._pass(passing, sink, {layer.name for _, image in chosen for layer in image.layers})
            again = choose(read_images(passing, self._platforms), self._platforms, where, self._reference)
            # The second pass must describe the same images as the first.
            if again != chosen:
                raise UnfitInputError(
                    "changed while it was read",
                    where=where,
                    hint="do not change the file while the bundle is created, and try again",
                )
            return [
                store_image(reference, image, streamed_layers(image, passing, sink), sink, where)
                for reference, image in chosen
            ]
        return [
            store_image(reference, image, store_layers(image, self._content, sink), sink, where)
            for reference, image in chosen
        ]

    def _resolved(self) -> list[tuple[str, SavedImage]]:
        if self._chosen is None:
            where = str(self._path)
            with open_regular(self._path) as file:
                # By content: `docker save | gzip` often keeps the name of a tar file.
                self._form = sniff(file.read(4))
            if self._form == "tar":
                content = self._content = ArchiveFile(self._path)
                images = read_images(content, self._platforms)
            else:
                passing = StreamedArchive(where)
                self._pass(passing, None)
                images = read_images(passing, self._platforms)
            self._chosen = choose(images, self._platforms, where, self._reference)
        return self._chosen

    def _pass(self, passing: StreamedArchive, sink: BlobSink | None, wanted: Container[str] = ()) -> None:
        with open_regular(self._path) as file:
            # The whole stream is read, so that what follows the archive is found, too.
            passing.take(Expanded(file, self._form, str(self._path)), sink, wanted)
