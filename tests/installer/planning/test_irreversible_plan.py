"""What a plan knows of steps that cannot be undone, whatever it is a plan of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.host.context import Context
from installer.planning import irreversible
from installer.planning.method_selection import MethodStep
from installer.planning.plan import Options, Plan
from installer.state.state import State, load
from tests.rig.steps import DATA, FORWARD, ONE, ONLY, WHY, install_steps, plan_steps, stepped

pytestmark = pytest.mark.host(ONE, options=ONLY, files=DATA)

SAID = f"deploy/migrate.sh cannot be undone: {WHY}"


def way_back(within: Context, *, data_restored: bool = False) -> Plan:
    with exclusive(within) as (state, _):
        return plan_rollback(within, state, None, Options(data_restored=data_restored))


def test_only_a_rollback_goes_back_past_something(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    found = way_back(host)
    passed = irreversible.passed_by(found.state, found.new)
    assert [(entry.version, step) for entry, step in passed] == [("2.0.0", SAID)]
    assert irreversible.passed_by(found.state, found.state.current) == []
    assert irreversible.passed_by(found.state, None) == []


def test_the_way_out_names_the_release_whose_data_have_to_come_back(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    (problem,) = way_back(host).problems
    assert "restore data that 1.0.0 can read, then run `install rollback --data-restored`" in problem.hint


def test_no_step_stays_done_without_a_release(host: Context) -> None:
    found = plan_steps(host, stepped("2.0.0", 2, FORWARD))
    assert len(list(irreversible.final_lines(found))) == 3
    assert list(irreversible.final_lines(replace(found, new=None))) == []
    assert replace(found, new=None).as_json()["irreversible"] == []


def test_a_method_that_has_no_such_steps_leaves_no_mark(host: Context) -> None:
    current = load(host.system, host.layout).current
    driven = [MethodStep("systemd", None, cast("Any", object())), MethodStep("script", None, None)]
    driven.append(MethodStep("of-a-newer-version", None, cast("Any", object())))
    marked = irreversible.with_irreversible(host, State(), current, driven)
    assert marked == current
