"""Units of a user on a real host: run without a login, change over, come back, and go with the lingering."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from installer.commands import status
from installer.commands.common.recovery import exclusive
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.deploy import systemctl, user_manager
from installer.host.context import Context
from installer.host.inodes.seen import Seen
from installer.host.system import Completed
from installer.planning.plan import Options
from installer.planning.plan_text import plan_text
from installer.planning.planner import plan_apply
from tests.rig.engine import Engine
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import (
    SIGNED,
    Member,
    ReleaseSpec,
    context,
    install,
    plan_for,
    recovered,
    remove,
    roll_back,
    root,
    stage,
)
from tests.rig.remote import Remote
from tests.rig.services import launched

pytestmark = [pytest.mark.needs("docker", "host"), pytest.mark.host(machine="bookworm")]

INSTALL = "[Install]\nWantedBy=default.target\n"
CHAT = "[Service]\nExecStart=/bin/sh -c 'echo version {}; exec sleep 100{}'\n" + INSTALL
ENDS = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo last words; exit 3'\n" + INSTALL
TIMER = "[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n"
JOB = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)
LINGERING = "/var/lib/systemd/linger/chat"


class Ordinary(Remote):
    """The same host as nobody sees it: programs run as nobody, what is another user's is closed."""

    words = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.privileged = False

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        return super().run([*self.words, *argv], **options)

    def observe(self, path: str, **options: Any) -> Seen:
        if path.startswith(("/run/user/", "/var/lib/chat")):
            self.host.check("chmod 750 /var/lib/chat")
            if "Permission denied" in self.host.run([*self.words, "stat", path]).err:
                raise PermissionError(errno.EACCES, "Permission denied", path)
        return super().observe(path, **options)


def release(number: int, product: str = "lan-chat", user: str = "chat", **texts: str) -> ReleaseSpec:
    """Give a release of units of a user; `__` stands for the dot of a name."""
    found = texts or {"chat__service": CHAT.format(number, number)}
    members = {
        f"deploy/systemd/user/{name.replace('__', '.')}": Member(text.encode(), kind="user-unit")
        for name, text in found.items()
    }
    step = Deployment("systemd", {"user": user, "units": sorted(members)})
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(step,), product=product)


@pytest.fixture(autouse=True)
def chat(machine: Host) -> Iterator[None]:
    """A user who does not linger."""
    machine.check("useradd -rm -d /var/lib/chat chat")
    yield
    machine.run("loginctl disable-linger chat; systemctl stop user@$(id -u chat).service; userdel -r chat")


def asked(machine: Host, *words: str) -> str:
    """Give what the manager of the user answers."""
    rights = "--reuid=$(id -u chat) --regid=$(id -g chat) --clear-groups"
    run = f"XDG_RUNTIME_DIR=/run/user/$(id -u chat) setpriv {rights} systemctl --user {' '.join(words)}"
    return machine.run(run).out.strip()


def state(machine: Host, unit: str = "chat.service") -> str:
    """Give whether a unit runs and is enabled, and what it runs."""
    shown = asked(machine, "show", "-p", "ActiveState,UnitFileState,ExecStart", unit)
    program = shown.partition("exec sleep ")[2].partition("'")[0].split(" ;")[0]
    found = dict(line.partition("=")[::2] for line in shown.splitlines())
    return f"{found['ActiveState']} {found['UnitFileState']} {program}".strip()


def drift(host: Context) -> list[str]:
    """Give the drift in words."""
    return [f"{each.where} {each.what}" for each in status.product_status(host).drift]


def lingers(machine: Host) -> bool:
    """Tell whether the user lingers."""
    return machine.run(f"test -e {LINGERING}").rc == 0


