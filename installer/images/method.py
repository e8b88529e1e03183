"""The deployment method of images: what is checked, what the plan says, and which operations it takes.

On a live host they go into the Docker engine. Below `--root` they go into a directory, unless a method that
takes them from the engine is driven. `imageops` has the operations.
"""
# The protocol tells every method and handler the same.
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from installer.core.errors import Problem
from installer.core.format.manifest import Image
from installer.core.limits import MIB
from installer.deploy.method import Target
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.host.host import Host
from installer.images import docker_engine
from installer.images import operations as imageops
from installer.images.docker_engine import Engine, EngineError
from installer.images.load_stream import chain_ids
from installer.images.operations import (
    ABSENT,
    complete,
    id_in,
    id_of,
    image_load,
    images_for,
    present_chains,
    private_name,
    store_of,
)
from installer.images.prune import DROP
from installer.shared.humanize import size_text
from installer.state.release import Release

__all__ = ["HANDLERS", "METHOD", "images_for", "room_needed"]

HANDLERS = {**imageops.HANDLERS, **DROP}

_SPARE = 64 * MIB
"""Bytes that a data root keeps free beyond what is loaded."""


class ImagesMethod:
    """What every release with images does with them, without being told."""

    name = "images"

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Looks whether the images fit this host, its engine and the engine's disk."""
        release, host = new.release if new else None, context.system.platform()
        if release is None or not release.manifest.images:
            return []
        images = images_for(release, host)
        missing = {image.reference for image in release.manifest.images} - {each.reference for each in images}
        if missing:
            hint = "carry a bundle that was made for this platform"
            return [Problem(name, f"is not in the bundle for {host}", hint) for name in sorted(missing)]
        if not _in_engine(context, new):
            return []
        try:
            engine = docker_engine.connect(context.system)
        except EngineError as error:
            return [Problem(error.where, error.what, error.hint)]
        with closing(engine):
            problems = _engine_problems(context, engine) or _room_problems(context, engine, images)
            return problems or _lost(context, engine, release, images)

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says what is loaded, how much of it is there already, and which names move."""
        stored, loaded = _placed(context, old, new)
        return [*self._plan_store(context, *stored), *self._plan_engine(context, *loaded)]

    def _plan_engine(
        self, context: Context, images: tuple[Image, ...], before: tuple[Image, ...]
    ) -> list[str]:
        if not images:
            return [f"give up image {image.reference}" for image in before]
        try:
            engine = docker_engine.connect(context.system)
        except EngineError as error:
            return [f"load image {image.reference} ({error.what})" for image in images]
        with closing(engine):
            present = present_chains(engine)
            lines = [_load_line(context, engine, image, present) for image in images]
            return [line for line in lines if line] + _tag_lines(engine, images)

    def _plan_store(
        self, context: Context, images: tuple[Image, ...], before: tuple[Image, ...]
    ) -> list[str]:
        store = store_of(context)
        if not images:
            return [f"remove the image store {store.path}"] if before else []
        return [
            f"store image {image.reference}, {size_text(stored_size(image))}, in {store.path}"
            for image in images
            if image not in before or not store.has(image)
        ]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives the loads, then one move of all names; for a directory, one change of the store."""
        stored, loaded = _placed(context, old, new)
        release = new.release if new else None
        return [
            *self._store_operations(context, *stored, release),
            *self._engine_operations(context, *loaded, release),
        ]

    def _engine_operations(
        self, context: Context, images: tuple[Image, ...], before: tuple[Image, ...], release: Release | None
    ) -> list[Op]:
        if release is None:
            return []  # what a removal leaves nobody, `imagesweep.sweep` gives up
        if not images:
            args = {"images": [asdict(image) for image in before]}
            return (
                [Op("image.drop", args, "activate", f"give up {_count(len(before), 'image')}")]
                if before
                else []
            )
        with closing(docker_engine.connect(context.system)) as engine:
            loads = {
                image.config: Op(
                    "image.load", {"image": asdict(image), "release": release.blobs_at}, "stage",
                    f"load image {image.reference}",
                )
                for image in images
                if id_of(engine, private_name(context, image, "kept")) != id_in(engine, image)
                or not complete(context, engine, image)
            }  # fmt: skip
            tags = [
                {"name": image.reference, "config": image.config, "manifest": image.manifest}
                for image in images
                if id_of(engine, image.reference) != id_in(engine, image)
            ]
        moves = (
            [Op("image.tag", {"tags": tags}, "switch", f"name {_count(len(tags), 'image')}")] if tags else []
        )
        return [*loads.values(), *moves]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Says which images are gone, and which names were moved to others."""
        images, hint = images_for(target.release, context.system.platform()), "install the release again"
        if not _in_engine(context, target):
            store = store_of(context)
            return [
                Problem(each.reference, f"is gone from {store.path}", hint)
                for each in images
                if not store.has(each)
            ]
        problems = []
        try:
            with closing(docker_engine.connect(context.system)) as engine:
                for image in images:
                    now = id_of(engine, image.reference)
                    if not complete(context, engine, image):
                        problems.append(Problem(image.reference, "is gone from the engine", hint))
                    elif now != id_in(engine, image):
                        where = "on no image" if now == ABSENT else f"on {now[7:19]}"
                        problems.append(
                            Problem(image.reference, f"is {where}, not on {id_in(engine, image)[7:19]}", hint)
                        )
        except EngineError as error:
            return [Problem(error.where, error.what, error.hint)]
        return problems

    def _store_operations(
        self, context: Context, images: tuple[Image, ...], before: tuple[Image, ...], release: Release | None
    ) -> list[Op]:
        store = store_of(context)
        if images == before and all(map(store.has, images)):
            return []
        args = {
            "images": [asdict(image) for image in images],
            "release": release.directory if release else "",
        }
        label = f"store {_count(len(images), 'image')}" if images else "remove the image store"
        return [Op("image.store", args, "switch", label)]


def _in_engine(context: Context, target: Target | None) -> bool:
    return target is not None and (context.live or bool(target.options.get("engine")))


def _placed(
    context: Context, old: Target | None, new: Target | None
) -> tuple[tuple[tuple[Image, ...], tuple[Image, ...]], tuple[tuple[Image, ...], tuple[Image, ...]]]:
    """Gives the new and the old images of the store, and those of the engine."""

    def of(target: Target | None, *, engine: bool) -> tuple[Image, ...]:
        if target is None or _in_engine(context, target) != engine:
            return ()
        return images_for(target.release, context.system.platform())

    return (of(new, engine=False), of(old, engine=False)), (of(new, engine=True), of(old, engine=True))


def _engine_problems(context: Context, engine: Engine) -> list[Problem]:
    info, host = engine.info, context.system.platform()
    problems = []
    if info.release < docker_engine.OLDEST:
        oldest = ".".join(map(str, docker_engine.OLDEST))
        problems.append(
            Problem(
                info.address, f"is Docker {info.version}, older than {oldest}", "upgrade the engine first"
            )
        )
    if info.platform != host:
        hint = "this bundle's images do not run there; use the engine of this host"
        problems.append(Problem(info.address, f"runs on {info.platform}, this host is {host}", hint))
    if not info.roots:
        hint = "name the engine of this host by DOCKER_HOST; what another one writes cannot be made safe"
        problems.append(Problem(info.address, f"keeps its data in {info.root}, which is not here", hint))
    return problems


def _lost(context: Context, engine: Engine, release: Release, images: Sequence[Image]) -> list[Problem]:
    """Says which images the engine lacks although nothing else has them: the release came by `--work-dir`."""
    if release.blobs_at:
        return []
    what = "is gone from the engine, and its layers were not kept here"
    hint = "install the release from its bundle"
    gone = [image for image in images if not complete(context, engine, image)]
    return [Problem(image.reference, what, hint) for image in gone]


def _room_problems(context: Context, engine: Engine, images: Sequence[Image]) -> list[Problem]:
    needed = room_needed(context, engine, images)
    if not needed:
        return []
    problems = []
    for folder in engine.info.roots:
        free = Host().space(folder).bytes  # of this machine: the engine's data is not below `--root`
        if free < needed + _SPARE:
            need = size_text(needed + _SPARE)
            what = f"has {size_text(free)} free, the images need {need} while they are loaded"
            problems.append(Problem(folder, what, "make room there: docker image prune, or a larger disk"))
    return problems


def room_needed(context: Context, engine: Engine, images: Sequence[Image]) -> int:
    """Gives the bytes that an engine needs to load what it lacks of some images, its own copies included."""
    present = present_chains(engine)
    grown: dict[str, int] = {}
    passing = 0
    for image in images:
        if complete(context, engine, image):
            continue
        ship = image_load(context, engine, image, Path(), present)
        for place, chain in enumerate(chain_ids(tuple(layer.diff_id for layer in image.layers))):
            if place not in ship.left_out:
                grown[chain] = image.layers[place].expanded
        # The classic store first copies the archive into its own folder; containerd keeps the stored blobs.
        passing = passing + ship.payload if ship.form == "oci" else max(passing, ship.payload)
    return sum(grown.values()) + passing


def _load_line(context: Context, engine: Engine, image: Image, present: frozenset[str]) -> str:
    if complete(context, engine, image):
        return ""
    ship = image_load(context, engine, image, Path(), present)
    there, all_of_them = len(ship.left_out), len(image.layers)
    if there == all_of_them:
        return f"load image {image.reference}; all its layers are there already"
    rest = f"; {there} of {all_of_them} layers are there already" if there else ""
    return f"load image {image.reference}, {size_text(ship.payload)}{rest}"


def _tag_lines(engine: Engine, images: Sequence[Image]) -> list[str]:
    lines = []
    for image in images:
        now, wanted = id_of(engine, image.reference), id_in(engine, image)
        if now not in (ABSENT, wanted):
            lines.append(f"move tag {image.reference} from {now[7:19]} to {wanted[7:19]}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def stored_size(image: Image) -> int:
    """Gives the bytes that the layers of an image take as they are stored."""
    return sum({layer.digest: layer.size for layer in image.layers}.values())


METHOD = ImagesMethod()
