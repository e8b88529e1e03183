"""Changes to JSON documents, to be tried one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def at(*path: str, value: object) -> Callable[[dict[str, Any]], object]:
    """Sets a field."""

    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    return change


def without(*path: str) -> Callable[[dict[str, Any]], object]:
    """Takes a field away."""

    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        del document[path[-1]]

    return change
