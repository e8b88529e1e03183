"""One record of the audit log: a line with its own SHA-256."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from installer.core.digest import sha256_hex

SCHEMA = "waybill/audit/v1"
RECORD_LIMIT = 16 * 1024
"""Most bytes of one record; longer texts and lists are cut, visibly."""
_SUFFIX = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)
_CUTS = ((1000, 32), (200, 16), (60, 8), (20, 3))
"""Longest text and longest list of a record, tried in this order until it fits."""


@dataclass(frozen=True, slots=True)
class Record:
    """One intact record.

    Attributes:
        number: Counts from 1.
        event: What happened; `schemas/v1/audit.schema.json` lists all events.
        previous: The hash of the record before it.
        hash: Its own.
        fields: All of it, but the hash.
        line: Its bytes, without the newline.
    """

    number: int
    event: str
    previous: str
    hash: str
    fields: dict[str, Any]
    line: bytes

    def as_json(self) -> dict[str, Any]:
        """Return it as the log holds it."""
        return {**self.fields, "hash": self.hash}


def encode(number: int, previous: str, fields: dict[str, Any]) -> Record:
    """Return a record of at most RECORD_LIMIT bytes; longer texts and lists are cut, visibly."""
    # A refusal may quote megabytes from a hostile bundle; the record has a fixed limit.
    for texts, items in _CUTS:
        body = {"schema": SCHEMA, **_cut(fields, texts, items), "n": number, "prev": previous}
        data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        if len(data) <= RECORD_LIMIT - 80:
            break
    digest = sha256_hex(data)
    return Record(
        number, str(fields["event"]), previous, digest, body, data[:-1] + f',"hash":"{digest}"}}'.encode()
    )


def _cut(value: Any, texts: int, items: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= texts else f"{value[:texts]}… ({len(value) - texts} more)"
    if isinstance(value, dict):
        return {str(name): _cut(each, texts, items) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        cut = [_cut(each, texts, items) for each in value[:items]]
        return cut if len(value) <= items else [*cut, f"… ({len(value) - items} more)"]
    return value


def decode(line: bytes) -> Record | None:
    """Return the record of one line; None where it is not a record, or not what was written."""
    match = _SUFFIX.fullmatch(line)
    if match is None or len(line) > RECORD_LIMIT or sha256_hex(match[1] + b"}") != match[2].decode():
        return None
    try:
        fields = json.loads(match[1] + b"}")
        number, previous, event = fields["n"], fields["prev"], fields["event"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # A bool is an int for Python, and JSON has true.
    if type(number) is not int or not isinstance(previous, str) or not isinstance(event, str):
        return None
    return Record(number, event, previous, match[2].decode(), fields, line)
