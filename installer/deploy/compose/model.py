"""The model of a project: what Compose itself makes of the checked file, with all that it refers to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from installer.core import jsonio
from installer.deploy.compose.command import Source, answer
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.system import System

_ANSWERS: WeakKeyDictionary[System, dict[bytes, bytes]] = WeakKeyDictionary()
"""What Compose said on a host, by what it was asked."""
_SHARING = ("network_mode", "ipc", "pid")


@dataclass(frozen=True)
class Service:
    """One service.

    Attributes:
        name: Its name.
        keys: Its keys, as `docker compose config` prints them.
        project: The project, in the same form.
    """

    name: str
    keys: Mapping[str, Any]
    project: Mapping[str, Any]

    @property
    def image(self) -> str:
        """The name of its image."""
        return str(self.keys.get("image") or "")

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The paths of the host that it mounts, sorted."""
        return tuple(sorted(set(self._sources())))

    def _sources(self) -> Iterator[str]:
        volumes = self.project.get("volumes") or {}
        for each in self.keys.get("volumes") or ():
            if each.get("type") == "bind":
                yield str(each.get("source") or "")
            elif each.get("type") == "volume":
                options = (volumes.get(each.get("source")) or {}).get("driver_opts") or {}
                yield from (str(options[key]) for key in ("device",) if str(options.get(key)).startswith("/"))
        for kind in ("configs", "secrets"):
            known = self.project.get(kind) or {}
            for each in self.keys.get(kind) or ():
                file = (known.get(each.get("source")) or {}).get("file")
                yield from [str(file)] if file else []

    @property
    def ports(self) -> tuple[tuple[str, int, str], ...]:
        """Address, port and protocol of each port of the host that it asks for by number."""
        found = []
        for each in self.keys.get("ports") or ():
            published = str(each.get("published") or "")
            if published.isdigit() and published != "0":
                found.append(
                    (str(each.get("host_ip") or ""), int(published), str(each.get("protocol") or "tcp"))
                )
        return tuple(found)

    @property
    def comparable(self) -> bool:
        """Whether Compose's digest of it can be foretold: not where it shares what another container has."""
        shared = [str(self.keys.get(key) or "") for key in _SHARING]
        return not self.keys.get("volumes_from") and not any(
            each.startswith(("service:", "container:")) for each in shared
        )

    @property
    def scale(self) -> int:
        """How many containers it has."""
        replicas = (self.keys.get("deploy") or {}).get("replicas")
        scale = self.keys.get("scale", replicas)
        return 1 if scale is None else int(scale)


@dataclass(frozen=True)
class Model:
    """A project.

    Attributes:
        keys: What `docker compose config` prints.
    """

    keys: Mapping[str, Any]

    @cached_property
    def services(self) -> dict[str, Service]:
        """Its services by name; those of profiles that are not active are not among them."""
        found = self.keys.get("services") or {}
        return {name: Service(name, found[name], self.keys) for name in sorted(found)}

    @cached_property
    def jobs(self) -> frozenset[str]:
        """The services that others wait for until they have ended successfully."""
        return frozenset(
            name
            for service in self.services.values()
            for name, how in (service.keys.get("depends_on") or {}).items()
            if how.get("condition") == "service_completed_successfully"
        )

    def external(self, kind: str) -> list[str]:
        """Return the names of the networks or volumes that have to be there already."""
        return [name for name, is_external in self._named(kind) if is_external]

    def own(self, kind: str) -> list[str]:
        """Return the names of the networks or volumes that belong to the project."""
        return [name for name, is_external in self._named(kind) if not is_external]

    def _named(self, kind: str) -> list[tuple[str, bool]]:
        found = self.keys.get(kind) or {}
        return sorted(
            (str(each.get("name") or key), bool(each.get("external"))) for key, each in found.items()
        )


def read_model(context: Context, args: Json, source: Source) -> Model:
    """Return the model of the Compose file of a release.

    Raises:
        StepError: Compose refuses the file.
        ChangedFileError: The file is not what was verified.
    """
    printed = _asked(context, args, source, "--format", "json")
    try:
        keys = json.loads(printed)
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        raise StepError(
            "docker compose config: printed no model, or one of more than 1 MiB", where=source.first
        )
    return Model(keys)


def read_hashes(context: Context, args: Json, source: Source) -> dict[str, str]:
    """Return Compose's digest of each service's model, as it labels containers.

    Raises:
        StepError: Compose refuses the file.
        ChangedFileError: The file is not what was verified.
    """
    printed = _asked(context, args, source, "--hash", "*")
    rows = (line.split() for line in printed.decode("utf-8", "replace").splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _asked(context: Context, args: Json, source: Source, *words: str) -> bytes:
    """Return what `docker compose config` prints; each question is asked once in the life of a process.

    The answer follows from the arguments, which have the digest of each file, while a plan needs it in its
    checks, its lines and its operations.
    """
    known = _ANSWERS.setdefault(context.system, {})
    key = jsonio.dumps([args, source.file, source.held, dict(source.contents), words])
    if key not in known:
        known[key] = answer(context, args, source, "config", *words).stdout
    return known[key]
