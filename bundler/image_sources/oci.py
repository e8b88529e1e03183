"""Images from an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bundler.image_sources.base import BlobSink, ImageEntry, ImageSource, ResolvedImage
from bundler.image_sources.content import LayoutDirectory
from bundler.image_sources.saved import choose, read_images
from bundler.image_sources.store import store_image, store_layers
from bundler.image_sources.walk import SavedImage
from installer.core.errors import Problem, UnfitInputError
from installer.core.format.manifest import Image


class LayoutSource(ImageSource):
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
        hint = "name the directory that has the files oci-layout and index.json"
        return Problem(where, f"{given} is not an OCI image layout", hint)

    def __init__(self, path: Path, platforms: Sequence[str], reference: str = "") -> None:
        self._path = path
        self._content = LayoutDirectory(path)
        self._platforms = platforms
        self._reference = reference
        self._chosen: list[tuple[str, SavedImage]] | None = None

    def resolve(self) -> list[ResolvedImage]:
        """Read the documents of the layout.

        Raises:
            UnfitInputError: It is not a layout, is damaged, or lacks an image that is asked for.
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
                what = "is not a directory" if self._path.exists() else "does not exist"
                hint = "name the directory of the layout; for a file write `archive:` instead of `oci:`"
                raise UnfitInputError(what, where=where, hint=hint)
            images = read_images(self._content, self._platforms)
            self._chosen = choose(images, self._platforms, where, self._reference)
        return self._chosen
