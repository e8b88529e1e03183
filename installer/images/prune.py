"""Removes images: by id only, after COMMIT only, and never a name or an image that somebody else needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from installer.core.errors import BusyError, WaybillError
from installer.core.format.manifest import Image, Manifest
from installer.deploy.operation import Handler, Json, StepError, WithoutPreimage
from installer.host.context import Context
from installer.host.layout import Layout
from installer.images.docker_engine import Engine
from installer.images.operations import (
    KEPT,
    engine_of,
    id_in,
    image_from_json,
    private_name,
    private_prefix,
    remove_name,
)
from installer.state.retained import read_manifest
from installer.state.state import load

FOUND = ":found"
"""Ends the private name of an image that was in the engine before the product."""


class DropImages(WithoutPreimage):
    """`image.drop`: removes images that the new release does not have in the engine, after COMMIT."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing yet: until COMMIT the old release may be needed again."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Undo nothing."""

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove the names, and with them the images that nothing else uses."""
        with engine_of(context, args) as engine:
            remove_images(context, engine, [image_from_json(each) for each in args["images"]])


HANDLERS: dict[str, Handler] = {"image.drop": DropImages()}


def sweep(
    context: Context, gone: Sequence[Manifest], retained: Sequence[Manifest], *, undone: bool = False
) -> None:
    """Remove what no retained release needs: names of releases that go, and stale private names.

    An engine that is down is not an error: the private names are removed the next time.

    Args:
        context: Of the product.
        gone: Manifests of releases that go and whose images are in the engine.
        retained: The same of those that stay.
        undone: Whether the releases that go were never committed, so that public names are as before.
    """
    if not any(manifest.images for manifest in (*gone, *retained)):
        return
    # A public name goes only if no retained release puts it on the same image.
    needed = [image for manifest in retained for image in manifest.images]
    names = {(image.reference, image.config) for image in needed}
    ours = {private_name(context, image, "kept") for image in needed}
    # After an undo the names are back on the old images, and private names are all there is to remove.
    over = [image for manifest in gone for image in manifest.images if not undone]
    over = [image for image in over if (image.reference, image.config) not in names]
    try:
        with engine_of(context) as engine:
            _untag(context, engine, over)
            for name in engine.names(private_prefix(context)):
                if name not in ours and not name.endswith(FOUND):
                    remove_name(context, engine, name)
            _remove_nameless(context, engine, over)
            engine.sync()
    except StepError as error:
        context.progress.warn(f"cannot remove images of old releases from the engine: {error.what}")


def remove_images(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Remove the names of images. The engine removes an image with its last name.

    Args:
        context: Of the product.
        engine: The engine.
        images: The images.
    """
    _untag(context, engine, images)
    for name in dict.fromkeys(private_name(context, image, "kept") for image in images):
        remove_name(context, engine, name)
    _remove_nameless(context, engine, images)
    engine.sync()


def _remove_nameless(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Remove images without a name: a power cut can lose the name and keep the image.

    An image that had no name before the product has a private one by now, see `LoadImage.undo`.
    """
    for image in images:
        found = engine.find(id_in(engine, image))
        if found is not None and not found.tags:
            remove_name(context, engine, found.id)


def _untag(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Remove public names that nobody else needs and that were not there before the product."""
    for image in images:
        found = engine.find(image.reference)
        if found is None or found.id != id_in(engine, image):
            continue
        # It was here, under this name, before the product.
        if private_name(context, image, "found") in found.tags:
            continue
        kept = private_name(context, image, "kept")
        others = [tag for tag in found.tags if KEPT.match(tag) and tag != kept]
        if not any(_claims(context, tag, image) for tag in others):
            remove_name(context, engine, image.reference)


def forget(context: Context, retained: Sequence[Manifest]) -> None:
    """Remove the private names of images that were there before, once no retained release has them.

    Only after the state is written: until then `sweep` may run again, and needs these names.
    """
    needed = {private_name(context, image, "found") for each in retained for image in each.images}
    try:
        with engine_of(context) as engine:
            for name in engine.names(private_prefix(context)):
                found = engine.find(name) if name.endswith(FOUND) and name not in needed else None
                if found is not None and any("waybill.local/" not in tag for tag in found.tags):
                    remove_name(context, engine, name)
    except StepError:
        return  # a name that stays does no harm


def _claims(context: Context, tag: str, image: Image) -> bool:
    """Return whether another install, which keeps an image by `tag`, needs its public name, too.

    True where that cannot be known: the install is below another root, or is busy, or cannot be read.
    """
    # The product whose private name this is; its state tells whether it retains the public name.
    layout = Layout(tag.rpartition(":")[0].split("/")[-2], context.layout.state)
    if not tag.startswith(private_prefix(replace(context, layout=layout))):
        return True
    try:
        # Without its lock the other product's state could change while it is read.
        lock = context.system.lock(layout.lock)
    except (BusyError, OSError):
        return True
    with lock, suppress(OSError, WaybillError):
        return any(
            (each.reference, each.config) == (image.reference, image.config)
            for entry in load(context.system, layout).retained
            for each in read_manifest(context.system, layout.release(entry.name))[0].images
        )
    return True
