"""Images from an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bundler.image_sources.base import BlobSink, ImageEntry
from bundler.image_sources.content import LayoutDirectory
from bundler.image_sources.saved import read_images
from bundler.image_sources.store import SavedImageSource, store_layers
from bundler.image_sources.walk import SavedImage
from installer.core.errors import Problem, UnfitInputError
from installer.core.format.manifest import Layer


class LayoutSource(SavedImageSource):
    """One layout, with all its images or with one of them.

    Args:
        path: The layout's directory.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: all images, by their own names.
    """

    key = "oci"
    takes = "directory"

    @classmethod
    def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
        """Return the source of one entry."""
        (entry,) = entries
        return cls(entry.path or Path(entry.reference), platforms, entry.name)

    @classmethod
    def path_problem(cls, path: Path, given: str, where: str) -> Problem | None:
        """Return a problem if the directory is not a layout."""
        if (path / "oci-layout").is_file():
            return None
        hint = "give the directory that contains the files oci-layout and index.json"
        return Problem(where, f"{given} is not an OCI image layout", hint)

    def __init__(self, path: Path, platforms: Sequence[str], reference: str = "") -> None:
        super().__init__(str(path), platforms, reference)
        self._path = path
        self._content = LayoutDirectory(path)

    def find(self) -> list[SavedImage]:
        """Read the documents of the layout.

        Raises:
            UnfitInputError: It is not a layout, or is damaged.
        """
        if not self._path.is_dir():
            what = "is not a directory" if self._path.exists() else "does not exist"
            hint = "give the directory of the layout; for a file, write `archive:` instead of `oci:`"
            raise UnfitInputError(what, where=self.where, hint=hint)
        return read_images(self._content, self.platforms)

    def layers(self, image: SavedImage, sink: BlobSink) -> list[Layer]:
        """Read each layer that the sink lacks."""
        return store_layers(image, self._content, sink)
