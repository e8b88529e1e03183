"""What happens to each service of a project, and why, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from installer.deploy.compose.containers import Container
from installer.deploy.compose.model import Service
from installer.deploy.compose.mounted import differing
from installer.deploy.compose.release_project import Project

_NAMED = 3
"""Files and keys that a reason names."""
_NOT_COMPARED = ("image", "depends_on", "build", "pull_policy", "scale", "profiles")
"""Keys that do not make Compose recreate a container; the image is compared apart."""
Does = Literal["start", "keep", "recreate", "remove"]


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What happens to one service.

    Attributes:
        name: The service.
        does: What.
        why: The reasons, in words.
        image: The name of its image; empty where it goes.
        forced: Whether Compose recreates it only if it is told to.
    """

    name: str
    does: Does
    why: tuple[str, ...] = ()
    image: str = ""
    forced: bool = False

    def text(self) -> str:
        """Return it as a line for people."""
        image = f" (image {self.image})" if self.image else ""
        return f"{self.does} service {self.name}{image}" + (f": {', '.join(self.why)}" if self.why else "")


def service_changes(old: Project | None, new: Project, there: Sequence[Container]) -> Iterator[ServiceChange]:
    """Yield what happens to each service of the new release, and to those that it does not have any more.

    Args:
        old: The project of the running release; None where there is none, or where it cannot be read.
        new: The project of the new release.
        there: The containers.

    Raises:
        StepError: Compose refuses a file.
    """
    for name, service in new.model.services.items():
        own = [each for each in there if each.service == name]
        if not own:
            yield ServiceChange(name, "start", image=service.image)
            continue
        why = tuple(dict.fromkeys(_reasons(old, new, service, own)))
        failing = tuple(dict.fromkeys(f"a container {each.fault}" for each in own if _needs_new(each)))
        if why:
            yield ServiceChange(name, "recreate", why, service.image)
        elif failing:
            yield ServiceChange(name, "recreate", failing, service.image, forced=True)
        elif name not in new.model.jobs and not any(each.running for each in own):
            yield ServiceChange(name, "start", ("it is not running",), service.image)
        elif name in new.model.jobs:
            yield ServiceChange(name, "start", ("others wait for it to end",), service.image)
        else:
            yield ServiceChange(name, "keep", image=service.image)
    for name in sorted({each.service for each in there} - new.model.services.keys()):
        if old is not None and name in old.model.services:
            yield ServiceChange(name, "remove")


def _needs_new(container: Container) -> bool:
    """Return whether a container that runs has to be made again, since starting it would do nothing."""
    return bool(container.fault) and container.state.get("Status") not in ("exited", "created")


def _reasons(
    old: Project | None, new: Project, service: Service, there: Sequence[Container]
) -> Iterator[str]:
    ids = new.images(service.image)
    before = old.model.services.get(service.name) if old else None
    other_image = ids and any(each.image not in ids for each in there)
    if other_image or (before and before.image != service.image):
        yield "its image changed"
    changed = _changed(before, service) if before else []
    if changed:
        yield f"its {_some(changed)} changed"
    content = new.contents.get(service.name, "")
    if any(each.content != content for each in there):
        yield _other_files(old, new, service, there)
    # Only where nothing else differs: the digest of the model has it all.
    elif before and before.image == service.image and not changed and service.comparable:
        wanted = new.hashes.get(service.name)
        if wanted and any(each.model != wanted for each in there):
            yield "it was created from another model"


def _changed(before: Service, service: Service) -> list[str]:
    keys = (before.keys.keys() | service.keys.keys()) - set(_NOT_COMPARED)
    return sorted(key for key in keys if before.keys.get(key) != service.keys.get(key))


def _other_files(old: Project | None, new: Project, service: Service, there: Sequence[Container]) -> str:
    files = differing(new.context, old.target.release, new.target.release, service) if old else []
    if files:
        return f"{_some(files)} changed"
    if not any(each.content for each in there):
        return "its containers do not say which files they were created with"
    return "it was created with other files"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
