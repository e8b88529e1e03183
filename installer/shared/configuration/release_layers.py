"""The layers that a release brings: its defaults, and values for the environment and the cluster of a host.

What the release has for other environments and clusters is none of this host's business. A host that belongs
to none, or whose name nearly is one of them, is told: the defaults would be used without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import get_args

from installer.core.digest import sha256_hex
from installer.core.errors import Problem
from installer.core.format.manifest import LayerOf, Manifest
from installer.core.schema_errors import did_you_mean
from installer.shared.configuration.merge import LayerKind
from installer.shared.values import Layer

KINDS: dict[LayerOf, LayerKind] = {"environment": "release-environment", "cluster": "release-cluster"}
"""The layer that values for a group of hosts are."""
CHOSEN_BY = "/etc/waybill/{of}"
"""The file in which a host has the name of its environment or cluster."""
_NAMED = 5
"""Names in one warning."""


@dataclass(slots=True)
class ReleaseLayers:
    """What a release sets for a host.

    Attributes:
        layers: Its values files, from the weakest.
        schema: Its values schema; None where it has none.
        problems: Files that are not what was verified.
        notes: Values for a group of hosts that this host may have been meant to be in.
    """

    layers: list[Layer] = field(default_factory=list)
    schema: Layer | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def release_layers(
    manifest: Manifest, read: Callable[[str], bytes], environment: str, cluster: str
) -> ReleaseLayers:
    """Read the layers of a release for a host.

    Args:
        manifest: The verified manifest.
        read: Returns the bytes of a bundle path; bounds the read.
        environment: The environment of this host; empty for none.
        cluster: Its cluster; empty for none.
    """
    found = ReleaseLayers()
    digests = {entry.path: entry.sha256 for entry in manifest.of_kind("values", "schema")}

    def layer(path: str, kind: LayerKind = "defaults") -> Layer:
        data = read(path)
        # Read a second time, after it was verified: it may have been changed since.
        if sha256_hex(data) != digests.get(path, sha256_hex(data)):
            what = "differs from the verified content"
            found.problems.append(Problem(path, what, "run the same command again"))
            data = b""
        return Layer(path, data, kind=kind)

    found.layers += [layer(manifest.values)] if manifest.values else []
    names: dict[LayerOf, str] = {"environment": environment, "cluster": cluster}
    # From the weaker to the stronger, as among the files of a host.
    for of in get_args(LayerOf):
        paths = {row.name: row.path for row in manifest.values_layers if row.layer == of}
        found.layers += [layer(paths[names[of]], KINDS[of])] if names[of] in paths else []
        found.notes += _not_used(of, names[of], paths)
    found.schema = layer(manifest.values_schema) if manifest.values_schema else None
    return found


def _not_used(of: LayerOf, own: str, paths: dict[str, str]) -> Iterator[str]:
    names = list(paths)
    if names and not own:
        listed = ", ".join(names[:_NAMED]) + (f", … {len(names) - _NAMED} more" if names[_NAMED:] else "")
        yield (
            f"not used: the values of the release for the {of}s {listed}, since this host belongs to none: "
            f"write its name to {CHOSEN_BY.format(of=of)}"
        )
    elif own not in paths and (meant := did_you_mean(own, names)):
        yield f"not used: {paths[meant]} of the release is for the {of} {meant}; this host belongs to {own}"
