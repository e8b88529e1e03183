"""Playbooks on three hosts behind sshd, with real Ansible: they come, change, fail, come back and go.

The hosts have no Python; the second lets in a user only, who becomes root by `su` with a password of the
site. One life of a product is lived once, and looked at by all tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from installer.core.errors import WaybillError
from installer.host.context import Context
from installer.planning.plan import Plan
from tests.rig.faulty import Killed
from tests.rig.inventories import (
    BREAK,
    CONFIG,
    FACTS,
    HOLD,
    WORD,
    DyingInUndo,
    Interrupted,
    for_hosts,
    level,
    write_inventory,
)
from tests.rig.playbooks import OnDirectory, with_ansible
from tests.rig.releases import context, install, plan_for, recovered, remove, roll_back
from tests.rig.sshhosts import SshHost, ssh_hosts

pytestmark = pytest.mark.needs("ansible", "sshd", "unshare", "musl")


@dataclass
class Event:
    """What came of one command.

    Attributes:
        levels: What each host has then.
        error: Why it ended, as people see it; empty for a success.
        exit: Its exit code.
        said: What was told meanwhile.
    """

    levels: list[str]
    error: str = ""
    exit: int = 0
    said: list[str] = field(default_factory=list)


@dataclass
class Story:
    """All of them, and the plans."""

    top: Path
    events: dict[str, Event] = field(default_factory=dict)
    plans: dict[str, list[str]] = field(default_factory=dict)
    nothing: bool = False
    words: list[str] = field(default_factory=list)


def happened(hosts: list[SshHost], within: Context, do: Callable[[Context], object]) -> Event:
    error, code = "", 0
    try:
        do(within)
    except WaybillError as caught:
        error, code = str(caught), caught.exit_code
    except Killed:
        error = "killed"
    return Event([*map(level, hosts)], error, code, within.progress.lines)  # type: ignore[attr-defined]


def lines(plan: Plan) -> list[str]:
    return [line for step in plan.methods for line in step.lines]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    top = tmp_path_factory.mktemp("inventory") / "host"
    story = Story(top)
    with_ansible(top)
    with ssh_hosts(tmp_path_factory.mktemp("hosts"), 3, without_root=(2,)) as hosts:

        def lived(name: str, do: Callable[[Context], object], system: OnDirectory | None = None) -> None:
            within = context(system or OnDirectory(top))
            story.events[name] = happened(hosts, within, do)

        write_inventory(top, hosts, "old")
        story.plans["first"] = lines(plan_for(context(OnDirectory(top)), for_hosts(1)))
        lived("first", lambda within: install(within, for_hosts(1)))
        story.words = [(host.root / "word").read_text() for host in hosts]
        lived("upgrade", lambda within: install(within, for_hosts(2)))
        story.nothing = plan_for(context(OnDirectory(top)), for_hosts(2)).nothing
        write_inventory(top, hosts, "new")
        lived("failure", lambda within: install(within, for_hosts(3, BREAK)))
        lived("kill", lambda within: install(within, for_hosts(3, HOLD)), Interrupted(top, hosts))
        lived("kill of the undo", recovered, DyingInUndo(top))
        lived("after the kill", recovered)
        lived("no python", lambda within: plan_for(within, for_hosts(3, FACTS)).require_ready())
        # Nobody listens there; and the key of another name of the first host is not known.
        gone = "gone: {ansible_host: 127.0.1.9, ansible_port: 9}"
        reached = f"ansible_host: {hosts[0].address}, ansible_port: {hosts[0].port}, ansible_user: root"
        options = "ansible_ssh_common_args: -o UserKnownHostsFile=/dev/null"
        write_inventory(top, hosts, "old", gone, f"stranger: {{{reached}, {options}}}")
        lived("absent", lambda within: install(within, for_hosts(3)))
        write_inventory(top, hosts, "old")
        going = Interrupted(top, hosts, hosts[2].daemon.kill)
        lived("going down", lambda within: install(within, for_hosts(3, HOLD)), going)
        write_inventory(top, hosts[:2], "old")
        lived("given up", recovered)
        story.plans["fewer"] = lines(plan_for(context(OnDirectory(top)), for_hosts(3)))
        # The variables are those of the release, whatever the inventory has now.
        write_inventory(top, hosts[:2], "new")
        lived("rollback", roll_back)
        lived("removal", remove)
        yield story


def on_all(text: str) -> list[str]:
    return [f"{text} node1,node2,node3"] * 3


def test_a_plan_names_the_hosts(story: Story) -> None:
    first = story.plans["first"]
    assert "not known before it runs: write the level (node1, node2, node3)" in first
    assert "on 3 hosts: node1, node2, node3" in first
    assert story.plans["fewer"][-2:] == [
        "not in the inventory any more, and left as they are: node3",
        "if it fails, deploy/ansible/undo.yml, then the playbook of 2.0.0 runs",
    ]


def test_a_release_is_installed_and_upgraded_on_all_hosts(story: Story) -> None:
    first, upgrade = story.events["first"], story.events["upgrade"]
    assert (first.error, first.levels) == ("", on_all("1 old"))
    assert (upgrade.error, upgrade.levels) == ("", on_all("2 old"))
    assert {f"{name}: write the level" for name in ("node1", "node2", "node3")} <= {*upgrade.said}


def test_a_secret_of_an_inventory_is_no_template(story: Story) -> None:
    assert story.words == [f"{WORD}\n"] * 3


def test_a_release_that_is_there_has_nothing_to_do(story: Story) -> None:
    assert story.nothing


def test_a_failure_on_one_host_is_undone_on_all_with_the_variables_from_before(story: Story) -> None:
    failure = story.events["failure"]
    assert failure.exit == 20
    assert "node2: the task migrate (deploy/ansible/site.yml:7) failed" in failure.error
    assert "the disk is full" in failure.error
    assert failure.levels == on_all("2 old")


def test_a_kill_is_undone_on_all_hosts_by_the_next_command(story: Story) -> None:
    assert story.events["kill"].levels == on_all("3 new")
    again = story.events["kill of the undo"]
    assert (again.error, again.levels) == ("killed", on_all("3 new"))
    assert story.events["after the kill"].levels == on_all("2 old")


def test_a_host_that_is_down_is_named_before_anything_is_changed(story: Story) -> None:
    absent = story.events["absent"]
    assert absent.exit == 15
    assert "gone: cannot be reached: " in absent.error
    assert "Connection refused" in absent.error
    assert absent.levels == on_all("2 old")


def test_a_host_whose_key_is_not_known_is_named_before_anything_is_changed(story: Story) -> None:
    error = story.events["absent"].error
    assert "stranger: cannot be reached: " in error
    assert "Host key verification failed" in error
    assert "add it to the known_hosts of this one" in error


def test_a_host_without_the_python_that_a_playbook_needs_is_named_before_anything_is_changed(
    story: Story,
) -> None:
    lost = story.events["no python"]
    missing = "look at the host: The module interpreter '/usr/bin/python3' was not found."
    # The shell there may end before Ansible has sent the module; then Ansible hears nothing of what it said.
    ended = "ended the connection of the task look at the host: "
    for name in ("node1", "node2", "node3"):
        assert f"- {name}: {missing}" in lost.error or f"- {name}: {ended}" in lost.error
    assert lost.error.count("install one, or name it as ansible_python_interpreter") == 3
    assert lost.exit == 15


def test_a_host_that_goes_down_is_named_and_the_others_are_brought_back(story: Story) -> None:
    down = story.events["going down"]
    assert down.exit == 21
    assert "node3: cannot be reached for the task hold" in down.error
    assert "not undone on 1 of 3 hosts: node3" in down.error
    assert "if it is gone for good, remove it from /etc/waybill/lan-chat/inventory.yaml" in down.error
    assert down.levels == [*on_all("2 old")[:2], "3 old node1,node2,node3"]


def test_a_host_that_is_gone_for_good_is_given_up_once_the_inventory_has_it_no_more(story: Story) -> None:
    given_up = story.events["given up"]
    assert given_up.error == ""
    assert given_up.levels[:2] == on_all("2 old")[:2]


def test_a_rollback_runs_on_the_hosts_of_today_with_the_variables_of_the_release(story: Story) -> None:
    rollback = story.events["rollback"]
    assert (rollback.error, rollback.levels[:2]) == ("", ["1 old node1,node2"] * 2)


def test_a_removal_runs_the_undo_playbook_on_the_hosts_of_today(story: Story) -> None:
    removal = story.events["removal"]
    assert (removal.error, removal.levels[:2]) == ("", ["", ""])


def test_no_file_and_no_message_has_a_secret_of_the_inventory(story: Story) -> None:
    said = "\n".join(line for event in story.events.values() for line in [event.error, *event.said])
    assert WORD not in said
    found = [path for path in story.top.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in found if WORD.encode() in path.read_bytes()] == [
        story.top / CONFIG / "secrets/word"
    ]
