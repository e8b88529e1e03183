"""Tokens that look real and are none, made by code: no scanner of repositories takes the tests for a leak."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

from installer.shared.secrecy.rules import Rule

_CLASSES = {
    _constants.CATEGORY_WORD: string.ascii_letters + string.digits,
    _constants.CATEGORY_DIGIT: string.digits,
    _constants.CATEGORY_SPACE: " ",
    _constants.CATEGORY_NOT_SPACE: string.ascii_letters + string.digits,
}
_TRIES = 400
_SIGNS = b"\t\n\r \"'`=:,;/>(@|[{"
"""What stands before a token in some marks."""


def token(rule: Rule, seed: int = 0) -> bytes:
    """Make a text that a rule takes for a token, from its pattern alone.

    Args:
        rule: The rule.
        seed: Another seed makes another token.
    """
    chance = random.Random(f"{rule.name} {seed}")
    tree = _parser.parse(rule.expression.decode())
    for _ in range(_TRIES):
        text = "".join(_texts(tree, chance)).encode()
        match = re.search(rule.expression, b" " + text)
        marks = [mark.strip(_SIGNS) for mark in rule.marks]
        if match and rule.token(match) and any(mark in text.lower() for mark in marks):
            return text
    raise AssertionError(f"no example of {rule.name}: {rule.expression!r}")


def _texts(tree: Any, chance: random.Random) -> Iterator[str]:
    for op, value in tree:
        if op is _constants.LITERAL:
            yield chr(value)
        elif op is _constants.ANY:
            yield "."
        elif op is _constants.IN:
            yield _letter(value, chance)
        elif op is _constants.BRANCH:
            yield from _texts(chance.choice(value[1]), chance)
        elif op is _constants.SUBPATTERN:
            yield from _texts(value[3], chance)
        elif op in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            low, high, inner = value
            for _ in range(chance.randint(low, min(int(high), low + 8))):
                yield from _texts(inner, chance)


def _letter(items: Any, chance: random.Random) -> str:
    if items[0][0] is _constants.NEGATE:
        return " "
    letters = [
        letter
        for op, value in items
        for letter in (
            chr(value)
            if op is _constants.LITERAL
            else "".join(map(chr, range(value[0], value[1] + 1)))
            if op is _constants.RANGE
            else _CLASSES[value]
        )
    ]
    return chance.choice(letters)