def test_units_of_a_user_come_change_roll_back_and_go(host: Context, machine: Host) -> None:
    text = plan_text(plan_for(host, release(1)))
    assert "let user chat linger, so that their units run without a login" in text
    assert "as user chat: enable and start chat.service" in text
    install(host, release(1))
    assert (state(machine), lingers(machine), drift(host)) == ("active enabled 1001", True, [])
    assert machine.check("stat -c '%U %a' /etc/systemd/user/chat.service").split() == ["root", "644"]
    second = release(2, chat__service=CHAT.format(2, 2), job__timer=TIMER, job__service=JOB)
    install(host, second)
    assert state(machine) == "active enabled 1002"
    assert state(machine, "job.timer") == "active enabled"
    roll_back(host)
    assert (state(machine), drift(host)) == ("active enabled 1001", [])
    assert asked(machine, "is-active", "job.timer") == "inactive"
    check = remove(host).removal
    assert check is not None
    assert (check.of("left"), check.counts["user unit"], check.counts["lingering user"]) == ([], 1, 1)
    assert not lingers(machine)
    for where, name in (
        ("/etc/systemd/user", "chat*"),
        ("/var/lib/chat", "chat*"),
        ("/var/lib/waybill", "linger*"),
    ):
        assert machine.check(f"find {where} -name '{name}' -mindepth 1") == ""


def test_a_release_that_is_not_healthy_leaves_the_old_units_and_the_lingering(
    host: Context, machine: Host
) -> None:
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, replace(release(1), health=SICK))
    assert not lingers(machine)
    assert machine.run("ls /etc/systemd/user/chat.service").rc != 0
    install(host, release(1))
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, replace(release(2), health=SICK))
    assert (state(machine), lingers(machine), drift(host)) == ("active enabled 1001", True, [])


def test_a_unit_that_fails_is_shown_with_its_exit_status_and_last_lines(host: Context, machine: Host) -> None:
    install(host, release(1))
    with pytest.raises(RolledBackError) as caught:
        install(host, release(2, chat__service=ENDS))
    said = [f"{each.where} {each.what}" for each in caught.value.problems]
    assert "chat.service is failed: exit status 3" in said
    assert "chat.service last words" in said
    assert state(machine) == "active enabled 1001"


def test_the_last_lines_are_found_where_the_journal_came_to_them_after_the_end_of_the_process(
    host: Context, machine: Host
) -> None:
    # It cannot see any more which unit that process was of: so it is on a busy host.
    install(host, release(1))
    chats = replace(host, user=user_manager.account(host, "chat"))
    machine.check("systemctl kill --signal=STOP systemd-journald")
    try:
        file = "/run/systemd/user/ends.service"
        machine.check(f"mkdir -p $(dirname {file}) && printf %s {shlex.quote(ENDS)} >{file}")
        asked(machine, "daemon-reload")
        asked(machine, "start", "ends.service")
    finally:
        machine.check("systemctl kill --signal=CONT systemd-journald")
    said = [f"{each.where} {each.what}" for each in systemctl.last_words(chats, ["ends.service"])]
    assert said[0] == "ends.service is failed: exit status 3"
    assert "ends.service last words" in said


def test_an_ordinary_user_sees_the_plan_of_units_of_another_user(host: Context, machine: Host) -> None:
    def seen(spec: ReleaseSpec) -> str:
        with exclusive(host) as (state, _):
            staged = stage(root(host), spec)
            ordinary = replace(host, system=Ordinary(machine))
            return plan_text(plan_apply(ordinary, state, staged, Options(), evidence=SIGNED, keeps_key=True))

    first = seen(release(1))
    assert "let user chat linger, so that their units run without a login" in first
    assert "as user chat: enable and start chat.service" in first
    install(host, release(1))
    assert "as user chat: restart chat.service" in seen(release(2))


def test_what_somebody_stopped_disabled_or_ended_is_drift_and_the_same_release_repairs_it(
    host: Context, machine: Host
) -> None:
    install(host, release(1))
    asked(machine, "disable", "--now", "chat.service")
    machine.check("loginctl disable-linger chat; systemctl start user@$(id -u chat).service")
    assert drift(host) == [
        "user chat does not linger any more: its units end with its last session, and do not start at boot",
        "chat.service is disabled",
        "chat.service is inactive",
    ]
    install(host, release(1))
    assert (state(machine), lingers(machine), drift(host)) == ("active enabled 1001", True, [])
    machine.check("systemctl stop user@$(id -u chat).service")
    assert drift(host) == ["user chat has no manager of services that runs: none of its units does"]


