"""A fingerprint that a person types from the trust sheet: in groups, over several lines, with mistakes.

A line that was not finished is no attack. Only a whole fingerprint that differs is, and then the groups that
differ are named: most often one of them was misread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from installer.core.errors import UntrustedError
from installer.core.trust.root import FINGERPRINT_DIGITS, differing_groups, typed_digits

_QUESTION = "Type the fingerprint on the trust sheet, all 16 groups (spaces and lines do not matter): "
_LINES = 32
"""Lines that are asked for: a group each, and as many mistakes."""
_FEW = 3
_ALARM = "do not use this media and tell the security team"


def ask_fingerprint(head: str, ask: Callable[[str, str], str], ask_more: Callable[[str, str], str]) -> str:
    """Ask until all digits are typed, and return them; fewer if the person ends with an empty line.

    Args:
        head: What the question begins with.
        ask: Asks for a line; its second argument is the option that answers.
        ask_more: The same, for the lines after the first one.
    """
    digits = typed_digits(ask(head + _QUESTION, "--fingerprint"))
    for _ in range(_LINES):
        digits, stray = _checked(digits)
        if len(digits) >= FINGERPRINT_DIGITS:
            break
        wrong = f"{stray!r} is no digit of a fingerprint (0-9, a-f); " if stray else ""
        line = typed_digits(
            ask_more(f"{wrong}{len(digits)} of {FINGERPRINT_DIGITS} digits so far; go on: ", "--fingerprint")
        )
        if not line:
            break
        digits += line
    return digits


def _checked(digits: str) -> tuple[str, str]:
    """Return the digits before the first character that is none, and that character."""
    found = re.search(r"[^0-9a-f]", digits)
    return (digits[: found.start()], found[0]) if found else (digits, "")


def fingerprint_error(path: Path, typed: str, digits: str) -> UntrustedError:
    """Return the error for a fingerprint that is not that of a file.

    Args:
        path: The file.
        typed: What was typed or given.
        digits: The fingerprint of the file.
    """
    plain = typed_digits(typed)
    if len(plain) != FINGERPRINT_DIGITS:
        what = f"{len(plain)} of {FINGERPRINT_DIGITS} digits of the fingerprint were given"
        return UntrustedError(
            f"{what}; nothing was changed",
            where=str(path),
            hint="type all 16 groups of the trust sheet, from both of its lines",
        )
    groups = differing_groups(typed, digits)
    if len(groups) > _FEW:
        which = f"{len(groups)} of 16 groups differ"
        hint = f"compare it with the trust sheet; if the sheet has what you typed, {_ALARM}"
    else:
        named = f"group{'s' if len(groups) > 1 else ''} {', '.join(map(str, groups))}"
        which = f"{named} of 16 {'differ' if len(groups) > 1 else 'differs'}"
        hint = f"look at {named} of the trust sheet again; if it has what you typed, {_ALARM}"
    return UntrustedError(
        f"the fingerprint does not match this file; nothing was changed: {which}", where=str(path), hint=hint
    )
