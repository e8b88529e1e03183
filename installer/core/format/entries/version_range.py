"""Ranges of versions of a program, as a release says them: `>=2.15,<2.20`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

_BOUND = re.compile(r"(>=|<=|==|!=|>|<) ?([0-9.]+)")
_MEANING: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def is_in_range(version: str, bounds: str) -> bool:
    """Return whether a version is in a range; one that cannot be read is in none.

    Args:
        version: Such as `2.19.14`, or `2.20.0rc1`, which counts as 2.20.0.
        bounds: As the format has checked it.
    """
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return match is not None and all(
        _MEANING[sign](_numbers(match[0]), _numbers(bound)) for sign, bound in _BOUND.findall(bounds)
    )


def _numbers(text: str) -> tuple[int, ...]:
    found = [int(part) for part in text.strip(".").split(".")]
    # 2.15 is 2.15.0.
    return tuple([*found, 0, 0][:3])
