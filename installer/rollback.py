"""VERB rollback: back to the release before, or to a named one that is kept, as an ordinary transaction."""

from __future__ import annotations

from collections.abc import Callable

from installer.core.errors import RefusedError
from installer.core.manifest import Manifest
from installer.operations import Context
from installer.plan import Options, Plan, plan_kept
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
        NotUndoneError: The kept release, or what runs now, is damaged.
    """
    entry = _find(context, state, version)
    if verify is not None:
        verify(entry)
    return plan_kept(context, state, entry, options)


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
