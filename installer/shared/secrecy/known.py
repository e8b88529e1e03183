"""The secrets that are known, and how they are hidden: by their value, wherever it occurs.

A value is known as a secret because its key says so (`names`), because the schema of the values marks it
`writeOnly`, or because configuration has it in a notation of a secret (`notations`). It is replaced by `***`
as it is and in the spellings that templates make of it: JSON, XML, URL, shell, Base64.

A password may be a common word or a single digit, which must not blank every other one:

- shorter than `SHORTEST` characters: hidden only where its name stands next to it;
- shorter than `ANYWHERE` characters: hidden only as a word of its own, not as a part of a longer one;
- otherwise: hidden everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from installer.core.errors import Problem, WaybillError
from installer.shared.secrecy import MASK

SHORTEST = 4
ANYWHERE = 8
MOST = 4096
"""Values that are hidden; what a site has is far below."""
LONGEST = 64 * 1024
"""Characters of one value."""
_DEPTH = 64
Source = Callable[[], Iterable[str]]


@dataclass(slots=True)
class Secrets:
    """The secrets that a command knows by now.

    Attributes:
        public: What is no secret although a value equals it, such as the name of the product.
    """

    public: frozenset[str] = frozenset()
    _values: set[str] = field(default_factory=set)
    _sources: list[Source] = field(default_factory=list)
    _pattern: re.Pattern[str] | None = None

    def add(self, values: Iterable[str]) -> None:
        """Remember values as secret."""
        new = {each for value in values for each in _parts(value)} - self._values
        if new and len(self._values) < MOST:
            self._values |= new
            self._pattern = None

    def allow(self, words: Iterable[str]) -> None:
        """Remember words as public although a secret may equal one of them."""
        new = frozenset(words) - self.public
        if new:
            self.public |= new
            self._pattern = None

    def add_source(self, source: Source) -> None:
        """Remember where to look for more secrets, once something has to be hidden."""
        self._sources.append(source)

    def values(self) -> frozenset[str]:
        """Return the values that are hidden."""
        # Whoever asks first asks the sources; one that a source itself causes is not asked again.
        sources, self._sources = self._sources, []
        for source in sources:
            self.add(source())
        return frozenset(self._values - self.public)

    def hide(self, text: str) -> str:
        """Return text without what is known to be secret."""
        if not (self._values or self._sources) or not self.values():
            return text
        if self._pattern is None:
            self._pattern = _pattern(self._values, self.public)
        return self._pattern.sub(MASK, text)

    def hide_all(self, lines: Iterable[str]) -> list[str]:
        """Return lines without what is known to be secret, and without values in a notation of one."""
        # Patterns take long to compile: every command starts, and few have something to hide.
        from installer.shared.secrecy.notations import mask

        return list(mask([self.hide(line) for line in lines]))

    def hide_in(self, value: Any) -> Any:
        """Return a JSON value with its texts hidden; keys and numbers stay, so that it keeps its form."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {key: self.hide_in(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_in(each) for each in value]
        return value

    def hide_problem(self, problem: Problem) -> Problem:
        """Return a problem without secrets."""
        where, what, hint = (self.hide(text) for text in (problem.where, problem.what, problem.hint))
        return replace(problem, where=where, what=what, hint=hint)

    def hide_error(self, error: BaseException) -> None:
        """Remove secrets from an error, which a program or a values file may have caused."""
        if isinstance(error, WaybillError):
            error.what, error.where, error.hint = map(self.hide, (error.what, error.where, error.hint))
            error.problems = tuple(self.hide_problem(each) for each in error.problems)
            # A program has notations of its own; messages of ours would be mauled by them.
            error.output = tuple(self.hide_all(error.output))
            error.args = tuple(self.hide(each) if isinstance(each, str) else each for each in error.args)


def secret_values(values: Any, schema: Mapping[str, Any] | None = None) -> dict[tuple[str | int, ...], str]:
    """Return the values of a site that are secret, each by its path: its key says so, or the schema.

    Args:
        values: Values of templates, merged or of one file.
        schema: Their JSON Schema; values below `writeOnly: true` are secret.
    """
    return dict(_of(values, (), False, [schema] if schema else [], schema or {}, _DEPTH))


