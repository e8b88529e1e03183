"""The services of a step: what the generator makes of its files, and what an upgrade does with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from installer.core.format.entries.quadlet_files import KIND, QuadletFile
from installer.deploy.method import Target
from installer.deploy.systemd.units import StepUnit, read_text
from installer.host.context import Context
from installer.shared.review.yaml_values import NotReadableError, yaml_documents

_MADE_ONCE = ("network", "volume")
_ORDER = {"network": 0, "volume": 0, "image": 1, "pod": 2}
"""What others need comes before them."""
# The generator makes these and images oneshot, and active once they have run.
_ONCE = "[Service]\nType=oneshot\nRemainAfterExit=yes\n"


@dataclass(frozen=True)
class Service:
    """A service, the file that it is made of, and the texts of the manifests that this file names."""

    path: str
    file: QuadletFile
    manifests: tuple[str, ...] = ()

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
        is_once = self.is_made_once or self.file.kind == "image"
        return StepUnit(self.name, self.file.text + (f"\n\n{_ONCE}" if is_once else ""))

    @property
    def volumes(self) -> list[str]:
        """The volumes that stay when it goes, as Podman calls them."""
        return [self.file.volume] if self.file.kind == "volume" else [*_claims(self.manifests)]


def services_of(context: Context, target: Target | None) -> dict[str, Service]:
    """Return the services of a step, by name, those that others need first."""
    if target is None:
        return {}
    texts = {path: read_text(context, target, path, KIND) for path in target.options["files"]}
    by_name = {path.rpartition("/")[2]: text for path, text in texts.items()}
    found = []
    for path, text in texts.items():
        file = QuadletFile(path.rpartition("/")[2], text)
        # Of a manifest no service is made.
        if file.group:
            manifests = tuple(by_name.get(name, "") for _, name in file.manifests)
            found.append(Service(path, file, manifests))
    ordered = sorted(found, key=lambda each: _ORDER.get(each.file.kind, len(_ORDER)))
    return {each.name: each for each in ordered}


def _claims(manifests: Iterable[str]) -> Iterator[str]:
    """Yield the names of the claims of volumes in manifests, of which Podman makes volumes."""
    for text in manifests:
        # A manifest that Podman cannot read has made nothing.
        with suppress(NotReadableError):
            for found in yaml_documents(text.encode()):
                is_claim = isinstance(found, dict) and found.get("kind") == "PersistentVolumeClaim"
                metadata = found.get("metadata") if is_claim else None
                if isinstance(metadata, dict) and metadata.get("name"):
                    yield str(metadata["name"])


@dataclass(frozen=True)
class Actions:
    """What is done with the services of two releases: those that stop, restart, start, and are new.

    `replaced` are made of other manifests than before. Podman finds what they have made by the manifest, so
    they stop before it changes, also when it changes back.
    """

    stop: list[str]
    restart: list[str]
    start: list[str]
    fresh: list[str]
    replaced: list[str]


def actions(before: Mapping[str, Service], after: Mapping[str, Service]) -> Actions:
    """Return what is done to get from the services of one release to those of another.

    Containers are restarted, as the services of packages are. Networks and volumes stay as they are.
    """
    return Actions(
        stop=[name for name in reversed(list(before)) if name not in after],
        restart=[name for name, each in after.items() if not each.is_made_once],
        start=[name for name, each in after.items() if each.is_made_once],
        fresh=[name for name in after if name not in before],
        replaced=[
            name
            for name, each in after.items()
            if each.file.kind == "kube" and name in before and before[name] != each
        ],
    )
