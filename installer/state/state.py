"""The state of one product on this host: the running release, the retained ones, the highest number.

`state.json` is written only after a transaction is committed, and can be derived from the journal again. It
is read as strictly as a bundle: a failing disk can change it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from installer.core import jsonio
from installer.core.errors import HostNotReadyError, NotUndoneError, TamperedError
from installer.core.fields import ANY_TEXT, Document, Value
from installer.core.limits import LIMITS
from installer.host.atomic_file import rename_into_place, replace_file, temporary_path
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.state.evidence import NO_EVIDENCE, Evidence

SCHEMA = "waybill/state/v1"
MIB = 1024 * 1024
STATE_LIMIT = 4 * MIB
KEEP = 3
_SLACK = 4096
"""Bytes by which a state may grow between BEGIN and COMMIT, which adds the time and a reason."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One retained release.

    Attributes:
        name: Its directory, `<sequence>-<id12>`.
        version: Of its manifest.
        sequence: Of its manifest.
        identity: SHA-256 of its SHA256SUMS.
        manifest: SHA-256 of its bundle.json, which is parsed only if it still is what was verified.
        record: The transaction whose record lists what it has on the host.
        record_sha256: Of that record.
        installed: When that transaction was committed, in seconds since 1970; 0 before.
        methods: The deployment methods that were run.
        evidence: The result of the verification: who signed, who approved.
        blobs: Whether its directory has its image blobs; with `--work-dir` only the engine has them.
        irreversible: Its effects on the host that a rollback does not undo, in words.
        incomplete: What failed past the point of no return; empty if nothing did.
    """

    name: str
    version: str
    sequence: int
    identity: str
    manifest: str
    record: str
    record_sha256: str
    installed: int = 0
    methods: tuple[str, ...] = ()
    evidence: Evidence = NO_EVIDENCE
    blobs: bool = True
    irreversible: tuple[str, ...] = ()
    incomplete: str = ""

    @property
    def verified(self) -> int:
        """When its bundle was verified, in seconds since 1970; a rollback does not change it."""
        return self.installed if self.evidence.verified is None else self.evidence.verified

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "evidence": dict(self.evidence.document)}

    def brief(self) -> dict[str, Any]:
        """Return what identifies it, as a JSON object."""
        names = ("version", "sequence", "identity")
        return {"release": self.name} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, value: Any) -> Entry:
        """Read an entry back.

        Raises:
            TamperedError: A field is missing, not known, or of another type.
        """
        document = Document("")
        entry = cls.read(Value(document, value))
        document.require_valid()
        return entry

    @classmethod
    def read(cls, value: Value) -> Entry:
        """Read an entry; problems are noted in the document of `value`."""
        with value.fields() as taken:
            return cls(
                **{name: taken.take(name).text(ANY_TEXT) for name in _TEXTS},
                sequence=_integer(taken.take("sequence")),
                installed=_integer(taken.take("installed", 0)),
                methods=taken.take("methods").items(lambda each: each.text(ANY_TEXT)),
                evidence=Evidence(taken.take("evidence", {}).mapping()),
                blobs=taken.take("blobs", True).flag(),
                irreversible=taken.take("irreversible", []).items(lambda each: each.text(ANY_TEXT)),
                incomplete=taken.take("incomplete", "").text(ANY_TEXT),
            )


_TEXTS = ("name", "version", "identity", "manifest", "record", "record_sha256")


def _integer(value: Value) -> int:
    """Read any integer: a clock may say a time before 1970, and sequence -1 stands for none."""
    return value.number(-LIMITS.json_integer)


@dataclass(frozen=True, slots=True)
class State:
    """The state of one product.

    Attributes:
        current: The running release; None if there is none.
        retained: The releases whose directories are retained, the running one first, then by when each ran
            last.
        highest: The highest sequence number that was ever committed.
        transaction: Number of the last transaction that ended.
        reset: Number of the last reset of `highest` by the root.
        keep: How many releases this host retains of the product, the running one included.
    """

    current: Entry | None = None
    retained: tuple[Entry, ...] = ()
    highest: int = -1
    transaction: int = 0
    reset: int = 0
    keep: int = KEEP

    @property
    def previous(self) -> Entry | None:
        """The release that ran before the current one, if it is retained."""
        others = [entry for entry in self.retained if self.current is None or entry.name != self.current.name]
        return others[0] if others else None

    def after(self, transaction: int, new: Entry | None) -> State:
        """Return the state after a transaction is committed.

        Args:
            transaction: Its number.
            new: The release that runs then; None if none does.
        """
        # After a removal nothing is retained; the highest number stays, against a downgrade.
        if new is None:
            return replace(self, current=None, retained=(), transaction=transaction)
        # A rollback past an irreversible step is allowed only if the operator restored the data: the step
        # is done again when that release is installed again.
        past = {entry.name for entry in self.past(new)}
        rest = [replace(entry, irreversible=()) if entry.name in past else entry for entry in self.retained]
        # The running release first: it is never removed, whatever the number to retain.
        entries = (new, *(entry for entry in rest if entry.name != new.name))[: self.keep]
        # Only a newer reset than the last one may lower `highest`: applied twice it would allow a downgrade.
        reset = new.evidence.reset
        highest = new.sequence if reset > self.reset else max(self.highest, new.sequence)
        return State(new, entries, highest, transaction, max(self.reset, reset), self.keep)

    def past(self, entry: Entry) -> tuple[Entry, ...]:
        """Return the newer releases that ran after `entry` last did: a rollback to it goes past them.

        All of them are retained: the release that ran longest ago is removed first.
        """
        names = [each.name for each in self.retained]
        since = self.retained[: names.index(entry.name)] if entry.name in names else ()
        return tuple(each for each in since if each.sequence > entry.sequence)

    def goes(self, new: Entry | None) -> tuple[Entry, ...]:
        """Return the releases that are no longer retained once `new` runs, or nothing does."""
        kept = {entry.name for entry in self.after(self.transaction, new).retained}
        return tuple(entry for entry in self.retained if entry.name not in kept)

    def find(self, version: str) -> Entry | None:
        """Return a retained release by version (with or without `v`) or by name."""
        wanted = version.removeprefix("v")
        return next((entry for entry in self.retained if wanted in (entry.version, entry.name)), None)

    @classmethod
    def from_json(cls, value: Any) -> State:
        """Read a state back.

        Raises:
            TamperedError: It is not a state; the error names the field.
        """
        document = Document("")
        with Value(document, value).fields() as taken:
            taken.take("schema").choice((SCHEMA,))
            entries = taken.take("releases").items(Entry.read)
            named = taken.take("current")
            name = named.text(ANY_TEXT)
            current = next((entry for entry in entries if entry.name == name), None)
            if name and current is None:
                named.note("is not a known release")
            state = cls(
                current,
                entries,
                highest=_integer(taken.take("highest")),
                transaction=_integer(taken.take("transaction")),
                reset=_integer(taken.take("reset", 0)),
                keep=taken.take("keep", KEEP).number(1),
            )
        document.require_valid()
        return state

    def as_json(self) -> dict[str, Any]:
        """Return it as `state.json` holds it."""
        return {
            "schema": SCHEMA,
            "current": self.current.name if self.current else "",
            "releases": [entry.as_json() for entry in self.retained],
            "highest": self.highest,
            "transaction": self.transaction,
            "reset": self.reset,
            "keep": self.keep,
        }


class DamagedStateError(NotUndoneError):
    """The state cannot be read."""

    code = "state-damaged"


def cannot_read_error(path: str) -> HostNotReadyError:
    """Return the error for what this user may not read."""
    return HostNotReadyError("cannot be read by this user", where=path, hint="run as root")


@contextmanager
def host_readable(where: str = STATE) -> Iterator[None]:
    """Turn a failure to read the host into an error of the host: it is not an internal error.

    Args:
        where: The path for an error that names none.

    Raises:
        HostNotReadyError: Something cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise cannot_access_error(error, where) from error


