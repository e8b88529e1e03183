"""Which values a release was rendered with, kept with its record: a rollback says which ones change.

Only digests are kept. The configuration next to them has the values that templates use; others need not lie
on the disk a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.values import BUILT_IN

NAME = "values.json"
"""Their file in the directory of the record."""
SCHEMA = "waybill/values/v1"
UNKNOWN = (
    "which site values change is not known: an earlier version of Waybill installed one of the two releases; "
    "compare the differences of the configuration"
)
_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A value that a rollback changes.

    Attributes:
        key: Its key, with dots: `db.password`.
        change: What becomes of it.
    """

    key: str
    change: Literal["changed", "added", "removed"]


def recorded(values: Mapping[str, Any]) -> bytes:
    """Return the file for the values that templates were rendered with."""
    digests = dict(_digests({key: each for key, each in values.items() if key != BUILT_IN}))
    return digests_bytes(digests)


def digests_bytes(digests: Mapping[str, str]) -> bytes:
    """Return the file for digests by key."""
    return jsonio.dumps_lines({"schema": SCHEMA, "values": dict(digests)})


def _digests(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    # A list counts as one value: its entries have no names.
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _digests(each, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, sha256_hex(jsonio.dumps({"key": key, "value": value}))


def read_recorded(system: System, layout: Layout, record: str) -> dict[str, str] | None:
    """Return the digests of a record, by key; None where an earlier version of the installer kept none."""
    path = f"{layout.record(record)}/{NAME}"
    try:
        if not any(name.isdigit() or name == NAME for name in system.names(layout.record(record))):
            return {}  # nothing was rendered
        document = jsonio.loads_strict(system.read(path, _LIMIT), path, _LIMIT)
        return {str(key): str(digest) for key, digest in document["values"].items()}
    # It only serves a note: what cannot be read must not keep a host from its rollback.
    except (OSError, TamperedError, KeyError, TypeError, AttributeError):
        return None


def changes(now: Mapping[str, str], then: Mapping[str, str]) -> tuple[ValueChange, ...]:
    """Return which values differ between what is in force now and what comes back."""
    return tuple(
        ValueChange(key, "added" if key not in now else "removed" if key not in then else "changed")
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    )
