"""Looks whether methods have left something behind: units, Compose projects, images. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from installer.host.context import Context
from installer.images import docker_engine
from installer.images.docker_engine import Engine, EngineError
from installer.images.operations import private_prefix

if TYPE_CHECKING:
    from installer.deploy.inventory import InventoryItem

_QUICK = 60.0
_UNITS = "/etc/systemd/system"
_OURS = ("waybill.local/", "root.waybill.local/")


@dataclass(frozen=True, slots=True)
class Residue:
    """What became of one thing.

    Attributes:
        how: `gone`; `stays` on purpose; or `left`, and it should not be there.
        kind: As `remove.InventoryItem` has it, or `container`, `network`, `volume`, `state`.
        name: As `remove.InventoryItem` has it.
        id: Of an image.
        what: Why it stays, or what is wrong with it.
        hint: What to do about it.
    """

    how: Literal["gone", "stays", "left"]
    kind: str
    name: str
    id: str = ""
    what: str = ""
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value and name != "how"}


def units(context: Context, wanted: list[InventoryItem]) -> Iterator[Residue]:
    """Looks for units in what systemd knows, and for what would start them at boot."""
    for thing in wanted:
        unit, left = thing.name, False
        argv = ["systemctl", "show", "-p", "LoadState,ActiveState,FragmentPath", unit]
        ended = context.system.run(argv, timeout=_QUICK) if "@." not in unit else None
        if ended is not None and not ended.ok:
            what = f"systemd does not say how it is: {ended.reason()}"
            yield Residue("left", "unit", unit, what=what, hint=f"systemctl status {unit}")
            continue
        said = ended.stdout.decode("utf-8", "replace").splitlines() if ended else []
        state = dict(line.partition("=")[::2] for line in said)
        if state.get("ActiveState") in ("active", "activating", "reloading"):
            left = True
            yield Residue("left", "unit", unit, what="still runs", hint=f"systemctl stop {unit}")
        elif state.get("FragmentPath"):
            what = f"there is another of that name: {state['FragmentPath']}"
            yield Residue("stays", "unit", unit, what=what)
        for link in _links_to(context, unit):
            left = True
            yield Residue(
                "left", "unit", unit, what=f"{link} is still there", hint=f"systemctl disable {unit}"
            )
        if names := context.system.names(f"{_UNITS}/{unit}.d"):
            yield Residue("stays", "unit", f"{_UNITS}/{unit}.d", what=f"{names[0]} in it is not ours")
        if not left and not state.get("FragmentPath"):
            yield Residue("gone", "unit", unit)


def _links_to(context: Context, unit: str) -> Iterator[str]:
    for name in context.system.names(_UNITS):
        if name.endswith((".wants", ".requires")):
            path = f"{_UNITS}/{name}/{unit}"
            if context.system.observe(path, digest=False).kind == "link":
                yield path


def projects(context: Context, wanted: list[InventoryItem]) -> Iterator[Residue]:
    """Looks for containers, networks and volumes of Compose projects; volumes hold data and stay."""
    for thing in wanted:
        project, clear = thing.name, True
        hint = f"docker compose -p {project} down --remove-orphans"
        for kind, words in _LISTS.items():
            argv = ["docker", *words, "--filter", f"label=com.docker.compose.project={project}"]
            ended = context.system.run(argv, timeout=_QUICK)
            if not ended.ok:
                clear = False
                what = f"the engine does not say what there is of it: {ended.reason()}"
                yield Residue("left", "project", project, what=what, hint=hint)
                break
            for name in ended.stdout.decode("utf-8", "replace").split():
                if kind == "volume":
                    what = f"data of project {project}; to remove it: docker volume rm {name}"
                    yield Residue("stays", kind, name, what=what)
                else:
                    clear = False
                    yield Residue("left", kind, name, what=f"is still there, of project {project}", hint=hint)
        if clear:
            yield Residue("gone", "project", project)


_LISTS = {
    "container": ["ps", "-a", "--format", "{{.Names}}"],
    "network": ["network", "ls", "--format", "{{.Name}}"],
    "volume": ["volume", "ls", "--format", "{{.Name}}"],
}


def images(context: Context, wanted: list[InventoryItem]) -> Iterator[Residue]:
    """Looks for images by id, for their names, and for names of ours."""
    try:
        with closing(docker_engine.connect(context.system)) as engine:
            known = set[str]()
            for thing in wanted:
                id_ = thing.other if engine.info.store == "containerd" else thing.mark
                if id_ not in known:
                    yield from _image(context, engine, thing.name, id_)
                known.add(id_)
            for name in engine.names(private_prefix(context)):
                found = engine.find(name)
                if found is not None and found.id not in known and not name.endswith(":found"):
                    yield Residue("left", "image", name, found.id, "is a name of ours", f"docker rmi {name}")
    except EngineError as error:
        what = f"cannot be looked for: {error.what}"
        yield from (Residue("left", "image", thing.name, thing.mark, what, error.hint) for thing in wanted)


def _image(context: Context, engine: Engine, name: str, id_: str) -> Iterator[Residue]:
    found = engine.find(id_)
    if found is None:
        yield Residue("gone", "image", name, id_)
        return
    prefix = private_prefix(context)
    ours = [tag for tag in found.tags if tag.startswith(prefix) and not tag.endswith(":found")]
    others = sorted(tag for tag in found.tags if not tag.startswith(prefix))
    products = sorted(tag.split("/")[-2] for tag in others if tag.startswith(_OURS))
    tags = [tag for tag in others if not tag.startswith(_OURS)]
    users = engine.users(found.id)
    why = [f"product {product} uses it" for product in products]
    why += [f"it has the name {tag}" for tag in tags]
    why += [f"container {user} uses it" for user in users]
    if any(tag.endswith(":found") for tag in found.tags):
        why.append("it was there before, without a name")
    if not why or (ours and not users):
        yield Residue(
            "left", "image", name, found.id, "is still there", f"docker rmi {' '.join(ours) or id_}"
        )
    else:
        yield Residue("stays", "image", name, found.id, "; ".join(why))
