"""JSON as Waybill reads and writes it: a strict reader, and one written form.

RFC 8259 allows texts that two readers may understand differently (duplicate keys, huge numbers, lone
surrogates). All of these are refused, so that what was signed has one meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NoReturn

from installer.core.document_file import REMEDY, encoding_damage
from installer.core.errors import TamperedError
from installer.core.limits import LIMITS

_COMPACT = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_SURROGATE = re.compile("[\ud800-\udfff]")


def not_json(error: json.JSONDecodeError) -> str:
    """Return what is wrong with a text; where, its place says."""
    return f"is not JSON: {error.msg.rstrip(': ').removesuffix(' at').removesuffix(' starting')}"


def loads_strict(data: bytes, what: str, limit: int) -> Any:
    """Parse a JSON text.

    Args:
        data: The text, UTF-8 without a byte order mark.
        what: How errors name it.
        limit: Largest size in bytes.

    Returns:
        Dictionaries, lists, strings, integers, booleans and None.

    Raises:
        TamperedError: It is larger than `limit`, not UTF-8 or not JSON, nests deeper than 32, has a duplicate
            key, a number that is not an integer of at most 2^53, or a lone surrogate.
    """
    if len(data) > limit:
        raise TamperedError(f"is {len(data)} bytes, more than the {limit} allowed", where=what)
    # Before the decoder, which would complain about a byte: people change the encoding without knowing it.
    if damage := encoding_damage(data):
        raise TamperedError(damage, where=what, hint=REMEDY)
    try:
        # Before the parser: json.loads would also accept UTF-16 and UTF-32, which other readers may not.
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TamperedError("is not UTF-8", where=f"{what}@{error.start}") from None
    try:
        value = decoder(what).decode(text)
    except json.JSONDecodeError as error:
        raise TamperedError(not_json(error), where=f"{what}:{error.lineno}") from None
    except RecursionError:
        raise TamperedError(f"is nested more than {LIMITS.json_depth} levels deep", where=what) from None
    check_value(value, text, 0, len(text), LIMITS.json_depth, what)
    return value


def decoder(what: str) -> json.JSONDecoder:
    """Return a decoder that refuses duplicate keys and numbers that are not integers of at most 2^53.

    Args:
        what: How its errors name the text.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        # Two readers may take different ones of two equal keys.
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise TamperedError(f"has the key {twice!r:.80} twice", where=what)
        return found

    def integer(digits: str) -> int:
        # The length first: int() of a million digits takes quadratic time.
        if len(digits) > 17 or abs(int(digits)) > LIMITS.json_integer:
            raise TamperedError(f"has an integer beyond 2^53: {digits[:24]}", where=what)
        return int(digits)

    def refuse(token: str) -> NoReturn:
        raise TamperedError(f"has a number that is not an integer: {token[:24]}", where=what)

    # Floats are refused: 1.0 and 1 are one number to some readers and two to others.
    return json.JSONDecoder(
        object_pairs_hook=pairs, parse_int=integer, parse_float=refuse, parse_constant=refuse
    )


def check_value(value: Any, text: str, begin: int, end: int, depth: int, what: str) -> None:
    """Refuse what the decoder of the standard library accepts.

    Args:
        value: The decoded value.
        text: The text it is from.
        begin: Where it begins in the text.
        end: Where it ends.
        depth: Deepest nesting that is allowed.
        what: How errors name the text.

    Raises:
        TamperedError: It nests deeper, or has a lone surrogate.
    """
    # Counting brackets is much faster than walking through the value, and decides nearly every time.
    if text.count("[", begin, end) + text.count("{", begin, end) > depth:
        _check_depth(value, depth, what)
    # Only an escape can make a surrogate: UTF-8 itself cannot encode one.
    if text.find("\\u", begin, end) >= 0 and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise TamperedError("has a lone surrogate", where=what)


def _check_depth(value: Any, depth: int, what: str) -> None:
    # Level by level, without recursion: the depth is what is limited here.
    level = [value]
    for _ in range(depth):
        below: list[Any] = []
        for item in level:
            children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            below += [child for child in children if isinstance(child, (dict, list))]
        if not below:
            return
        level = below
    raise TamperedError(f"is nested more than {LIMITS.json_depth} levels deep", where=what)


def dumps(value: Any) -> bytes:
    """Return the one form in which Waybill writes JSON: sorted keys, no spaces, UTF-8, a final newline."""
    return (_COMPACT(value) + "\n").encode()


def dumps_lines(value: Mapping[str, Any], element: Callable[[Any], Any] = lambda item: item) -> bytes:
    """Like `dumps`, with each top-level key and each element of a top-level list on a line of its own.

    `grep`, `diff` and people can work with the result, whatever its size.

    Args:
        value: What to write.
        element: Gives the JSON value of an element of a top-level list; called for one at a time.
    """
    out = BytesIO()
    out.write(b"{\n")
    for number, key in enumerate(sorted(value)):
        item = value[key]
        out.write((",\n" * bool(number) + _COMPACT(key) + ":").encode())
        if not isinstance(item, (list, tuple)) or not item:
            out.write(_COMPACT(item).encode())
            continue
        out.write(b"[")
        for index, each in enumerate(item):
            out.write(((",\n" if index else "\n") + _COMPACT(element(each))).encode())
        out.write(b"\n]")
    out.write(b"\n}\n")
    return out.getvalue()