def test_a_user_who_lingered_before_lingers_after_a_removal(host: Context, machine: Host) -> None:
    machine.check("loginctl enable-linger chat")
    assert "linger" not in plan_text(plan_for(host, release(1)))
    install(host, release(1))
    remove(host)
    assert lingers(machine)


def test_a_user_lingers_until_the_last_product_goes(host: Context, machine: Host) -> None:
    other = context(host.system, "other")
    install(host, release(1))
    install(other, release(1, "other", extra__service=CHAT.format(7, 7)))
    remove(host)
    assert (lingers(machine), state(machine, "extra.service")) == (True, "active enabled 1007")
    assert "end the lingering" not in plan_text(plan_for(host, release(1)))
    remove(other)
    assert not lingers(machine)


def test_a_user_of_the_release_is_created_before_their_units(host: Context, machine: Host) -> None:
    machine.check("mkdir -p /var/lib/bot")
    users = Member(b"u bot 977 - /var/lib/bot\n", kind="sysusers")
    made = release(1, user="bot")
    first = Deployment("systemd", {"sysusers": ["deploy/sysusers/bot.conf"]})
    members = {"deploy/sysusers/bot.conf": users, **made.members}
    machine.check("chown 977 /var/lib/bot")
    install(host, replace(made, members=members, deploy=(first, *made.deploy)))
    assert machine.run("test -e /var/lib/systemd/linger/bot").rc == 0
    remove(host)
    machine.check("systemctl stop user@977.service; userdel bot; rm -rf /var/lib/bot")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("true", "does not exist on this host, but a step has units of this user"),
        (
            "useradd -r -d /nonexistent nobody-here",
            "has the home /nonexistent, which does not belong to this",
        ),
    ],
    ids=["a user who does not exist", "a user without a home"],
)
def test_a_user_for_whom_no_unit_can_run_is_named_before_anything_is_changed(
    host: Context, machine: Host, change: str, what: str
) -> None:
    machine.check(change)
    with pytest.raises(HostNotReadyError) as caught:
        install(host, release(1, user="nobody-here"))
    machine.run("userdel nobody-here")
    assert what in " ".join(f"{each.what}" for each in caught.value.problems)
    assert not lingers(machine)


def test_a_host_without_the_module_that_starts_managers_is_named(host: Context, machine: Host) -> None:
    module = machine.check("ls /usr/lib/*/security/pam_systemd.so").strip()
    machine.check(f"mv {module} {module}.gone")
    try:
        with pytest.raises(HostNotReadyError) as caught:
            install(host, release(1))
    finally:
        machine.check(f"mv {module}.gone {module}")
    assert [(each.where, each.hint) for each in caught.value.problems] == [
        ("pam_systemd.so", "install it (Debian: package libpam-systemd)")
    ]


KILLS = ("enable-linger", "daemon-reload", "enable chat.service", "restart chat.service")


@pytest.mark.parametrize("at", KILLS)
def test_a_kill_after_each_step_is_undone_by_the_next_command(host: Context, machine: Host, at: str) -> None:
    dying = Remote(machine)
    dying.die_at = at
    with pytest.raises(Killed):
        install(context(dying), release(1))
    assert [each.outcome for each in recovered(host)] == ["undone"]
    assert not lingers(machine)
    assert machine.run("find /var/lib/chat/.config -name '*.service' | grep .").rc != 0
    assert asked(machine, "is-active", "chat.service") in ("", "inactive")


def test_units_of_a_user_run_after_a_boot_without_a_login(docker_engine: Engine) -> None:
    with launched(docker_engine) as machine:
        machine.check("useradd -rm -d /var/lib/chat chat")
        install(context(Remote(machine)), release(1))
        machine.reboot()
        after = context(Remote(machine))
        assert (state(machine), drift(after)) == ("active enabled 1001", [])
