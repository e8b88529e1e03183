"""The named volumes of a project: which are its own, and their deletion when an operator asks for it.

A volume is deleted only where everything says that it belongs to the project: the release declares it,
Compose labelled it when it created it, and nothing else uses it. This is looked at again before the deletion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from installer.deploy.compose.command import TIMEOUT, require_tool
from installer.deploy.compose.release_project import Project
from installer.deploy.docker_cli import docker
from installer.deploy.inventory import KEPT, InventoryItem, Residue
from installer.deploy.method import Target
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.shared.child.engine_address import engine_address

VOLUME = "volume"
"""The kind of the items."""
_PROJECT = "com.docker.compose.project"
_ABSENT = b"no such volume"


@dataclass(frozen=True, slots=True)
class _Volume:
    """A volume of the engine.

    Attributes:
        name: Its name.
        project: The project that Compose created it for; empty where somebody else did.
        device: Where its data are, if that is outside of the engine.
        engine: The address of the engine.
    """

    # Not when it was created: for the engine that is when something in it last came or went.
    name: str
    project: str
    device: str
    engine: str


def volumes(context: Context, target: Target) -> Iterator[InventoryItem]:
    """Yield the named volumes of a project that the engine has, each with the reason why it is never deleted.

    Those of others that the project uses are among them; they have no `mark`.

    Raises:
        StepError: The engine does not answer, or Compose does not read the project.
        ThirdStateError: A file of the project was changed.
    """
    project, engine = Project(context, target, require_tool(context)), engine_address()
    for name in project.model.external(VOLUME + "s"):
        yield InventoryItem(VOLUME, name, why="is not created by the project")
    for name in project.model.own(VOLUME + "s"):
        if (found := _inspect(context, name, engine)) is not None:
            why = _why_never(found, project.name) or _used(context, found)
            yield InventoryItem(VOLUME, name, project.name, engine, why)


def why_kept(context: Context, item: InventoryItem) -> str:
    """Return why a recorded volume is not deleted now; empty for no reason, and where it is gone.

    Raises:
        StepError: The engine does not answer.
    """
    found = _inspect(context, item.name, item.other)
    return "" if found is None else _why_never(found, item.mark) or _used(context, found)


def delete(context: Context, items: Sequence[InventoryItem]) -> None:
    """Delete volumes that a removal recorded; one that is not, or is used now, is left as it is."""
    for item in items:
        # The check after the removal looks again and says what is left, and why.
        try:
            found = _inspect(context, item.name, item.other)
            if found is None or found.project != item.mark or _used(context, found):
                continue
        except StepError as error:
            context.progress.warn(f"volume {item.name}: {error.what}")
            continue
        context.progress.note(f"delete volume {item.name}")
        # Never with --force: the engine itself refuses while a container has the volume.
        ended = docker(context, "volume", "rm", item.name, timeout=TIMEOUT, engine=item.other)
        if not ended.ok:
            context.progress.warn(f"volume {item.name} cannot be deleted: {ended.reason(context.secrets)}")


def residue(context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
    """Yield what became of recorded volumes."""
    product = context.layout.product
    again = f"run `install remove {product} --purge`"
    for item in items:
        try:
            found = _inspect(context, item.name, item.other)
            used = _used(context, found) if found else ""
        except StepError as error:
            yield Residue("left", VOLUME, item.name, error.what, again)
            continue
        if found is None:
            # One that was to stay is somebody else's work.
            yield from () if item.why else (Residue("gone", VOLUME, item.name, "its data were deleted"),)
        elif item.why == KEPT:
            what = f"data of project {item.mark}; to delete it: `install remove {product} --purge`"
            yield Residue("stays", VOLUME, item.name, what)
        elif item.why:
            yield Residue("stays", VOLUME, item.name, item.why)
        else:
            yield Residue("left", VOLUME, item.name, used or "is still there", again)


def _inspect(context: Context, name: str, engine: str) -> _Volume | None:
    """Return a volume of an engine; None where it has none of this name.

    Raises:
        StepError: The engine does not answer.
    """
    ended = docker(context, "volume", "inspect", "--format", "{{json .}}", name, engine=engine)
    if not ended.ok and _ABSENT in ended.stderr.lower():
        return None
    if not ended.ok:
        what = f"cannot be inspected: {ended.reason(context.secrets)}"
        raise StepError(what, where=f"volume {name}").of(ended, context.secrets)
    row: dict[str, Any] = json.loads(ended.stdout)
    labels, options = row.get("Labels") or {}, row.get("Options") or {}
    device = str(options.get("device") or "") if options.get("type") != "tmpfs" else ""
    return _Volume(row["Name"], str(labels.get(_PROJECT, "")), device, engine)


def _why_never(found: _Volume, project: str) -> str:
    if found.project != project:
        return f"was not created by project {project}"
    if found.device:
        return f"has its data in {found.device:.200}, outside of the engine"
    return ""


def _used(context: Context, found: _Volume) -> str:
    """Return which container of somebody else uses a volume, in words; empty for none.

    Raises:
        StepError: The engine does not answer.
    """
    form = '{{.Names}}\t{{.Label "com.docker.compose.project"}}'
    words = ("ps", "-a", "--filter", f"volume={found.name}", "--format", form)
    ended = docker(context, *words, engine=found.engine)
    if not ended.ok:
        what = f"cannot list its containers: {ended.reason(context.secrets)}"
        raise StepError(what, where=f"volume {found.name}").of(ended, context.secrets)
    for line in ended.stdout.decode("utf-8", "replace").splitlines():
        name, _, project = line.partition("\t")
        if project != found.project:
            return f"is used by container {name}, which is not of project {found.project}"
    return ""
