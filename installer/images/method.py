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
from installer.images import engines, old_store, operations, prune, residue
from installer.images.docker_engine import Engine
from installer.images.docker_socket import EngineError
from installer.images.load_stream import chain_ids
from installer.shared.child_env import engine_address
from installer.shared.humanize import size_text
from installer.state.release import Release

_SPARE = 64 * MIB
"""Bytes that a file system of the engine keeps free beyond what is loaded."""


class Images(Method):
    """The method `images`, which every release with images has without listing it."""

    name = "images"
    item_kinds: ClassVar = ("image",)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that the images fit this host, its engine and the engine's disk."""
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
        """Return what is loaded, how much of it is there already, and which names move."""
        if new is not None and not _in_engine(context, new):
            before = operations.images_for(old.release if old else None, context.system.platform())
            removed = [f"remove image {image.reference}" for image in _loaded(context, old)]
            return removed + [
                (
                    f"store image {image.reference}, {size_text(_stored_size(image))}, in the release "
                    "without loading it"
                )
                for image in operations.images_for(new.release, context.system.platform())
                if image not in before or removed
            ]
        images = _loaded(context, new)
        if not images:
            return [f"remove image {image.reference}" for image in _loaded(context, old)]
        try:
            engine = engines.connect(context.system)
        except EngineError as error:
            return [f"load image {image.reference} ({error.what})" for image in images]
        with closing(engine):
            present = operations.present_chains(engine)
            lines = [_load_line(context, engine, image, present) for image in images]
            lines = [line for line in lines if line] + _tag_lines(engine, images)
            # People have contexts of their own: which engine it is must not be a guess.
            return [*lines, f"engine: {engine.info.title}"] if lines else []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return one operation for each load, then one that moves all names."""
        return [*old_store.removal(context), *_engine_operations(context, old, new)]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which images are gone, and which names were moved to other images."""
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
        """Return the images that a retained release has in the engine."""
        if running or not _in_engine(context, target):
            return []
        return [
            InventoryItem("image", image.reference, image.config, image.manifest)
            for image in target.release.manifest.images
            if platform_matches(context.system.platform(), image.platform)
        ]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Look for the images in the engine."""
        return residue.residue(context, items)

    def remove_residue(self, context: Context, items: Sequence[InventoryItem]) -> None:
        """Remove images that an earlier removal had to leave."""
        residue.remove_residue(context, items)


def _in_engine(context: Context, target: Target) -> bool:
    return context.live or bool(target.options.get("engine"))


def _loaded(context: Context, target: Target | None) -> tuple[Image, ...]:
    """Return the images that a release has in the engine."""
    if target is None or not _in_engine(context, target):
        return ()
    return operations.images_for(target.release, context.system.platform())


def _in_release(context: Context, release: Release, image: Image) -> bool:
    digests = (image.config, image.manifest, *(layer.digest for layer in image.layers))
    paths = (f"{release.directory}/{blob_path(digest)}" for digest in digests)
    return all(context.system.observe(path, digest=False).kind == "file" for path in paths)


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
    other = "the images of this bundle do not run on it; use the engine of this host"
    away = f"keeps its data in {info.root}, which is not on this host"
    rows = [
        (bool(info.outdated), info.outdated, "upgrade the engine first"),
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
    needed = space_needed(context, engine, images)
    # Of this machine: the engine's data is not below `--root`.
    free = {folder: Host().space(folder).bytes for folder in engine.info.roots if needed}
    hint = f"free space there with `{engine.info.prunes}`, or use a larger disk"
    need = size_text(needed + _SPARE)
    return [
        Problem(folder, f"has {size_text(count)} free; loading the images needs {need}", hint)
        for folder, count in free.items()
        if count < needed + _SPARE
    ]


def space_needed(context: Context, engine: Engine, images: Sequence[Image]) -> int:
    """Return the bytes that an engine needs to load what it lacks of some images, its own copies included."""
    present = operations.present_chains(engine)
    grown: dict[str, int] = {}
    passing = 0
    for image in images:
        if operations.complete(context, engine, image):
            continue
        ship = operations.image_load(context, engine, image, Path(), present)
        for place, chain in enumerate(chain_ids(tuple(layer.diff_id for layer in image.layers))):
            if place not in ship.left_out:
                grown[chain] = image.layers[place].expanded
        # The classic store first copies the archive into its own folder; containerd keeps the stored blobs.
        passing = passing + ship.payload if ship.form == "oci" else max(passing, ship.payload)
    return sum(grown.values()) + passing


def _load_line(context: Context, engine: Engine, image: Image, present: frozenset[str]) -> str:
    if operations.complete(context, engine, image):
        return ""
    ship = operations.image_load(context, engine, image, Path(), present)
    there, all_of_them = len(ship.left_out), len(image.layers)
    if there == all_of_them:
        return f"load image {image.reference}; all its layers are already in the engine"
    rest = f"; {there} of {all_of_them} layers are already in the engine" if there else ""
    return f"load image {image.reference}, {size_text(ship.payload)}{rest}"


def _tag_lines(engine: Engine, images: Sequence[Image]) -> list[str]:
    lines = []
    for image in images:
        now, wanted = operations.id_of(engine, image.reference), operations.id_in(engine, image)
        if now not in (operations.ABSENT, wanted):
            lines.append(f"move tag {image.reference} from {now[7:19]} to {wanted[7:19]}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _stored_size(image: Image) -> int:
    return sum({layer.digest: layer.size for layer in image.layers}.values())


HANDLERS: dict[str, Handler] = {**operations.HANDLERS, **prune.HANDLERS, **old_store.HANDLERS}
METHOD = Images()
