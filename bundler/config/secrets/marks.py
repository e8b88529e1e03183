"""The one search for all marks of secrets: an automaton that reads each byte of a text once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from installer.shared.secrecy.rules import Place
from installer.shared.secrecy.tokens import token_marks

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

OWN = (
    *(b"private key", b"putty-user-key-file-", b"begin ssh2 ", b"openvpn static key", b"privatekey"),
    *(b"secret key", b"private-key", b"secret_access_key", b":_auth", b":_password", b'"auths"', b'"auth"'),
    b"clusters",
)
"""What the patterns of this package are found by, in lower case."""


def places_in(text: bytes) -> list[Place]:
    """Return where marks stand in a text, in any case, from its start to its end.

    Args:
        text: The text. The interpreter lock is released while it is read.
    """
    marks, automaton = _automaton()
    found = automaton.find_matches_as_indexes(text.lower(), overlapping=True)
    places = [Place(marks[number], start) for number, start, _ in found]
    # The automaton names a match when it ends: a long mark that began earlier comes later.
    places.sort(key=lambda place: place.start)
    return places


@lru_cache(maxsize=1)
def _automaton() -> tuple[tuple[bytes, ...], BytesAhoCorasick]:
    from ahocorasick_rs import BytesAhoCorasick, Implementation

    marks = tuple(dict.fromkeys((*token_marks(), *OWN)))
    # One table look-up for each byte, whatever the text: 250 marks make a table of one or two megabytes.
    return marks, BytesAhoCorasick(list(marks), implementation=Implementation.DFA)
