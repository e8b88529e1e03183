"""What a look at the host of an installed release shows: drift, damage, what was left. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from installer.commands.common.unfinished import Found
from installer.core.errors import NotUndoneError, Problem
from installer.host.context import Context
from installer.host.host import A_KIND
from installer.planning.drift import Drifted, drift
from installer.planning.method_selection import Selection, method_steps
from installer.planning.views.content_diff import drift_diffs
from installer.planning.views.visible_release import HIDDEN, visible_drift, visible_release
from installer.shared.secrecy.redaction import Diff
from installer.state.release import Release
from installer.state.releases.damage import Damage, all_damage, find_blob_damage
from installer.state.state import Entry
from installer.transaction import leftovers


@dataclass(slots=True)
class HostLook:
    """What a look at the files and methods of the running release has found."""

    drift: list[Problem] = field(default_factory=list)
    edited: list[Drifted] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    differences: tuple[Diff, ...] = ()
    hidden: str = ""
    leftovers: list[Problem] = field(default_factory=list)
    damaged: tuple[Damage, ...] = ()


def look(context: Context, open_: Found, *, verify_retained: bool) -> HostLook:
    """Look at the files and methods of the running release."""
    state, seen = open_.state, HostLook()
    # The running release is compared with the host below.
    others = [entry for entry in state.retained if entry != state.current]
    seen.damaged = all_damage(
        context.system, context.layout, others, context.progress, digests=verify_retained
    )
    if verify_retained and state.current is not None:
        found = find_blob_damage(context.system, context.layout, state.current, context.progress)
        seen.damaged += (found,) if found else ()
    # A transaction that is open clears later.
    if not open_.unfinished and not open_.partial:
        seen.leftovers += leftovers.look(context, state)
    if state.current is None:
        seen.drift = [] if open_.unfinished else _link(context, "")
        return seen
    try:
        # A record that cannot be read is drift of the worst kind, and no reason to show nothing.
        visible = visible_release(context, state.current)
    except NotUndoneError as error:
        seen.drift = [Problem(error.where, error.what, error.hint)]
        return seen
    release, origin = visible.release, visible.release.manifest.source
    seen.source = {"commit": origin.commit, "tag": origin.tag, "dirty": origin.dirty}
    if visible.partial:
        # An open transaction changes the host: what looks like drift then may be its work.
        if not open_.unfinished:
            seen.drift, unread = visible_drift(context.system, release.installed)
            seen.drift += _link(context, f"releases/{state.current.name}")
            files = f"; {unread} files that this user may not read" if unread else ""
            seen.hidden = f"{HIDDEN}{files}"
        return seen
    seen.drift, seen.edited = drift(context.system, release.installed)
    seen.differences = drift_diffs(context, release.installed, seen.drift, seen.edited)
    # Between switch and commit the link names the new release: that is not drift.
    seen.drift += _link(context, f"releases/{state.current.name}") if not open_.unfinished else []
    seen.drift += _methods(context, state.current, release)
    return seen


def _link(context: Context, expected: str) -> list[Problem]:
    seen = context.system.observe(context.layout.current)
    if seen.kind in ("link", "absent") and seen.target == expected:
        return []
    words = {"link": f"points to {seen.target}", "absent": "is missing"}
    should = f"point to {expected}" if expected else "not be there"
    what = f"{words.get(seen.kind, f'is {A_KIND.get(seen.kind)}')}; it should {should}"
    return [Problem(context.layout.current, what, "run `install recover`: it explains how to fix it")]


def _methods(context: Context, current: Entry, release: Release) -> list[Problem]:
    steps = method_steps(None, release, Selection(frozenset(current.methods), {}))
    # Two steps of one method look at the same files of the release.
    return list(dict.fromkeys(problem for step in steps for problem in step.drift(context)))
