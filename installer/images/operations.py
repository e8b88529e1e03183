"""The operations on images in the container engine.

An image is loaded under a private name, synced, compared with its signed digest, and only then kept under
`waybill.local/<product>/<id12>:kept`. That name says "complete and on the disk" to every later run, and holds
the image of a retained release when its public tag has moved on. The public tags move in the switch phase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format.manifest import Image, Layer
from installer.core.oci.documents import platform_matches
from installer.deploy.operation import Handler, Json, StepError, ThirdStateError
from installer.host.context import Context
from installer.images import engines
from installer.images.docker_engine import Engine
from installer.images.docker_socket import EngineError, InUseError
from installer.images.engine_info import EngineImage
from installer.images.load_stream import Form, ImageLoad, chain_ids, stream
from installer.shared.progress import Progress
from installer.shared.terminal import interrupts
from installer.state.release import Release

ABSENT = "absent"
KEPT = re.compile(r"(root\.)?waybill\.local/.*:kept$")
"""Private names by which an install, this one or another, keeps an image."""


def images_for(release: Release | None, platform: str) -> tuple[Image, ...]:
    """Return the images of a release that are for this platform, one per reference."""
    if release is None:
        return ()
    fitting = (image for image in release.manifest.images if platform_matches(platform, image.platform))
    return tuple({image.reference: image for image in reversed(tuple(fitting))}.values())[::-1]


def private_prefix(context: Context) -> str:
    """Return how the private names of a product's images start; each `--root` has its own."""
    product, root = context.layout.product, context.system.root
    if context.live:
        # `.local` is never resolved, so no pull can ever bring such a name.
        return f"waybill.local/{product}/"
    return f"root.waybill.local/{sha256_hex(root.encode())[:12]}/{product}/"


def private_name(context: Context, image: Image, state: str) -> str:
    """Return the private name of an image: `staged` while it is loaded, `kept` once it is complete."""
    return f"{private_prefix(context)}{image.config.removeprefix('sha256:')[:12]}:{state}"


def id_in(engine: Engine, image: Image) -> str:
    """Return the id that an image has to have in an engine."""
    return image.manifest if engine.info.store == "containerd" else image.config


def complete(context: Context, engine: Engine, image: Image) -> bool:
    """Return whether an engine has an image with all of its layers.

    The classic store lists an image only when it has every layer. The containerd store also lists an image
    whose load was interrupted, with the right id: there only the private name counts.
    """
    wanted, kept = id_in(engine, image), engine.find(private_name(context, image, "kept"))
    if kept is not None and kept.id == wanted:
        return same_layers(kept, image)
    # Without the private name nobody has checked the image.
    if engine.info.store == "containerd":
        return False
    found = engine.find(wanted)
    return found is not None and found.id == wanted and same_layers(found, image)


def _intact(engine: Engine, ship: ImageLoad) -> bool:
    """Read an image back from a classic store and return whether every layer is as signed."""
    try:
        return {layer.diff_id for layer in ship.image.layers} <= engine.contents(ship.tag)
    except (EngineError, TamperedError):
        return False


def same_layers(found: EngineImage, image: Image) -> bool:
    """Return whether the engine lists exactly the layers that were signed."""
    return found.diff_ids == tuple(layer.diff_id for layer in image.layers)


@contextmanager
def engine_of(context: Context, args: Json | None = None) -> Iterator[Engine]:
    """Connect to the engine that an operation recorded, else to this host's. Its errors become the step's.

    An undo may be another process, without the DOCKER_HOST of the one that began.
    """
    address = str((args or {}).get("engine", ""))
    try:
        with closing(engines.connect(context.system, address)) as engine:
            yield engine
    except EngineError as error:
        raise StepError(error.what, where=error.where, hint=error.hint) from error


