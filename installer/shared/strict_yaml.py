"""A strict, bounded YAML reader that knows the line of every node.

Built on the events of PyYAML's parser, so no YAML tag ever reaches a constructor. Refused, with its line:
anchors, aliases and merge keys; tags; several documents; duplicate keys; keys that are not text; and plain
scalars that versions of YAML read differently or that lose their form, such as `no`, `1.10`, `0755` or
`2024-01-01`. In quotes they are text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from installer.core.document_file import encoding_damage
from installer.core.errors import Problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_PROBLEMS = 50

Path = tuple[str | int, ...]

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_NUMBERLIKE = re.compile(
    r"[-+]?(?:\.?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?")
_WORDS = {
    **dict.fromkeys(("yes", "on", "true"), "true"),
    **dict.fromkeys(("no", "off", "false"), "false"),
    "null": "null",
}
"""What a word can mean besides a text, in other spellings than the ones that YAML 1.2 has."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document.

    Attributes:
        name: What to call it in messages, mostly the path of the file.
        value: Mappings, lists, text, integers, floats, booleans and None.
        lines: The line, from 1, of every key and list item, by its path from the root.
        problems: Everything wrong with it; the value must not be used unless there is none.
    """

    name: str
    value: Any
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...] = ()

    def where(self, path: Path = ()) -> str:
        """Return `name:line` of a path, or of its closest parent that is in the document."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return f"{self.name}:{line}"
        return self.name


