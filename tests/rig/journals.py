"""Journals that were changed by something else than Waybill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from installer.core.digest import sha256_hex


def rewritten(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the records of a journal, and seal them anew as a newer installer would have."""
    lines, previous = list[bytes](), "0" * 64
    for line in path.read_bytes().rstrip(b"\0").splitlines():
        value = json.loads(line[65:])
        change(value)
        value["prev"] = previous
        body = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        previous = sha256_hex(body)
        lines.append(previous.encode() + b" " + body + b"\n")
    path.write_bytes(b"".join(lines).ljust(path.stat().st_size, b"\0"))
