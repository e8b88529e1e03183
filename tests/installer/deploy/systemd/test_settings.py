"""What a release sets up on a real host: users, paths, the kernel, rules; all in order, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from installer.commands import status
from installer.commands.common.plan_execution import TransactionResult
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.commands.remove import remove as remove_product
from installer.core.errors import RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.deploy.systemd.settings import KEPT_KINDS
from installer.host.context import Context
from installer.planning.plan_text import plan_text
from installer.planning.planner import plan_remove
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import (
    PRODUCT,
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

pytestmark = [pytest.mark.needs("docker"), pytest.mark.host(machine="bookworm")]

KEY = "net.ipv4.ip_default_ttl"
SERVICE = "[Service]\nUser=chat\nExecStart=/bin/sh -c 'touch /var/lib/chat/x; exec sleep 1000'\n"
PATHS = """d /var/lib/chat 0750 chat chat
d /var/opt/deep/er
z /var/tmp 1700
L /run/chat.link - - - - /var/lib/chat
"""
FILES = {
    "units": ("chat.service", f"{SERVICE}[Install]\nWantedBy=multi-user.target\n"),
    "sysusers": ("chat.conf", 'u chat 851 "Chat" /var/lib/chat\n'),
    "tmpfiles": (
        "chat.conf",
        PATHS,
    ),
    "modules": ("chat.conf", "# loaded everywhere\nloop\n"),
    "sysctl": ("90-chat.conf", f"{KEY} = {{ttl}}\n"),
    "udev": ("60-chat.rules", 'SUBSYSTEM=="tty", ATTRS{idVendor}=="0403", GROUP="chat"\n'),
}
VALUE = "/proc/sys/net/ipv4/ip_default_ttl"
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)


def with_settings(number: int, ttl: int = 99, **texts: str) -> ReleaseSpec:
    """Give a release that sets up the host; `texts` has other contents by the options."""
    members, options = {}, {}
    for option, (name, text) in FILES.items():
        kind = "unit" if option == "units" else option
        path = f"deploy/{option}/{name}"
        members[path] = Member(texts.get(option, text).replace("{ttl}", str(ttl)).encode(), kind=kind)
        options[option] = [path]
    members["config/app.conf"] = Member(b"secret\n", "/etc/chat/app.conf", 0o640, "template", "chat:chat")
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(Deployment("systemd", options),))


@pytest.fixture(autouse=True)
def no_leftovers(machine: Host) -> Iterator[None]:
    yield
    machine.check(f"echo 64 > {VALUE}; chmod 1777 /var/tmp")
    machine.check("userdel chat; rm -rf /var/lib/chat /var/opt/deep /run/chat.link /etc/chat")


def stays(done: TransactionResult) -> dict[str, str]:
    """Return what of the settings a removal says that it leaves."""
    assert done.removal is not None
    return {row.name: row.what for row in done.removal.of("stays") if row.kind in KEPT_KINDS}


def ttl(machine: Host) -> str:
    return machine.check(f"cat {VALUE}").strip()


def test_users_come_before_files_and_everything_before_the_units(host: Context, machine: Host) -> None:
    release = with_settings(1)
    text = plan_text(plan_for(host, release))
    for line in (
        "create user chat; a rollback or removal keeps it",
        "create /var/lib/chat",
        f"set {KEY} of the kernel to 99 (now 64)",
        "reload the rules of udev",
    ):
        assert line in text
    install(host, release)
    assert machine.check("stat -c '%U %a' /var/lib/chat /etc/chat/app.conf").split() == [
        "chat",
        "750",
        "chat",
        "640",
    ]
    assert machine.check("systemctl is-active chat") == "active\n"
    assert ttl(machine) == "99"
    assert status.product_status(host).drift == ()
    machine.check("echo 70 > /proc/sys/net/ipv4/ip_default_ttl; rm /run/chat.link")
    assert [f"{each.where} {each.what}" for each in status.product_status(host).drift] == [
        "/run/chat.link is missing",
        f"{KEY} is 70, not 99",
    ]
    install(host, release)
    assert status.product_status(host).drift == ()
    with exclusive(host) as (state, _):
        plan = plan_remove(host, state)
    for line in ("keep user chat", "keep /var/lib/chat", f"{KEY} of the kernel keeps its value 99"):
        assert line in plan_text(plan)
    kept = {
        "chat": "user of the release; files may still belong to it",
        "/var/lib/chat": "was created for the release, and may have data",
        "/var/opt/deep/er": "was created for the release, and may have data",
        "/run/chat.link": "was created for the release, and may have data",
        KEY: "keeps its value 99 until the next boot",
    }
    assert stays(remove(host)) == kept
    again = remove_product(Session(host.system), PRODUCT, yes=True)
    assert (again.changed, stays(again)) == (False, kept)
    machine.check(f"rm /run/chat.link; echo 64 > {VALUE}")
    del kept["/run/chat.link"], kept[KEY]
    assert stays(remove_product(Session(host.system), PRODUCT, yes=True)) == kept
    assert (
        machine.check(
            "cd /etc; ls sysusers.d tmpfiles.d sysctl.d modules-load.d udev/rules.d | grep chat || true"
        )
        == ""
    )
    assert machine.run("id chat").rc == 0


@pytest.mark.parametrize(
    "moment", ["", "systemd-sysusers", "systemd-tmpfiles", "systemd-sysctl", "enable chat"]
)
def test_a_release_that_fails_or_is_killed_leaves_the_host_as_it_was(
    host: Context, machine: Host, moment: str
) -> None:
    if moment:
        dying = context(Remote(machine))
        assert isinstance(dying.system, Remote)
        dying.system.die_at = moment
        with pytest.raises(Killed):
            install(dying, with_settings(1))
        recovered(host)
    else:
        with pytest.raises(RolledBackError, match="not healthy"):
            install(host, replace(with_settings(1), health=SICK))
    assert ttl(machine) == "64"
    assert machine.run("ls /run/chat.link /etc/chat /etc/sysctl.d/90-chat.conf").out == ""
    assert machine.run("ls -d /var/opt/deep").out == ""
    assert machine.check("stat -c %a /var/tmp") == "1777\n"
    # A service has written into it: nobody knows what its data is worth.
    if not moment:
        assert machine.check("ls /var/lib/chat") == "x\n"
    else:
        assert machine.run("ls -d /var/lib/chat").out == ""


def test_a_rollback_sets_the_kernel_to_what_the_old_release_says(host: Context, machine: Host) -> None:
    install(host, with_settings(1, 99))
    install(host, with_settings(2, 120))
    assert ttl(machine) == "120"
    roll_back(host)
    assert ttl(machine) == "99"
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, replace(with_settings(3, 130), health=SICK))
    assert ttl(machine) == "99"
    assert "keeps its value 99 until the next boot" not in plan_text(plan_for(host, with_settings(4, 5)))


def test_a_value_that_the_kernel_refuses_undoes_the_release(host: Context, machine: Host) -> None:
    with pytest.raises(RolledBackError, match="Couldn't write 'lots' to 'net/ipv4/ip_default_ttl'"):
        install(host, with_settings(1, sysctl=f"{KEY}=lots\n"))
    assert ttl(machine) == "64"


def test_what_cannot_be_applied_is_a_problem_of_the_plan(host: Context) -> None:
    release = with_settings(
        1,
        sysusers="x chat\nu a\0b\n",
        tmpfiles="d relative\nd /run/../etc\nd /a//b\nd /a\0b\n",
        modules="no_such_module_here\n../x\n",
        sysctl="../../etc/passwd=1\n",
        udev="oops\n",
    )
    problems = [f"{each.where} {each.what}" for each in plan_for(host, release).problems]
    assert "deploy/sysusers/chat.conf:1 begins with 'x', but a line begins with u, g, m or r" in problems
    assert "deploy/tmpfiles/chat.conf:1 'relative' is not an absolute path" in problems
    for start in (
        "sysctl/90-chat.conf:1",
        "modules/chat.conf:2",
        "tmpfiles/chat.conf:2",
        "sysusers/chat.conf:2",
    ):
        assert any(line.startswith(f"deploy/{start} ") for line in problems)
    assert any(line.startswith("deploy/udev/60-chat.rules:1 is not a list") for line in problems)
    only = replace(
        release,
        members={"deploy/k.conf": Member(b"net.no.such = 1\n", kind="sysctl")},
        deploy=(Deployment("systemd", {"sysctl": ["deploy/k.conf"]}),),
    )
    (problem,) = plan_for(host, only).problems
    assert (problem.where, problem.what) == ("net.no.such", "is no setting of the kernel of this host")


def test_a_number_that_another_user_has_undoes_the_release_before_any_file(
    host: Context, machine: Host
) -> None:
    machine.check("useradd -u 851 other")
    try:
        with pytest.raises(
            RolledBackError, match=r"the user chat has the number \d+, not 851, which is taken"
        ):
            install(host, with_settings(1))
        assert machine.run("ls /etc/chat").out == ""
    finally:
        machine.check("userdel other")
