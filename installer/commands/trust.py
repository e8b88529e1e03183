"""VERB trust: set up the root of trust of this host, replace it by its successors, and show it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from installer.audit.recorder import happened, require
from installer.commands.common.attempt import attempt
from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError, MediaError, TamperedError, UsageError, os_errors_as
from installer.core.limits import LIMITS
from installer.core.trust.root import ROOT_BYTES, Root, fingerprint
from installer.core.trust.root_view import RootView, view
from installer.core.trust.rotation import check_successor, require_unexpired
from installer.core.trust.signatures import Signature, split_name
from installer.host.layout import STATE, TRUST, Layout
from installer.host.system import System
from installer.state.state import load
from installer.state.trust_store import init_trust, load_trust, remember_time, store_root

LOCK = f"{TRUST}/.lock"
_VERSIONED = re.compile(r"([1-9][0-9]{0,15})\.root\.json")


@dataclass(frozen=True, slots=True)
class Updated:
    """What `trust update` has done.

    Attributes:
        before: The version that was trusted.
        root: The root that is trusted now.
        fingerprint: Of it.
        affected: Products whose running release the new root revokes, with its version.
    """

    before: int
    root: Root
    fingerprint: str
    affected: tuple[str, ...] = ()


def trust_init(session: Session, path: Path, fingerprint: str = "") -> RootView:
    """Set up trust on a host that has none, and return the root that is trusted now.

    Args:
        session: The host; its `ui` is asked where no fingerprint is given.
        path: The root.json.
        fingerprint: Its fingerprint, from the trust sheet.

    Raises:
        WaybillError: It is refused.
    """
    system = session.system
    with attempt(session, "trust init", medium=str(path)):
        # A change of trust without a record in the audit log must not happen: the log is tried first.
        require(system)

        def ask(question: str) -> str:
            return session.ui.ask(question, "--fingerprint")

        trusted, digits = init_trust(system, path, fingerprint, ask, session.clock)
        row = {"verb": "trust init", "version": str(trusted.version), "fingerprint": digits, "exit": 0}
        happened(system, "trust", row, session.ui.alert)
    return trust_show(session)


def trust_update(session: Session, path: Path) -> Updated:
    """Replace the root of this host by the newest one that follows from it.

    Args:
        session: The host.
        path: A root with its signatures next to it, or a directory with `N.root.json` and `root.json`.

    Raises:
        WaybillError: It is refused.
    """
    system = session.system
    with attempt(session, "trust update", medium=str(path)):
        require(system)
        updated = update_trust(system, path, session.clock)
        after = {"version": str(updated.root.version), "fingerprint": updated.fingerprint}
        row = {"verb": "trust update", "before": str(updated.before), **after, "exit": 0}
        happened(system, "trust", row, session.ui.alert)
    return updated


def trust_show(session: Session) -> RootView:
    """Return who may do what, and until when.

    Raises:
        UntrustedError: No trust is set up.
        TamperedError: Its file is damaged.
    """
    return view(*load_trust(session.system), session.clock())


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    data: bytes
    signatures: tuple[Signature, ...]


def update_trust(system: System, path: Path, clock: Callable[[], datetime]) -> Updated:
    """Replace the root of the host by the newest one that follows from it.

    Args:
        system: The host.
        path: A root with its signatures next to it, or a directory with `N.root.json` and `root.json`.
        clock: Tells the time.

    Returns:
        What is trusted now. If it was the newest already, nothing is changed.

    Raises:
        UntrustedError: No trust is set up, or too few owners have signed.
        RefusedError: It is not the version that follows.
        TamperedError: A root or a signature is malformed, or does not fit.
        ExpiredError: The last one is expired.
        BusyError: Another update runs.
        HostNotReadyError: It cannot be written.
    """
    load_trust(system)  # before anything is created there has to be a root
    hint = "run as root, or give --root DIR"
    with os_errors_as(HostNotReadyError, "cannot write the root", LOCK, hint=hint):
        lock = system.lock(LOCK)
    with lock:
        return _update(system, path, clock())


def _update(system: System, path: Path, now: datetime) -> Updated:
    root, data = load_trust(system)
    before, where = root.version, str(path)
    candidates = _candidates(path)
    # Each root is checked against the one before it, never against the first: a gap cannot be jumped.
    while found := _next(candidates, root, data):
        root = check_successor(root, found.data, found.signatures, found.name, now)
        data, where = found.data, found.name
    if root.version == before:
        return Updated(before, root, fingerprint(data))
    require_unexpired(root, where, now)
    # One write for all steps: interrupted, the old root is still in force.
    store_root(system, data)
    remember_time(system, now)
    return Updated(before, root, fingerprint(data), _affected(system, root))


def _next(candidates: list[_Candidate], root: Root, data: bytes) -> _Candidate | None:
    """Return the file to try after `root`: the one of the next version, or the one without a number."""
    for found in candidates:
        match = _VERSIONED.fullmatch(Path(found.name).name)
        if match and int(match[1]) == root.version + 1:
            return found
    rest = [found for found in candidates if not _VERSIONED.fullmatch(Path(found.name).name)]
    if len(candidates) == 1:
        rest = candidates
    return next((found for found in rest if found.data != data), None)


def _candidates(path: Path) -> list[_Candidate]:
    directory = path if path.is_dir() else path.parent
    with os_errors_as(UsageError, "cannot read", str(directory)):
        names = sorted(entry.name for entry in directory.iterdir())
    roots = [name for name in names if name == "root.json" or _VERSIONED.fullmatch(name)]
    if not path.is_dir():
        roots = [path.name]
    if not roots:
        raise UsageError("contains neither root.json nor N.root.json", where=str(path))
    return [_candidate(directory, name, names) for name in roots]


def _candidate(directory: Path, name: str, names: list[str]) -> _Candidate:
    beside = [each for each in names if split_name(each, name)]
    signatures = tuple(
        Signature.parse(each, _read(directory / each, LIMITS.signature_bytes), name) for each in beside
    )
    return _Candidate(str(directory / name), _read(directory / name, ROOT_BYTES), signatures)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise UsageError("no such file", where=str(path)) from None
    except OSError as error:
        raise MediaError(f"cannot read: {error.strerror}", where=str(path)) from None
    if len(data) > limit:
        raise TamperedError(f"is larger than {limit} bytes", where=str(path))
    return data


def _affected(system: System, root: Root) -> tuple[str, ...]:
    found = []
    with suppress(OSError):
        for product in system.names(STATE):
            if system.observe(Layout(product).lock, digest=False).kind != "file":
                continue
            current = load(system, Layout(product)).current
            if current is not None and current.identity in root.revoked_bundles:
                found.append(f"{product} {current.version}")
    return tuple(found)
