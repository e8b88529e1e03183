"""The published schemas, as this installation has them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from installer.core.errors import InternalError

_CHECKOUT = Path(__file__).resolve().parents[2]


def published_schema(name: str) -> dict[str, Any]:
    """Return a schema by its path below `schemas`.

    Raises:
        InternalError: The installation does not have it.
    """
    # An executable has the schemas inside of the package, a checkout next to it.
    for place in (files("installer.core").joinpath("schemas"), _CHECKOUT / "schemas"):
        if place.is_dir():
            found: dict[str, Any] = json.loads(place.joinpath(name).read_bytes())
            return found
    raise InternalError("the schemas are missing in this installation", hint="install Waybill again")