def image_load(
    context: Context, engine: Engine, image: Image, release: Path, present: frozenset[str]
) -> ImageLoad:
    """Return what of an image has to be sent to an engine.

    Args:
        context: Of the product.
        engine: The engine.
        image: The image; the engine lacks it.
        release: Directory with the blobs.
        present: What of its layers the engine has already, from `present_chains`.
    """
    form: Form = "oci" if engine.info.store == "containerd" else "docker"
    left_out = frozenset(place for place, each in enumerate(known_by(image, form)) if each in present)
    return ImageLoad(image, release, private_name(context, image, "staged"), form, left_out)


def known_by(image: Image, form: Form) -> list[str]:
    """Return by what an engine that reads a form of archive knows each layer of an image."""
    if form == "oci":
        return [layer.digest for layer in image.layers]
    return chain_ids(tuple(layer.diff_id for layer in image.layers))


def present_chains(engine: Engine) -> frozenset[str]:
    """Return the chains of layers, or their blobs, that need not be sent; see ADR 0301 and 0749."""
    if engine.info.takes_every_layer:
        return frozenset()
    return engine.blobs().union(*map(chain_ids, engine.layer_lists()))


class _Meter:
    """Counts bytes once that are reported several times, and says why a signal does not stop the load."""

    def __init__(self, progress: Progress, passes: int) -> None:
        self._progress, self._passes, self._rest, self._told = progress, passes, 0, False

    def advance(self, count: int) -> None:
        whole, self._rest = divmod(self._rest + count, self._passes)
        self._progress.advance(whole)
        if (signal := interrupts.heard()) and not self._told:
            self._told = True
            self._progress.note(
                f"{signal}: waiting until the engine has loaded the image: that cannot be interrupted"
            )


def _is_theirs(found: EngineImage | None, image: Image) -> bool:
    """Return whether somebody else has an image here, under the very name that the release gives it."""
    return found is not None and image.reference in found.tags and not any(map(KEPT.match, found.tags))


