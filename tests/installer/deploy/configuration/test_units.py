"""Units that reload, on a real host with systemd as PID 1: told of changes, restarted only where needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from installer.commands import status
from installer.commands.common.recovery import exclusive
from installer.core.errors import RolledBackError
from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.planning.plan_text import plan_text
from installer.planning.planner import plan_remove
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import (
    Member,
    ReleaseSpec,
    context,
    install,
    plan_for,
    recovered,
    remove,
    roll_back,
)
from tests.rig.remote import Remote
from tests.rig.services import configuration, reloading, with_configuration

pytestmark = [pytest.mark.needs("docker"), pytest.mark.host(machine="bookworm")]
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)


def invocations(host: Context, *names: str) -> list[str]:
    """Give which run of each service it is."""
    show = ["systemctl", "show", "-p", "InvocationID", "--value"]
    return [host.system.run([*show, name], timeout=20).stdout.decode().strip() for name in names]


def known(host: Context, name: str) -> str:
    """Give the configuration that a service knows."""
    return host.system.run(["cat", f"/run/{name}"], timeout=20).stdout.decode()


def test_only_the_service_whose_configuration_changes_is_reloaded_and_none_is_restarted(
    host: Context,
) -> None:
    install(host, with_configuration(1, "one"))
    before = invocations(host, "chatd", "helper")
    plan = plan_for(host, with_configuration(2, "two"))
    text = plan_text(plan)
    assert "~ reload chatd.service (/etc/chatd.conf changed)" in text
    assert "helper.service is not restarted" in text
    assert "restart chatd" not in text
    assert plan.as_json()["spared"] == ["chatd.service", "helper.service"]
    install(host, with_configuration(2, "two"))
    assert (known(host, "chatd"), known(host, "helper")) == ("two", "same")
    assert invocations(host, "chatd", "helper") == before
    assert status.product_status(host).drift == ()
    roll_back(host)
    assert known(host, "chatd") == "one"
    assert invocations(host, "chatd", "helper") == before


def test_a_restart_is_done_of_the_service_whose_configuration_changes_and_of_no_other(host: Context) -> None:
    def restarting(number: int, text: str) -> ReleaseSpec:
        spec = with_configuration(number, text)
        files = {
            f"config/{name}.conf": replace(
                spec.members[f"config/{name}.conf"], on_change=OnChange(restart=f"{name}.service")
            )
            for name in ("chatd", "helper")
        }
        return replace(spec, members={**spec.members, **files})

    install(host, restarting(1, "one"))
    first = invocations(host, "chatd", "helper")
    install(host, restarting(2, "one"))
    assert invocations(host, "chatd", "helper") == first
    install(host, restarting(3, "three"))
    chatd, helper = invocations(host, "chatd", "helper")
    assert (chatd == first[0], helper == first[1]) == (False, True)
    assert (known(host, "chatd"), known(host, "helper")) == ("three", "same")


def test_a_service_that_does_not_run_is_started_and_not_reloaded(host: Context) -> None:
    install(host, with_configuration(1, "one"))
    host.system.run(["systemctl", "stop", "chatd"], timeout=20)
    install(host, with_configuration(2, "two", chatd=reloading("chatd", "touch /run/reloaded; exit 1; ")))
    assert known(host, "chatd") == "two"
    assert not host.system.run(["ls", "/run/reloaded"], timeout=20).ok


def test_a_new_program_restarts_the_service_that_names_it_and_no_other(host: Context) -> None:
    def with_program(number: int, text: str) -> ReleaseSpec:
        more = f"[Service]\nExecStartPost=/opt/tool {number // 9}\n"
        tool = Member(f"#!/bin/sh\n# {text}\n".encode(), "/opt/tool", 0o755)
        return with_configuration(number, "same", chatd=reloading("chatd", more=more), tool=tool)

    install(host, with_program(1, "one"))
    (web, mail) = invocations(host, "chatd", "helper")
    install(host, with_program(2, "two"))
    now = invocations(host, "chatd", "helper")
    assert now[0] != web
    assert now[1] == mail


def test_a_reload_that_fails_brings_the_old_configuration_back_to_the_running_service(host: Context) -> None:
    picky = reloading("chatd", "grep -v bad /etc/chatd.conf && ")
    install(host, with_configuration(1, "one", chatd=picky))
    before = invocations(host, "chatd", "helper")
    with pytest.raises(RolledBackError, match=r"systemctl reload chatd.service") as caught:
        install(host, with_configuration(2, "bad", chatd=picky))
    assert caught.value.cause == "engine"
    assert known(host, "chatd") == "one"
    assert invocations(host, "chatd", "helper") == before
    assert status.product_status(host).drift == ()


def test_a_service_that_dies_of_its_reload_runs_again_with_the_old_configuration(host: Context) -> None:
    dying = reloading("chatd", "grep -q bad /etc/chatd.conf && kill -9 $MAINPID; ")
    install(host, with_configuration(1, "one", chatd=dying))
    sick = replace(with_configuration(2, "bad", chatd=dying), health=SICK)
    with pytest.raises(RolledBackError):
        install(host, sick)
    assert known(host, "chatd") == "one"
    assert status.product_status(host).drift == ()


def test_an_unhealthy_release_lets_the_service_read_the_old_configuration_again(host: Context) -> None:
    install(host, with_configuration(1, "one"))
    before = invocations(host, "chatd", "helper")
    with pytest.raises(RolledBackError):
        install(host, replace(with_configuration(2, "two"), health=SICK))
    assert known(host, "chatd") == "one"
    assert invocations(host, "chatd", "helper") == before


def test_a_kill_after_the_reload_is_undone_by_the_next_command(host: Context) -> None:
    install(host, with_configuration(1, "one"))
    before = invocations(host, "chatd", "helper")
    assert isinstance(host.system, Remote)
    dying = context(Remote(host.system.host))
    assert isinstance(dying.system, Remote)
    dying.system.die_at = "reload chatd"
    with pytest.raises(Killed):
        install(dying, with_configuration(2, "two"))
    assert known(host, "chatd") == "two"
    assert [each.outcome for each in recovered(host)] == ["undone"]
    assert known(host, "chatd") == "one"
    assert invocations(host, "chatd", "helper") == before


def of_host(number: int, text: str, on_change: OnChange) -> ReleaseSpec:
    """Give a release of a configuration file for a service of the host, `extra.service`."""
    return ReleaseSpec(
        f"{number}.0.0", number, {"config/extra.conf": configuration("extra", text, on_change)}
    )


@pytest.fixture
def extra(host: Context) -> Iterator[Host]:
    """A service of the host that runs."""
    assert isinstance(host.system, Remote)
    machine = host.system.host
    text = reloading("extra").data.decode().replace("'", "'\\''")
    machine.check(f"printf '%s' '{text}' > /etc/systemd/system/extra.service; echo host > /etc/extra.conf")
    machine.check("systemctl daemon-reload; systemctl start extra; rm /etc/extra.conf")
    yield machine
    machine.check("systemctl stop extra; rm -f /etc/systemd/system/extra.service; systemctl daemon-reload")


@pytest.mark.parametrize("does", ["reload", "restart"])
def test_a_unit_of_the_host_is_told_of_a_file_that_comes_changes_and_comes_back(
    host: Context, extra: Host, does: str
) -> None:
    change = OnChange(**{does: "extra.service"})
    (first,) = invocations(host, "extra")
    install(host, of_host(1, "one", change))
    assert known(host, "extra") == "one"
    (second,) = invocations(host, "extra")
    assert (second == first) == (does == "reload")
    with pytest.raises(RolledBackError):
        install(host, replace(of_host(2, "two", change), health=SICK))
    assert known(host, "extra") == "one"


def test_a_unit_of_the_host_that_does_not_run_is_not_started(host: Context, extra: Host) -> None:
    host.system.run(["systemctl", "stop", "extra"], timeout=20)
    install(host, of_host(1, "one", OnChange(restart="extra.service")))
    assert host.system.run(["systemctl", "is-active", "extra"], timeout=20).stdout == b"inactive\n"


def test_a_unit_that_the_host_does_not_have_is_told_by_the_plan(host: Context) -> None:
    (problem,) = plan_for(host, of_host(1, "one", OnChange(reload="no-such.service"))).problems
    assert problem.where == "no-such.service"
    assert "is not a unit of this host (not-found)" in problem.what


def test_a_unit_of_the_host_that_cannot_reload_is_told_by_the_plan(host: Context) -> None:
    (problem,) = plan_for(host, of_host(1, "one", OnChange(reload="systemd-journald.service"))).problems
    assert problem.where == "systemd-journald.service"
    assert "cannot reload its configuration" in problem.what


def test_a_unit_of_the_host_that_is_gone_by_now_keeps_no_release_from_going(
    host: Context, extra: Host
) -> None:
    install(host, of_host(1, "one", OnChange(reload="extra.service")))
    extra.check("systemctl stop extra; rm /etc/systemd/system/extra.service; systemctl daemon-reload")
    with exclusive(host) as (state, _):
        plan = plan_remove(host, state)
    assert plan.problems == ()
    assert "not done, since extra.service is not a unit of this host (not-found): reload extra.service" in (
        plan.notes
    )
    remove(host)


def test_removing_the_release_stops_its_services_and_tells_none_of_them(host: Context) -> None:
    install(host, with_configuration(1, "one"))
    remove(host)
    assert not host.system.run(["systemctl", "is-active", "chatd"], timeout=20).ok
