"""The images of a bundle: found in their sources, written as its `images/` section."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.archive.image_section import BlobWriter
from bundler.config.model import BundleConfig
from bundler.image_sources import sources_for
from bundler.image_sources.base import ImageSource, ResolvedImage
from installer.core.errors import Problem, WaybillError
from installer.core.format.manifest import Image
from installer.core.oci import layout


def resolve(
    config: BundleConfig, problems: list[Problem]
) -> tuple[tuple[ImageSource, ...], tuple[ResolvedImage, ...]]:
    """Return the sources and their images; problems are added to `problems`."""
    sources = sources_for(config.images, config.manifest.platforms)
    images: list[ResolvedImage] = []
    for source in sources:
        try:
            images += source.resolve()
        except WaybillError as error:
            # One source that fails must not hide what is wrong with the others.
            problems += error.problems or (Problem(error.where, error.what, error.hint),)
    # Two sources may well offer the same tag; the engine on the host would keep one at random.
    names = [(image.reference, image.platform) for image in images]
    for name, platform in sorted({name for name in names if names.count(name) > 1}):
        what = f"two images have the name {name} and the platform {platform}"
        problems.append(Problem("bundle.yaml", what, "remove one of them"))
    return sources, tuple(images)


def write(sources: Sequence[ImageSource], blobs: BlobWriter) -> tuple[Image, ...]:
    """Write the `images/` section.

    Args:
        sources: The sources that `resolve` returned.
        blobs: Takes the files of the section.

    Returns:
        The images.

    Raises:
        UnfitInputError: An image is not what its digests say, or cannot be read.
    """
    images = tuple(image for source in sources for image in source.pack(blobs))
    if images:
        # The documents come after the blobs that they name; both readers, OCI's and Docker's, find theirs.
        blobs.add("images/index.json", layout.make_index(images, blobs.documents))
        blobs.add("images/manifest.json", layout.make_docker_manifest(images))
        blobs.add("images/oci-layout", layout.LAYOUT)
    return images
