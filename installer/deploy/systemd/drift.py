"""Where units are not as a release wants them, in the words of systemd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from installer.core.errors import Problem
from installer.deploy.operation import StepError
from installer.deploy.systemctl import RESULT, RUNNING, journal, result_text, show_all
from installer.deploy.systemd.units import StepUnit
from installer.deploy.user_manager import shown
from installer.host.context import Context

_STATE = (*RESULT, "LoadState", "UnitFileState", "ConditionResult", "ConditionTimestampMonotonic")


def units(context: Context, wanted: Iterable[StepUnit]) -> list[Problem]:
    """Return which units do not run as they should, or would not after a boot."""
    asked = {unit.name: unit for unit in wanted if unit.role in ("run", "keep", "start") or unit.is_enabled}
    try:
        states = show_all(context, list(asked), *_STATE)
    except StepError as error:
        return [Problem("systemd", error.what)]
    # A masked instance: the administrator has said no.
    return [
        problem
        for name, unit in asked.items()
        if states[name]["UnitFileState"] not in ("masked", "masked-runtime")
        for problem in _of_unit(context, unit, states[name])
    ]


def _of_unit(context: Context, unit: StepUnit, state: Mapping[str, str]) -> Iterator[Problem]:
    name, see = unit.name, f"see {journal(context, unit.name)}"
    if unit.is_enabled and state["UnitFileState"] == "disabled":
        yield Problem(name, "is disabled", f"run `{shown(context, 'enable', name)}`")
    if unit.role not in ("run", "keep", "start"):
        return
    if fault := result_text(state):
        yield Problem(name, fault, see)
    elif state["ActiveState"] not in RUNNING and not _is_done(unit, state):
        yield Problem(name, f"is {state['ActiveState']}", see)


def _is_done(unit: StepUnit, state: Mapping[str, str]) -> bool:
    """Return whether a unit that does not run need not: it has ended well, or its conditions are not met."""
    if unit.ends and state["Result"] == "success":
        return True
    # Before its first start a unit has no conditions that were asked.
    return state["ConditionResult"] == "no" and state["ConditionTimestampMonotonic"] not in ("", "0")
