"""Changes to JSON documents, to be tried one at a time, and what the published schemas say of the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS = Path(__file__).parents[2] / "schemas" / "v1"


def at(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    """Sets a field."""

    def change(document: Any) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], object]:
    """Takes a field away."""

    def change(document: Any) -> None:
        for name in path[:-1]:
            document = document[name]
        del document[path[-1]]

    return change


def schema(name: str) -> Any:
    """Return a published schema."""
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def validator(name: str) -> Callable[[object], bool]:
    """Return what tells whether a document is as a published schema says."""
    checker = jsonschema.Draft202012Validator(schema(name))
    return lambda document: bool(checker.is_valid(document))
