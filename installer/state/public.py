"""What every user of a host may read of a product: `public.json`, written after each transaction.

State, history and records belong to root. They hold reasons of failures, which may quote the output of a
script, digests of rendered configuration, from which a short password could be found by trying, and targets
of probes. The public file has none of these. It is derived, so nothing that changes a host is decided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from installer.core import jsonio
from installer.core.errors import HostNotReadyError, TamperedError
from installer.host.atomic_file import remove_present, replace_file, temporary_path
from installer.host.layout import Layout
from installer.host.system import System
from installer.state.evidence import Evidence
from installer.state.releases.passed_checks import PassedChecks
from installer.state.state import STATE_LIMIT, State, cannot_read_error, load

SCHEMA = "waybill/public/v1"
AS_ROOT = "run as root to see it"
HISTORY = 100
"""How many transactions it lists; root sees all of them."""
_LIMIT = 2 * STATE_LIMIT
_ROW = (
    "transaction",
    "verb",
    "outcome",
    "began",
    "ended",
    "from",
    "to",
    "version",
    "identity",
    "cause",
)


@dataclass(frozen=True, slots=True)
class PublicView:
    """What every user may read.

    Attributes:
        state: The state, without reasons of failures and digests of records.
        history: The newest transactions, the oldest of them first, without reasons.
    """

    state: State
    history: tuple[dict[str, Any], ...]


def publish(system: System, layout: Layout, state: State, history: Sequence[dict[str, Any]]) -> None:
    """Write what every user may read.

    Raises:
        OSError: It cannot be written.
    """
    data = _bytes(state, history)
    # Every command looks: a file that is right is not written again.
    if _read(system, layout) != data:
        try:
            replace_file(system, layout.public, data, 0o644)
        except OSError:
            # No later command may have a reason to write it again, and to find this then.
            with suppress(OSError):
                remove_present(system, temporary_path(layout.public))
            raise


def _bytes(state: State, history: Sequence[dict[str, Any]]) -> bytes:
    shown = [
        replace(
            each,
            record_sha256="",
            incomplete=AS_ROOT if each.incomplete else "",
            evidence=each.evidence.public(),
        )
        for each in state.retained
    ]
    current = next((each for each in shown if state.current and each.name == state.current.name), None)
    view = replace(state, current=current, retained=tuple(shown))
    rows = [
        {
            **{name: row[name] for name in _ROW if name in row},
            **({"health": passed.public()} if (passed := PassedChecks.read(row.get("health"))) else {}),
            "evidence": dict(Evidence(row["evidence"]).public().document),
        }
        for row in history[-HISTORY:]
    ]
    return jsonio.dumps_lines({"schema": SCHEMA, "state": view.as_json(), "history": rows})


def _read(system: System, layout: Layout) -> bytes | None:
    try:
        if system.observe(layout.public, digest=False).mode == 0o644:
            return system.read(layout.public, _LIMIT)
    except OSError:
        pass
    return None


def visible_state(system: System, layout: Layout) -> State:
    """Return the state, or what this user may read of it.

    Raises:
        HostNotReadyError: There is nothing that this user may read, or it cannot be read.
        NotUndoneError: It is damaged, or a newer installer wrote it.
    """
    try:
        return load(system, layout)
    except HostNotReadyError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        return public_view(system, layout).state


def public_view(system: System, layout: Layout) -> PublicView:
    """Return what this user may read, where the state itself is root's.

    Raises:
        HostNotReadyError: There is nothing that this user may read.
    """
    try:
        data = system.read(layout.public, _LIMIT)
        document = jsonio.loads_strict(data, layout.public, _LIMIT)
        rows = tuple(_row(row) for row in document["history"])
        view = PublicView(State.from_json(document["state"]), rows)
        if _is_current(system, layout, view.state):
            return view
    # A host of an earlier version has none until its next change; a damaged one is written again then.
    except (OSError, TamperedError, KeyError, TypeError, ValueError):
        pass
    raise cannot_read_error(layout.state_file)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the history as `finalize` has it."""
    why = {} if row["outcome"] == "done" else {"why": AS_ROOT}
    return {**row, "evidence": dict(row["evidence"]), **why}


def _is_current(system: System, layout: Layout, state: State) -> bool:
    """Return whether a view tells what runs: an older version of the installer does not write it."""
    link = system.observe(layout.current, digest=False)
    same = link.target == (f"releases/{state.current.name}" if state.current else "")
    # While a transaction is open the link may name the release that is coming.
    return same or system.observe(temporary_path(layout.state_file), digest=False).kind != "absent"
