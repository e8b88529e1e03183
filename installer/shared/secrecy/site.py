"""The secrets among the values of a site: what is hidden, and what the operator is warned of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from installer.core.schema_errors import dotted
from installer.shared.secrecy.declared import secret_values
from installer.shared.secrecy.index import SHORTEST
from installer.shared.secrecy.notations import secrets_of
from installer.shared.values import Layer

_OTHERS_READ = 0o004
_NAMED = 3
"""Keys that a warning names."""


def site_secrets(layers: Iterable[Layer], schema: Layer | None) -> tuple[set[str], list[str]]:
    """Return the secrets of values files, also of files that are not valid, and what to warn of.

    Messages about a file that is not valid quote its values.

    Args:
        layers: From the weakest, the bundle's defaults, to the strongest.
        schema: The bundle's values schema, where it has one.
    """
    described = schema_of(schema)
    found, notes = set[str](), list[str]()
    layers = list(layers)
    all_named = [secret_values(layer.parse().value, described) for layer in layers]
    in_force = {path: number for number, named in enumerate(all_named) for path in named}
    for number, (layer, named) in enumerate(zip(layers, all_named, strict=True)):
        lines = secrets_of(layer.data.decode("utf-8", "replace").splitlines())
        found |= {*named.values(), *lines}
        keys = [dotted(path) for path in named]
        if layer.mode & _OTHERS_READ and (named or lines):
            which = f" ({_some(keys)})" if keys else ""
            notes.append(
                f"{layer.name} contains secrets{which} and can be read by every user of this host "
                f"(mode {layer.mode:04o}): run `chmod 0600 {layer.name}`"
            )
        # Of a value that a stronger layer replaces, nothing is ever shown.
        short = [
            dotted(path)
            for path, value in named.items()
            if len(value) < SHORTEST and in_force[path] == number
        ]
        # It would blank every other text that contains it.
        notes += [
            f"{layer.name}: {key} is shorter than {SHORTEST} characters: it is hidden only where its name "
            "stands, not in the output of scripts"
            for key in short
        ]
    return found, notes


def _some(keys: Sequence[str]) -> str:
    more = f", … {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def schema_of(schema: Layer | None) -> Any:
    """Return a values schema, parsed; None where there is none, or it is no JSON object."""
    try:
        value = json.loads(schema.data) if schema else None
    except (ValueError, RecursionError):
        return None  # reported where the values are checked
    return value if isinstance(value, dict) else None
