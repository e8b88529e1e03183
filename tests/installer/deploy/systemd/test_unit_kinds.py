"""Units of every type on a real host: in order, restarted only where needed, and all back after a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from installer.commands import status
from installer.commands.common.health_report import ask_health
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.planning.plan_text import plan_text
from installer.state.state import load
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, install, plan_for, remove, roll_back

pytestmark = [pytest.mark.needs("docker"), pytest.mark.host(machine="bookworm")]

INSTALL = "[Install]\nWantedBy=multi-user.target\n"
SERVICE = f"[Service]\nExecStart=/bin/sleep 1000\n{INSTALL}"
ON_DEMAND = "[Service]\nExecStart=/bin/sleep 1000\n"
ONESHOT = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo {{}} >> /run/ran'\n{INSTALL}"
SOCKET = "[Socket]\nListenStream=127.0.0.1:45111\n[Install]\nWantedBy=sockets.target\n"
TIMER = "[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n"
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)
BEGAN = "until systemctl show -p ActiveState demo.service | grep -q activating; do sleep 0.1; done"


def of_units(number: int, instances: Sequence[str] = (), **texts: str) -> ReleaseSpec:
    """Give a release of units; `__` in a name stands for its dot, `___at` for the sign."""
    return with_files(
        number, {name.replace("__at", "@").replace("__", "."): t for name, t in texts.items()}, instances
    )


def with_files(number: int, texts: Mapping[str, str], instances: Sequence[str] = ()) -> ReleaseSpec:
    """Give a release of units and drop-ins, by their names in the directory of units."""
    members = {f"deploy/{name}": Member(text.encode(), kind="unit") for name, text in texts.items()}
    options = {"units": sorted(members), **({"instances": list(instances)} if instances else {})}
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(Deployment("systemd", options),))


def shown(host: Context, unit: str, *properties: str) -> list[str]:
    """Give properties of a unit."""
    words = [word for name in properties for word in ("-p", name)]
    text = host.system.run(["systemctl", "show", *words, unit], timeout=20).stdout.decode()
    found = dict(line.split("=", 1) for line in text.splitlines())
    return [found.get(name, "") for name in properties]


def drift(host: Context) -> list[str]:
    """Give the drift in words."""
    return [f"{each.where} {each.what}" for each in status.product_status(host).drift]


def test_a_oneshot_that_has_ended_well_is_no_drift_and_a_failed_one_is(host: Context, machine: Host) -> None:
    machine.check("rm -f /run/ran")
    install(host, of_units(1, demo__service=ONESHOT.format("one")))
    assert machine.check("cat /run/ran") == "one\n"
    assert drift(host) == []
    install(host, of_units(2, demo__service=ONESHOT.format("two")))
    assert machine.check("cat /run/ran") == "one\ntwo\n"
    machine.run("chattr +i /run/ran; rm -f /run/ran; mkdir /run/ran; systemctl start demo")
    assert drift(host) == ["demo.service is failed: exit status 2"]
    machine.check("rmdir /run/ran; systemctl start demo")
    assert drift(host) == []


def test_a_service_that_a_condition_keeps_from_starting_is_no_drift(host: Context) -> None:
    install(host, of_units(1, demo__service=f"[Unit]\nConditionPathExists=/nowhere\n{SERVICE}"))
    assert shown(host, "demo", "ActiveState") == ["inactive"]
    assert drift(host) == []


def test_units_that_a_generator_makes_are_left_alone(host: Context, machine: Host) -> None:
    """Each reload runs generators again: what they make is theirs, before, between and after our releases."""
    generator = "/etc/systemd/system-generators/rig"
    unit = r"printf '[Service]\nExecStart=/bin/sleep 1000\n' > $1/made.service"
    machine.check(f"mkdir -p {generator.rpartition('/')[0]}")
    machine.run(f"cat > {generator}", stdin=f"#!/bin/sh\n{unit}\n".encode())
    machine.check(f"chmod 755 {generator}; systemctl daemon-reload; systemctl start made")
    before = shown(host, "made.service", "InvocationID", "FragmentPath")
    assert before[1] == "/run/systemd/generator/made.service"
    install(host, of_units(1, demo__service=SERVICE))
    install(host, of_units(2, demo__service=SERVICE + "\n"))
    assert (shown(host, "made.service", "InvocationID", "FragmentPath"), drift(host)) == (before, [])
    remove(host)
    assert shown(host, "made.service", "InvocationID", "FragmentPath") == before
    machine.check(f"rm {generator}; systemctl stop made; systemctl daemon-reload")


def test_a_socket_and_its_service_start_stop_and_change_together(host: Context, machine: Host) -> None:
    both = of_units(1, demo__service=SERVICE, demo__socket=SOCKET)
    install(host, both)
    assert drift(host) == []
    assert shown(host, "demo.socket", "SubState") == ["running"]
    before = shown(host, "demo.socket", "InvocationID")
    # The socket did not change: it goes on listening, and loses no connection.
    install(host, of_units(2, demo__service=SERVICE + "\n", demo__socket=SOCKET))
    assert shown(host, "demo.socket", "InvocationID") == before
    served = shown(host, "demo.service", "InvocationID")
    other = SOCKET.replace("45111", "45112")
    install(host, of_units(3, demo__service=SERVICE, demo__socket=other))
    assert "45112" in shown(host, "demo.socket", "Listen")[0]
    assert shown(host, "demo.service", "InvocationID") != served
    sick = replace(of_units(4, demo__service=SERVICE, demo__socket=SOCKET), health=SICK)
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, sick)
    assert "45112" in shown(host, "demo.socket", "Listen")[0]
    assert drift(host) == []
    machine.check("systemctl stop demo.socket demo.service")
    assert drift(host) == ["demo.service is inactive", "demo.socket is inactive"]
    roll_back(host)
    assert drift(host) == []
    remove(host)
    assert machine.run("systemctl is-active demo.socket demo.service").out.split() == ["inactive"] * 2


def test_a_service_on_demand_is_not_started_and_is_restarted_where_it_runs(
    host: Context, machine: Host
) -> None:
    install(host, of_units(1, demo__service=ON_DEMAND, demo__socket=SOCKET))
    assert shown(host, "demo.service", "ActiveState") == ["inactive"]
    assert drift(host) == []
    machine.check("systemctl start demo.service")
    before = shown(host, "demo.service", "InvocationID")
    new = of_units(2, demo__service=ON_DEMAND + "\n", demo__socket=SOCKET)
    assert "restart demo.service if it runs" in plan_text(plan_for(host, new))
    install(host, new)
    assert shown(host, "demo.service", "ActiveState") == ["active"]
    assert shown(host, "demo.service", "InvocationID") != before
    assert shown(host, "demo.socket", "ActiveState") == ["active"]


def test_a_running_job_of_a_timer_is_not_killed(host: Context, machine: Host) -> None:
    job = "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n"
    install(host, of_units(1, demo__service=job, demo__timer=TIMER))
    machine.check(f"systemctl start --no-block demo.service; {BEGAN}")
    before = shown(host, "demo.service", "InvocationID", "ActiveState")
    assert before[1] == "activating"
    timer = shown(host, "demo.timer", "InvocationID")
    sick = replace(of_units(2, demo__service=job + "\n", demo__timer=TIMER), health=SICK)
    assert "a run that has begun goes on" in plan_text(plan_for(host, sick))
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, sick)
    install(host, of_units(3, demo__service=job + "\n", demo__timer=TIMER))
    assert shown(host, "demo.service", "InvocationID", "ActiveState") == before
    assert shown(host, "demo.timer", "InvocationID") == timer
    # What goes is stopped: its files go, too.
    remove(host)
    assert shown(host, "demo.service", "ActiveState") == ["inactive"]


def test_a_job_that_ended_during_an_upgrade_is_not_run_again_by_its_undo(
    host: Context, machine: Host
) -> None:
    job = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >> /run/ran; sleep 3'\n"
    machine.check("rm -rf /run/ran")
    install(host, of_units(1, demo__service=job, demo__timer=TIMER))
    machine.check("systemctl start --no-block demo.service; until [ -e /run/ran ]; do sleep 0.1; done")
    slow = (HealthCheck("command", "", ("/bin/false",), within=4),)
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, replace(of_units(2, demo__service=job + "\n", demo__timer=TIMER), health=slow))
    assert machine.check("cat /run/ran") == "ran\n"


def test_named_instances_run_and_those_of_the_administrator_get_the_new_program(
    host: Context, machine: Host
) -> None:
    template = f"[Service]\nExecStart=/bin/sleep %i\n{INSTALL}"
    install(host, of_units(1, ["demo@1000.service"], **{"demo@.service": template}))
    assert shown(host, "demo@1000", "ActiveState", "UnitFileState") == ["active", "enabled"]
    machine.check("systemctl enable --now demo@2000 2>&1")
    before = shown(host, "demo@2000", "InvocationID")
    new = of_units(2, ["demo@3000.service"], **{"demo@.service": template + "\n"})
    text = plan_text(plan_for(host, new))
    assert "stop and disable demo@1000.service" in text
    assert "enable and start demo@3000.service" in text
    assert "restart demo@2000.service if it runs" in text
    install(host, new)
    assert shown(host, "demo@1000", "ActiveState", "UnitFileState") == ["inactive", "disabled"]
    assert shown(host, "demo@3000", "ActiveState") == ["active"]
    assert shown(host, "demo@2000", "InvocationID") != before
    assert drift(host) == []
    machine.check("systemctl stop demo@3000")
    assert drift(host) == ["demo@3000.service is inactive"]
    remove(host)
    assert (
        machine.check("systemctl list-units --plain --no-legend 'demo@*'; find /etc/systemd -name 'demo*'")
        == ""
    )


def test_a_masked_unit_stays_masked_and_the_plan_says_so(host: Context, machine: Host) -> None:
    machine.check("systemctl mask demo.service 2>&1")
    new = of_units(1, demo__service=SERVICE, other__service=SERVICE)
    assert "leave demo.service alone: it is masked on this host" in plan_text(plan_for(host, new))
    install(host, new)
    assert machine.check("readlink /etc/systemd/system/demo.service") == "/dev/null\n"
    assert shown(host, "other", "ActiveState") == ["active"]
    assert drift(host) == []
    install(host, of_units(2, demo__service=SERVICE, other__service=SERVICE))
    remove(host)
    assert machine.check("readlink /etc/systemd/system/demo.service") == "/dev/null\n"
    machine.check("systemctl unmask demo.service 2>&1")


def test_a_drop_in_comes_changes_and_goes_with_its_unit(host: Context, machine: Host) -> None:
    texts = {"demo.service": SERVICE, "demo.service.d/10-nice.conf": "[Service]\nNice=5\n"}
    install(host, with_files(1, texts))
    assert shown(host, "demo", "Nice") == ["5"]
    install(host, with_files(2, texts | {"demo.service.d/10-nice.conf": "[Service]\nNice=7\n"}))
    assert shown(host, "demo", "Nice") == ["7"]
    roll_back(host)
    assert shown(host, "demo", "Nice") == ["5"]
    remove(host)
    assert machine.check("find /etc/systemd/system -name 'demo*'") == ""


def test_a_drop_in_for_a_unit_of_the_host_restarts_nothing(host: Context, machine: Host) -> None:
    drop_in = "systemd-journald.service.d/50-demo.conf"
    before = shown(host, "systemd-journald", "InvocationID")
    text = "[Service]\nNice=1\n"
    new = with_files(1, {"demo.service": SERVICE, drop_in: text})
    absent = with_files(1, {"demo.service": SERVICE, "demmo.service.d/50-demo.conf": text})
    assert "the drop-in of demmo.service has no effect" in plan_text(plan_for(host, absent))
    assert "the settings of systemd-journald.service, a unit of this host, change" in plan_text(
        plan_for(host, new)
    )
    install(host, new)
    assert shown(host, "systemd-journald", "InvocationID") == before
    assert drop_in in shown(host, "systemd-journald", "DropInPaths")[0]


def test_targets_slices_and_paths_bring_their_services_once(host: Context, machine: Host) -> None:
    counted = (
        "[Unit]\nPartOf=demo.target\n[Service]\nSlice=demo.slice\n"
        "ExecStartPre=/bin/sh -c 'echo {} >> /run/ran'\nExecStart=/bin/sleep 1000\n"
        "[Install]\nWantedBy=demo.target\n"
    )
    texts = {
        "demo.target": f"[Unit]\nDescription=all\n{INSTALL}",
        "demo.slice": "[Slice]\nTasksMax=50\n",
        "demo.service": counted.format("one"),
        "watch.path": f"[Path]\nPathExists=/run/nowhere\n{INSTALL}",
        "watch.service": "[Service]\nExecStart=/bin/sleep 1000\n",
    }
    machine.check("rm -rf /run/ran")
    install(host, with_files(1, texts))
    assert machine.check("cat /run/ran") == "one\n"
    assert drift(host) == []
    target = shown(host, "demo.target", "InvocationID")
    install(
        host,
        with_files(
            2, texts | {"demo.service": counted.format("two"), "demo.slice": "[Slice]\nTasksMax=60\n"}
        ),
    )
    assert machine.check("cat /run/ran") == "one\ntwo\n"
    assert shown(host, "demo.target", "InvocationID") == target
    assert shown(host, "demo.slice", "TasksMax") == ["60"]
    assert shown(host, "watch.service", "ActiveState") == ["inactive"]


def test_a_unit_that_systemd_refuses_stops_the_plan_and_an_unknown_line_is_named(host: Context) -> None:
    bad = of_units(1, demo__service="[Service]\nType=simple\n")
    plan = plan_for(host, bad)
    (problem,) = plan.problems
    assert problem.where == "deploy/demo.service"
    assert problem.what.startswith("systemd of this host refuses it: Service has no ExecStart=")
    with pytest.raises(HostNotReadyError):
        install(host, bad)
    newer = of_units(2, demo__service=f"[Service]\nFromTomorrow=yes\n{SERVICE.removeprefix('[Service]')}")
    assert "systemd of this host says of deploy/demo.service:2: Unknown key" in plan_text(
        plan_for(host, newer)
    )


def test_a_crash_loop_shows_the_exit_status_and_the_last_lines(host: Context, machine: Host) -> None:
    looping = (
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=0.3\n"
        "ExecStart=/bin/sh -c 'echo no license found; exit 7'\n"
    )
    probe = (HealthCheck("command", "", ("/bin/false",), within=2),)
    with pytest.raises(RolledBackError) as caught:
        install(host, replace(of_units(1, demo__service=looping + INSTALL), health=probe))
    said = [f"{each.where} {each.what}" for each in caught.value.problems]
    # Where it is seen while it runs, systemd's own lines say it.
    assert any("exit status 7" in line or "status=7" in line for line in said)
    assert "demo.service no license found" in said
    # So long that it is seen between two runs.
    install(host, of_units(2, demo__service=looping.replace("RestartSec=0.3", "RestartSec=600") + INSTALL))
    machine.check("until systemctl show -p SubState demo | grep -q auto-restart; do sleep 0.1; done")
    assert drift(host) == ["demo.service has ended and will be restarted: exit status 7"]


def test_one_unit_that_fails_among_several_is_the_one_that_is_named(host: Context) -> None:
    bad = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo the disk is gone; exit 3'\n" + INSTALL
    with pytest.raises(RolledBackError, match=r"systemctl restart b\.service: ") as caught:
        install(host, of_units(1, a__service=SERVICE, b__service=bad, c__service=SERVICE))
    said = [f"{each.where} {each.what}" for each in caught.value.problems]
    assert said[0] == "b.service is failed: exit status 3"
    assert "b.service the disk is gone" in said
    assert {each.where for each in caught.value.problems} == {"b.service"}


def test_probes_of_units_see_what_runs_what_ended_and_what_restarts(host: Context, machine: Host) -> None:
    machine.check("rm -rf /run/ran")
    health = (HealthCheck("unit", "demo.service"), HealthCheck("unit", "job.service"))
    both = of_units(1, demo__service=SERVICE, job__service=ONESHOT.format("job"))
    install(host, replace(both, health=health))
    current = load(host.system, host.layout).current
    report = ask_health(host, current, is_changing=False)
    assert report
    assert [(each.name, each.healthy, each.said) for each in report.checks] == [
        ("unit demo.service", True, "is active (running)"),
        ("unit job.service", True, "is inactive (dead)"),
    ]
    machine.check("systemctl stop demo")
    report = ask_health(host, current, is_changing=False)
    assert report
    assert [each.said for each in report.checks if not each.healthy] == ["is inactive"]
    # It runs whenever it is asked, and is restarted in between.
    crashing = "[Service]\nExecStart=/bin/sleep 0.9\nRestart=always\nRestartSec=50ms\n" + INSTALL
    sick = replace(
        of_units(2, demo__service=crashing), health=(HealthCheck("unit", "demo.service", stable=3),)
    )
    with pytest.raises(RolledBackError) as caught:
        install(host, sick)
    assert "unit demo.service was restarted" in str(caught.value) or "failed again" in str(caught.value)


def test_a_probe_of_a_unit_that_is_nowhere_is_a_problem_of_the_plan(host: Context) -> None:
    spec = of_units(1, demo__service=SERVICE)
    missing = replace(spec, health=(HealthCheck("unit", "dmeo.service"),))
    with pytest.raises(HostNotReadyError, match=r"dmeo\.service"):
        install(host, missing)
    install(host, replace(spec, health=(HealthCheck("unit", "dbus.service"),)))


def test_a_preset_of_the_distribution_that_disables_everything_does_not_count(
    host: Context, machine: Host
) -> None:
    place = "/etc/systemd/system-preset/00-none.preset"
    machine.check(f"mkdir -p $(dirname {place}) && echo 'disable *' > {place}")
    try:
        install(host, of_units(1, demo__service=SERVICE))
        assert shown(host, "demo.service", "ActiveState", "UnitFileState") == ["active", "enabled"]
        assert drift(host) == []
    finally:
        machine.check(f"rm {place}")
