"""References to secrets, as values of a site have them: `secret://STORE/…`.

A reference is a whole value. The text of a faulty one is not quoted: somebody may have put a secret next to
it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.schema_errors import did_you_mean, dotted

PREFIX = "secret://"
LONGEST = 1024
"""Characters of a reference."""
LONGEST_NAME = 255
"""Bytes of one part of a path, and of a key."""
_DEPTH = 64
_RESERVED = set("?%\\*{}<>\"'`$")
"""Characters that people take for more than themselves: escapes, patterns, placeholders, quotes."""
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """What a reference to a store says.

    Attributes:
        example: The form for people: `secret://file/NAME`.
        deep: Whether the path has several parts, separated by slashes; at least two.
        key: Whether `#KEY` follows the path.
        name: A pattern for each part of the path, and what it means; where the store has rules of its own.
    """

    example: str
    deep: bool = False
    key: bool = False
    name: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """Where a secret is.

    Attributes:
        store: The name of the store.
        path: What the store finds it by.
        key: Which value of several there; empty for a store without keys.
    """

    store: str
    path: str
    key: str = ""

    def __str__(self) -> str:
        return f"{PREFIX}{self.store}/{self.path}" + (f"#{self.key}" if self.key else "")


def has_reference(text: str) -> bool:
    """Return whether a value is a reference, or contains one."""
    return PREFIX in text.lower()


def is_reference(text: str) -> bool:
    """Return whether a text is meant as a reference and as nothing else, however it is written."""
    return text.strip().lower().startswith(PREFIX)


def parse(text: str, forms: Mapping[str, Form]) -> Reference | Problem:
    """Return the reference that a value is, or what is wrong with it.

    Args:
        text: A value for which `has_reference` is true.
        forms: The forms of references by the names of the stores.
    """
    if len(text) > LONGEST:
        what = f"is longer than the {LONGEST} characters that a reference may have"
        return Problem("", what, "use a shorter path")
    if fault := _surroundings(text) or _characters(text):
        return fault
    store, slash, rest = text.removeprefix(PREFIX).partition("/")
    form = forms.get(store)
    if form is None:
        near = did_you_mean(store, forms)
        known = f"did you mean {PREFIX}{near}/…?" if near else f"the stores are: {', '.join(forms)}"
        return Problem("", f"names the store {store[:40]!r}, which Waybill does not know", known)
    path, hash_, key = rest.partition("#")
    if not slash or not path:
        return Problem("", "names a store and nothing in it", f"write {form.example}")
    return _path(form, path) or _key(form, key, bool(hash_)) or Reference(store, path, key)


def _surroundings(text: str) -> Problem | None:
    hint = "a reference is a whole value: put the text around it into the template, or into the secret"
    count = text.lower().count(PREFIX)
    if count > 1:
        return Problem("", f"contains {count} references in one value", hint)
    if not text.lower().startswith(PREFIX):
        return Problem("", "has text before the reference", hint)
    if not text.startswith(PREFIX):
        return Problem("", f"begins with another spelling of {PREFIX}", f"write {PREFIX} in small letters")
    if any(letter.isspace() for letter in text):
        return Problem("", "has a blank or a line break in the reference, or text after it", hint)
    return None


def _characters(text: str) -> Problem | None:
    for place, letter in enumerate(text, start=1):
        # Controls, format characters, surrogates, private use and unassigned: names that look like others.
        if unicodedata.category(letter).startswith("C"):
            what = f"has the invisible character U+{ord(letter):04X} at position {place}"
            return Problem("", what, "type the reference again")
        if letter in _RESERVED:
            what = f"has the character {letter} at position {place}, which has no meaning in a reference"
            return Problem("", what, "names are written as they are, without quotes, escapes or placeholders")
    if unicodedata.normalize("NFC", text) != text:
        return Problem("", "is not in the composed form of Unicode (NFC)", "type the reference again")
    return None


def _path(form: Form, path: str) -> Problem | None:
    parts = path.split("/")
    if not form.deep and len(parts) > 1:
        return Problem("", "has a slash in the name", f"write {form.example}")
    if form.deep and len(parts) < 2:
        return Problem("", "has one part only, where two or more are needed", f"write {form.example}")
    pattern, meaning = form.name
    for part in parts:
        if not part:
            return Problem("", "has an empty part: two slashes, or one at the end", f"write {form.example}")
        if part in (".", ".."):
            return Problem("", f"has the part {part}, which would lead elsewhere", f"write {form.example}")
        if len(part.encode()) > LONGEST_NAME:
            return Problem("", f"has a part of more than {LONGEST_NAME} bytes", "use a shorter name")
        if pattern and not re.fullmatch(pattern, part):
            return Problem("", f"has a name that is not {meaning}", f"write {form.example}")
    return None


def _key(form: Form, key: str, given: bool) -> Problem | None:
    if form.key and not key:
        return Problem("", "does not say which key", f"write {form.example}")
    if given and not form.key:
        return Problem("", "names a key, which this store does not have", f"write {form.example}")
    if len(key.encode()) > LONGEST_NAME:
        return Problem("", f"has a key of more than {LONGEST_NAME} bytes", "use a shorter name")
    if "#" in key:
        return Problem("", "has a second # in it", f"write {form.example}")
    return None


def texts(value: Any, path: Path = (), left: int = _DEPTH) -> Iterator[tuple[Path, str, bool]]:
    """Yield the texts in values: the path of each, the text, and whether it is a key.

    Args:
        value: Mappings, lists and scalars.
        path: The path of `value`.
        left: Levels that are still looked at.
    """
    if isinstance(value, str):
        yield path, value, False
    elif left and isinstance(value, Mapping):
        for key, each in value.items():
            yield (*path, str(key)), str(key), True
            yield from texts(each, (*path, str(key)), left - 1)
    elif left and isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from texts(each, (*path, number), left - 1)


def named(path: Path, problem: Problem, where: str) -> Problem:
    """Return a problem of a reference with the key that has it, and its place in a file."""
    return Problem(where, f"{dotted(path) or 'the value'} {problem.what}", problem.hint)
