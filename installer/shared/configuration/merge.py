"""Merges layers of values, and keeps which layer set each of them. Pure.

The rules, for a key that a weaker layer has, too:

- two maps are merged, key by key;
- everything else is replaced, lists and null included: a list is never extended, and null is a value like any
  other (it does not bring back a default);
- a map is replaced by null only: one value in its place is nearly always a mistake in the indentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from installer.core.errors import Problem
from installer.core.schema_errors import dotted
from installer.shared.strict_yaml import Document, Path

LayerKind = Literal[
    "defaults", "release-environment", "release-cluster", "environment", "cluster", "host", "values", "set",
]  # fmt: skip
"""Layers, from the weakest: those of the bundle, files of the host, `--values`, `--set`."""
SHIPPED: frozenset[str] = frozenset({"defaults", "release-environment", "release-cluster"})
"""The layers that come with the release."""


@dataclass(frozen=True, slots=True)
class Part:
    """One layer, parsed: a mapping without problems."""

    kind: LayerKind
    document: Document


@dataclass(frozen=True, slots=True)
class Origin:
    """Which layer set a value.

    Attributes:
        layer: The kind of the layer.
        file: Its file; what was typed, without the value, for `--set`.
        line: The line in it, from 1; 0 where it has none.
    """

    layer: LayerKind
    file: str
    line: int = 0

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}" if self.line else self.file


DEFAULTS = "the defaults of the release"
_TOLD: dict[str, str] = {
    "defaults": DEFAULTS,
    "values": "a file given with --values",
    "set": "--set",
}
Sources = dict[str, "Sources | Part"]
"""In the form of the values: the layer that set each leaf. A list, an empty map and null are leaves."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    Attributes:
        values: The merged values.
        parts: The layers, from the weakest.
        sources: Which of them set each leaf.
        problems: What cannot be merged.
    """

    values: dict[str, Any]
    parts: tuple[Part, ...]
    sources: Sources
    problems: tuple[Problem, ...] = ()

    def origins(self, path: Path = ()) -> Iterator[tuple[Path, Origin]]:
        """Yield the origin of each leaf at and below a path, in the order of the values."""
        node: Sources | Part | None = self.sources
        for key in path:
            if not isinstance(node, dict):
                # Below a leaf there is nothing but the entries of a list.
                node = node if node is not None and _has(node.document.value, path) else None
                break
            node = node.get(str(key))
        yield from _leaves(node, path)

    def told(self, key: str) -> str:
        """Return where a value comes from, for a comment in a file; of a group all the layers.

        Without lines, so that a rendered file changes only if a value does, or another layer sets it.

        Args:
            key: Keys with dots in between.
        """
        layers = {origin.layer: _told(origin) for _, origin in self.origins(key_path(key))}
        return ", ".join(layers[kind] for kind in get_args(LayerKind) if kind in layers) or "not set"

    def where(self, path: Path) -> str:
        """Return `file:line` of the layer that set the value at a path; of a group the strongest that did."""
        node: Sources | Part | None = self.sources
        for key in path:
            if not isinstance(node, dict):
                break
            node = node.get(str(key))
        if isinstance(node, Part):
            return node.document.where(path)
        setter = next((part for part in reversed(self.parts) if _has(part.document.value, path)), None)
        if path:
            return setter.document.where(path) if setter is not None else self.where(path[:-1])
        # What the whole lacks belongs into a file: nobody has to type it each time.
        files = [part.document.name for part in self.parts if part.kind != "set"]
        return files[-1] if files else "values"


def _told(origin: Origin) -> str:
    # The path in the bundle alone would look like one on the host.
    of = " of the release" if origin.layer in SHIPPED else ""
    return _TOLD.get(origin.layer, origin.file + of)


def key_path(key: str) -> Path:
    """Return the path of a key with dots: `ports.client`."""
    return tuple(key.split("."))


def merge(parts: Sequence[Part]) -> Merged:
    """Merge layers by the rules of this module.

    Args:
        parts: From the weakest to the strongest.
    """
    values: dict[str, Any] = {}
    sources: Sources = {}
    problems: list[Problem] = []
    for part in parts:
        values, sources = _merge((values, sources), part.document.value, (), part, problems)
    return Merged(values, tuple(parts), sources, tuple(problems))


def _merge(
    below: tuple[Mapping[str, Any], Sources],
    above: Mapping[str, Any],
    path: Path,
    part: Part,
    problems: list[Problem],
) -> tuple[dict[str, Any], Sources]:
    values, sources = dict(below[0]), dict(below[1])
    for key, value in above.items():
        here = (*path, key)
        old = values.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            # Of an empty map its own layer is the source, until it has a key.
            inner = sources[key]
            merged = _merge((old, inner if isinstance(inner, dict) else {}), value, here, part, problems)
            values[key], sources[key] = merged[0], merged[1] or inner
        elif isinstance(old, dict) and value is not None:
            group = ", ".join(list(old)[:4])
            what = f"{dotted(here)} is a group of values ({group}), not a single value"
            problems.append(Problem(part.document.where(here), what, "set the keys inside it"))
        elif isinstance(old, list) and isinstance(value, dict) and part.kind == "set":
            what = f"{dotted(here)} is a list, which is replaced as a whole"
            hint = f"write the whole list: --set '{dotted(here)}=[FIRST, SECOND]'"
            problems.append(Problem(part.document.where(here), what, hint))
        else:
            values[key], sources[key] = value, _sources(value, part)
    return values, sources


def _sources(value: Any, part: Part) -> Sources | Part:
    if isinstance(value, dict) and value:
        return {key: _sources(each, part) for key, each in value.items()}
    return part


def _leaves(node: Sources | Part | None, path: Path) -> Iterator[tuple[Path, Origin]]:
    if isinstance(node, dict):
        for key, each in node.items():
            yield from _leaves(each, (*path, key))
    elif node is not None:
        document = node.document
        yield path, Origin(node.kind, document.name, _line(document, path))


def _line(document: Document, path: Path) -> int:
    # The documents of `--set` have no lines.
    for end in range(len(path), 0, -1):
        if line := document.lines.get(path[:end]):
            return line
    return 0


def _has(value: Any, path: Path) -> bool:
    for key in path:
        try:
            value = value[key]
        # An entry of a list that is shorter, a key of another map, or no group at all.
        except (LookupError, TypeError):
            return False
    return True
