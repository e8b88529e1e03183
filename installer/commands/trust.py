"""VERB trust: set up the root of trust of this host, replace it by its successors, and show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from installer.audit.recorder import happened, require
from installer.commands.common.attempt import attempt
from installer.commands.common.session import Session
from installer.core.errors import Problem, RefusedError, WaybillError
from installer.core.trust.quorum import unmet
from installer.core.trust.root import Root, display_fingerprint, fingerprint
from installer.core.trust.root_json import load_root
from installer.core.trust.root_view import RootView, view
from installer.core.trust.rotation import require_unexpired
from installer.core.verify import Clock
from installer.host.system import System
from installer.shared.command.run_record import root_row
from installer.state.host_identity import environment_to_record
from installer.state.root_updates import Followed, RootMedium, follow
from installer.state.standing import Fallen, fallen_on_host
from installer.state.trust_store import (
    ROOT_FILE,
    Ask,
    init_trust,
    introduce,
    is_earlier,
    load_trust,
    remember_time,
    require_fingerprint,
    store_root,
    trust_lock,
    trusted_bytes,
)


@dataclass(frozen=True, slots=True)
class Updated:
    """What `trust update` has done.

    Attributes:
        before: The version that was trusted.
        root: The root that is trusted now.
        fingerprint: Of it.
        fallen: Releases on the host that this root does not admit any more.
        stopped: Why the next version on the media was not accepted; None where there is none.
    """

    before: int
    root: Root
    fingerprint: str
    fallen: tuple[Fallen, ...] = ()
    stopped: WaybillError | None = None


def trust_init(session: Session, path: Path, fingerprint: str = "", env: str = "") -> RootView:
    """Set up trust on a host that has none, and return the root that is trusted now.

    Args:
        session: The host; its `ui` is asked where no fingerprint is given, or the environment is not known.
        path: The root.json.
        fingerprint: Its fingerprint, from the trust sheet; compared also where the host has this root.
        env: The environment of the host, where its own setting does not name it.

    Raises:
        WaybillError: It is refused.
    """
    system = session.system
    with attempt(session, "trust init", medium=str(path)):
        # A change of trust without a record in the audit log must not happen: the log is tried first.
        require(system)
        before = trusted_bytes(system)
        trusted, digits, chosen = init_trust(
            system, path, fingerprint, session.ui.ask, session.clock, env, session.ui.ask_more
        )
        _tell(session, 0 if before is None else trusted.version, trusted, digits, changed=chosen != "")
        row = {"verb": "trust init", "version": str(trusted.version), "fingerprint": digits, "exit": 0}
        _record(session, row, chosen)
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
        _tell(session, updated.before, updated.root, updated.fingerprint)
        after = {"version": str(updated.root.version), "fingerprint": updated.fingerprint}
        _record(session, {"verb": "trust update", "before": str(updated.before), **after, "exit": 0})
        _warn(session, updated.root, updated.fallen)
        # What is good is in force; what is not is an error all the same, with its exit code.
        if updated.stopped:
            raise _partly(updated.stopped, updated.before, updated.root)
    return updated


def _tell(session: Session, before: int, root: Root, digits: str, *, changed: bool = False) -> None:
    """Tell which version was trusted before, 0 for none, and which one is trusted now."""
    session.ui.tell(
        changed=changed or before != root.version,
        from_=root_row(before) if before else None,
        to=root_row(root.version, digits),
    )


def _warn(session: Session, root: Root, fallen: tuple[Fallen, ...]) -> None:
    # The releases keep running: a revocation never stops a service by itself. They are named whatever else is
    # wrong with the media.
    for each in fallen:
        session.ui.warn(each.text())
    # Nor does a gap that a revocation left: it would be noticed in the night of the next upgrade.
    for gap in unmet(root):
        session.ui.warn(f"{gap.text}; ask the owners of the root keys for a root that can be met")


def _record(session: Session, row: dict[str, Any], env: str = "") -> None:
    row |= {"environment": env} if env else {}
    happened(session.system, "trust", row, session.ui.alert)


def trust_show(session: Session) -> RootView:
    """Return who may do what, and until when.

    Raises:
        UntrustedError: No trust is set up.
        TamperedError: Its file is damaged.
    """
    return view(*load_trust(session.system), session.clock())


def update_trust(system: System, path: Path, clock: Callable[[], datetime]) -> Updated:
    """Replace the root of the host by the newest one that follows from it.

    Args:
        system: The host.
        path: A root with its signatures next to it, or a directory with `N.root.json` and `root.json`.
        clock: Tells the time.

    Returns:
        What is trusted now. If it was the newest already, nothing is changed. `stopped` says why a later
        version on the media was not accepted, where an earlier one was.

    Raises:
        UntrustedError: No trust is set up, or too few owners have signed.
        RefusedError: It is not the version that follows.
        TamperedError: A root or a signature is malformed, or does not fit.
        ExpiredError: The last one is expired.
        BusyError: Another update runs.
        HostNotReadyError: It cannot be written.
    """
    load_trust(system)  # before anything is created there has to be a root
    with trust_lock(system):
        return _update(system, RootMedium(path), clock())


def _update(system: System, medium: RootMedium, now: datetime) -> Updated:
    old, data = load_trust(system)
    found = follow(old, data, medium, now)
    root = found.root
    if root.version == old.version:
        if found.stopped:
            raise found.stopped
        return Updated(old.version, root, fingerprint(data), fallen_on_host(system, root))
    require_unexpired(root, found.where, now)
    # One write for all steps: interrupted, the old root is still in force.
    store_root(system, found.data, found.passed)
    remember_time(system, now)
    return Updated(
        old.version, root, fingerprint(found.data), fallen_on_host(system, root), stopped=found.stopped
    )


@dataclass(frozen=True, slots=True)
class Ensured:
    """What `trust ensure` has found or done.

    Attributes:
        before: The version that was trusted before; 0 for none.
        given: The version that was given and compared.
        root: The root that is trusted now.
        fingerprint: Of it.
        environment: The environment that was recorded; empty where it was set, or there is none.
        fallen: Releases on the host that this root does not admit any more.
        stopped: Why a later version on the media was not accepted; None where there is none.
    """

    before: int
    given: int
    root: Root
    fingerprint: str
    environment: str = ""
    fallen: tuple[Fallen, ...] = ()
    stopped: WaybillError | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return self.before != self.root.version or bool(self.environment)


def trust_ensure(
    session: Session, path: Path, fingerprint: str, update: Path | None = None, env: str = ""
) -> Ensured:
    """See to it that a host trusts a root, or a later version that follows from it. May be repeated.

    Args:
        session: The host; its `ui` is asked for the environment where it is not set and not given.
        path: The root.json that was compared.
        fingerprint: Its fingerprint, from the trust sheet; compared every time.
        update: A directory with later versions.
        env: The environment of the host, where its own setting does not name it.

    Raises:
        WaybillError: It is refused.
    """
    system = session.system
    with attempt(session, "trust ensure", medium=str(path)):
        require(system)
        done = ensure_trust(system, path, fingerprint, session.ui.ask, session.clock, update, env)
        _tell(session, done.before, done.root, done.fingerprint, changed=done.changed)
        if done.changed:
            row = {"verb": "trust ensure", "before": str(done.before or ""), "exit": 0}
            row |= {"version": str(done.root.version), "fingerprint": done.fingerprint}
            _record(session, row, done.environment)
        _warn(session, done.root, done.fallen)
        if done.stopped:
            raise _partly(done.stopped, done.before, done.root)
    return done


def ensure_trust(
    system: System, path: Path, given: str, ask: Ask, clock: Clock, update: Path | None = None, env: str = ""
) -> Ensured:
    """See to it that the host trusts a root or a later one; see `trust_ensure`.

    Raises:
        UntrustedError: The fingerprint is not that of the file.
        RefusedError: The host trusts another root, which does not follow from this one.
        ExpiredError: The last version is expired.
        TamperedError: The file is not a root.
        HostNotReadyError: It cannot be written.
    """
    root, data = load_root(path)
    require_fingerprint(path, data, given)
    medium, now = RootMedium(update) if update else None, clock()
    if (present := trusted_bytes(system)) is not None:
        with trust_lock(system):
            return _ensure(
                system, path, (root, data), medium, now, lambda found: _environment(system, found, env, ask)
            )
    found = _follow(root, data, medium, now)
    require_unexpired(found.root, found.where or str(path), now)
    chosen = _environment(system, found.root, env, ask)
    introduce(system, found.data, chosen, found.passed, expected=present)
    remember_time(system, now)
    # Who removes the root to begin again with another one has releases that the other one may not admit.
    rows = fallen_on_host(system, found.root)
    return Ensured(0, root.version, found.root, fingerprint(found.data), chosen, rows, found.stopped)


def _environment(system: System, root: Root, env: str, ask: Ask) -> str:
    return environment_to_record(system, root, env, lambda question: ask(question, "--env"))


def _follow(root: Root, data: bytes, medium: RootMedium | None, now: datetime) -> Followed:
    return follow(root, data, medium, now) if medium else Followed(root, data, "", (), None)


def _ensure(
    system: System,
    path: Path,
    given: tuple[Root, bytes],
    medium: RootMedium | None,
    now: datetime,
    choose: Callable[[Root], str],
) -> Ensured:
    """Compare the given root with the one that is trusted, and take later versions from the media."""
    (root, data), (old, present) = given, load_trust(system)
    found = _follow(old, present, medium, now)
    known = {*found.passed, (found.root.version, fingerprint(found.data))}
    if (root.version, fingerprint(data)) not in known and not _is_before(system, given, present, medium, now):
        # The given one may be the next version itself, with its signatures next to it.
        later = follow(found.root, found.data, RootMedium(path), now)
        if later.data != data:
            raise _unrelated(path, root, old, present)
        found = replace(later, passed=(*found.passed, *later.passed), stopped=None)
    if found.root.version > old.version:
        require_unexpired(found.root, found.where, now)
    env = choose(found.root)
    introduce(system, found.data, env, found.passed, expected=present)
    if found.root.version > old.version:
        remember_time(system, now)
    rows = fallen_on_host(system, found.root)
    return Ensured(old.version, root.version, found.root, fingerprint(found.data), env, rows, found.stopped)


def _is_before(
    system: System, given: tuple[Root, bytes], present: bytes, medium: RootMedium | None, now: datetime
) -> bool:
    """Return whether the root that is trusted is known to follow from another one."""
    root, data = given
    if is_earlier(system, root.version, fingerprint(data)):
        return True
    # The host may have no record of its earlier roots: the versions in between prove it as well.
    if medium is None:
        return False
    return follow(root, data, medium, now, lambda each: each == present).data == present


def _unrelated(path: Path, root: Root, old: Root, present: bytes) -> RefusedError:
    shown = display_fingerprint(fingerprint(present))
    return RefusedError(
        f"is version {root.version} of a root, but this host trusts version {old.version} of another one, or "
        f"of one that is not known to follow from it: {shown}",
        where=str(path),
        hint="if it follows from it, name the directory with all versions (option --update). To begin again "
        f"with another root, first remove {ROOT_FILE}",
    )


def _partly(stopped: WaybillError, before: int, root: Root) -> WaybillError:
    """Return the error about a later version, with what was accepted before it."""
    was = f"it was version {before}" if before else "it trusted nothing before"
    what = f"the root of this host is version {root.version} now ({was}); the file above was not accepted"
    stopped.problems += (Problem("", what, "bring the next version again, and run the same command"),)
    return stopped