class LoadImage(Handler):
    """`image.load`: loads an image into the engine, under private names only."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether the image is there by id, has names of others, and is kept already."""
        image = image_from_json(args["image"])
        kept_name = private_name(context, image, "kept")
        with engine_of(context, args) as engine:
            found, kept = engine.find(id_in(engine, image)), engine.find(kept_name)
            return {
                "id": found.id if found else ABSENT,
                "named": bool(found and set(found.tags) - {kept_name}),
                "kept": kept.id if kept else ABSENT,
                "before": kept is None and _is_theirs(found, image),
            }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Load the image, check it, sync it, and only then give it the name that keeps it."""
        image, release = image_from_json(args["image"]), args["release"]
        with engine_of(context, args) as engine:
            staged, kept = (private_name(context, image, state) for state in ("staged", "kept"))
            if not complete(context, engine, image):
                ship = image_load(
                    context, engine, image, Path(context.system.real(release)), present_chains(engine)
                )
                self._send(context, engine, ship)
            # Sync before the name: to every later run `kept` means that the image is on the disk.
            engine.sync()
            engine.tag(id_in(engine, image), kept)
            if preimage.get("before"):
                # Somebody else has it under the same name: `prune` then leaves name and image alone.
                engine.tag(id_in(engine, image), private_name(context, image, "found"))
            engine.remove(staged)

    def _send(self, context: Context, engine: Engine, ship: ImageLoad) -> None:
        try:
            if ship.left_out:
                try:
                    return self.load(context, engine, ship)
                except EngineError:
                    # A layer that was there may have been removed since: send all of them.
                    engine.remove(ship.tag)
            return self.load(context, engine, replace(ship, left_out=frozenset()))
        except (EngineError, TamperedError):
            with suppress(EngineError):
                engine.remove(ship.tag)
            raise

    def load(self, context: Context, engine: Engine, ship: ImageLoad, *, again: bool = False) -> None:
        """Send an image, check what the engine made of it, and replace layers that a power cut damaged.

        Raises:
            EngineError: The engine failed, or keeps damaged layers.
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
        # An image that has the right id but no list of layers is damaged, too.
        mute = classic and found is not None and found.id == wanted and not found.diff_ids
        if not mute and (found is None or found.id != wanted or not same_layers(found, ship.image)):
            raise EngineError(
                f"the engine has {found.id if found else 'nothing'} after loading, not the signed {wanted}",
                where=ship.image.reference,
                hint=f"nothing was tagged; check the engine's log (`journalctl -u {engine.info.unit}`), "
                "then run the command again",
            )
        # A power cut can leave layers that no image has and that the engine takes for present, although their
        # files are empty. Loading again does not replace them; removing the image first does.
        unpacks = {layer.diff_id[7:19] for layer in ship.sent} <= unpacked
        if not mute and (not classic or unpacks or _intact(engine, ship)):
            return
        if again:
            raise EngineError(
                "the engine still contains damaged layers",
                where=ship.image.reference,
                hint=f"remove the images that share its layers (`{engine.info.command} rmi --force IMAGE`), "
                "then try again",
            )
        context.progress.note(
            f"the engine has damaged layers of {ship.image.reference}: removing it and loading it again"
        )
        engine.remove(wanted, force=True)
        self.load(context, engine, replace(ship, left_out=frozenset()), again=True)
        for name in found.tags if found else ():
            engine.tag(wanted, name)  # forced removal took all names, also those of others

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove the private names, and the image if it was not there before and nothing uses it."""
        image = image_from_json(args["image"])
        with engine_of(context, args) as engine:
            staged, kept = (private_name(context, image, state) for state in ("staged", "kept"))
            if preimage["kept"] != ABSENT:
                _point(engine, kept, preimage["kept"])
                engine.remove(staged)
                engine.sync()
                return
            nameless = preimage["id"] != ABSENT and not preimage["named"]
            if nameless and {id_of(engine, staged), id_of(engine, kept)} != {ABSENT}:
                # The engine removes an image with its last name, so it gets one that Waybill never removes.
                engine.tag(preimage["id"], private_name(context, image, "found"))
            if preimage.get("before"):
                engine.remove(private_name(context, image, "found"))
            # One at a time: forced removal by id would take names of others, too.
            for name in (staged, kept):
                remove_name(context, engine, name)
            left = engine.find(id_in(engine, image)) if preimage["id"] == ABSENT else None
            if left is not None and not left.tags:
                # A power cut can leave an image without a name.
                remove_name(context, engine, left.id)
            engine.sync()


class TagImages(Handler):
    """`image.tag`: moves the public names of a release to its images."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return which image has each name."""
        with engine_of(context, args) as engine:
            return {"tags": {tag["name"]: id_of(engine, tag["name"]) for tag in args["tags"]}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Move the names."""
        with engine_of(context, args) as engine:
            for tag in args["tags"]:
                interrupts.check()
                _point(engine, tag["name"], _wanted(engine, tag))
            engine.sync()

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Move the names back, unless somebody else moved one meanwhile."""
        with engine_of(context, args) as engine:
            for tag in reversed(args["tags"]):
                before, now = preimage["tags"][tag["name"]], id_of(engine, tag["name"])
                # Another tool has tagged it since: moving it back would break what that tool did.
                if now not in (before, _wanted(engine, tag)):
                    raise ThirdStateError(
                        f"this tag was moved by somebody else: it points to {now}",
                        where=tag["name"],
                        hint=f"move it back with `{engine.info.tags}`: it pointed to {before}",
                    )
                _point(engine, tag["name"], before)
            engine.sync()


def remove_name(context: Context, engine: Engine, name: str) -> None:
    """Remove a name, unless a container needs it."""
    try:
        engine.remove(name)
    except InUseError as error:
        context.progress.warn(f"cannot remove image {name} from the engine: {error.what}")


def id_of(engine: Engine, name: str) -> str:
    """Return the id of the image that has a name, or `absent`."""
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


HANDLERS: dict[str, Handler] = {
    "image.load": LoadImage(),
    "image.tag": TagImages(),
}


def image_from_json(value: Json) -> Image:
    """Read an image from the arguments of an operation."""
    layers = tuple(Layer(**layer) for layer in value["layers"])
    return Image(**{**value, "layers": layers})
