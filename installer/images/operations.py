"""The operations on images, in the Docker engine or in a directory below `--root`.

An image is loaded under a private name, synced, compared with its signed digest, and only then kept under
`waybill.local/<product>/<id12>:kept`. That name says "complete and on the disk" to every later run, and holds
the image of a retained release when its public tag has moved on. The public tags move in the switch phase.
"""
# The protocol tells every method and handler the same.
# ruff: noqa: ARG002

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format.manifest import Image, Layer
from installer.core.oci.documents import platform_matches
from installer.deploy.operation import Handler, Json, StepError, ThirdStateError
from installer.host.context import Context
from installer.images import docker_engine
from installer.images.directory_store import DirectoryStore
from installer.images.docker_engine import Engine, EngineError, EngineImage, InUseError
from installer.images.load_stream import Form, ImageLoad, chain_ids, stream
from installer.shared.progress import Progress
from installer.state.release import Release

ABSENT = "absent"
KEPT = re.compile(r"(root\.)?waybill\.local/.*:kept$")
"""Names that an install, this one or another, has given an image that it keeps."""


def images_for(release: Release | None, platform: str) -> tuple[Image, ...]:
    """Gives the images of a release that are for this platform, one per reference."""
    if release is None:
        return ()
    fitting = (image for image in release.manifest.images if platform_matches(platform, image.platform))
    return tuple({image.reference: image for image in reversed(tuple(fitting))}.values())[::-1]


def store_of(context: Context) -> DirectoryStore:
    """Gives the embedded store of a product."""
    return DirectoryStore(context.system, f"{context.layout.base}/images")


def private_prefix(context: Context) -> str:
    """Gives how our own names of a product's images start; each `--root` has its own on the one engine."""
    product, root = context.layout.product, context.system.root
    if context.live:
        return f"waybill.local/{product}/"
    return f"root.waybill.local/{sha256_hex(root.encode())[:12]}/{product}/"


def private_name(context: Context, image: Image, state: str) -> str:
    """Gives the private name of an image: `staged` while it is being loaded, `kept` once it is complete."""
    return f"{private_prefix(context)}{image.config.removeprefix('sha256:')[:12]}:{state}"


def id_in(engine: Engine, image: Image) -> str:
    """Gives the id that an image has to have in an engine."""
    return image.manifest if engine.info.store == "containerd" else image.config


def complete(context: Context, engine: Engine, image: Image) -> bool:
    """Says whether an engine has an image, whole.

    The classic store lists an image only when it has every layer. The containerd store also lists an image
    whose load broke off, with the right id: there only our own name, given after the check, counts.
    """
    wanted, kept = id_in(engine, image), engine.find(private_name(context, image, "kept"))
    if kept is not None and kept.id == wanted:
        return same_layers(kept, image)
    if engine.info.store == "containerd":
        return False
    found = engine.find(wanted)
    return found is not None and found.id == wanted and same_layers(found, image)


def _intact(engine: Engine, ship: ImageLoad) -> bool:
    """Reads an image back from a classic store and compares every layer; a damaged one is not given."""
    try:
        return {layer.diff_id for layer in ship.image.layers} <= engine.contents(ship.tag)
    except (EngineError, TamperedError):
        return False


def same_layers(found: EngineImage, image: Image) -> bool:
    """Says whether the engine names exactly the layers that were signed."""
    return found.diff_ids == tuple(layer.diff_id for layer in image.layers)


@contextmanager
def engine_of(context: Context) -> Iterator[Engine]:
    """Connects to this host's engine; its failures are the step's."""
    try:
        engine = docker_engine.connect(context.system)
        try:
            yield engine
        finally:
            engine.close()
    except EngineError as error:
        raise StepError(error.what, where=error.where, hint=error.hint) from error


def image_load(
    context: Context, engine: Engine, image: Image, release: Path, present: frozenset[str]
) -> ImageLoad:
    """Says what of an image has to travel into an engine.

    Args:
        context: Of the product.
        engine: The engine.
        image: The image; the engine lacks it.
        release: Directory with the blobs.
        present: Chains of layers that the engine has, from `present_chains`.
    """
    form: Form = "oci" if engine.info.store == "containerd" else "docker"
    chains = chain_ids(tuple(layer.diff_id for layer in image.layers))
    left_out = frozenset(place for place, chain in enumerate(chains) if chain in present)
    return ImageLoad(image, release, private_name(context, image, "staged"), form, left_out)


