"""Images after an unclean boot: read back from the engine, and loaded again where a power cut broke them.

An engine syncs little of what it writes. After a power cut an image may be there by id and name while its
files are empty; only reading it back shows that, and only removing it first mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from installer.core.errors import TamperedError
from installer.core.format.manifest import Image, Manifest
from installer.core.oci.documents import platform_matches
from installer.host.context import Context
from installer.images.docker_engine import Engine, EngineError
from installer.images.operations import (
    ABSENT,
    LoadImage,
    engine_of,
    id_in,
    id_of,
    image_load,
    private_name,
    same_layers,
)


def mend_images(context: Context, manifest: Manifest, directory: str) -> list[str]:
    """Reads every image of a release back, and loads again from its kept blobs what is not whole.

    Args:
        context: Of the product.
        manifest: Of the release.
        directory: Where its members lie, as a host path.

    Returns:
        The references of the images that were loaded again.

    Raises:
        StepError: The engine is down, or holds on to what is broken.
    """
    images = [each for each in manifest.images if platform_matches(context.system.platform(), each.platform)]
    with engine_of(context) as engine:
        broken = [image for image in images if not _whole(engine, image)]
        # All of them first: a broken layer that another image shares would be taken for present.
        others = dict[str, str]()
        for image in broken:
            context.progress.note(f"{image.reference} is broken in the engine: removed, loaded again")
            found = engine.find(id_in(engine, image))
            others |= dict.fromkeys(found.tags if found else (), id_in(engine, image))
            engine.remove(id_in(engine, image), force=True)
        for image in broken:
            release = Path(context.system.real(directory))
            ship = image_load(context, engine, image, release, frozenset())
            LoadImage().load(context, engine, replace(ship, left_out=frozenset()))
        for name, mended in others.items():
            engine.tag(mended, name)  # somebody else's went with the image, too
        engine.sync()
        _name(context, engine, images)
        engine.sync()
    return [image.reference for image in broken]


def _whole(engine: Engine, image: Image) -> bool:
    found = engine.find(id_in(engine, image))
    if found is None or not same_layers(found, image):
        return False
    stored = engine.info.store == "containerd"
    try:
        return {layer.digest if stored else layer.diff_id for layer in image.layers} <= engine.contents(
            found.id
        )
    except (EngineError, TamperedError):
        return False


def _name(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Gives the names back that the power cut took; a name that is on another image is left there."""
    for image in images:
        engine.tag(id_in(engine, image), private_name(context, image, "kept"))
        engine.remove(private_name(context, image, "staged"))
        if id_of(engine, image.reference) == ABSENT:
            engine.tag(id_in(engine, image), image.reference)
