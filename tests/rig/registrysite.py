"""A site with a registry: a host whose cluster takes images from it, and a gate that everything passes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.core.format.manifest import Image
from installer.host.context import Context
from tests.rig.imagerelease import release
from tests.rig.livedir import LiveDir
from tests.rig.registry import Registry
from tests.rig.registrygate import Gate
from tests.rig.releases import ReleaseSpec, context

SERIAL = itertools.count()
SETTINGS = "etc/waybill/registry.yaml"


@dataclass
class RegistrySite:
    """A host and its registry.

    Attributes:
        registry: What is behind the gate.
        gate: What the host knows as the registry.
        root: The directory of the host.
        prefix: Where its images go, for this test alone.
    """

    registry: Registry
    gate: Gate
    root: Path
    prefix: str

    def configure(self, text: str = "", address: str = "") -> None:
        """Write the settings, with further lines."""
        path = self.root / SETTINGS
        path.parent.mkdir(parents=True, exist_ok=True)
        address = address or f"http://{self.gate.name}"
        path.write_text(f"address: {address}\nprefix: {self.prefix}\ntimeout: 20\n{text}")
        path.chmod(0o644)

    def context(self, at: int = 0, fault: str = "") -> Context:
        """Return the host; its effect `at` fails."""
        return context(LiveDir(self.root, at, fault))

    def release(
        self, version: str, images: dict[str, list[bytes]], directory: Path | None = None
    ) -> ReleaseSpec:
        """Return a release with images of plain layers."""
        where = directory or self.root.parent / f"release-{next(SERIAL)}"
        return release(where, version, int(version.partition(".")[0]), images)

    def tags(self, repository: str) -> dict[str, str]:
        """Return what each tag of a repository leads to, by its name below the prefix."""
        return self.registry.tags(f"{self.prefix}/{repository}")

    def named(self, repository: str) -> dict[str, str]:
        """Return the tags that are names for people."""
        return {tag: each for tag, each in self.tags(repository).items() if not tag.startswith("waybill.")}

    def kept(self, repository: str) -> dict[str, str]:
        """Return the tags by which hosts keep images."""
        return {tag: each for tag, each in self.tags(repository).items() if tag.startswith("waybill.")}


def image(spec: ReleaseSpec, at: int = 0) -> Image:
    """Return an image of a release."""
    found: Image = spec.extra["images"][at]
    return found


@contextmanager
def registry_site(registry: Registry, root: Path) -> Iterator[RegistrySite]:
    """Open the gate of a registry for the host in a directory."""
    root.mkdir(parents=True, exist_ok=True)
    with Gate(registry.name).open() as gate:
        made = RegistrySite(registry, gate, root, f"site{next(SERIAL)}")
        made.configure()
        yield made


@pytest.fixture
def registry_host(registry: Registry, tmp_path: Path) -> Iterator[RegistrySite]:
    """A live host of a site with a registry, without a login."""
    with registry_site(registry, tmp_path / "host") as made:
        yield made
