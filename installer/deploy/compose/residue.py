"""What is left of a project after a removal: its containers, networks and volumes."""

from __future__ import annotations

from collections.abc import Container, Iterator

from installer.deploy.docker_cli import docker
from installer.deploy.inventory import Residue
from installer.deploy.operation import StepError
from installer.host.context import Context

_LIST_TIMEOUT = 60.0
_LISTS = {
    "container": ("ps", "-a", "--format", "{{.Names}}"),
    "network": ("network", "ls", "--format", "{{.Name}}"),
    "volume": ("volume", "ls", "--format", "{{.Name}}"),
}
"""How to list what belongs to a project, by its kind."""


def names_of(context: Context, kind: str, project: str) -> list[str]:
    """Return what the engine has of a project, by label: of one kind of `_LISTS`.

    Raises:
        StepError: The engine does not answer.
    """
    filter_ = f"label=com.docker.compose.project={project}"
    ended = docker(context, *_LISTS[kind], "--filter", filter_, timeout=_LIST_TIMEOUT)
    if not ended.ok:
        what = f"cannot list its resources: {ended.reason(context.secrets)}"
        raise StepError(what, where=project).of(ended, context.secrets)
    return ended.stdout.decode("utf-8", "replace").split()


def residue(context: Context, project: str, known: Container[str]) -> Iterator[Residue]:
    """Yield what the engine still has of a project; volumes stay on purpose, `known` ones are not named."""
    hint = f"run `docker compose -p {project} down --remove-orphans`"
    for kind in _LISTS:
        try:
            names = names_of(context, kind, project)
        except StepError as error:
            yield Residue("left", "project", project, error.what, hint)
            return
        for name in names:
            if kind == "volume" and name in known:
                continue
            if kind == "volume":
                # Volumes hold data. Removing them is never implied by removing the product.
                yield Residue(
                    "stays", kind, name, f"data of project {project}; to remove it: `docker volume rm {name}`"
                )
            else:
                yield Residue("left", kind, name, f"is still there; it belongs to project {project}", hint)
