"""Where the containers of a project differ from the installed release, by service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from installer.core.errors import Problem
from installer.deploy.compose.command import tool_version
from installer.deploy.compose.containers import Container
from installer.deploy.compose.model import Service
from installer.deploy.compose.release_project import Project

AGAIN = "install the release again"
"""Repairs all that is found here."""
_SHORT = 60
"""Seconds; what ended successfully within them, by itself, is taken for a job."""


def differences(project: Project, there: Sequence[Container], committed: int) -> Iterator[Problem]:
    """Yield where services and containers differ from the release.

    Args:
        project: The project of the installed release.
        there: Its containers.
        committed: When the release was installed, in seconds since 1970; 0 where it is not known.

    Raises:
        StepError: Compose refuses the file.
    """
    for name, service in project.model.services.items():
        own = [each for each in there if each.service == name]
        is_job = name in project.model.jobs
        # A job has done its work; its container may have been cleared away.
        if not own and not is_job and service.scale:
            yield Problem(f"service {name}", "has no container", AGAIN)
        elif own and len(own) != service.scale:
            yield Problem(f"service {name}", f"has {len(own)} containers, not {service.scale}", AGAIN)
        for each in own:
            where = f"service {name}" if len(own) == 1 else f"service {name} ({each.name})"
            for what in _of_container(project, service, each, is_job=is_job, committed=committed):
                yield Problem(where, what, AGAIN)


def without_model(project: Project, there: Sequence[Container]) -> Iterator[Problem]:
    """Yield what can be said where Compose cannot read the file: which containers do not run, or fail."""
    for each in there:
        if each.fault and not each.ended_well:
            yield Problem(f"service {each.service}", each.fault, AGAIN)
        elif what := _image(project, each):
            yield Problem(f"service {each.service}", what, AGAIN)


def _of_container(
    project: Project, service: Service, container: Container, *, is_job: bool, committed: int
) -> Iterator[str]:
    if container.fault and not _is_done(container, is_job=is_job, committed=committed):
        said = container.last_probe
        yield container.fault + (f" ({said})" if said else "")
    if what := _image(project, container):
        yield what
    content = project.contents.get(service.name, "")
    if container.content != content and (container.content or not container.by_waybill):
        yield "was created with other files than those of the release"
    elif container.content == content and _other_model(project, service, container):
        yield "was created from another model than that of the release"


def _is_done(container: Container, *, is_job: bool, committed: int) -> bool:
    """Return whether a container that does not run has done what it was for."""
    if is_job:
        return container.ended_well or container.state.get("Status") == "created"
    # Without a dependent service that waits for it, nothing says that it is a job. It is none if it has a
    # health check, or if it ran for long, and still did so when the release was committed.
    soon = container.ended_at <= committed + 1 or container.ran_for < _SHORT
    return container.ended_well and not container.has_probe and soon


def _image(project: Project, container: Container) -> str:
    # Ids, not names: a name may have moved to another image since.
    images = project.target.release.manifest.images
    signed = {each for image in images for each in (image.config, image.manifest)}
    if signed and container.image not in signed:
        return f"runs from image {container.image[7:19]}, which does not belong to this release"
    return ""


def _other_model(project: Project, service: Service, container: Container) -> bool:
    wanted = project.hashes.get(service.name) if service.comparable else None
    if wanted in (None, container.model):
        return False
    # Each version of Compose counts in its own way; after its upgrade nothing can be said.
    return container.compose == tool_version(project.context, project.tool)
