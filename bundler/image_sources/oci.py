"""Images from an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.image_sources.base import BlobSink, ResolvedImage
from bundler.image_sources.content import DirectoryContent
from bundler.image_sources.saved import choose, read_images
from bundler.image_sources.store import store_image, store_layers
from bundler.image_sources.walk import SavedImage
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Image


class LayoutSource:
    """One layout, with all images in it or with the one that is meant.

    Args:
        path: The layout's directory.
        platforms: Platforms of the bundle.
        reference: Name that the image has in the bundle; empty to take all by their own names.
    """

    def __init__(self, path: Path, platforms: Sequence[str], reference: str = "") -> None:
        self._path = path
        self._content = DirectoryContent(path)
        self._platforms = platforms
        self._reference = reference
        self._chosen: list[tuple[str, SavedImage]] | None = None

    def resolve(self) -> list[ResolvedImage]:
        """Read the documents of the layout.

        Raises:
            UnfitInputError: It is no layout, is damaged, or lacks what is asked for.
        """
        where = str(self._path)
        return [image.resolved(reference, where) for reference, image in self._resolved()]

    def pack(self, sink: BlobSink) -> list[Image]:
        """Read each layer that the sink lacks.

        Raises:
            UnfitInputError: A blob is not the one that its name says.
        """
        where = str(self._path)
        return [
            store_image(reference, image, store_layers(image, self._content, sink), sink, where)
            for reference, image in self._resolved()
        ]

    def _resolved(self) -> list[tuple[str, SavedImage]]:
        if self._chosen is None:
            where = str(self._path)
            if not self._path.is_dir():
                what = "is not a directory" if self._path.exists() else "is not there"
                hint = "name the directory of the layout; for a file write `archive:` instead of `oci:`"
                raise UnfitInputError(what, where=where, hint=hint)
            images = read_images(self._content, self._platforms)
            self._chosen = choose(images, self._platforms, where, self._reference)
        return self._chosen
