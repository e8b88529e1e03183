"""Images from an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`."""

from __future__ import annotations

from pathlib import Path

from bundler.image_sources.content import LayoutDirectory
from bundler.image_sources.saved import read_images
from bundler.image_sources.store import SavedImageSource
from bundler.image_sources.walk import SavedImage
from installer.core.errors import Problem, UnfitInputError


class LayoutSource(SavedImageSource):
    """One layout, with all its images or with one of them.

    Args:
        place: The layout's directory.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: all images, by their own names.
    """

    key = "oci"
    takes = "directory"

    @classmethod
    def path_problem(cls, path: Path, given: str, where: str) -> Problem | None:
        """Return a problem if the directory is not a layout."""
        if (path / "oci-layout").is_file():
            return None
        hint = "give the directory that contains the files oci-layout and index.json"
        return Problem(where, f"{given} is not an OCI image layout", hint)

    def find(self) -> list[SavedImage]:
        """Read the documents of the layout.

        Raises:
            UnfitInputError: It is not a layout, or is damaged.
        """
        path = Path(self.place)
        if not path.is_dir():
            what = "is not a directory" if path.exists() else "does not exist"
            hint = "give the directory of the layout; for a file, write `archive:` instead of `oci:`"
            raise UnfitInputError(what, where=self.where, hint=hint)
        self.payload = content = LayoutDirectory(path)
        return read_images(content, self.platforms, self.skipped)