def present_chains(engine: Engine) -> frozenset[str]:
    """Gives the chains of layers that need not be sent; none for the containerd store, see ADR on loading."""
    if engine.info.store == "containerd":
        return frozenset()
    return frozenset(chain for layers in engine.layer_lists() for chain in chain_ids(layers))


class _Meter:
    """Counts bytes that pass several times once."""

    def __init__(self, progress: Progress, passes: int) -> None:
        self._progress, self._passes, self._rest = progress, passes, 0

    def advance(self, count: int) -> None:
        whole, self._rest = divmod(self._rest + count, self._passes)
        self._progress.advance(whole)


def _is_theirs(found: EngineImage | None, image: Image) -> bool:
    """Says whether an image was brought here by somebody else, under the name that a release gives it."""
    return found is not None and image.reference in found.tags and not any(map(KEPT.match, found.tags))


class LoadImage:
    """`image.load`: brings an image into the engine, under private names only."""

    def observe(self, context: Context, args: Json) -> Json:
        """Says whether the image is there by id, whether it has names of others, and whether we keep it."""
        image = image_from_json(args["image"])
        kept_name = private_name(context, image, "kept")
        with engine_of(context) as engine:
            found, kept = engine.find(id_in(engine, image)), engine.find(kept_name)
            return {
                "id": found.id if found else ABSENT,
                "named": bool(found and set(found.tags) - {kept_name}),
                "kept": kept.id if kept else ABSENT,
                "before": kept is None and _is_theirs(found, image),
            }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Loads, syncs, checks, keeps."""
        image, release = image_from_json(args["image"]), args["release"]
        with engine_of(context) as engine:
            staged, kept = (private_name(context, image, state) for state in ("staged", "kept"))
            if not complete(context, engine, image):
                ship = image_load(
                    context, engine, image, Path(context.system.real(release)), present_chains(engine)
                )
                self._send(context, engine, ship)
            engine.sync()
            engine.tag(id_in(engine, image), kept)
            if preimage.get("before"):
                # Somebody has it under this very name: that stays when we give it up.
                engine.tag(id_in(engine, image), private_name(context, image, "found"))
            engine.remove(staged)

    def _send(self, context: Context, engine: Engine, ship: ImageLoad) -> None:
        try:
            if ship.left_out:
                try:
                    return self.load(context, engine, ship)
                except EngineError:
                    # What we believed to be there may have been removed in between: send all of it.
                    engine.remove(ship.tag)
            return self.load(context, engine, replace(ship, left_out=frozenset()))
        except (EngineError, TamperedError):
            with suppress(EngineError):
                engine.remove(ship.tag)
            raise

    def load(self, context: Context, engine: Engine, ship: ImageLoad, *, again: bool = False) -> None:
        """Sends a shipment, checks what the engine has made of it, and mends what a power cut left.

        Raises:
            EngineError: The engine failed, or keeps what is broken.
        """
        # The classic store takes every byte twice: into its own folder, then into the layer.
        classic = ship.form == "docker"
        meter = _Meter(context.progress, 2 if classic else 1)
        context.progress.start(f"load {ship.image.reference}", ship.payload)
        try:
            unpacked = engine.load(stream(ship, meter.advance), ship.payload, meter.advance)
        finally:
            context.progress.done()
        found, wanted = engine.find(ship.tag), id_in(engine, ship.image)
        # One that the engine has by its id and cannot tell the layers of is damaged, too.
        mute = classic and found is not None and found.id == wanted and not found.diff_ids
        if not mute and (found is None or found.id != wanted or not same_layers(found, ship.image)):
            raise EngineError(
                f"the engine has {found.id if found else 'nothing'} after loading, not the signed {wanted}",
                where=ship.image.reference,
                hint="nothing was tagged; look at the engine's log, then run this again",
            )
        # Layers that the engine took for present although no image has them are what a power cut leaves, and
        # their files may be empty. Loading again mends nothing; removing the image first does.
        unpacks = {layer.diff_id[7:19] for layer in ship.sent} <= unpacked
        if not mute and (not classic or unpacks or _intact(engine, ship)):
            return
        if again:
            raise EngineError(
                "the engine keeps damaged layers and does not let go of them",
                where=ship.image.reference,
                hint="remove the images that share layers with it (docker rmi --force), then run this again",
            )
        context.progress.note(
            f"the engine has damaged layers of {ship.image.reference}: removed, loaded again"
        )
        engine.remove(wanted, force=True)
        self.load(context, engine, replace(ship, left_out=frozenset()), again=True)
        for name in found.tags if found else ():
            engine.tag(wanted, name)  # all went with the image, those of others too

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Takes our names away, and the image with them where it was not there before and nothing uses it."""
        image = image_from_json(args["image"])
        with engine_of(context) as engine:
            staged, kept = (private_name(context, image, state) for state in ("staged", "kept"))
            if preimage["kept"] != ABSENT:
                _point(engine, kept, preimage["kept"])
                engine.remove(staged)
                engine.sync()
                return
            nameless = preimage["id"] != ABSENT and not preimage["named"]
            if nameless and {id_of(engine, staged), id_of(engine, kept)} != {ABSENT}:
                # It would go with its last name, so it keeps one, which nothing of ours takes away.
                engine.tag(preimage["id"], private_name(context, image, "found"))
            if preimage.get("before"):
                engine.remove(private_name(context, image, "found"))
            for name in (staged, kept):
                remove_name(context, engine, name)
            left = engine.find(id_in(engine, image)) if preimage["id"] == ABSENT else None
            if left is not None and not left.tags:
                # After a power cut: the image is written and its name is not, or the name alone is gone.
                remove_name(context, engine, left.id)
            engine.sync()


