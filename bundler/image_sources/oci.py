"""Images from an OCI image layout: a directory with `oci-layout`, `index.json` and `blobs/`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bundler.image_sources.content import LayoutDirectory
from bundler.image_sources.saved import LayoutWalk, read_images
from bundler.image_sources.store import SavedImageSource
from bundler.image_sources.walk import SavedImage
from bundler.image_sources.whole import Near, saved_tag
from installer.core.errors import Problem, TamperedError, UnfitInputError
from installer.core.format.entries.whole_images import of_tag
from installer.core.oci.documents import Descriptor
from installer.core.oci.whole import parse_attached


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
        self.walk = LayoutWalk(content, self.platforms, whole=self.whole)
        images = read_images(content, self.platforms, None if self.whole else self.skipped, self.walk)
        if self.whole:
            self.skipped += [what for entry, what in self.walk.beside if not self._near(entry, entry.digest)]
        return images

    def beside(self, digests: Sequence[str]) -> Iterable[Near]:
        """Yield the outermost entries of the layout that belong to an image."""
        for entry, _ in self.walk.beside:
            near = self._near(entry, digests[0])
            if near and {of_tag(near.tag), near.subject} & {*digests}:
                yield near

    def _near(self, entry: Descriptor, image: str) -> Near | None:
        """Return how an entry belongs to an image; None where it says nothing of the kind."""
        if tag := saved_tag(entry, image):
            return Near(entry, tag)
        try:
            subject = parse_attached(*self.walk.checked(entry)).subject
        except TamperedError:
            return None  # copies of single platforms leave the blobs of the rest behind
        return Near(entry, subject=subject) if subject else None