def load(data: bytes, name: str, most: int = MAX_NODES) -> Document:
    """Parse one YAML document strictly; never raises, all problems are in the result.

    Args:
        data: The bytes of the file, already bounded by the caller's read; more than 1 MiB is refused.
        name: What to call the document in messages.
        most: The largest number of values in it.
    """
    if len(data) > MAX_BYTES:
        return _unreadable(
            name, f"is larger than {MAX_BYTES // 1024} KiB", "move large data into separate files"
        )
    # A byte order mark is accepted here: people write these files with their own editors.
    data = data.removeprefix(codecs.BOM_UTF8)
    if damage := encoding_damage(data):
        return _unreadable(name, damage.partition(";")[0], "save the file as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _unreadable(f"{name}:{_line(data, error.start)}", "is not UTF-8", "save the file as UTF-8")
    return _parse(text, name, most)


def _unreadable(where: str, what: str, hint: str) -> Document:
    return Document(where, None, {}, (Problem(where, what, hint),))


def _parse(text: str, name: str, most: int) -> Document:
    import yaml

    builder, value = _Builder(name, most), None
    try:
        # Events only, no constructor: a tag can never create an object.
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        value = builder.document(events)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        what = error.problem or error.context or "is not YAML"
        hint = _syntax_hint(text, mark.line if mark else 0)
        builder.problems.append(Problem(where, f"is not YAML: {what}", hint))
    except yaml.reader.ReaderError as error:
        where = f"{name}:{_line(text.encode(), error.position)}"
        builder.problems.append(Problem(where, f"contains {_code(error.character)}", NO_CONTROLS))
    except (yaml.YAMLError, ValueError) as error:
        what = f"is not YAML: {str(error).splitlines()[0]}"
        builder.problems.append(Problem(name, what, NO_CONTROLS))
    except _TooMuchError as error:
        where, hint = f"{name}:{error.line}", "move large data into separate files"
        builder.problems.append(Problem(where, error.what, hint))
    return Document(name, value, builder.lines, tuple(builder.problems[:MAX_PROBLEMS]))


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _code(character: int | str) -> str:
    number = character if isinstance(character, int) else ord(character)
    return f"the character U+{number:04X}, which YAML does not allow"


def _syntax_hint(text: str, line: int) -> str:
    lines = text.splitlines()
    around = lines[max(0, line - 1) : line + 1]
    if any(re.match(r" *\t", item) for item in around):
        return "indent with spaces, not with tabs"
    if any(re.search(r":\s+\S.*:\s", item) or re.search(r":\s+[{%@`]", item) for item in around):
        return "put the value in quotes"
    return "check indentation, colons and quotes in that line and in the line above"


NO_CONTROLS = "remove control characters"


class _TooMuchError(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


class _Builder:
    """Builds plain values from parser events, and collects lines and problems."""

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self._most = most
        self.lines: dict[Path, int] = {(): 1}
        self.problems: list[Problem] = []
        self._nodes = 0

    def document(self, events: Iterator[Any]) -> Any:
        from yaml import events as kinds

        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, kinds.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(
                        event, "contains a second YAML document", "keep one document; remove the line ---"
                    )
                    break
                value = self._node(next(events), events, (), 0)
        return value

    def _problem(self, event: Any, what: str, hint: str) -> None:
        self.problems.append(Problem(f"{self.name}:{event.start_mark.line + 1}", what, hint))

    def _node(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Any:
        from yaml import events as kinds

        line = event.start_mark.line + 1
        self._nodes += 1
        # Counted while reading: the memory of a hostile document is bounded, too.
        if self._nodes > self._most:
            what = f"contains more than {self._most} values"
            raise _TooMuchError(
                line, what + ("" if self._most == MAX_NODES else ", what other files left over")
            )
        if depth > MAX_DEPTH:
            raise _TooMuchError(line, f"is nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(path, line)
        if isinstance(event, kinds.AliasEvent):
            self._problem(
                event, f"uses the alias *{event.anchor}", "write the value in full; aliases are not supported"
            )
            return None
        self._bare(event)
        if isinstance(event, kinds.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, kinds.SequenceStartEvent):
            return self._sequence(events, path, depth)
        return self._mapping(events, path, depth)

    def _bare(self, event: Any) -> None:
        """Refuse an anchor or tag before a value or key."""
        if event.anchor:
            hint = "write the values in full; anchors are not supported"
            self._problem(event, f"sets the anchor &{event.anchor}", hint)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, f"has the tag {tag}", "remove the tag; only plain values are allowed")

    def _sequence(self, events: Iterator[Any], path: Path, depth: int) -> list[Any]:
        from yaml import events as kinds

        items: list[Any] = []
        while not isinstance(event := next(events), kinds.SequenceEndEvent):
            items.append(self._node(event, events, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, events: Iterator[Any], path: Path, depth: int) -> dict[str, Any]:
        from yaml import events as kinds

        result: dict[str, Any] = {}
        while not isinstance(event := next(events), kinds.MappingEndEvent):
            key = self._key(event, events, path, depth)
            below = (*path, key)
            # The last one would win silently in most readers.
            if key in result:
                self._problem(
                    event,
                    f"has the key {key!r} twice, first in line {self.lines[below]}",
                    "keep one of the two",
                )
                self._node(next(events), events, (*below, "\0twice"), depth + 1)
                continue
            self.lines[below] = event.start_mark.line + 1
            result[key] = self._node(next(events), events, below, depth + 1)
        return result

    def _key(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> str:
        from yaml import events as kinds

        if not isinstance(event, kinds.ScalarEvent):
            self._problem(event, "has a key that is not text", "write keys as plain words")
            self._node(event, events, (*path, "\0key"), depth + 1)
            return "\0key"
        self._bare(event)
        text: str = event.value
        if event.implicit[0] and text == "<<":
            self._problem(
                event, "uses the merge key <<", "write the values in full; merge keys are not supported"
            )
        elif event.implicit[0] and not event.style and _plain(text) != text:
            self._problem(
                event, f"has the key {text}, which is not plain text", f'put it in quotes: "{text}":'
            )
        return text

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0] or event.style:
            return text
        value = _plain(text)
        if isinstance(value, Problem):
            self._problem(event, value.what, value.hint)
            return text
        return value


def _plain(text: str) -> Any:
    """Resolve a plain scalar, or say why people and parsers would disagree on it."""
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "null", "~"):
        return None
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    # Only numbers that are written the same way again: 1.10 would become 1.1.
    if _FLOAT.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    if word := _WORDS.get(text.lower()):
        hint = f'write {word}, or "{text}" in quotes for the text'
        return Problem("", f"{text} is ambiguous: it can mean {word} or a text", hint)
    if text in ("<<", "="):
        what = "is ambiguous: YAML parsers read it differently"
    elif _NUMBERLIKE.fullmatch(text):
        what = "would be read as a number, and its exact notation would be lost"
    elif _DATE.fullmatch(text):
        what = "would be read as a date"
    else:
        return text
    return Problem("", f"{text} {what}", f'quote it: "{text}"')
