"""Finds values in text, however many there are: the time depends on the text, hardly on their number.

An alternation of `re` tries every value at every character of a text. Here the first characters of a place
say in one look-up whether any value begins there at all, and which lengths are worth comparing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SHORTEST = 4
"""Characters of a value that is found at all; as many decide whether one may begin at a place."""
ANYWHERE = 8
"""Characters from which on a value is found within a longer word, too."""
HEAD = 64
"""Characters of a value that are looked up; longer ones are compared with the text itself."""
Span = tuple[int, int]
"""The first character of what was found, and the one behind it."""


@dataclass(slots=True)
class Index:
    """Values that are looked for.

    Attributes:
        lengths: The lengths of all heads that begin with the same `SHORTEST` characters, longest first.
        words: The values with the same head.
    """

    lengths: dict[str, tuple[int, ...]] = field(default_factory=dict)
    words: dict[str, set[str]] = field(default_factory=dict)
    _ordered: dict[str, list[str]] = field(default_factory=dict)
    """The values with the same head, longest first: a shorter one may be a part of a longer one."""
    _gate: tuple[int, re.Pattern[str] | None] = (0, None)
    """For how many beginnings of values it is, and what matches where one may be."""

    def add(self, words: Iterable[str]) -> None:
        """Add values; what is shorter than `SHORTEST` characters is passed over.

        Args:
            words: The values, in each of their spellings.
        """
        for word in words:
            if len(word) < SHORTEST:
                continue
            head, start = word[:HEAD], word[:SHORTEST]
            self.words.setdefault(head, set()).add(word)
            known = self.lengths.get(start, ())
            if len(head) not in known:
                self.lengths[start] = tuple(sorted((*known, len(head)), reverse=True))

    def spans(self, text: str) -> list[Span]:
        """Return where values stand, from the left: at each place the longest one; they may overlap.

        Args:
            text: Any text.
        """
        found = list[Span]()
        for place in self._may_begin().finditer(text) if self.lengths else ():
            at = place.start()
            start = text[at : at + SHORTEST]
            if start in self.lengths and (end := self._end(text, at, start)):
                found.append((at, end))
        return found

    def _may_begin(self) -> re.Pattern[str]:
        """Return what matches where a value may begin: it passes over most of most texts fast."""
        count, gate = self._gate
        # Compared, not reset by `add`: several threads report progress, and one of them may add values.
        if gate is None or count != len(self.lengths):
            starts = list(self.lengths)
            letters = [{start[at] for start in starts} for at in range(SHORTEST)]
            first, *others = (f"[{''.join(map(re.escape, sorted(each)))}]" for each in letters)
            # It takes one letter only: the next value may begin at the next one.
            gate = re.compile(f"{first}(?={''.join(others)})")
            self._gate = (len(starts), gate)
        return gate

    def _end(self, text: str, at: int, start: str) -> int:
        """Return where the longest value ends that begins at a place; 0 where none does."""
        for length in self.lengths[start]:
            for word in self._of_head(text[at : at + length]):
                end = at + len(word)
                if text.startswith(word, at) and (len(word) >= ANYWHERE or _is_alone(text, at, end)):
                    return end
        return 0

    def _of_head(self, head: str) -> list[str]:
        words = self.words.get(head)
        if not words:
            return []
        found = self._ordered.get(head)
        if found is None or len(found) != len(words):
            found = self._ordered[head] = sorted(words, key=len, reverse=True)
        return found


def _is_alone(text: str, start: int, end: int) -> bool:
    # `data` must not blank a part of `database`.
    return not (_is_of_word(text[start - 1 : start]) or _is_of_word(text[end : end + 1]))


def _is_of_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def without(text: str, spans: Iterable[Span], mask: str) -> str:
    """Return a text with each span replaced; of overlapping ones, what they cover together.

    Args:
        text: The text.
        spans: Where it is replaced, in any order.
        mask: The text that replaces each.
    """
    parts, at = list[str](), 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start < at:
            at = max(at, end)
            continue
        parts += [text[at:start], mask]
        at = end
    return "".join([*parts, text[at:]])
