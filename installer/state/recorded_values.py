"""Which values a release was rendered with, kept with its record: a rollback says which ones change.

Only digests are kept. The configuration next to them has the values that templates use; others need not lie
on the disk a second time. What has a secret of a store in it has a digest with the key of this host: a plain
one could be guessed.

With them lie the references to these secrets, and where secrets stand in the rendered files: a secret that
was rotated since is still hidden wherever it would be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.host.layout import VALUES_FILE, Layout
from installer.host.system import System
from installer.shared.values import BUILT_IN

NAME = VALUES_FILE
"""Their file in the directory of the record."""
SCHEMA = "waybill/values/v1"
UNKNOWN = (
    "which values change is not known: an earlier version of Waybill installed one of the two releases; "
    "compare the differences of the configuration"
)
_LIMIT = 16 * 1024 * 1024
_NAMED = 20
"""Secrets that notes name."""

Keyed = Callable[[str, Any], str]
"""Returns the digest of a value with secrets in it, by its key; empty for any other value."""
Span = tuple[int, int]
"""The first character of a secret in a text, and the one behind it."""


@dataclass(frozen=True, slots=True)
class RecordedSecret:
    """A value that was a secret of a store.

    Attributes:
        key: Its key: `db.password`.
        reference: Where it was from.
        digest: Of the secret, with the key of this host, in hex.
    """

    key: str
    reference: str
    digest: str


@dataclass(frozen=True, slots=True)
class RecordedSecrets:
    """The secrets of stores that a release was rendered with.

    Attributes:
        secrets: Their digests.
        spans: Where they stand: in the rendered file with a number, `1`, and in a text of a health check,
            `health 0` for its target, `health 0.headers[1]` for another one.
    """

    secrets: tuple[RecordedSecret, ...] = ()
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict)

    def changed(self, now: Iterable[RecordedSecret]) -> tuple[str, ...]:
        """Return the keys of those that have changed, without values that are no secrets any more."""
        today = {each.key: each.digest for each in now}
        return tuple(each.key for each in self.secrets if today.get(each.key, each.digest) != each.digest)


NO_SECRETS = RecordedSecrets()


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A value that a rollback changes.

    Attributes:
        key: Its key, with dots: `db.password`.
        change: What becomes of it.
    """

    key: str
    change: Literal["changed", "added", "removed"]


def recorded(
    values: Mapping[str, Any], keyed: Keyed | None = None, secrets: RecordedSecrets = NO_SECRETS
) -> bytes:
    """Return the file for the values that templates were rendered with.

    Args:
        values: The values, references resolved.
        keyed: For the digests of those with secrets in them.
        secrets: These secrets.
    """
    own = {key: each for key, each in values.items() if key != BUILT_IN}
    return digests_bytes(dict(digests_of(own, keyed)), secrets)


def digests_bytes(digests: Mapping[str, str], secrets: RecordedSecrets = NO_SECRETS) -> bytes:
    """Return the file for digests by key."""
    document: dict[str, Any] = {"schema": SCHEMA, "values": dict(digests)}
    if secrets.secrets:
        spans = {place: list(map(list, each)) for place, each in secrets.spans.items() if each}
        document |= {"secrets": [asdict(each) for each in secrets.secrets], "spans": spans}
    return jsonio.dumps_lines(document)


def digests_of(value: Any, keyed: Keyed | None = None, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key of each value, with dots, and its digest.

    Args:
        value: Values of templates.
        keyed: For the digests of those with secrets in them.
        key: Their group; empty for all.
    """
    # A list counts as one value: its entries have no names.
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from digests_of(each, keyed, f"{key}.{name}" if key else str(name))
    elif key:
        plain = jsonio.dumps({"key": key, "value": value})
        yield key, (keyed(key, value) if keyed else "") or sha256_hex(plain)


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


def read_secrets(system: System, layout: Layout, record: str) -> RecordedSecrets:
    """Return the secrets of stores of a record; none where they cannot be read, as for an ordinary user."""
    path = f"{layout.record(record)}/{NAME}"
    with suppress(OSError, TamperedError, KeyError, TypeError, ValueError, AttributeError):
        document = jsonio.loads_strict(system.read(path, _LIMIT), path, _LIMIT)
        secrets = tuple(RecordedSecret(**row) for row in document.get("secrets", ()))
        spans = {
            str(place): [(int(start), int(end)) for start, end in each]
            for place, each in document.get("spans", {}).items()
        }
        return RecordedSecrets(secrets, spans)
    return NO_SECRETS


def rotation_notes(keys: Sequence[str], version: str) -> list[str]:
    """Return which secrets have changed since a version was installed, in words."""
    notes = [f"secret {key} has changed since {version} was installed" for key in keys[:_NAMED]]
    if len(keys) > _NAMED:
        notes.append(f"{len(keys) - _NAMED} more secrets have changed since then")
    return notes


def changes(now: Mapping[str, str], then: Mapping[str, str]) -> tuple[ValueChange, ...]:
    """Return which values differ between what is in force now and what comes back."""
    return tuple(
        ValueChange(key, "added" if key not in now else "removed" if key not in then else "changed")
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    )
