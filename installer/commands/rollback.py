"""VERB rollback: return to the previous release, or to a named retained one, as an ordinary transaction."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from installer.commands.common.attempt import attempt
from installer.commands.common.plan_execution import TransactionResult, ask_and_execute
from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError, RefusedError, TamperedError
from installer.core.remedies import remedy
from installer.core.trust.verifier import Trust
from installer.host.context import Context
from installer.planning.desired_state import Desired
from installer.planning.plan import DEFAULT_OPTIONS, Options, Plan
from installer.planning.planner import Planner
from installer.shared.redaction import LIMIT
from installer.state.release import open_release
from installer.state.retained import DAMAGED, verify_retained
from installer.state.state import Entry, State, next_transaction

Check = Callable[[Entry], None]
"""Verifies a retained release again, signatures and digests, and raises where it is not what was signed."""


def rollback(
    session: Session,
    product: str | None = None,
    version: str | None = None,
    options: Options = DEFAULT_OPTIONS,
    *,
    yes: bool = False,
) -> TransactionResult:
    """Roll back to a retained release, after it was verified again.

    Args:
        session: The host; its `ui` is shown the plan and asked.
        product: The product; None where there is only one.
        version: The version to return to; None for the previous one.
        options: What the operator chose.
        yes: Whether nobody is asked.

    Raises:
        WaybillError: It is refused, or failed.
    """
    name = session.product(product)
    with attempt(session, "rollback", product=name, known=lambda: {"version": version or ""}):
        # Trust is read before the lock is taken: without trust nothing is even locked.
        trust, context = session.trust(), session.context(name)

        def check(entry: Entry) -> None:
            # Expiry never keeps a host from an installed release: the keys have to have been in force when it
            # was verified first, and not to have been revoked since.
            then = Trust(trust.root, lambda: datetime.fromtimestamp(entry.verified, UTC))
            directory, system = context.layout.release(entry.name), context.system
            verify_retained(system, directory, system.platform(), then, context.progress, blobs=entry.blobs)

        return ask_and_execute(
            session,
            context,
            lambda state: plan_rollback(context, state, version, options, check),
            yes=yes,
        )


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
        RefusedError: There is no such release.
        TamperedError: It is no longer what was signed.
        NotUndoneError: The retained release, or the running one, is damaged.
    """
    entry = _find(context, state, version)
    # Before anything of the release is read for the plan: a disk forgets, and people edit.
    if check is not None:
        try:
            check(entry)
        except TamperedError as error:
            raise TamperedError(error.what, where=context.layout.release(entry.name), hint=DAMAGED) from None
        except OSError as error:
            # What is gone is damage; a disk that failed to read may read the next time.
            where, what = context.layout.release(entry.name), f"cannot be read: {error.strerror}"
            if isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ELOOP:
                raise TamperedError(what, where=where, hint=DAMAGED) from None
            raise HostNotReadyError(what, where=error.filename or where, hint=remedy(error)) from error
    number = next_transaction(context.system, context.layout, state)
    release = open_release(context.system, context.layout, entry, DAMAGED)
    items = [
        # What an operator kept against that release is decided anew; its `.waybill-new` files are not part
        # of it.
        replace(each, policy="")
        for each in release.installed
        if each.origin and each.policy != "beside"
    ]
    wanted = Desired(items, health=release.health)
    source = f"{context.layout.record(entry.record)}/"
    for index, item in enumerate(wanted.items):
        # Configuration comes back as it was rendered then: the values of the site may have changed since.
        if item.source.startswith(source):
            data = context.system.read(item.source, LIMIT * 16)
            wanted.rendered[item.path] = data
            to = f"{context.layout.record(number)}/{len(wanted.rendered)}"
            wanted.items[index] = replace(item, source=to)
    # A later rollback must judge the keys as of the first verification, not of this one.
    evidence = entry.evidence.with_time(entry.verified)
    fresh = replace(entry, record=number, record_sha256="", installed=0, evidence=evidence, incomplete="")
    return Planner(context, state, options, number).plan("rollback", fresh, release, wanted, [])


def _find(context: Context, state: State, version: str | None) -> Entry:
    retained = "retained releases: " + (", ".join(entry.version for entry in state.retained) or "none")
    product = context.layout.product
    if version is None:
        if state.previous is None:
            raise RefusedError(f"{product} has no previous release on this host", hint=retained)
        return state.previous
    entry = state.find(version)
    if entry is None:
        raise RefusedError(
            f"{product} {version} is not a retained release of this host",
            hint=f"{retained}; for any other version, install its bundle",
        )
    return entry
