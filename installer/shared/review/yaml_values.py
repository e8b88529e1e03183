"""YAML as the engines read it, with anchors, aliases and merge keys, as values: bounded.

Built on the events of the parser, as in `strict_yaml`: what is too much is refused while it is read. A bundle
that is inspected may be anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from installer.shared.strict_yaml import MAX_BYTES, MAX_NODES

if TYPE_CHECKING:
    from yaml import Event, ScalarEvent

MAX_DEPTH = 64
_MERGE = "<<"
_TAG = "tag:yaml.org,2002:"


class NotReadableError(ValueError):
    """The text is not YAML, or says too much."""


def yaml_values(data: bytes) -> Any:
    """Return the values of a YAML text; scalars stay text, but for true, false and null.

    Aliases count as often as engines would multiply them out, up to the bound of values. They are not copied:
    the same value may be in several places, so nobody may change one.

    Raises:
        NotReadableError: It is no YAML, is too large, has a key that is not text, or one that is there twice.
    """
    return _read(data, lambda builder: builder.document())


def yaml_documents(data: bytes) -> list[Any]:
    """Return the values of each document of a YAML text; see `yaml_values`. The bounds are those of all."""
    found: list[Any] = _read(data, lambda builder: list(builder.documents()))
    return found


def _read(data: bytes, build: Callable[[_Builder], Any]) -> Any:
    import yaml

    if len(data) > MAX_BYTES:
        raise NotReadableError(f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        events = yaml.parse(data.decode("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return build(_Builder(events))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotReadableError(f"is not YAML{f' (line {mark.line + 1})' if mark else ''}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise NotReadableError("is not YAML") from None


@dataclass(frozen=True, slots=True)
class _Made:
    """A value, with its values and levels, itself included."""

    value: Any
    values: int = 1
    levels: int = 1


class _Builder:
    """Builds values from parser events."""

    def __init__(self, events: Iterator[Event]) -> None:
        from yaml.resolver import Resolver

        self._events = events
        self._resolver = Resolver()
        self._left = MAX_NODES
        self._anchors: dict[str, _Made | None] = {}

    def document(self) -> Any:
        """Return the value of the one document."""
        import yaml

        value: Any = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    _refuse(event, "contains a second YAML document")
                value = self._node(next(self._events), 0).value
        return value

    def documents(self) -> Iterator[Any]:
        """Yield the value of each document."""
        import yaml

        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                # An alias means nothing in the next document.
                self._anchors.clear()
                yield self._node(next(self._events), 0).value

    def _node(self, event: Event, depth: int) -> _Made:
        import yaml

        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._count(1)
        if depth > MAX_DEPTH:
            _refuse(event, f"is nested deeper than {MAX_DEPTH} levels")
        anchor = event.anchor  # type: ignore[attr-defined]  # of every event that begins a node
        if anchor:
            # Until it is complete: an alias in it would be a value that contains itself.
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            made = _Made(self._scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            made = self._sequence(depth)
        else:
            made = self._mapping(depth)
        if anchor:
            self._anchors[anchor] = made
        return made

    def _alias(self, event: Any, depth: int) -> _Made:
        made = self._anchors.get(event.anchor)
        if made is None:
            how = "which contains itself" if event.anchor in self._anchors else "which nothing before it sets"
            _refuse(event, f"uses the alias *{event.anchor:.100}, {how}")
        self._count(made.values)
        # Whoever walks through the values meets the levels of an alias, too.
        if depth + made.levels - 1 > MAX_DEPTH:
            _refuse(event, f"is nested deeper than {MAX_DEPTH} levels")
        return made

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise NotReadableError(f"contains more than {MAX_NODES} values")

    def _sequence(self, depth: int) -> _Made:
        import yaml

        items = list[_Made]()
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _made([each.value for each in items], items)

    def _mapping(self, depth: int) -> _Made:
        import yaml

        parts, own, merged = list[_Made](), dict[str, Any](), dict[str, Any]()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            made = self._node(next(self._events), depth + 1)
            parts.append(made)
            if key is None:
                # Of several merged mappings the first wins; a key of its own wins over all.
                for each in made.value if isinstance(made.value, list) else [made.value]:
                    for name, value in each.items() if isinstance(each, dict) else ():
                        merged.setdefault(name, value)
            elif key in own:
                _refuse(event, f"has the key {key:.100} twice")
            else:
                own[key] = made.value
        return _made({**merged, **own}, parts)

    def _key(self, event: Event) -> str | None:
        """Return a key; None for a merge key."""
        import yaml

        # Of any other key the text could be without end. No engine accepts one.
        if not isinstance(event, yaml.ScalarEvent):
            _refuse(event, "has a key that is not text")
        if event.anchor:
            self._anchors[event.anchor] = _Made(self._scalar(event))
        # Some readers look for the tag alone; engines want the sign, too, and take any other for a key.
        is_merge = event.value == _MERGE and self._tag(event) == "merge"
        return None if is_merge else str(event.value)

    def _scalar(self, event: ScalarEvent) -> Any:
        tag = self._tag(event)
        if tag == "null":
            return None
        words = {"true": True, "false": False}
        return words.get(event.value.lower(), event.value) if tag == "bool" else event.value

    def _tag(self, event: ScalarEvent) -> str:
        import yaml

        tag = event.tag
        if tag in (None, "!"):
            resolve: Any = self._resolver.resolve
            tag = resolve(yaml.ScalarNode, event.value, event.implicit)
        return str(tag).removeprefix(_TAG)


def _made(value: Any, parts: list[_Made]) -> _Made:
    return _Made(
        value,
        1 + sum(each.values for each in parts),
        1 + max((each.levels for each in parts), default=0),
    )


def _refuse(event: Any, what: str) -> NoReturn:
    raise NotReadableError(f"{what} (line {event.start_mark.line + 1})")
