"""Gives up images: only by id, only after COMMIT, and never a name or an image that somebody else needs."""
# The protocol tells every handler the same.
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from installer.core.errors import BusyError, WaybillError
from installer.core.format.manifest import Image, Manifest
from installer.deploy.operation import Handler, Json, StepError
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

_FOUND = ":found"
"""Ends the name by which an image that was there before us is known."""


class DropImages:
    """`image.drop`: gives up images that a release has no more in the engine, after COMMIT."""

    def observe(self, context: Context, args: Json) -> Json:
        """Nothing is needed to undo nothing."""
        return {}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Does nothing yet: until COMMIT the images may be wanted back."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Has nothing to undo."""

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Takes the names away, and with them the images where nothing else uses them."""
        with engine_of(context) as engine:
            let_go(context, engine, [image_from_json(each) for each in args["images"]])


DROP: dict[str, Handler] = {"image.drop": DropImages()}


def sweep(
    context: Context, gone: Sequence[Manifest], retained: Sequence[Manifest], *, undone: bool = False
) -> None:
    """Gives up what no retained release needs: public names that are still on images of gone ones, and ours.

    An engine that is down is no reason to fail: our own names are swept the next time.

    Args:
        context: Of the product.
        gone: Manifests of releases that go and whose images went into the engine.
        retained: The same of those that stay.
        undone: Whether public names are as they were before, since those that go never stood.
    """
    if not any(manifest.images for manifest in (*gone, *retained)):
        return
    needed = [image for manifest in retained for image in manifest.images]
    names = {(image.reference, image.config) for image in needed}
    ours = {private_name(context, image, "kept") for image in needed}
    over = [image for manifest in gone for image in manifest.images if not undone]
    over = [image for image in over if (image.reference, image.config) not in names]
    try:
        with engine_of(context) as engine:
            _give_up_names(context, engine, over)
            for name in engine.names(private_prefix(context)):
                if name not in ours and not name.endswith(_FOUND):
                    remove_name(context, engine, name)
            _give_up_nameless(context, engine, over)
            engine.sync()
    except StepError as error:
        context.progress.note(f"images of old releases are left in the engine: {error.what}")


def let_go(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Gives up the names of images; one that nobody else has goes with the last of them.

    Args:
        context: Of the product.
        engine: The engine.
        images: The images.
    """
    _give_up_names(context, engine, images)
    for name in dict.fromkeys(private_name(context, image, "kept") for image in images):
        remove_name(context, engine, name)
    _give_up_nameless(context, engine, images)
    engine.sync()


def _give_up_nameless(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Removes what has lost its last name and is still there: a power cut may take the one without the other.

    What had no name before us has got one that stays, see `LoadImage.undo`.
    """
    for image in images:
        found = engine.find(id_in(engine, image))
        if found is not None and not found.tags:
            remove_name(context, engine, found.id)


def _give_up_names(context: Context, engine: Engine, images: Sequence[Image]) -> None:
    """Takes public names away that nobody else needs, and that were not there before us."""
    for image in images:
        found = engine.find(image.reference)
        if found is None or found.id != id_in(engine, image):
            continue
        if private_name(context, image, "found") in found.tags:
            continue
        kept = private_name(context, image, "kept")
        others = [tag for tag in found.tags if KEPT.match(tag) and tag != kept]
        if not any(_claims(context, tag, image) for tag in others):
            remove_name(context, engine, image.reference)


def forget(context: Context, retained: Sequence[Manifest]) -> None:
    """Takes the marks off images that were there before us, once no retained release has them.

    Only when the state is written: before, giving up may be done again, and must find them.
    """
    needed = {private_name(context, image, "found") for each in retained for image in each.images}
    try:
        with engine_of(context) as engine:
            for name in engine.names(private_prefix(context)):
                found = engine.find(name) if name.endswith(_FOUND) and name not in needed else None
                if found is not None and any("waybill.local/" not in tag for tag in found.tags):
                    remove_name(context, engine, name)
    except StepError:
        return  # a mark does no harm


def _claims(context: Context, tag: str, image: Image) -> bool:
    """Says whether another install, which keeps an image by `tag`, needs its public name too.

    Where that cannot be known, it does: the install is below another root, or is busy, or cannot be read.
    """
    layout = Layout(tag.rpartition(":")[0].split("/")[-2], context.layout.state)
    if not tag.startswith(private_prefix(replace(context, layout=layout))):
        return True
    try:
        lock = context.system.lock(layout.lock)
    except (BusyError, OSError):
        return True
    try:
        return any(
            (each.reference, each.config) == (image.reference, image.config)
            for entry in load(context.system, layout).retained
            for each in read_manifest(context.system, layout.release(entry.name))[0].images
        )
    except (OSError, WaybillError):
        return True
    finally:
        lock.release()
