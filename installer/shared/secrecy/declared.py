"""Which values of a site are secret: their keys say so, or the schema of the values does (`writeOnly`).

A schema comes from a bundle. It may refer to itself, and repeat one part in many places: each part is looked
at once for one place of the values, and the work is bounded. What is beyond the bound counts as secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from urllib.parse import unquote

from installer.shared.secrecy.names import names_secret
from installer.shared.secrecy.notations import is_word

MOST_LOOKS = 1_000_000
"""Parts of a schema that are looked at for all values together."""
REFERENCE = "secret://"
"""Begins a reference to a secret of a store; everything else at the place of a secret is one."""
Path = tuple[str | int, ...]
# Schemas that hold for the same value, for the members of a mapping, and for the entries of a list.
_SAME = ("allOf", "anyOf", "oneOf")
_SAME_ONE = ("if", "then", "else")
_MEMBERS = ("additionalProperties", "unevaluatedProperties")
_ENTRY = None
"""Stands for any entry of a list, where a mapping has keys."""
_ENTRIES = ("items", "contains", "unevaluatedItems")


def secret_values(values: Any, schema: Mapping[str, Any] | None = None) -> dict[Path, str]:
    """Return the values of a site that are secret, each by its path: its key says so, or the schema.

    Args:
        values: Values of templates, merged or of one file.
        schema: Their JSON Schema; all values at and below `writeOnly: true` are secret.
    """
    return _Search(schema or {}).found(values)


@dataclass(slots=True)
class _Place:
    """The parts of a schema that hold at one place of the values.

    Attributes:
        parts: These parts.
        secret: Whether one of them says that what is here is secret.
        below: The same of each key, and of the entries of a list, as far as they were asked for.
    """

    parts: list[Mapping[str, Any]]
    secret: bool
    below: dict[str | None, _Place] = field(default_factory=dict)


class _Search:
    """One search for the secrets of a site."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._left = MOST_LOOKS
        self._places: dict[frozenset[int], _Place] = {}

    def found(self, values: Any) -> dict[Path, str]:
        """Return the secret values by their paths."""
        secrets = dict[Path, str]()
        # A stack instead of recursion: the depth of values is not limited here.
        todo: list[tuple[Path, Any, bool, _Place]] = [((), values, False, self._place([self._schema]))]
        while todo:
            path, value, named, place = todo.pop()
            if isinstance(value, dict):
                below = [
                    ((*path, key), each, _is_named(key, each, inside=named), self._member(place, key))
                    for key, each in value.items()
                ]
                todo += reversed(below)
            elif isinstance(value, list):
                entry = self._entry(place)
                todo += reversed([((*path, at), each, named, entry) for at, each in enumerate(value)])
            elif (named or place.secret) and _is_value(value, marked=place.secret):
                secrets[path] = str(value)
        return secrets

    def _member(self, place: _Place, key: str) -> _Place:
        if key not in place.below:
            place.below[key] = self._below(place, lambda part: _of_member(part, key))
        return place.below[key]

    def _entry(self, place: _Place) -> _Place:
        if _ENTRY not in place.below:
            place.below[_ENTRY] = self._below(place, _of_entry)
        return place.below[_ENTRY]

    def _below(self, place: _Place, parts_of: Callable[[Mapping[str, Any]], Iterator[Any]]) -> _Place:
        self._left -= len(place.parts)
        parts = chain.from_iterable(map(parts_of, place.parts)) if self._left >= 0 else ()
        return self._place(parts, inside=place.secret)

    def _place(self, parts: Iterable[Any], *, inside: bool = False) -> _Place:
        """Return the place where parts of the schema hold, with all that these refer to."""
        seen = dict[int, Mapping[str, Any]]()
        todo = list(parts)
        while todo and self._left >= 0:
            part = todo.pop()
            self._left -= 1
            if isinstance(part, dict) and id(part) not in seen:
                seen[id(part)] = part
                todo += self._of_same(part)
        if self._left < 0:
            # Nobody can say any more what is secret: all of it counts as such.
            return _Place([], secret=True)
        key = frozenset({*seen, -1} if inside else seen)
        if key not in self._places:
            secret = inside or any(each.get("writeOnly") is True for each in seen.values())
            self._places[key] = _Place(list(seen.values()), secret)
        return self._places[key]

    def _of_same(self, part: Mapping[str, Any]) -> Iterator[Any]:
        for word in _SAME:
            yield from _list(part.get(word))
        yield from (part[word] for word in _SAME_ONE if word in part)
        yield from _dict(part.get("dependentSchemas")).values()
        for word in ("$ref", "$dynamicRef"):
            if isinstance(part.get(word), str):
                yield self._referred(part[word])

    def _referred(self, reference: str) -> Any:
        """Return what `#`, `#/a/b` and `#anchor` refer to; nothing else is valid in a schema of values."""
        name = unquote(reference.removeprefix("#"))
        if name and not name.startswith("/"):
            return self._anchor(name)
        found: Any = self._schema
        for escaped in name.split("/")[1:]:
            word = escaped.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = found[int(word)] if word.isdecimal() and int(word) < len(found) else None
            else:
                found = _dict(found).get(word)
        return found

    def _anchor(self, name: str) -> Any:
        todo: list[Any] = [self._schema]
        while todo:
            part = todo.pop()
            self._left -= 1
            if isinstance(part, dict):
                if name in (part.get("$anchor"), part.get("$dynamicAnchor")):
                    return part
                todo += part.values()
            elif isinstance(part, list):
                todo += part
        return None


def _of_member(schema: Mapping[str, Any], key: str) -> Iterator[Any]:
    properties = _dict(schema.get("properties"))
    if key in properties:
        yield properties[key]
        return
    # Not matched one by one: a pattern of a bundle could take any time. What any of them says counts.
    yield from _dict(schema.get("patternProperties")).values()
    yield from (schema[word] for word in _MEMBERS if word in schema)


def _of_entry(schema: Mapping[str, Any]) -> Iterator[Any]:
    # What is said of any entry counts for each: a list that grows at its front moves them.
    yield from (schema[word] for word in _ENTRIES if word in schema)
    yield from _list(schema.get("prefixItems"))


def _is_named(key: str, value: Any, *, inside: bool) -> bool:
    """Return whether a key says that its value is secret, or a key above does.

    Each value in a group of secrets is one, but for names, paths and the like: `secrets: {user: …}`.
    """
    about = isinstance(value, str) and not names_secret(f"secret_{key}")
    return names_secret(key) or (inside and not about)


def _is_value(value: Any, *, marked: bool) -> bool:
    """Return whether a value at the place of a secret is one.

    Args:
        value: A scalar.
        marked: Whether the schema says that it is secret: then a word such as `none` is a bad password.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        return False
    # No other form of reference means anything to Waybill: `$uper…` and `/run/…` may be passwords.
    return not str(value).startswith(REFERENCE) and (marked or not is_word(str(value)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
