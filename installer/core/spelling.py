"""The known word that somebody meant who misspelt one: only a near one, since a wrong proposal misleads."""

from __future__ import annotations

from collections.abc import Iterable

_PER_ERROR = 3
"""Characters for each typing error that is allowed, of which there are at most `_ERRORS`."""
_ERRORS = 3
_LONGEST = 200
"""Characters of a word that is compared; the comparison takes quadratic time."""
_PREFIX = 3
"""Characters that are enough of a beginning."""


def spelling_hint(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint that names the closest known word, or another one if no word is near."""
    close = did_you_mean(word, known)
    return f"did you mean {close}?" if close else otherwise


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known word that is near a misspelt one, or an empty text.

    Near is a word with few typing errors (a letter too many, too few, another one, or two that changed
    places), or one that starts with the misspelt word.
    """
    meant = word.lower()
    if not meant or len(meant) > _LONGEST:
        return ""
    allowed = min(_ERRORS, max(1, len(meant) // _PER_ERROR))
    words = list(known)
    rated = [(_distance(meant, each.lower(), allowed), each) for each in words]
    near = [(errors, each) for errors, each in rated if errors <= allowed and errors < len(meant)]
    if near:
        return min(near)[1]
    begun = [each for each in words if each.lower().startswith(meant)]
    return begun[0] if len(begun) == 1 and len(meant) >= _PREFIX else ""


def _distance(one: str, other: str, most: int) -> int:
    """Return the number of typing errors between two words; any number above `most` where there are more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before, row = list[int](), list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        older, before, row = before, row, [at]
        for place, there in enumerate(other, start=1):
            errors = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != there))
            # Two letters that changed places are one error: `stauts`.
            if at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == there:
                errors = min(errors, older[place - 2] + 1)
            row.append(errors)
    return row[-1]