class TagImages:
    """`image.tag`: moves the public names of a release to its images."""

    def observe(self, context: Context, args: Json) -> Json:
        """Says which image has each name."""
        with engine_of(context) as engine:
            return {"tags": {tag["name"]: id_of(engine, tag["name"]) for tag in args["tags"]}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Moves the names."""
        with engine_of(context) as engine:
            for tag in args["tags"]:
                _point(engine, tag["name"], _wanted(engine, tag))
            engine.sync()

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Moves them back, but none that somebody else moved meanwhile."""
        with engine_of(context) as engine:
            for tag in reversed(args["tags"]):
                before, now = preimage["tags"][tag["name"]], id_of(engine, tag["name"])
                if now not in (before, _wanted(engine, tag)):
                    raise ThirdStateError(
                        f"somebody moved this tag meanwhile: it is on {now}",
                        where=tag["name"],
                        hint=f"put it back by hand: it was on {before}",
                    )
                _point(engine, tag["name"], before)
            engine.sync()


def remove_name(context: Context, engine: Engine, name: str) -> None:
    """Takes a name away, unless a container needs it."""
    try:
        engine.remove(name)
    except InUseError as error:
        context.progress.note(f"image {name} is left where it is: {error.what}")


def id_of(engine: Engine, name: str) -> str:
    """Gives the id of the image that has a name, or `absent`."""
    found = engine.find(name)
    return found.id if found else ABSENT


def _wanted(engine: Engine, tag: Json) -> str:
    return str(tag["manifest" if engine.info.store == "containerd" else "config"])


def _point(engine: Engine, name: str, image: str) -> None:
    if id_of(engine, name) == image:
        return
    if image == ABSENT:
        engine.remove(name)
    else:
        engine.tag(image, name)


class StoreImages:
    """`image.store`: makes the embedded store name exactly the images of a release."""

    def observe(self, context: Context, args: Json) -> Json:
        """Gives the index that is there."""
        index = store_of(context).index()
        return {"index": ABSENT if index is None else index.decode()}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Adds the blobs, then switches the index; what is no longer named stays until COMMIT."""
        store, images = store_of(context), [image_from_json(each) for each in args["images"]]
        if not images:
            store.drop()
            return
        store.add(images, args["release"])
        store.write_index(store.make_index(images, args["release"]))

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Brings the index back and removes the blobs that only the new one named."""
        store = store_of(context)
        if preimage["index"] == ABSENT:
            store.drop()
        elif (store.index() or b"") != preimage["index"].encode():
            store.write_index(preimage["index"].encode())
        store.prune()

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Removes the blobs that only the old index named."""
        store_of(context).prune()


HANDLERS: dict[str, Handler] = {
    "image.load": LoadImage(),
    "image.tag": TagImages(),
    "image.store": StoreImages(),
}


def image_from_json(value: Json) -> Image:
    """Reads an image from an operation's args."""
    layers = tuple(Layer(**layer) for layer in value["layers"])
    return Image(**{**value, "layers": layers})
