"""Files that Podman's generator makes services of: their names, and what they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from installer.core.risk.unit_lines import directives

KIND: Final = "podman"
"""The kind of these files in a bundle."""
GROUPS = {
    "container": "Container",
    "pod": "Pod",
    "network": "Network",
    "volume": "Volume",
    "kube": "Kube",
    "image": "Image",
}
"""The section that says what to make, by the end of the name."""
MANIFESTS = (".yaml", ".yml")
"""How the names of files end of which no service is made: a file that ends in `.kube` names them."""
LATER = ("kube", "image", "yaml", "yml")
"""The ends that only readers know who know the feature `quadlet-kube/1`."""
STORAGE = "containers-storage:"
"""What begins the name of an image that Podman takes from its own store, and never from a registry."""
_SUFFIXES = {"pod": "-pod", "network": "-network", "volume": "-volume", "image": "-image"}


@dataclass(frozen=True)
class QuadletFile:
    """One file.

    Attributes:
        name: Its name, such as `web.container`.
        text: Its text.
    """

    name: str
    text: str

    @property
    def kind(self) -> str:
        """What it makes, as the end of its name says, such as `container`; `yaml` or `yml` for a manifest."""
        return self.name.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The section that says what to make."""
        return GROUPS.get(self.kind, "")

    @cached_property
    def lines(self) -> tuple[tuple[int, str, str, str], ...]:
        """The number of the line, the section, the key and the value of each directive."""
        return tuple(directives(self.text))

    def values(self, section: str, key: str) -> list[str]:
        """Return all values of a directive, in their order."""
        return [value for _, group, name, value in self.lines if (group, name) == (section, key)]

    def says(self, section: str, key: str) -> str:
        """Return the last value of a directive; empty where there is none."""
        return (self.values(section, key) or [""])[-1]

    @property
    def service(self) -> str:
        """The service that the generator makes of it."""
        stem = self.name.rpartition(".")[0]
        named = self.says(self.group, "ServiceName").removesuffix(".service")
        return f"{named or stem + _SUFFIXES.get(self.kind, '')}.service"

    @property
    def volume(self) -> str:
        """What Podman calls the volume; only for a volume."""
        return self.says("Volume", "VolumeName") or f"systemd-{self.name.rpartition('.')[0]}"

    @property
    def manifests(self) -> list[tuple[int, str]]:
        """The manifests that it names, with their lines, as they are written; only for `.kube`."""
        return [
            (number, value)
            for number, section, key, value in self.lines
            if (section, key) in (("Kube", "Yaml"), ("Kube", "ConfigMap")) and value
        ]

    def references(self) -> Iterator[tuple[int, str]]:
        """Yield the other files that it names, each with the number of its line."""
        for number, section, key, value in self.lines:
            if section != self.group:
                continue
            if key in ("Volume", "Network", "Pod"):
                # What follows a colon are options.
                named = value.partition(":")[0]
                if named.endswith((".volume", ".network", ".pod")) and "/" not in named:
                    yield number, named
            elif key == "Mount":
                for word in value.split(","):
                    sign, _, named = word.partition("=")
                    if sign.strip() in ("source", "src") and named.endswith((".volume", ".image")):
                        yield number, named
            elif key == "Image" and value.endswith(".image"):
                yield number, value
        yield from self.manifests
