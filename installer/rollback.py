"""VERB rollback: back to the release before, or to a named one that is kept, as an ordinary transaction."""

from __future__ import annotations

from collections.abc import Callable

from installer.core.errors import RefusedError, TamperedError
from installer.core.manifest import Manifest
from installer.irreversible import going_back
from installer.operations import Context
from installer.plan import Options, Plan, plan_kept
from installer.retained import DAMAGED
from installer.state import Entry, State

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
    return going_back(plan_kept(context, state, entry, options), options.data_fits)


def _find(context: Context, state: State, version: str | None) -> Entry:
    kept = ", ".join(entry.version for entry in state.kept) or "none"
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
