"""Images after an unclean boot: read back from the engine, and loaded again if a power cut damaged them.

An engine syncs little of what it writes. After a power cut an image can be there by id and name although its
files are empty. Only reading it back shows that, and only removing it before loading it again repairs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from installer.core.errors import TamperedError
from installer.core.format.manifest import Image, Manifest
from installer.core.oci.documents import platform_matches
from installer.host.context import Context
from installer.images import operations
from installer.images.docker_engine import Engine
from installer.images.docker_socket import EngineError


def repair_images(context: Context, manifest: Manifest, directory: str) -> list[str]:
    """Read every image of a release back, and load damaged ones again from the release's own blobs.

    Args:
        context: Of the product.
        manifest: Of the release.
        directory: Where its members are, as a host path.

    Returns:
        The references of the images that were loaded again.

    Raises:
        StepError: The engine is down, or keeps damaged layers.
    """
    images = [each for each in manifest.images if platform_matches(context.system.platform(), each.platform)]
    with operations.engine_of(context) as engine:
        damaged = [image for image in images if not _whole(engine, image)]
        # Remove all of them first: a damaged layer that another image shares would be taken for present.
        others = dict[str, str]()
        for image in damaged:
            context.progress.note(
                f"{image.reference} is damaged in the engine: removing it and loading it again"
            )
            found = engine.find(operations.id_in(engine, image))
            others |= dict.fromkeys(found.tags if found else (), operations.id_in(engine, image))
            engine.remove(operations.id_in(engine, image), force=True)
        for image in damaged:
            release = Path(context.system.real(directory))
            ship = operations.image_load(context, engine, image, release, frozenset())
            operations.LoadImage().load(context, engine, ship)
        for name, repaired in others.items():
            engine.tag(repaired, name)  # forced removal took all names, also those of others
        engine.sync()
        _name(context, engine, images)
        engine.sync()
    return [image.reference for image in damaged]


def _whole(engine: Engine, image: Image) -> bool:
    found = engine.find(operations.id_in(engine, image))
    if found is None or not operations.same_layers(found, image):
        return False
    # The containerd store exports the stored blobs, the classic store the layers as they expand.
    stored = engine.info.store == "containerd"
    wanted = {layer.digest if stored else layer.diff_id for layer in image.layers}
    try:
        return wanted <= engine.contents(found.id)
    # An engine that cannot export the image is not proof of damage, but loading again is safe.
    except (EngineError, TamperedError):
        return False


def _name(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Restore the names that the power cut took. A name that is on another image stays there."""
    for image in images:
        engine.tag(operations.id_in(engine, image), operations.private_name(context, image, "kept"))
        engine.remove(operations.private_name(context, image, "staged"))
        if operations.id_of(engine, image.reference) == operations.ABSENT:
            engine.tag(operations.id_in(engine, image), image.reference)
