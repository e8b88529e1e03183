"""Which keys a release knows: those of its defaults, and those that its schema lets a site set.

A schema that lists the properties of a group and says nothing of others means these only, whatever JSON
Schema makes of it: no template can use another one (`bundle create` refuses that), so it is a misspelt one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from installer.core.errors import Problem
from installer.core.schema_errors import dotted, spelling_hint
from installer.shared.strict_yaml import Document, Path

Schema = Mapping[str, Any]
Parts = list[Any]
"""Parts of a schema that hold at one place of the values; `[True]` where everything is allowed."""
# With one of these keywords it cannot be told without a value what is allowed; the validation decides.
_OPEN = ("allOf", "anyOf", "oneOf", "if", "$dynamicRef", "dependentSchemas", "unevaluatedProperties")
_MEMBERS = ("properties", "patternProperties", "additionalProperties")
_LISTED = 12


def unknown_keys(
    document: Document, defaults: Mapping[str, Any], schema: Schema | None, besides: str
) -> Iterator[Problem]:
    """Yield the keys of a layer that neither the defaults nor the schema know, each with its line.

    A group that is empty in the defaults, and that the schema does not describe, takes any key.

    Args:
        document: A layer, a mapping.
        defaults: The defaults of the release; empty where it has none.
        schema: Its values schema; None where it has none. Its references may go in circles.
        besides: A key at the top that is somebody else's matter.
    """
    given = {key: value for key, value in document.value.items() if key != besides}
    whole = schema if schema is not None else {}
    return _unknown(document, given, (), defaults, [whole] if schema is not None else [], whole)


def _unknown(
    document: Document, given: Mapping[str, Any], path: Path, below: Any, parts: Parts, whole: Schema
) -> Iterator[Problem]:
    # Whatever is put into a group without content cannot be misspelt.
    if parts == [True] or not (below or parts):
        return
    parts = _with_references(parts, whole)
    known = below if isinstance(below, Mapping) else {}
    for key, value in given.items():
        here, inside = (*path, key), _below(parts, key)
        if key in known or inside:
            if isinstance(value, dict):
                yield from _unknown(document, value, here, known.get(key), inside, whole)
            continue
        if below and not isinstance(below, Mapping):
            continue  # a group in place of a single value or list: the validation says what is expected
        words = list(dict.fromkeys([*known, *(key for part in parts for key in _properties(part))]))
        listed = f"known values at this level: {', '.join(words[:_LISTED])}"
        what = f"{dotted(here)} is not a value of this release"
        yield Problem(document.where(here), what, spelling_hint(key, words, listed))


def _below(parts: Parts, key: str) -> Parts:
    """Return what holds below a key; nothing where no part knows it.

    Patterns of a bundle are not matched here: the validation does it in a child process that is bounded.
    """
    found: dict[int, Any] = {}
    for part in parts:
        properties = _properties(part)
        if part is True or _is_open(part):
            return [True]
        if key in properties:
            found[id(properties[key])] = properties[key]
        elif isinstance(part, Mapping):
            more = part.get("additionalProperties", False) if not part.get("patternProperties") else True
            found |= {id(more): more} if more is not False else {}
    return [True] if any(each is True for each in found.values()) else list(found.values())


def _is_open(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    return any(word in part for word in _OPEN) or not any(word in part for word in (*_MEMBERS, "$ref"))


def _properties(part: Any) -> Mapping[str, Any]:
    found = part.get("properties") if isinstance(part, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _with_references(parts: Parts, whole: Schema) -> Parts:
    """Return parts with what they refer to, each once: references may go in circles, and multiply."""
    found: dict[int, Any] = {}
    pending = list(parts)
    while pending:
        part = pending.pop(0)
        if id(part) in found:
            continue
        found[id(part)] = part
        if isinstance(part, Mapping) and isinstance(part.get("$ref"), str):
            target = _local_part(whole, part["$ref"])
            pending.append(True if target is None else target)
    return list(found.values())


def _local_part(whole: Schema, reference: str) -> Any:
    """Return the part of a schema that a reference such as `#/$defs/port` names; None for none."""
    node: Any = whole
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, Mapping) else None
    return node