def _names_secret(name: str) -> bool:
    from installer.shared.secrecy.names import names_secret

    return names_secret(name)


def _of(
    value: Any,
    path: tuple[str | int, ...],
    secret: bool,
    schemas: list[Any],
    whole: Mapping[str, Any],
    left: int,
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if left < 0:
        return
    schemas = [each for schema in schemas for each in _expanded(schema, whole, 16)]
    secret = secret or any(each.get("writeOnly") is True for each in schemas)
    if isinstance(value, dict):
        for key, each in value.items():
            below = [part for schema in schemas for part in _below(schema, key)]
            named = _names_secret(str(key))
            # Each value in a group of secrets is one, but for names, paths and the like.
            inside = secret and not (isinstance(each, str) and _is_about(str(key)))
            yield from _of(each, (*path, key), named or inside, below, whole, left - 1)
    elif isinstance(value, list):
        below = [part for schema in schemas for part in (schema.get("items"), *schema.get("prefixItems", ()))]
        for number, each in enumerate(value):
            yield from _of(each, (*path, number), secret, below, whole, left - 1)
    elif secret and _is_scalar(value) and _is_literal(str(value)):
        yield path, str(value)


def _is_literal(value: str) -> bool:
    from installer.shared.secrecy.notations import is_literal

    return is_literal(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_about(key: str) -> bool:
    # `secrets: {user: …, password_file: …}`: a name that, added to `secret`, no longer names one.
    return not _names_secret(f"secret_{key}")


def _expanded(schema: Any, whole: Mapping[str, Any], left: int) -> Iterator[dict[str, Any]]:
    """Yield a schema and those that hold at the same place."""
    if not isinstance(schema, dict) or left < 0:
        return
    yield schema
    parts = [each for word in ("allOf", "anyOf", "oneOf") for each in _items(schema.get(word))]
    parts += [schema.get(word) for word in ("if", "then", "else")]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = whole
        for word in reference[2:].split("/"):
            found = found.get(word.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        parts.append(found)
    for part in parts:
        yield from _expanded(part, whole, left - 1)


def _below(schema: Mapping[str, Any], key: object) -> Iterator[Any]:
    properties = schema.get("properties")
    if isinstance(properties, dict) and key in properties:
        yield properties[key]
        return
    patterns = schema.get("patternProperties")
    # Not matched one by one: a pattern of a bundle could take any time. What any of them says counts.
    yield from patterns.values() if isinstance(patterns, dict) else ()
    yield schema.get("additionalProperties")


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parts(value: str) -> Iterator[str]:
    """Yield what is hidden of a value: itself, and of one with several lines each long line."""
    value = value.strip()[:LONGEST]
    lines = value.splitlines()
    whole = {value, *(_long(line.strip() for line in lines) if len(lines) > 1 else ())}
    yield from (each for each in whole if len(each) >= SHORTEST)


def _long(lines: Iterable[str]) -> Iterator[str]:
    # Lines of a private key; not `-----BEGIN …`, which stands in every other key.
    yield from (line for line in lines if len(line) >= 2 * ANYWHERE and not line.startswith("-----"))


def _spellings(value: str) -> Iterator[str]:
    import base64
    import html
    import shlex
    from urllib.parse import quote, quote_plus

    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield quote(value)
    yield quote(value, safe="")
    yield quote_plus(value)
    yield shlex.quote(value).strip("'")
    if len(value) >= ANYWHERE:
        yield base64.b64encode(value.encode()).decode()
        yield base64.b64encode(value.encode() + b"\n").decode()


def _pattern(values: Iterable[str], public: frozenset[str]) -> re.Pattern[str]:
    words = {each for value in values if value not in public for each in _spellings(value)}
    # The longest first: a shorter one may be a part of it.
    ordered = sorted((each for each in words if len(each) >= SHORTEST), key=lambda each: (-len(each), each))
    return re.compile("|".join(map(_expression, ordered)) or r"(?!)")


def _expression(word: str) -> str:
    # `data` must not blank a part of `database`.
    return re.escape(word) if len(word) >= ANYWHERE else rf"(?<!\w){re.escape(word)}(?!\w)"