def cannot_access_error(error: OSError, where: str) -> HostNotReadyError:
    """Return the error for what cannot be read; `where` is used if the error names no file."""
    if isinstance(error, PermissionError):
        return cannot_read_error(error.filename or where)
    hint = "check that path: it may have the wrong file type, or the disk may be failing"
    return HostNotReadyError(f"cannot be read: {error.strerror}", where=error.filename or where, hint=hint)


def load(system: System, layout: Layout) -> State:
    """Read `state.json`.

    Returns:
        The state; an empty one if there is none.

    Raises:
        DamagedStateError: It is damaged.
        NotUndoneError: A newer installer wrote it.
        HostNotReadyError: It cannot be read, by this user or at all.
    """
    try:
        data = system.read(layout.state_file, STATE_LIMIT)
    except FileNotFoundError:
        return State()
    except PermissionError as denied:
        raise cannot_read_error(layout.state_file) from denied
    except OSError as failed:
        hint = "the disk may be failing, or the path has the wrong file type: restore it from a backup"
        raise HostNotReadyError(
            f"cannot be read: {failed.strerror}", where=layout.state_file, hint=hint
        ) from None
    try:
        value = jsonio.loads_strict(data, layout.state_file, STATE_LIMIT)
    except TamperedError as error:
        raise _damaged(layout, error.what) from None
    schema = value.get("schema") if isinstance(value, dict) else None
    # Before any field: a newer version may have other fields, and reading it half would lose them.
    if isinstance(schema, str) and schema != SCHEMA:
        raise NotUndoneError(
            f"the state was written by another version of the installer ({schema}; this one reads {SCHEMA})",
            where=layout.state_file,
            hint="use the installer that wrote it, or a newer one: /opt/waybill/bin/install",
        )
    try:
        return State.from_json(value)
    except TamperedError as error:
        raise _damaged(layout, f"{error.where} {error.what}".strip()) from None


