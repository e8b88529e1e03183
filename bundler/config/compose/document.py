"""Read a Compose file as Compose reads it, with the line of everything in it.

Compose files may have anchors, aliases and merge keys. They are read as a graph of nodes in which an alias is
a second way to the same node; values are made of it once, and are bounded by what engines would multiply out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from installer.core.errors import Problem
from installer.shared.strict_yaml import MAX_BYTES, MAX_NODES

if TYPE_CHECKING:
    from yaml import Node

Path = tuple[str | int, ...]
MAX_DEPTH = 64
_MERGE = "<<"
_MOST_MERGED = 200
"""Mappings that one mapping merges, with those that they merge themselves."""
_MANY = f"has more than {MAX_NODES} values, each alias counted in full"
RESET = "!reset"
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]{1,16}|0[oO]?[0-7]{1,20}|[0-9]{1,18})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(slots=True)
class Document:
    """A Compose file.

    Attributes:
        name: Its path in messages.
        value: Its values; None where it cannot be read.
        problems: Why it cannot be read, and the keys that are there twice.
    """

    name: str
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    _graph: _Graph | None = None
    _root: Node | None = None

    def resets(self, path: Path) -> list[str]:
        """Return the keys of the mapping at a path that a file takes back with `!reset`."""
        node = self._root
        for part in path:
            found = self._graph.row(node, part) if self._graph and node is not None else None
            if found is None:
                return []
            node = found[1]
        rows = self._graph.rows(node) if self._graph else {}
        return [key for key, (_, value) in rows.items() if value.tag == RESET]

    def where(self, path: Path = ()) -> str:
        """Return `name:line` of a path of keys, or of as much of it as is there."""
        line, node = 1, self._root
        for part in path:
            found = self._graph.row(node, part) if self._graph and node is not None else None
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return f"{self.name}:{line}"


def read(data: bytes, name: str) -> Document:
    """Read a Compose file; never raises, all problems are in the result.

    Args:
        data: Its bytes.
        name: Its path in messages.
    """
    import yaml

    # Compose reads such files, too; the limit guards this process, not the format.
    if len(data) > MAX_BYTES:
        return _unreadable(name, f"is larger than {MAX_BYTES // 1024} KiB", "split it, and use include:")
    try:
        # Nodes, not objects: they keep line numbers, and aliases are shared instead of copied.
        root = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "run `docker compose config` for details"
        return _unreadable(f"{name}:{line}", f"is not YAML: {error.problem}", hint)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return _unreadable(name, "is not YAML in UTF-8", "check that it is a Compose file")
    graph = _Graph()
    document = Document(name, _graph=graph, _root=root)
    if root is not None:
        document.value = _Values(document, graph).of(root)
    return document


def _unreadable(where: str, what: str, hint: str) -> Document:
    return Document(where, problems=[Problem(where, what, hint)])


class _Graph:
    """The mappings of a document and what they merge; each is looked into once, whatever leads there.

    Own entries of a mapping win over merged ones, and an earlier merged mapping over a later one.
    """

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, tuple[Node, Node]]] = {}
        self.left_out = False

    def row(self, node: Node | None, part: str | int) -> tuple[Node, Node] | None:
        """Return the place and the value of a key of a mapping, or of an item of a list; None without one."""
        from yaml import SequenceNode

        if isinstance(node, SequenceNode):
            is_there = isinstance(part, int) and part < len(node.value)
            return (node.value[part], node.value[part]) if is_there else None
        # `include: x.yaml` is a list of one.
        if part == 0:
            return (node, node) if node is not None else None
        return self.rows(node).get(str(part))

    def rows(self, node: Node | None) -> dict[str, tuple[Node, Node]]:
        """Return all entries of a mapping, key and value."""
        if id(node) in self._rows:
            return self._rows[id(node)]
        found: dict[str, tuple[Node, Node]] = {}
        ahead, seen = [node], set[int]()
        while ahead:
            source = ahead.pop()
            if len(seen) > _MOST_MERGED:
                self.left_out = True
                break
            if source is not None and id(source) not in seen:
                seen.add(id(source))
                found = _own(source) | found
                # The first source is looked into next, with what it merges itself.
                ahead += reversed(list(_merged(source)))
        self._rows[id(node)] = found
        return found


class _Values:
    """Makes the values of a document, each node once."""

    def __init__(self, document: Document, graph: _Graph) -> None:
        self._document, self._graph = document, graph
        self._made: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._full = False
        self._count = 0

    def of(self, root: Node) -> Any:
        value, _ = self._node(root, 0)
        return None if self._full else value

    def _node(self, node: Node, depth: int) -> tuple[Any, int]:
        """Return the value of a node, and how many values it has where aliases are multiplied out."""
        from yaml import MappingNode, ScalarNode

        if isinstance(node, ScalarNode):
            return _scalar(node), 1
        if id(node) in self._made:
            return self._made[id(node)]
        if id(node) in self._open or depth > MAX_DEPTH:
            self._refuse(node, f"is nested in itself, or deeper than {MAX_DEPTH} levels")
        if self._full:
            return None, 1
        self._open.add(id(node))
        made: Any
        if isinstance(node, MappingNode):
            self._twice(node)
            rows = self._graph.rows(node)
            if self._graph.left_out:
                self._refuse(node, f"merges more than {_MOST_MERGED} others")
            self._room_for(node, len(rows))
            pairs = {key: self._node(each, depth + 1) for key, (_, each) in rows.items() if each.tag != RESET}
            made, parts = {key: value for key, (value, _) in pairs.items()}, list(pairs.values())
        else:
            self._room_for(node, len(node.value))
            parts = [self._node(each, depth + 1) for each in node.value]
            made = [value for value, _ in parts]
        self._open.discard(id(node))
        count = 1 + sum(many for _, many in parts)
        if count > MAX_NODES:
            self._refuse(node, _MANY)
        self._made[id(node)] = made, count
        return made, count

    def _room_for(self, node: Node, many: int) -> None:
        """Count values as they are made: a merge may have as many as it likes in a few characters."""
        self._count += many
        if self._count > MAX_NODES:
            self._refuse(node, _MANY)

    def _refuse(self, node: Node, what: str) -> None:
        if not self._full:
            where = f"{self._document.name}:{node.start_mark.line + 1}"
            self._document.problems.append(Problem(where, what, "write it without the alias"))
        self._full = True

    def _twice(self, node: Node) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line, text = key.start_mark.line + 1, str(key.value)
            if text in seen and text != _MERGE:
                what = f"has the key {text[:100]!r} twice, first in line {seen[text]}"
                problem = Problem(f"{self._document.name}:{line}", what, "keep one of the two")
                self._document.problems.append(problem)
            seen.setdefault(text, line)


def _scalar(node: Node) -> Any:
    """Return a scalar as Compose reads it: YAML 1.2, in which `yes` and `22:22` are text."""
    text = str(node.value)
    if node.style is not None or node.tag.startswith("!"):  # type: ignore[attr-defined]  # of a scalar
        return text
    if text.lower() in _WORDS and text in (text.lower(), text.upper(), text.capitalize()):
        return _WORDS[text.lower()]
    # PyYAML has the rules of YAML 1.1: what they do not make text was tagged as text, `!!str 5`.
    if node.tag.endswith(":str") and _implicit(text) != node.tag:
        return text
    if _INTEGER.fullmatch(text):
        return _whole(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _implicit(text: str) -> str:
    import yaml
    from yaml.resolver import Resolver

    resolve: Any = Resolver().resolve
    return str(resolve(yaml.ScalarNode, text, (True, False)))


def _whole(text: str) -> int:
    for base in (0, 8, 10):
        # `0x1f`, `0o17` and `31`; then `017`, which is octal to Compose; then `09`.
        with suppress(ValueError):
            return int(text, base)
    return 0


def _own(node: Node) -> dict[str, tuple[Node, Node]]:
    from yaml import MappingNode, ScalarNode

    rows = node.value if isinstance(node, MappingNode) else []
    return {
        str(key.value): (key, value)
        for key, value in rows
        if isinstance(key, ScalarNode) and key.value != _MERGE
    }


def _merged(node: Node) -> Iterator[Node]:
    """Yield what a mapping merges, the one that wins first."""
    from yaml import MappingNode, SequenceNode

    for key, value in reversed(node.value) if isinstance(node, MappingNode) else ():
        if key.value == _MERGE:
            yield from value.value if isinstance(value, SequenceNode) else [value]
