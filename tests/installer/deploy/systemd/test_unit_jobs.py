"""Jobs of systemd outlive the `systemctl` that asked for them and was killed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.format.manifest import Deployment
from installer.deploy.method_registry import handler
from installer.host.context import Context
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, install, plan_for

pytestmark = [pytest.mark.needs("docker"), pytest.mark.host(machine="bookworm")]
SERVICE = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
SLOW = f"[Unit]\nAfter=first.service\n{SERVICE}".replace("[Install]", "ExecStop=/bin/sleep 8\n[Install]")


def of_units(number: int, **texts: str) -> ReleaseSpec:
    members = {f"deploy/{name}.service": Member(text.encode(), kind="unit") for name, text in texts.items()}
    deploy = (Deployment("systemd", {"units": sorted(members)}),)
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=deploy)


def test_a_unit_whose_stop_is_queued_runs_after_the_undo(host: Context, machine: Host) -> None:
    # The second takes a while to stop, and the first waits for that.
    install(host, of_units(1, first=SERVICE, second=SLOW))
    plan = plan_for(host, of_units(2, other=SERVICE))
    (op,) = [each for each in plan.operations if each.kind == "systemd.before"]
    preimage = handler(op.kind).observe(host, op.args)
    # What a killed `systemctl stop` leaves: the jobs are systemd's.
    machine.check("systemctl stop --no-block second.service first.service")
    assert machine.check("systemctl is-active first.service") == "active\n"
    handler(op.kind).undo(host, op.args, preimage)
    machine.check("while systemctl list-jobs --no-legend | grep -q .; do sleep 0.1; done")
    machine.check("systemctl is-active first.service second.service")


def test_a_unit_whose_start_is_queued_is_stopped_by_the_undo(host: Context, machine: Host) -> None:
    install(host, of_units(1, first=SERVICE, second=SLOW))
    machine.check("systemctl stop first.service second.service")
    plan = plan_for(host, of_units(2, other=SERVICE))
    (op,) = [each for each in plan.operations if each.kind == "systemd.before"]
    preimage = handler(op.kind).observe(host, op.args)
    start_slowly(machine, "first.service")
    machine.check("systemctl start --no-block second.service")
    handler(op.kind).undo(host, op.args, preimage)
    machine.check("while systemctl list-jobs --no-legend | grep -q .; do sleep 0.1; done")
    machine.check("! systemctl is-active first.service && ! systemctl is-active second.service")


def test_a_unit_that_was_starting_before_is_left_alone(host: Context, machine: Host) -> None:
    install(host, of_units(1, first=SERVICE, second=SERVICE))
    start_slowly(machine, "first.service")
    plan = plan_for(host, of_units(2, first=SERVICE.replace("1000", "1001"), second=SERVICE))
    (op,) = [each for each in plan.operations if each.kind == "systemd.before"]
    preimage = handler(op.kind).observe(host, op.args)
    asked = "systemctl show -p InvocationID --value first.service"
    before = machine.check(asked)
    handler(op.kind).undo(host, op.args, preimage)
    assert machine.check(asked) == before


def test_a_unit_of_the_host_whose_stop_is_queued_is_brought_back(host: Context, machine: Host) -> None:
    install(host, of_units(1, first=SERVICE, second=SLOW))
    within = replace(host, transaction="t1")
    act = {"unit": "first.service", "does": "restart", "own": False, "fresh": False}
    back, args = handler("on_change.back"), {"commands": [], "units": [act]}
    preimage = back.observe(within, args)
    machine.check(f"mkdir -p {preimage['units'].rpartition('/')[0]} && touch {preimage['units']}")
    machine.check("systemctl stop --no-block second.service first.service")
    back.undo(within, args, preimage)
    machine.check("while systemctl list-jobs --no-legend | grep -q .; do sleep 0.1; done")
    machine.check("systemctl is-active first.service")


def start_slowly(machine: Host, unit: str) -> None:
    """Begin to start a unit that takes a while for it."""
    folder = f"/run/systemd/system/{unit}.d"
    machine.check(
        f"mkdir -p {folder} && printf '[Service]\\nExecStartPre=/bin/sleep 5\\n' > {folder}/slow.conf"
    )
    machine.check(f"systemctl daemon-reload && systemctl stop {unit} && systemctl start --no-block {unit}")