def _damaged(layout: Layout, why: str) -> DamagedStateError:
    return DamagedStateError(
        f"the state is damaged: {why}",
        where=layout.state_file,
        hint="the disk lost data, or somebody edited the file. Run `install recover`: it rebuilds "
        "the state from the journal; if it cannot, restore the file from a backup",
    )


def save(system: System, layout: Layout, state: State) -> None:
    """Replace `state.json`, using the space that `reserve` allocated where it did.

    Raises:
        OSError: The state cannot be written; the old one is still there.
    """
    new, data = temporary_path(layout.state_file), jsonio.dumps_lines(state.as_json())
    reserved = system.observe(new, digest=False)
    # Something else may be there: a link or file of somebody is never written into.
    if (reserved.kind, reserved.mode) != ("file", 0o600):
        replace_file(system, layout.state_file, data)
        return
    # Written in place: a new file would need space that a full disk does not have.
    system.write_at(new, 0, data, truncate=True)
    rename_into_place(system, layout.state_file)


def reserve(system: System, layout: Layout, state: State) -> None:
    """Allocate the space of a state that is saved later, when the disk may be full.

    Raises:
        OSError: There is not enough space.
    """
    new = temporary_path(layout.state_file)
    with suppress(FileNotFoundError):
        system.unlink(new)
    # Zeros that are written, not only allocated: overwriting them needs no new blocks on most file systems.
    system.write_new(new, bytes(len(jsonio.dumps_lines(state.as_json())) + _SLACK), 0o600)


_NUMBER = re.compile(r"(\d{6,})\.(?:log|done|backup)")


def next_transaction(system: System, layout: Layout, state: State) -> str:
    """Return the id of the next transaction."""
    try:
        names = system.names(layout.transactions)
    except PermissionError:  # an ordinary user only plans
        names = []
    # Never a number that was used: journal, backup and record of a transaction are named by it.
    found = [int(match[1]) for name in names if (match := _NUMBER.fullmatch(name))]
    return f"{max([state.transaction, *found]) + 1:06d}"


def snapshot_records(layout: Layout, retained: Iterable[Entry], names: Iterable[str]) -> set[str]:
    """Return which records of transactions hold what was saved before a step of a retained release."""
    said = [text for entry in retained for text in entry.irreversible]
    return {name for name in names if any(f"{layout.record(name)}/" in text for text in said)}
