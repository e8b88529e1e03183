"""What a container engine reports about itself and about an image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Store = Literal["classic", "containerd"]
Product = Literal["Docker", "Podman", "containerd"]
OLDEST = {"Docker": (20, 10), "Podman": (4, 3), "containerd": (1, 6)}
"""The oldest version of each engine that is used."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "amd64": "amd64"}
_PODMAN_SCRATCH = "/var/tmp"  # noqa: S108 - Podman's directory, only looked at


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine reports about itself.

    Attributes:
        version: As the engine writes it.
        store: `classic` (the id of an image is its configuration's digest) or `containerd` (its manifest's).
        root: Its data root on this host.
        platform: `os/arch`.
        address: Where it was reached.
        product: Whose engine it is. Podman answers in Docker's API.
    """

    version: str
    store: Store
    root: str
    platform: str
    address: str
    product: Product = "Docker"

    @property
    def roots(self) -> tuple[str, ...]:
        """Where it keeps images; empty if that is not on this host."""
        return _data_roots(self.root, containerd=self.store == "containerd")

    @property
    def takes_every_layer(self) -> bool:
        """Whether every layer has to be sent, also those that it has: only the classic store finds them."""
        return self.store == "containerd" or self.product == "Podman"

    @property
    def scratch(self) -> str:
        """Where Podman copies an archive before it loads it, outside of its data root; empty for Docker."""
        return _PODMAN_SCRATCH if self.product == "Podman" and Path(_PODMAN_SCRATCH).is_dir() else ""

    @property
    def title(self) -> str:
        """Its address, and what it is where that is not Docker."""
        return self.address if self.product == "Docker" else f"{self.address} ({self.product} {self.version})"

    @property
    def command(self) -> str:
        """The command line of the engine, for people."""
        return self.product.lower()

    @property
    def unit(self) -> str:
        """The unit whose log is that of the engine."""
        return self.command

    def removing(self, *names: str) -> str:
        """Return the command that removes names of images, as texts have it."""
        return f"`{self.command} rmi {' '.join(names)}`"

    @property
    def tags(self) -> str:
        """The command that gives an image a name."""
        return f"{self.command} tag"

    @property
    def prunes(self) -> str:
        """The command that removes images which no container uses."""
        return f"{self.command} image prune"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor of the version; zeros where it has none."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image that an engine has.

    Attributes:
        id: Its id, `sha256:…`.
        tags: The names it goes by.
        diff_ids: Its layers, from the lowest; empty where the engine cannot list them.
    """

    id: str
    tags: tuple[str, ...]
    diff_ids: tuple[str, ...]


def describe(address: str, podman: str, raw: Mapping[str, Any]) -> EngineInfo:
    """Return what an engine reports about itself.

    Args:
        address: Where it was reached.
        podman: The version of Podman, if it is one.
        raw: Its answer to `/info`.
    """
    kinds = {str(row[0]): str(row[1]) for row in raw.get("DriverStatus") or () if len(row) == 2}
    store: Store = "containerd" if "snapshotter" in kinds.get("driver-type", "") else "classic"
    machine = str(raw.get("Architecture", ""))
    return EngineInfo(
        version=podman or str(raw.get("ServerVersion", "")),
        store=store,
        root=str(raw.get("DockerRootDir", "")),
        platform=f"{raw.get('OSType', '')}/{_ARCHITECTURES.get(machine, machine)}",
        address=address,
        product="Podman" if podman else "Docker",
    )


def _data_roots(root: str, *, containerd: bool) -> tuple[str, ...]:
    """Return the directories in which an engine keeps images; none where they are not on this host.

    Args:
        root: What the engine calls its root.
        containerd: Whether images are in containerd's store.
    """
    wanted = [root]
    if containerd:
        # Docker reports its own root only; the blobs are in containerd's.
        wanted += ["/var/lib/containerd", *_configured_containerd_root()]
    return tuple(folder for folder in wanted if folder and Path(folder).is_dir())


def _configured_containerd_root() -> list[str]:
    # Imported here: only hosts with the containerd store need it.
    import tomllib

    try:
        root = tomllib.loads(Path("/etc/containerd/config.toml").read_text("utf-8")).get("root")
    except (OSError, ValueError):
        return []
    return [root] if isinstance(root, str) else []
