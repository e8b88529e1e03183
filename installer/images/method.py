"""The method `images`: loads the images of a release into the container engine.

On a live host they always go into the engine. Below `--root` they stay in the directory of the release, which
holds them as an OCI layout, unless a method is used that takes them from the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from installer.core.errors import Problem
from installer.core.format.manifest import Image, blob_path
from installer.core.limits import MIB
from installer.core.oci.documents import platform_matches
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import Method, Target
from installer.deploy.operation import Handler, Op
from installer.host.context import Context
from installer.host.host import Host
from installer.images import (
    engines,
    old_store,
    operations,
    prune,
    registry_images,
    registry_operations,
    residue,
)
from installer.images.docker_engine import Engine
from installer.images.docker_socket import EngineError
from installer.images.engine_info import OLDEST
from installer.images.load_stream import ImageLoad, chain_ids
from installer.shared.child.engine_address import engine_address
from installer.shared.humanize import size_text
from installer.state.release import Release

_SPARE = 64 * MIB
"""Bytes that a file system of the engine keeps free beyond what is loaded."""


class Images(Method):
    """The method `images`, which every release with images has without listing it."""

    name = "images"
    item_kinds: ClassVar = ("image", registry_images.KIND)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that the images fit this host, its engine and the engine's disk, and the site's registry."""
        places = registry_images.places(context, new)
        problems = registry_images.check(context, new)
        # Which platform the nodes of a cluster have is not that of this host.
        if places.engine or not places.registry:
            problems += self._check(context, new)
        return problems

    def _check(self, context: Context, new: Target | None) -> list[Problem]:
        release, host = new.release if new else None, context.system.platform()
        if release is None or not release.manifest.images:
            return []
        images = operations.images_for(release, host)
        # A bundle for several platforms may have an image for one of them only.
        missing = {image.reference for image in release.manifest.images} - {each.reference for each in images}
        if missing:
            hint = "use a bundle that was made for this platform"
            return [Problem(name, f"is not in the bundle for {host}", hint) for name in sorted(missing)]
        if not _loaded(context, new):
            return []
        try:
            engine = engines.connect(context.system)
        except EngineError as error:
            return [Problem(error.where, error.what, error.hint)]
        # Each check needs what the one before has found in order, so the first problems are reported alone.
        with closing(engine):
            problems = _engine_problems(context, engine) or _space_problems(context, engine, images)
            return problems or _lost(context, engine, release, images)

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return what is loaded or pushed, how much of it is there already, and which names move."""
        pushed = registry_images.plan(context, new)
        if registry_images.places(context, new).registry and not _in_engine(context, new):
            return [*pushed, *(f"remove image {image.reference}" for image in _loaded(context, old))]
        return [*pushed, *self._plan(context, old, new)]

    def _plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        if new is not None and not _in_engine(context, new):
            before = operations.images_for(old.release if old else None, context.system.platform())
            removed = [f"remove image {image.reference}" for image in _loaded(context, old)]
            return removed + _store_lines(context, new.release, () if removed else before)
        images = _loaded(context, new)
        if not images:
            return [f"remove image {image.reference}" for image in _loaded(context, old)]
        try:
            engine = engines.connect(context.system)
        except EngineError as error:
            return [f"load image {image.reference} ({error.what})" for image in images]
        with closing(engine):
            lines = _load_lines(context, engine, images) + _tag_lines(engine, images)
            # People have contexts of their own: which engine it is must not be a guess.
            return [*lines, f"engine: {engine.info.title}"] if lines else []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return one operation for each load or push, then one that moves all names."""
        pushes = registry_images.operations(context, old, new)
        return [*old_store.removal(context), *pushes, *_engine_operations(context, old, new)]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which images are gone, and which names were moved to other images."""
        if registry_images.places(context, target).registry and not _in_engine(context, target):
            return registry_images.drift(context, target)
        return [*registry_images.drift(context, target), *self._drift(context, target)]

    def _drift(self, context: Context, target: Target) -> list[Problem]:
        images, hint = (
            operations.images_for(target.release, context.system.platform()),
            "install the release again",
        )
        if not _in_engine(context, target):
            return [
                Problem(image.reference, "is incomplete in the directory of the release", hint)
                for image in images
                if not _in_release(context, target.release, image)
            ]
        problems = []
        try:
            with closing(engines.connect(context.system)) as engine:
                for image in images:
                    now = operations.id_of(engine, image.reference)
                    if not operations.complete(context, engine, image):
                        problems.append(Problem(image.reference, "is missing from the engine", hint))
                    elif now != operations.id_in(engine, image):
                        where = "no image" if now == operations.ABSENT else now[7:19]
                        what = f"points to {where}, not to {operations.id_in(engine, image)[7:19]}"
                        problems.append(Problem(image.reference, what, hint))
        except EngineError as error:
            return [Problem(error.where, error.what, error.hint)]
        return problems

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the images that a retained release has in the engine or in the registry."""
        if running:
            return []
        pushed = list(registry_images.inventory(context, target))
        if not _in_engine(context, target):
            return pushed
        return pushed + [
            InventoryItem("image", image.reference, image.config, image.manifest)
            for image in target.release.manifest.images
            if platform_matches(context.system.platform(), image.platform)
        ]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Look for the images in the engine and in the registry."""
        yield from registry_images.residue(context, items)
        if loaded := [item for item in items if item.kind != registry_images.KIND]:
            yield from residue.residue(context, loaded)

    def remove_residue(self, context: Context, items: Sequence[InventoryItem]) -> bool:
        """Remove images that an earlier removal had to leave."""
        went = registry_images.remove_residue(context, items)
        if loaded := [item for item in items if item.kind != registry_images.KIND]:
            went |= residue.remove_residue(context, loaded)
        return went


def _in_engine(context: Context, target: Target | None) -> bool:
    return registry_images.places(context, target).engine


def _loaded(context: Context, target: Target | None) -> tuple[Image, ...]:
    """Return the images that a release has in the engine."""
    if target is None or not _in_engine(context, target):
        return ()
    return operations.images_for(target.release, context.system.platform())


def _in_release(context: Context, release: Release, image: Image) -> bool:
    """Return whether its blobs are in the directory of a release, and not truncated."""
    sizes: dict[str, int | None] = {image.config: None, image.manifest: None}
    sizes |= {layer.digest: layer.size for layer in image.layers}
    for each, size in sizes.items():
        seen = context.system.observe(f"{release.directory}/{blob_path(each)}", digest=False)
        if seen.kind != "file" or size not in (None, seen.size):
            return False
    return True


def _engine_operations(context: Context, old: Target | None, new: Target | None) -> list[Op]:
    images, before = _loaded(context, new), _loaded(context, old)
    if new is None:
        return []  # after COMMIT `prune.sweep` removes what no retained release needs
    # From the engine back to the release: the images there are not needed any more.
    if not images:
        args = {"images": [asdict(image) for image in before], "engine": engine_address()}
        label = f"remove {_count(len(before), 'image')}"
        return [Op("image.drop", args, "activate", label)] if before else []
    with closing(engines.connect(context.system)) as engine:
        lacking = [
            image
            for image in images
            if operations.id_of(engine, operations.private_name(context, image, "kept"))
            != operations.id_in(engine, image)
            or not operations.complete(context, engine, image)
        ]
        tags = [
            {"name": image.reference, "config": image.config, "manifest": image.manifest}
            for image in images
            if operations.id_of(engine, image.reference) != operations.id_in(engine, image)
        ]
    where = new.release.blobs_at
    loads = {  # by configuration: two names of one image are one load
        each.config: Op(
            "image.load",
            {"image": asdict(each), "release": where, "engine": engine_address()},
            "stage",
            f"load image {each.reference}",
        )
        for each in lacking
    }
    label = f"tag {_count(len(tags), 'image')}"
    args = {"tags": tags, "engine": engine_address()}
    return [*loads.values(), *([Op("image.tag", args, "switch", label)] if tags else [])]


def _engine_problems(context: Context, engine: Engine) -> list[Problem]:
    info, host = engine.info, context.system.platform()
    oldest = ".".join(map(str, OLDEST[info.product]))
    other = "the images of this bundle do not run on it; use the engine of this host"
    away = f"keeps its data in {info.root}, which is not on this host"
    rows = [
        (
            info.release < OLDEST[info.product],
            f"is {info.product} {info.version}, older than {oldest}",
            "upgrade the engine first",
        ),
        (info.platform != host, f"runs on {info.platform}, this host is {host}", other),
        # What another machine's engine writes cannot be synced from here: a commit would promise too much.
        (not info.roots, away, "set DOCKER_HOST to the engine of this host"),
    ]
    return [Problem(info.address, what, hint) for wrong, what, hint in rows if wrong]


def _lost(context: Context, engine: Engine, release: Release, images: Sequence[Image]) -> list[Problem]:
    """Return which images the engine lacks that no directory has: the release came with `--work-dir`."""
    # The blobs are with the release: what the engine lacks is loaded again.
    if release.blobs_at:
        return []
    what = "is missing from the engine, and the release does not contain its layers"
    hint = "install the release from its bundle"
    gone = [image for image in images if not operations.complete(context, engine, image)]
    return [Problem(image.reference, what, hint) for image in gone]


def _space_problems(context: Context, engine: Engine, images: Sequence[Image]) -> list[Problem]:
    grown, passing = space_needed(context, engine, images)
    if not grown:
        return []
    needed = dict.fromkeys(engine.info.roots, grown + passing)
    if scratch := engine.info.scratch:
        # Podman keeps the archive there, and unpacks it next to it once before it finds out what it is.
        needed = dict.fromkeys(engine.info.roots, grown) | {scratch: 2 * passing}
        if len({Path(folder).stat().st_dev for folder in needed}) == 1:
            needed = dict.fromkeys(engine.info.roots, grown + 2 * passing)
    hint = f"free space there with `{engine.info.prunes}`, or use a larger disk"
    # Of this machine: the engine's data is not below `--root`.
    free = {folder: Host().space(folder).bytes for folder in needed}
    return [
        Problem(
            folder, f"has {size_text(count)} free; loading the images needs {size_text(need + _SPARE)}", hint
        )
        for folder, need in needed.items()
        if (count := free[folder]) < need + _SPARE
    ]


def space_needed(context: Context, engine: Engine, images: Sequence[Image]) -> tuple[int, int]:
    """Return the bytes that an engine keeps of what it lacks of some images, and those of its own copies."""
    grown, stored = dict[str, int](), dict[str, int]()
    passing = 0
    for ship in _loads(context, engine, images, operations.present_chains(engine)):
        for place, chain in enumerate(_chains(ship.image)):
            if place not in ship.left_out:
                grown[chain] = ship.image.layers[place].expanded
        # The classic store first copies the archive into its own folder; containerd keeps the stored blobs.
        if ship.form == "oci":
            stored |= {layer.digest: layer.size for layer in ship.sent}
        else:
            passing = max(passing, ship.payload)
    return sum(grown.values()), sum(stored.values()) + passing


def _chains(image: Image) -> list[str]:
    return chain_ids(tuple(layer.diff_id for layer in image.layers))


def _loads(
    context: Context, engine: Engine, images: Sequence[Image], present: frozenset[str]
) -> Iterator[ImageLoad]:
    """Yield what is sent of each image that an engine lacks, in order; it has the layers `present`."""
    for image in images:
        if not operations.complete(context, engine, image):
            ship = operations.image_load(context, engine, image, Path(), present)
            yield ship
            # What one image brings is not sent again for the next, unless the engine takes all of each.
            if not engine.info.takes_every_layer:
                present |= set(operations.known_by(image, ship.form))


def _load_lines(context: Context, engine: Engine, images: Sequence[Image]) -> list[str]:
    before, lines = operations.present_chains(engine), []
    for ship in _loads(context, engine, images, before):
        there, chains = len(ship.left_out), operations.known_by(ship.image, ship.form)
        now = sum(chain in before for chain in chains)
        where = "already in the engine" if there == now else "in the engine by then"
        line = f"load image {ship.image.reference}"
        if there == len(chains):
            lines.append(f"{line}; all its layers are {where}")
        else:
            rest = f"; {there} of {len(chains)} layers are {where}" if there else ""
            lines.append(f"{line}, {size_text(ship.payload)}{rest}")
    return lines


def _store_lines(context: Context, release: Release, before: Sequence[Image]) -> list[str]:
    """Return a line for each image that stays in the release; each layer counts once."""
    known, lines = set(release.shared), []
    for image in operations.images_for(release, context.system.platform()):
        sizes = {blob_path(layer.digest): layer.size for layer in image.layers}
        new = sizes.keys() - known
        known |= sizes.keys()
        if image not in before:
            size = f", {size_text(sum(sizes[path] for path in new))}," if new or not sizes else ""
            count = "all its" if not new else f"{len(sizes) - len(new)} of {len(sizes)}"
            rest = f"; {count} layers are stored already" if len(new) < len(sizes) else ""
            lines.append(f"store image {image.reference}{size} in the release without loading it{rest}")
    return lines


def _tag_lines(engine: Engine, images: Sequence[Image]) -> list[str]:
    lines = []
    for image in images:
        now, wanted = operations.id_of(engine, image.reference), operations.id_in(engine, image)
        if now not in (operations.ABSENT, wanted):
            lines.append(f"move tag {image.reference} from {now[7:19]} to {wanted[7:19]}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


HANDLERS: dict[str, Handler] = {
    **operations.HANDLERS,
    **prune.HANDLERS,
    **old_store.HANDLERS,
    **registry_operations.HANDLERS,
}
METHOD = Images()
