"""VERB rollback: return to the previous release, or to a named retained one, as an ordinary transaction."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from installer.commands.common.attempt import attempt
from installer.commands.common.plan_execution import TransactionResult, ask_and_execute
from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError, RefusedError, TamperedError, UsageError
from installer.core.readmission import check_return
from installer.core.remedies import remedy
from installer.core.trust.approval import group_files
from installer.core.trust.approval_sidecar import ApprovalSources, read_sidecar
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.verifier import Trust
from installer.host.context import Context
from installer.planning.cluster.members import recorded_bytes
from installer.planning.desired_state import Desired
from installer.planning.plan import DEFAULT_OPTIONS, Options, Plan
from installer.planning.planner import Planner
from installer.shared.secrecy.redaction import LIMIT
from installer.state.host_identity import host_name, recorded_environment
from installer.state.recorded_values import changes, digests_bytes, read_recorded, read_secrets
from installer.state.release import open_release
from installer.state.releases.damage import find_damage
from installer.state.retained import DAMAGED, verify_retained
from installer.state.state import Entry, State, next_transaction
from installer.state.trust_store import ROOT_FILE, trusted_bytes
from installer.state.watch import Watch

Check = Callable[[Entry], Decision | None]
"""Verifies a retained release again, and raises where it is not what was signed, or may not run any more.
Returns what break-glass stood in for; None for nothing."""


def rollback(
    session: Session,
    product: str | None = None,
    version: str | None = None,
    options: Options = DEFAULT_OPTIONS,
    *,
    approvals: Sequence[Path] = (),
    yes: bool = False,
) -> TransactionResult:
    """Roll back to a retained release, after it was verified again by the root of today.

    Args:
        session: The host; its `ui` is shown the plan and asked.
        product: The product; None where there is only one.
        version: The version to return to; None for the previous one.
        options: What the operator chose.
        approvals: Directories with approvals of the role break-glass.
        yes: Whether nobody is asked.

    Raises:
        WaybillError: It is refused, or failed.
    """
    name = session.product(product)
    with attempt(session, "rollback", product=name, known=lambda: {"version": version or ""}):
        # Trust is read before the lock is taken: without trust nothing is even locked.
        admission = Admission.of(session, approvals)
        context = session.context(name)
        return ask_and_execute(
            session,
            context,
            lambda state: plan_rollback(
                context, state, version, options, lambda entry: admission.check(context, entry)
            ),
            yes=yes,
            last=admission.check_last,
        )


@dataclass(slots=True)
class Admission:
    """Decides whether a retained release may run again, by the root of today.

    Attributes:
        session: The host.
        trust: What it trusts.
        root_bytes: The exact bytes of its root.
        environment: Its environment; empty where it is not set.
        brought: Directories with approvals: their names and files.
        watch: Began with the command.
    """

    session: Session
    trust: Trust
    root_bytes: bytes
    environment: str
    brought: ApprovalSources
    watch: Watch
    _again: Callable[[], Decision | None] | None = None
    _first: Decision | None = None

    @classmethod
    def of(cls, session: Session, approvals: Sequence[Path] = ()) -> Admission:
        """Read what decides.

        Raises:
            WaybillError: No trust is set up, others could have changed it, or approvals cannot be read.
        """
        trust, data = session.trust_and_root()
        brought = [(str(each), read_sidecar(each, required=True)) for each in approvals]
        return cls(session, trust, data, recorded_environment(session.system), brought, Watch(session.clock))

    def check(self, context: Context, entry: Entry) -> Decision | None:
        """Verify a retained release; return what break-glass stands in for, None where nothing is missing.

        Raises:
            WaybillError: It may not run again.
        """
        # Expiry never keeps a host from an installed release: the keys have to have been in force when it was
        # verified first, and not to have been revoked since.
        then = Trust(self.trust.root, lambda: datetime.fromtimestamp(entry.verified, UTC))
        directory, system = context.layout.release(entry.name), context.system
        try:
            verified = verify_retained(
                system, directory, system.platform(), then, context.progress, blobs=entry.blobs
            )
        except TamperedError as error:
            raise TamperedError(error.what, where=directory, hint=DAMAGED) from None
        except OSError as error:
            # What is gone is damage; a disk that failed to read may read the next time.
            what, gone = f"cannot be read: {error.strerror}", (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
            if error.errno in gone:
                raise TamperedError(what, where=directory, hint=DAMAGED) from None
            raise HostNotReadyError(what, where=error.filename or directory, hint=remedy(error)) from error
        host = HostFacts(self.environment or entry.evidence.environment, host_name(system))
        found = [each for where, files in self.brought for each in group_files(files, where)[0]]

        def decide() -> Decision | None:
            # Approvals have to be in force now, by a clock that was not set back.
            if found:
                self.trust.check_clock()
            return check_return(
                self.trust.root, verified.manifest, verified.evidence, host, found, self.trust.now()
            )

        self._again, self._first = decide, decide()
        return self._first

    def check_last(self) -> None:
        """Decide again right before the transaction: a person may have thought for hours.

        Raises:
            WaybillError: It is refused by now, or the root or the environment was changed.
        """
        system = self.session.system
        if trusted_bytes(system) != self.root_bytes or recorded_environment(system) != self.environment:
            raise HostNotReadyError(
                "the root or the environment of this host was changed while this command ran",
                where=ROOT_FILE,
                hint="run the same command again",
            )
        # Without approvals nothing depends on the time: an emergency must not wait for the clock.
        if self._first is not None and self._again is not None:
            self.watch.require_not_set_back()
            self._again()


def plan_rollback(
    context: Context, state: State, version: str | None, options: Options, check: Check | None = None
) -> Plan:
    """Return the plan of a rollback: the retained release with its configuration as it was rendered then.

    Args:
        context: The product.
        state: Its state.
        version: The version (or `<sequence>-<id12>`) to return to; None for the previous one.
        options: What the operator chose.
        check: Verifies the retained release before anything of it is used.

    Raises:
        RefusedError: There is no such release, or the root does not admit it any more.
        TamperedError: It is no longer what was signed.
        NotUndoneError: The retained release, or the running one, is damaged.
    """
    entry = _find(context, state, version)
    # Before anything of the release is read for the plan: a disk forgets, and people edit.
    decision = check(entry) if check is not None else None
    number = next_transaction(context.system, context.layout, state)
    release = open_release(context.system, context.layout, entry, DAMAGED)
    items = [
        # What an operator kept against that release is decided again; its `.waybill-new` files are not part
        # of it.
        replace(each, policy="")
        for each in release.installed
        if each.origin and each.policy != "beside"
    ]
    wanted = Desired(items, health=release.health)
    source, places = f"{context.layout.record(entry.record)}/", dict[str, str]()
    for index, item in enumerate(wanted.items):
        # Configuration comes back as it was rendered then: the values of the site may have changed since.
        if item.source.startswith(source):
            data = context.system.read(item.source, LIMIT * 16)
            wanted.rendered[item.path] = data
            to = f"{context.layout.record(number)}/{len(wanted.rendered)}"
            places[item.source.removeprefix(source)] = str(len(wanted.rendered))
            wanted.items[index] = replace(item, source=to)
    _compare_values(context, state, entry, wanted, places)
    wanted.members = recorded_bytes(context.system, context.layout, entry.record)
    # A later rollback must check the keys as of the first verification, not of this one.
    evidence = entry.evidence.with_time(entry.verified)
    notes = []
    if decision is not None:
        evidence, notes = evidence.with_break_glass(decision), [decision.warning()]
    fresh = replace(entry, record=number, record_sha256="", installed=0, evidence=evidence, incomplete="")
    return Planner(context, state, options, number, notes=notes).plan("rollback", fresh, release, wanted, [])


def _compare_values(
    context: Context, state: State, entry: Entry, wanted: Desired, places: Mapping[str, str]
) -> None:
    """Note which values of the site the rollback changes, and keep the record of those that come back.

    Args:
        context: The product.
        state: Its state.
        entry: The release that comes back.
        wanted: What it wants.
        places: The names of its rendered files in the new record, by those in its own.
    """
    system, layout = context.system, context.layout
    then = read_recorded(system, layout, entry.record)
    now = read_recorded(system, layout, state.current.record) if state.current else {}
    if then is not None:
        secrets = read_secrets(system, layout, entry.record)
        # Each file may have another number now.
        spans = {places.get(place, place): spans for place, spans in secrets.spans.items()}
        wanted.values = digests_bytes(then, replace(secrets, spans=spans))
    if now is not None and then is not None:
        wanted.value_changes = changes(now, then)
    # Without a template there are no values, and nothing to be told.
    wanted.values_unknown = bool(wanted.rendered) and (now is None or then is None)


def _find(context: Context, state: State, version: str | None) -> Entry:
    # A rollback does not return to the installed one.
    others = [entry.version for entry in state.retained if entry != state.current]
    retained = f"retained releases: {', '.join(others) or 'none besides the installed one'}"
    product = context.layout.product
    # After a removal, and where every attempt ended before anything was installed.
    if state.current is None and not others:
        raise RefusedError(
            f"{product} is not installed here: there is no release to return to",
            hint="install a bundle of it: `install apply BUNDLE`",
        )
    if version is None:
        if state.previous is None:
            raise RefusedError(f"{product} has no previous release on this host", hint=retained)
        # A second rollback would bring back the very release that the first one left.
        if state.current is not None and state.previous.sequence > state.current.sequence:
            what = f"the release that ran before, {state.previous.version}, is newer than the installed one"
            hint = f"run `install rollback VERSION`; {retained}"
            raise UsageError(f"{product} {state.current.version}: {what}", hint=hint)
        _require_undamaged(context, state, state.previous)
        return state.previous
    entry = state.find(version)
    if entry is None:
        # `remove` takes a product as it is.
        named = f"name a product by `--product {product}`; " if version == product else ""
        raise RefusedError(
            f"{product} {version} is not a retained release of this host",
            hint=f"{named}{retained}; for any other version, install its bundle",
        )
    return entry


def _require_undamaged(context: Context, state: State, entry: Entry) -> None:
    """Refuse the previous release if its files are seen to be damaged, and name the releases that are not.

    Another release is not chosen in its place: how far back a host goes is for a person to say.

    Raises:
        TamperedError: It is damaged.
    """
    system, layout = context.system, context.layout
    damage = find_damage(system, layout, entry)
    if damage is None:
        return
    others = [
        each.version
        for each in state.retained
        if each not in (state.current, entry) and find_damage(system, layout, each) is None
    ]
    hint = DAMAGED
    if others:
        hint = f"run `install rollback {others[0]}`; undamaged retained releases: {', '.join(others)}"
    raise TamperedError(
        f"the previous release, {layout.product} {entry.version}, is damaged ({damage.what})",
        where=layout.release(entry.name),
        hint=hint,
    )
