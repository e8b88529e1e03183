"""The services of a step: what the generator makes of its files, and what an upgrade does with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from installer.core.format.entries.quadlet_files import KIND, QuadletFile
from installer.deploy.method import Target
from installer.deploy.systemd.units import StepUnit, read_text
from installer.host.context import Context

_MADE_ONCE = ("network", "volume")
# The generator makes these oneshot, and active once they have run.
_ONCE = "[Service]\nType=oneshot\nRemainAfterExit=yes\n"


@dataclass(frozen=True)
class Service:
    """A service, and the file that it is made of."""

    path: str
    file: QuadletFile

    @property
    def name(self) -> str:
        """What systemd calls it."""
        return self.file.service

    @property
    def is_made_once(self) -> bool:
        """Whether it makes something that stays: Podman changes no network and no volume that exists."""
        return self.file.kind in _MADE_ONCE

    @property
    def unit(self) -> StepUnit:
        """The service as a unit, as far as the file says it."""
        return StepUnit(self.name, self.file.text + (f"\n\n{_ONCE}" if self.is_made_once else ""))


def services_of(context: Context, target: Target | None) -> dict[str, Service]:
    """Return the services of a step, by name, those that others need first."""
    if target is None:
        return {}
    found = [
        Service(path, QuadletFile(path.rpartition("/")[2], read_text(context, target, path, KIND)))
        for path in target.options["files"]
    ]
    ordered = sorted(found, key=lambda each: (not each.is_made_once, each.file.kind != "pod"))
    return {each.name: each for each in ordered}


@dataclass(frozen=True)
class Actions:
    """What is done with the services of two releases: those that stop, restart, start, and are new."""

    stop: list[str]
    restart: list[str]
    start: list[str]
    fresh: list[str]


def actions(before: Mapping[str, Service], after: Mapping[str, Service]) -> Actions:
    """Return what is done to get from the services of one release to those of another.

    Containers are restarted, as the services of packages are. Networks and volumes stay as they are.
    """
    return Actions(
        stop=[name for name in reversed(list(before)) if name not in after],
        restart=[name for name, each in after.items() if not each.is_made_once],
        start=[name for name, each in after.items() if each.is_made_once],
        fresh=[name for name in after if name not in before],
    )
