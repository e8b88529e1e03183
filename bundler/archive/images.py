"""The images of a bundle: found in their sources, written as its `images/` section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundler.archive.image_section import BlobWriter
from bundler.config.model import BundleConfig
from bundler.config.used_images.use import ImageUse
from bundler.image_sources import sources_for
from bundler.image_sources.base import ImageSource, ResolvedImage
from installer.core.errors import Problem, WaybillError
from installer.core.format.manifest import Image
from installer.core.oci import layout
from installer.core.oci.reference import familiar, split_reference


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
    # Where a source failed, its images cannot be compared.
    problems += [] if problems else _wrong_pins(config.pins, images)
    return sources, tuple(images)


def notes(sources: Sequence[ImageSource]) -> list[Problem]:
    """Return what is known of things next to the images that are not bundled, a note for each source."""
    return [note for source in sources if (note := source.note()) is not None]


def _wrong_pins(pins: Sequence[ImageUse], images: Sequence[ResolvedImage]) -> Iterator[Problem]:
    """Yield which services refer to images by digests that the images of the bundle do not have."""
    for pin in pins:
        name, tag, digest = split_reference(pin.reference)
        full, bare = familiar(f"{name}:{tag or 'latest'}"), split_reference(familiar(name))[0]
        named = [(image, image.reference) for image in images]
        # Without a tag it is an image of that name, under any tag.
        same = [image for image, own in named if own == full or (not tag and split_reference(own)[0] == bare)]
        if any(digest in image.digests for image in same):
            continue
        known = sorted({each for image in same for each in image.digests})
        if known:
            what = f"but the image of the bundle has {', '.join(known[:3])}"
            hint = "correct the digest, or list the image with it: `registry: NAME:TAG@DIGEST`"
        else:
            what = "which cannot be compared: the place of the image under images knows no digests"
            hint = "take the image from `registry:` or `oci:`, or leave the digest out"
        yield Problem(pin.where, f"{pin.user} uses {pin.reference}, {what}", hint)


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
