"""The rules of a kept scanner (gitleaks): what tokens of some two hundred services look like.

`kept_rules.json` is made by `.ci/secret_rules.py`, never edited. A rule is tried only where one of its marks
stands in the text, in any case: one search for all marks is far cheaper than one for each pattern.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from itertools import chain
from math import log2
from typing import Any, NamedTuple

REACH = 4096
"""Bytes behind its mark that a match may take: so each mark costs the same, whatever follows it."""
NEAR = 512
"""The same, of a match that begins before its mark: it is looked for, not only compared."""
_WORD = re.compile(rb"[A-Za-z0-9_-]*")


class Place(NamedTuple):
    """Where a mark stands in a text."""

    mark: bytes
    start: int


class Token(NamedTuple):
    """A token in a text: where it begins and ends, and the rule that found it."""

    start: int
    end: int
    rule: str


@dataclass(frozen=True)
class Rule:
    """One kind of token.

    Attributes:
        name: Its name at the scanner that keeps it.
        marks: Each such token has one of these in it, or before it, in any case.
        expression: The pattern; its first group, or `group`, is the token.
        back: How far before the mark a match may begin; 0 if it begins with the mark, or behind its sign.
        entropy: Bits for each byte that a token has more of: `ghp_xxxx…` is an example.
        group: The group that is the token; 0 for the first one.
        allowed: Patterns of what is no token.
    """

    name: str
    marks: tuple[bytes, ...]
    expression: bytes
    back: int = 0
    entropy: float = 0
    group: int = 0
    allowed: tuple[bytes, ...] = ()

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """The pattern, compiled when its mark was met first: most never are."""
        return re.compile(self.expression)

    def token(self, match: re.Match[bytes]) -> Token | None:
        """Return the token of a match; None if it is an example or a placeholder."""
        groups = match.re.groups
        number = self.group or next((n for n in range(1, groups + 1) if match[n] is not None), 0)
        secret = match[number]
        if self.entropy and entropy(secret) <= self.entropy:
            return None
        if any(re.search(text, secret) for text in self.allowed) or is_example(secret):
            return None
        start, end = match.span(number)
        # A pattern of a fixed length may leave the end of a longer token.
        word = _WORD.match(match.string, end)
        return Token(start, word.end() if word else end, self.name)


class Rules:
    """Some rules, and the marks by which they are found.

    Args:
        rules: The rules.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._of_mark: dict[bytes, list[Rule]] = {}
        for rule in self.rules:
            for mark in rule.marks:
                self._of_mark.setdefault(mark, []).append(rule)
        self.marks = tuple(self._of_mark)
        self._signed = frozenset(mark for mark in self.marks if not mark[:1].isalnum() and mark[:1] != b"_")
        self._first = {mark[1:]: mark for mark in self._signed}

    def tokens(self, text: bytes, places: Iterable[Place]) -> Iterator[Token]:
        """Yield the tokens in a text, in the order of the places.

        Args:
            text: In UTF-8, or another encoding that has ASCII in it.
            places: Where marks stand in it, from its start to its end; those of other searches are skipped.
        """
        tried: dict[str, int] = {}
        # A mark may be a sign and the beginning of the token; before the first one there is no sign.
        first = [Place(mark, -1) for word, mark in self._first.items() if text[:8].lower().startswith(word)]
        for mark, start in chain(first, places):
            for rule in self._of_mark.get(mark, ()):
                at = start + (mark in self._signed)
                if not rule.back:
                    match = rule.pattern.match(text, at, at + REACH)
                else:
                    # Marks that stand close together have most of what is before them in common.
                    begin = max(at - rule.back, tried.get(rule.name, 0))
                    match = rule.pattern.search(text, begin, at + NEAR)
                    tried[rule.name] = match.end() if match else max(begin, at - 1)
                if match and (token := rule.token(match)):
                    yield token


def places_of(marks: Iterable[bytes], text: bytes) -> Iterator[Place]:
    """Yield where marks stand in a text, from its start to its end.

    Args:
        marks: In lower case.
        text: The text, in any case.
    """
    low, found = text.lower(), []
    for mark in marks:
        at = low.find(mark)
        while at >= 0:
            found.append(Place(mark, at))
            at = low.find(mark, at + 1)
    yield from sorted(found, key=lambda place: place.start)


@lru_cache(maxsize=1)
def kept() -> Mapping[str, Any]:
    """Return the rules as they were taken over, with their origin."""
    data = files("installer.shared.secrecy").joinpath("kept_rules.json").read_bytes()
    document: dict[str, Any] = json.loads(data)
    return document


@lru_cache(maxsize=1)
def kept_rules() -> tuple[Rule, ...]:
    """Return the rules of the kept scanner."""
    return tuple(
        Rule(
            each["id"],
            tuple(mark.encode() for mark in each["marks"]),
            each["pattern"].encode(),
            each["back"],
            each.get("entropy", 0),
            each.get("group", 0),
            tuple(text.encode() for text in each.get("allowed", ())),
        )
        for each in kept()["rules"]
    )


def is_example(secret: bytes) -> bool:
    """Return whether a token is a placeholder, or one that a manual has."""
    if hashlib.sha256(secret).hexdigest() in _examples():
        return True
    # Of AWS, and of everybody who does as AWS does.
    return b"EXAMPLE" in secret.upper() or any(pattern.search(secret) for pattern in _placeholders())


@lru_cache(maxsize=1)
def _examples() -> frozenset[str]:
    return frozenset(kept()["examples"])


@lru_cache(maxsize=1)
def _placeholders() -> tuple[re.Pattern[bytes], ...]:
    return tuple(re.compile(text.encode()) for text in kept()["placeholders"])


def entropy(secret: bytes) -> float:
    """Return the Shannon entropy of a text, in bits for each byte."""
    size = len(secret)
    return -sum(count / size * log2(count / size) for count in Counter(secret).values())
