"""The files that come with the program, in the checkout, the wheel and the executable: schemas, templates."""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from installer.core.errors import WaybillError

PLACEHOLDER = "example-product"
"""The name of the product in templates."""
# Two levels above this package.
_CHECKOUT = Path(__file__).resolve().parents[2]


def schema(name: str) -> dict[str, Any]:
    """Read one of our JSON Schemas.

    Args:
        name: For example `v1/bundle-yaml.schema.json`.

    Raises:
        WaybillError: The installation is damaged.
    """
    found: dict[str, Any] = json.loads(_find("installer.core", "schemas").joinpath(name).read_bytes())
    return found


def templates() -> Traversable:
    """Return the directory of the templates of `bundle init`, one directory for each.

    Raises:
        WaybillError: The installation is damaged.
    """
    return _find("bundler", "templates")


def _find(package: str, name: str) -> Traversable:
    # A wheel and an executable have the data inside of the packages, a checkout next to them.
    for place in (files(package).joinpath(name), _CHECKOUT / name):
        if place.is_dir():
            return place
    raise WaybillError(f"{name} is missing in this installation", hint="reinstall Waybill")
