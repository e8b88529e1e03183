"""The images of a bundle: found in their sources, written as its `images/` section."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bundler.archive.image_section import BlobWriter
from bundler.archive.output_file import OutputFile
from bundler.config.model import BundleConfig
from bundler.image_sources import sources_for
from bundler.image_sources.base import ImageSource, ResolvedImage
from bundler.image_sources.layers import Compression, LayerTransform
from installer.core.errors import Problem, WaybillError
from installer.core.format.manifest import FileEntry, Image
from installer.core.oci import documents


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


def write(
    sources: Sequence[ImageSource],
    output: OutputFile,
    offset: int,
    compression: Compression,
    mtime: int,
    advance: Callable[[int], None],
) -> tuple[list[FileEntry], tuple[Image, ...], int]:
    """Write the `images/` section.

    Args:
        sources: The sources that `resolve` returned.
        output: The bundle.
        offset: Offset of the section.
        compression: For layers that come uncompressed.
        mtime: Modification time of all members, seconds since 1970.
        advance: Receives the bytes as they are read.

    Returns:
        The files of the section, the images, and the offset after it.

    Raises:
        UnfitInputError: An image is not what its digests say, or cannot be read.
    """
    blobs = BlobWriter(output, offset, mtime, LayerTransform(compression), advance)
    images = tuple(image for source in sources for image in source.pack(blobs))
    if images:
        # The documents come after the blobs that they name; both readers, OCI's and Docker's, find theirs.
        blobs.add("images/index.json", documents.make_index(images, blobs.documents))
        blobs.add("images/manifest.json", documents.make_docker_manifest(images))
        blobs.add("images/oci-layout", documents.LAYOUT)
    return blobs.entries, images, blobs.offset
