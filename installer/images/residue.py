"""Images after a removal: whether they are gone from the engine, why they stay, and another try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from installer.core.format.manifest import Image
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.images import engines
from installer.images.docker_engine import Engine
from installer.images.docker_socket import EngineError
from installer.images.operations import engine_of, private_name, private_prefix
from installer.images.prune import FOUND, remove_images

_PRIVATE = ("waybill.local/", "root.waybill.local/")


def residue(context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
    """Look for images by id, for their names, and for private names of the product."""
    try:
        with closing(engines.connect(context.system)) as engine:
            known = set[str]()
            for item in items:
                id_ = item.other if engine.info.store == "containerd" else item.mark
                if id_ not in known:
                    yield _residue(context, engine, item.name, id_)
                known.add(id_)
            # A name that no item has: of a load that was interrupted before the inventory was made.
            for name in engine.names(private_prefix(context)):
                found = engine.find(name)
                if found is not None and found.id not in known and not name.endswith(FOUND):
                    what, hint = (
                        "has a name that Waybill uses for this product",
                        f"run {engine.info.removing(name)}",
                    )
                    yield Residue("left", "image", name, what, hint, found.id)
    except EngineError as error:
        what = f"cannot be checked: {error.what}"
        yield from (Residue("left", "image", item.name, what, error.hint, item.mark) for item in items)


def _residue(context: Context, engine: Engine, name: str, id_: str) -> Residue:
    found = engine.find(id_)
    if found is None:
        return Residue("gone", "image", name, id=id_)
    prefix = private_prefix(context)
    ours = [tag for tag in found.tags if tag.startswith(prefix) and not tag.endswith(FOUND)]
    others = sorted(tag for tag in found.tags if not tag.startswith(prefix))
    users = engine.users(found.id)
    reasons = [f"product {tag.split('/')[-2]} uses it" for tag in others if tag.startswith(_PRIVATE)]
    reasons += [f"it has the name {tag}" for tag in others if not tag.startswith(_PRIVATE)]
    reasons += [f"container {user} uses it" for user in users]
    if any(tag.endswith(FOUND) for tag in found.tags):
        reasons.append("it was in the engine before, without a name")
    # A private name that only a container protects goes with the container; without one it should be gone.
    if reasons and (users or not ours):
        return Residue("stays", "image", name, "; ".join(reasons), id=found.id)
    return Residue(
        "left",
        "image",
        name,
        "is still there",
        f"run {engine.info.removing(*(ours or [id_]))}",
        found.id,
    )


def remove_residue(context: Context, items: Sequence[InventoryItem]) -> bool:
    """Remove images that an earlier removal left: a container may have ended, or the engine been started.

    Returns:
        Whether a name went, or may have gone before the engine failed.
    """
    images = [Image(item.name, "", item.mark, item.other, ()) for item in items]
    began = False
    try:
        with engine_of(context) as engine:
            # Asked once: the engine has no request for several names.
            ours = set(engine.names(private_prefix(context)))
            # An image without a private name was removed earlier: its public name is somebody else's by now.
            left = [image for image in images if private_name(context, image, "kept") in ours]
            before = _names(context, engine, left)
            began = bool(left)
            remove_images(context, engine, left)
            return _names(context, engine, left) != before
    except StepError as error:
        context.progress.warn(f"cannot remove images from the engine: {error.what}")
        return began


def _names(context: Context, engine: Engine, images: Sequence[Image]) -> set[tuple[str, str]]:
    """Return which public and private names of images lead to which image."""
    names = {name for each in images for name in (each.reference, private_name(context, each, "kept"))}
    return {(name, found.id) for name in names if (found := engine.find(name)) is not None}
