"""The method `systemd` on a real host with systemd as PID 1: units up, over, back, and away."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from installer.commands import status
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.deploy.systemd import HANDLERS
from installer.host.context import Context
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.shared.child.process import Completed
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, context, install
from tests.rig.remote import Remote
from tests.rig.services import UNITS_ONE, UNITS_TWO, emptied, running_units, unit, with_units

pytestmark = [pytest.mark.needs("docker"), pytest.mark.host(machine="bookworm")]


BROKEN = Member(
    b"[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n", kind="unit"
)
RUNNING_ONE = {"chatd": "active enabled 1.0.0", "helper": "active enabled 1.0.0", "extra": "inactive"}
RUNNING_TWO = {"chatd": "active enabled 2.0.0", "helper": "inactive", "extra": "active enabled 2.0.0"}


def test_units_come_up_change_over_and_come_back(host: Context) -> None:
    install(host, UNITS_ONE)
    assert running_units(host) == RUNNING_ONE
    install(host, UNITS_TWO)
    assert running_units(host) == RUNNING_TWO
    assert status.product_status(host).drift == ()
    with exclusive(host) as (state, _):
        execute_plan(host, plan_rollback(host, state, None, Options()))
    assert running_units(host) == RUNNING_ONE


def test_what_is_enabled_or_disabled_is_on_the_disk_before_the_next_step(machine: Host) -> None:
    told = list[str]()

    class Told(Remote):
        def run(self, argv: Sequence[str], **words: Any) -> Completed:
            told.extend(f"{argv[-2]} {argv[-1]}" for word in ("enable", "disable") if word in argv)
            return super().run(argv, **words)

        def sync_fs(self, path: str, *, of_engine: bool = False) -> None:
            told.append(f"sync {path}")

    host = context(Told(machine))
    with emptied(machine):
        install(host, UNITS_ONE)
        with pytest.raises(RolledBackError):
            install(host, with_units("2.0.0", 2, chatd=unit("chatd", "2.0.0"), extra=BROKEN))
        with exclusive(host) as (state, _):
            execute_plan(host, plan_remove(host, state))
    pairs = [pair for pair in itertools.pairwise(told) if "able" in pair[0]]
    assert {pair[1] for pair in pairs} == {"sync /etc/systemd/system"}
    assert [pair[0] for pair in pairs] == [
        "enable chatd.service", "enable helper.service",
        "disable helper.service", "enable chatd.service", "enable extra.service", "disable extra.service",
        "enable helper.service", "disable chatd.service", "disable helper.service",
    ]  # fmt: skip


def test_a_unit_that_does_not_start_brings_the_old_ones_back(host: Context) -> None:
    install(host, UNITS_ONE)
    bad = with_units("2.0.0", 2, chatd=unit("chatd", "2.0.0"), extra=BROKEN)
    with pytest.raises(RolledBackError, match=r"systemctl restart extra.service"):
        install(host, bad)
    assert running_units(host) == {**RUNNING_ONE, "extra": running_units(host)["extra"]}
    assert "enabled" not in running_units(host)["extra"]
    assert status.product_status(host).drift == ()


def test_a_unit_that_dies_while_it_is_watched_is_not_healthy(host: Context) -> None:
    install(host, UNITS_ONE)
    bad = replace(
        with_units(
            "2.0.0", 2, chatd=unit("chatd", "2.0.0", "sleep 1; exit 1"), helper=unit("helper", "2.0.0")
        ),
        health=(HealthCheck("command", "", ("systemctl", "is-active", "chatd"), within=5, stable=6),),
    )
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, bad)
    assert running_units(host) == RUNNING_ONE


def test_a_unit_that_was_never_touched_is_not_restarted_by_the_way_back(host: Context) -> None:
    install(host, UNITS_ONE)
    show = ["systemctl", "show", "-p", "InvocationID", "chatd"]
    before = host.system.run(show, timeout=20).stdout
    assert isinstance(host.system, Remote)
    dying = context(Remote(host.system.host))
    assert isinstance(dying.system, Remote)
    dying.system.die_at = "stop helper"
    with pytest.raises(Killed):
        install(dying, UNITS_TWO)
    with exclusive(host) as (_, recovered):
        assert recovered[0].outcome == "undone"
    assert running_units(host) == RUNNING_ONE
    assert host.system.run(show, timeout=20).stdout == before


@pytest.mark.parametrize(
    "moment", ["stop helper", "daemon-reload", "enable extra", "reset-failed chatd", "restart chatd"]
)
def test_the_old_units_run_again_after_a_kill_at_any_step(host: Context, moment: str) -> None:
    install(host, UNITS_ONE)
    assert isinstance(host.system, Remote)
    dying = context(Remote(host.system.host))
    assert isinstance(dying.system, Remote)
    dying.system.die_at = moment
    with pytest.raises(Killed):
        install(dying, UNITS_TWO)
    with exclusive(host):
        pass
    assert running_units(host) == {**RUNNING_ONE, "extra": running_units(host)["extra"]}
    assert not running_units(host)["extra"].startswith("active")


def test_a_unit_that_would_not_come_up_after_a_boot_is_drift(host: Context) -> None:
    install(host, UNITS_ONE)
    assert host.system.run(["systemctl", "disable", "chatd"], timeout=20).ok
    (problem,) = status.product_status(host).drift
    assert (problem.where, problem.what) == ("chatd.service", "is disabled")
    assert problem.hint == "run `systemctl enable chatd.service`"


def test_a_stopped_unit_is_drift(host: Context) -> None:
    install(host, UNITS_ONE)
    host.system.run(["systemctl", "stop", "helper"], timeout=20)
    assert [(problem.where, problem.what) for problem in status.product_status(host).drift] == [
        ("helper.service", "is inactive")
    ]


def test_remove_leaves_no_unit(host: Context, machine: Host) -> None:
    install(host, UNITS_ONE)
    with exclusive(host) as (state, _):
        execute_plan(host, plan_remove(host, state))
    assert running_units(host) == {
        "chatd": "inactive",
        "helper": "inactive",
        "extra": running_units(host)["extra"],
    }
    assert machine.check("ls /etc/systemd/system/*.service 2>/dev/null || true").split() == []


def test_a_service_with_a_timer_is_started_by_the_timer(host: Context) -> None:
    timer = Member(b"[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n", kind="unit")
    members = {
        "deploy/systemd/extra.service": unit("extra", "1", "true", install=False),
        "deploy/systemd/extra.timer": timer,
    }
    options = {"units": sorted(members)}
    install(host, ReleaseSpec("1.0.0", 1, members, deploy=(Deployment("systemd", options),)))
    assert running_units(host)["extra"].startswith("inactive")
    assert host.system.run(["systemctl", "is-active", "extra.timer"], timeout=20).stdout == b"active\n"


def test_operations_of_earlier_versions_are_still_done_and_undone(host: Context, machine: Host) -> None:
    # As a journal of version 1 has them: without `start`, `running` and the type of each unit.
    install(host, UNITS_ONE)
    show = ["systemctl", "show", "-p", "InvocationID", "--value", "chatd"]
    states = {
        unit: {
            "LoadState": "loaded",
            "ActiveState": "active",
            "UnitFileState": "enabled",
            "InvocationID": run,
        }
        for unit, run in (
            ("chatd.service", host.system.run(show, timeout=20).stdout.decode().strip()),
            ("helper.service", "0"),
        )
    }
    machine.check("systemctl disable --now helper 2>&1")
    before = {"units": ["chatd.service", "helper.service"], "stop": ["helper.service"]}
    up = {"enable": ["chatd.service"], "restart": ["chatd.service"], "new": [], "spared": ["chatd.service"]}
    HANDLERS["systemd.up"].do(host, up, {"enabled": {"chatd.service": "enabled"}})
    HANDLERS["systemd.up"].undo(host, up, {"enabled": {"chatd.service": "enabled"}})
    HANDLERS["systemd.before"].undo(host, before, {"states": states})
    assert running_units(host) == RUNNING_ONE
    assert (
        host.system.run(show, timeout=20).stdout.decode().strip() == states["chatd.service"]["InvocationID"]
    )
