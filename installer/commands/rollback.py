"""VERB rollback: back to the release before, or to a named one that is kept, as an ordinary transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from installer.core.errors import RefusedError, TamperedError
from installer.core.format.manifest import Manifest
from installer.host.context import Context
from installer.planning.desired_state import Desired
from installer.planning.irreversible import going_back
from installer.planning.plan import Options, Plan
from installer.planning.planner import Planner
from installer.shared.redaction import LIMIT
from installer.state.release import open_release
from installer.state.retained import DAMAGED
from installer.state.state import Entry, State, next_transaction

Verify = Callable[[Entry], Manifest]
"""Verifies a kept release again, signatures and digests, and raises where it is not what it was."""


def plan_rollback(
    context: Context, state: State, version: str | None, options: Options, verify: Verify | None = None
) -> Plan:
    """Plans the way back. `apply.apply` carries it out.

    Args:
        context: The host.
        state: What stands now.
        version: The version (or `<sequence>-<id12>`) to go to; None for the one that ran before.
        options: What the operator chose.
        verify: Verifies the kept release again before anything of it is used.

    Raises:
        RefusedError: There is no such release.
        TamperedError: It is not what was signed any more.
        NotUndoneError: The kept release, or what runs now, is damaged.
    """
    entry = _find(context, state, version)
    if verify is not None:
        try:
            verify(entry)
        except (TamperedError, OSError) as error:
            what = error.what if isinstance(error, TamperedError) else f"cannot be read: {error.strerror}"
            raise TamperedError(what, where=context.layout.release(entry.name), hint=DAMAGED) from None
    return going_back(_plan_kept(context, state, entry, options), options.data_fits)


def _plan_kept(context: Context, state: State, entry: Entry, options: Options) -> Plan:
    """Plans how a kept release becomes the running one, with its configuration as rendered then."""
    number = next_transaction(context.system, context.layout, state)
    release = open_release(context.system, context.layout, entry, DAMAGED)
    items = [
        replace(each, policy="") for each in release.installed if each.origin and each.policy != "beside"
    ]
    wanted = Desired(items, health=release.health)
    source = f"{context.layout.record(entry.record)}/"
    for index, item in enumerate(wanted.items):
        if item.source.startswith(source):
            data = context.system.read(item.source, LIMIT * 16)
            wanted.rendered[item.path] = data
            to = f"{context.layout.record(number)}/{len(wanted.rendered)}"
            wanted.items[index] = replace(item, source=to)
    evidence = {**entry.evidence, "verified": entry.verified}
    fresh = replace(entry, record=number, record_sha256="", installed=0, evidence=evidence, incomplete="")
    return Planner(context, state, options, number).plan("rollback", fresh, release, wanted, [])


def _find(context: Context, state: State, version: str | None) -> Entry:
    kept = ", ".join(entry.version for entry in state.retained) or "none"
    product = context.layout.product
    if version is None:
        if state.previous is None:
            raise RefusedError(f"{product} has no release before this one here", hint=f"kept are: {kept}")
        return state.previous
    entry = state.find(version)
    if entry is None:
        raise RefusedError(
            f"{product} {version} is not kept on this host",
            hint=f"kept are: {kept}. Another version needs its bundle",
        )
    return entry
