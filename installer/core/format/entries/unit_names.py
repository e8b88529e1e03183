"""Names of units: templates, their instances, and the files that belong to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("unit", "user-unit")
"""The kinds of files that are units: those of the system, and those of users."""
_INSTANCE = re.compile(r"@[^@]+(?=\.[a-z]+\Z)")


def is_template(unit: str) -> bool:
    """Return whether a name is that of a template, such as `chat@.service`, which never runs itself."""
    return "@." in unit


def template_of(unit: str) -> str:
    """Return the template of an instance; of any other unit its own name."""
    return _INSTANCE.sub("@", unit)


def step_units(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the units of a step with the paths of their files; drop-ins are no units."""
    paths = options.get("units", [])
    return {path.rpartition("/")[2]: path for path in paths if not path.endswith(".conf")}


def drop_ins(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the drop-ins of a step: the unit that each changes, and its path."""
    for path in options.get("units", []):
        if path.endswith(".conf"):
            yield path.split("/")[-2].removesuffix(".d") if "/" in path else "", path


def without_template(options: Mapping[str, Any]) -> list[str]:
    """Return the instances of a step whose template it does not have."""
    units = step_units(options)
    return [unit for unit in options.get("instances", []) if template_of(unit) not in units]
