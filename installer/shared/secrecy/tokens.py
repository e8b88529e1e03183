"""Secrets that show what they are, whatever stands next to them: tokens of services, and keys of one line.

The one list of them: the rules of a kept scanner, and what it does not have. `install` hides them in what it
shows, `bundle create` refuses them in inputs and in images; whoever adds a form adds it for both. What only a
name tells apart from other text is in `notations`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from installer.shared.secrecy.rules import Place, Rule, Rules, kept_rules, places_of

JWT_MARK = b"eyj"
OWN = (
    # The kept rule wants 90 characters. A root token, and one of a server for development, has 24.
    Rule("vault-root-token", (b"hvs.",), rb"hvs\.[A-Za-z0-9_-]{24,89}(?![A-Za-z0-9_-])"),
    # Slack has more forms than the kept rules tell apart.
    Rule("slack-token", (b"xox",), rb"xox[abeprs]-(?:[0-9A-Za-z]{8,64}-){1,8}[0-9A-Za-z]{16,64}"),
)
"""Forms that the kept rules do not have."""
_JWT = re.compile(
    rb"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{10,4096})\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{20,}"
)


class Found(NamedTuple):
    """A token in a text: where it begins and ends, and what it is."""

    start: int
    end: int
    what: str


@lru_cache(maxsize=1)
def token_rules() -> Rules:
    """Return all rules of tokens."""
    return Rules((*kept_rules(), *OWN))


def token_marks() -> tuple[bytes, ...]:
    """Return what tokens are found by, in lower case."""
    return (JWT_MARK, *token_rules().marks)


def marks_in(lines: Sequence[str]) -> dict[int, list[bytes]]:
    """Return the marks of the lines that have some: most have none, and need no search of their own."""
    text = "\n".join(lines).encode("ascii", "replace")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    found: dict[int, list[bytes]] = {}
    for mark, start in places_of(token_marks(), text):
        # A mark may begin with the line feed before a token.
        number = bisect_right(starts, start + len(mark) - 1) - 1
        marks = found.setdefault(number, [])
        if mark not in marks:
            marks.append(mark)
    return found


def tokens_in(text: bytes, marks: Iterable[bytes] | None = None) -> Iterator[Found]:
    """Yield the tokens in a text.

    Args:
        text: In UTF-8, or another encoding that has ASCII in it.
        marks: All marks that it can have; None: any of them.
    """
    yield from tokens_at(text, places_of(token_marks() if marks is None else marks, text))


def tokens_at(text: bytes, places: Iterable[Place]) -> Iterator[Found]:
    """Yield the tokens in a text in which marks were looked for already.

    Args:
        text: The text.
        places: Where they stand, from its start to its end.
    """
    places = list(places)
    end = 0
    for token in sorted(token_rules().tokens(text, places)):
        # Two rules may know one token: the first that begins is the one to show.
        if token.start >= end:
            yield Found(token.start, token.end, f"a credential (rule {token.rule})")
            end = token.end
    if any(place.mark == JWT_MARK for place in places):
        yield from _json_web_tokens(text)


def _json_web_tokens(text: bytes) -> Iterator[Found]:
    for match in _JWT.finditer(text):
        # Base64 text of this form is common; a JWT has JSON with `alg` in its first part.
        if _is_token_header(match[1]):
            yield Found(*match.span(), "a JSON Web Token")


def _is_token_header(part: bytes) -> bool:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header
