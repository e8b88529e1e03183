"""Inventories of a site: what Ansible gets of them, and what is refused by its fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import HostNotReadyError
from installer.deploy.ansible.inventory import Inventory, read_inventory
from installer.planning.plan import Plan
from tests.rig.inventories import CONFIG, for_hosts
from tests.rig.playbooks import FOLDER, SITE, OnDirectory, with_ansible
from tests.rig.releases import context, plan_for, root

NESTED = """\
all:
  vars: {level: low, zone: a}
  children:
    site:
      vars: {level: middle}
      children:
        chat:
          vars: {level: high}
          hosts:
            node1: {ansible_host: 10.0.0.1, id: 1}
            node2:
    store:
      hosts:
        node2: {id: 2}
        node3: {ansible_become: true, ansible_become_password: secret://file/become}
    others:
      hosts:
        node9:
"""


def read(text: str, *groups: str) -> Inventory:
    found, problems = read_inventory(text.encode(), "inventory.yaml", groups)
    assert found, problems
    return found


def test_an_inventory_has_the_hosts_of_the_groups_that_a_step_addresses() -> None:
    found = read(NESTED, "chat", "store")
    assert list(found.hosts) == ["node1", "node2", "node3"]
    assert {name: group.hosts for name, group in found.groups.items()} == {
        "chat": ("node1", "node2"),
        "store": ("node2", "node3"),
    }


def test_variables_of_inner_groups_and_of_hosts_win() -> None:
    found = read(NESTED, "chat", "store").hosts
    assert found["node1"] == {"level": "high", "zone": "a", "ansible_host": "10.0.0.1", "id": 1}
    assert (found["node2"]["level"], found["node2"]["id"], found["node3"]["level"]) == ("high", 2, "low")


def test_a_group_brings_the_groups_that_are_in_it() -> None:
    found = read(NESTED, "site")
    assert (found.groups["site"].children, found.groups["chat"].hosts) == (("chat",), ("node1", "node2"))
    assert found.children()["site"] == {"hosts": {}, "children": {"chat": {}}}


def test_a_journal_has_all_of_an_inventory() -> None:
    found = read(NESTED, "chat", "store")
    assert Inventory.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_a_host_that_moved_is_reached_where_it_is_with_the_variables_from_before() -> None:
    old = read("chat: {hosts: {node1: {ansible_host: 10.0.0.1, level: low}, node2: {level: low}}}", "chat")
    now = read("chat: {hosts: {node1: {ansible_host: 10.0.0.7, level: high}, node3: {level: high}}}", "chat")
    found = old.reached_as(now)
    assert found.hosts == {
        "node1": {"ansible_host": "10.0.0.7", "level": "low"},
        "node3": {"level": "high"},
    }
    assert found.groups["chat"].hosts == ("node1", "node3")


HOST = "chat: {hosts: {node1: {%s}}}"
BAD: dict[str, tuple[str, str, str]] = {
    "no YAML": ("chat: [", "is not YAML", ""),
    "a list": ("[node1]", "is not an inventory", "write `all:`"),
    "an anchor": ("chat: &a {hosts: {node1: *a}}", "anchor", ""),
    "a plugin": ("plugin: amazon.aws.aws_ec2", "lets a plugin find the hosts", "ansible-inventory --list"),
    "no such group": ("web: {hosts: {node1: }}", "has no group chat", "add the group chat"),
    "a group without hosts": ("chat: {children: {web: }}", "the group chat has no hosts", "add a host"),
    "groups that contain each other": (
        "chat: {hosts: {a: }, children: {web: {children: {chat: }}}}",
        "contain each other",
        "take one of them out",
    ),
    "a range of hosts": (
        "chat: {hosts: {'node[1:3]': }}",
        "node[1:3] cannot be the name of a host",
        "each host",
    ),
    "a host that looks like an option": ("chat: {hosts: {-oProxyCommand=x: }}", "the name of a host", ""),
    "a list of hosts": ("chat: {hosts: [node1]}", "hosts is not a mapping", "with a colon"),
    "a name of a group with a hyphen": ("chat: {children: {a-b: }}", "a-b cannot be the name of a group", ""),
    "a word that is none": ("chat: {host: {node1: }}", "host is nothing that a group can have", "children"),
    "a template": (HOST % 'level: \'{{ lookup("pipe", "id") }}\'', "level is a template", "write the value"),
    "a template in a list": (HOST % "level: [{a: '{% if x %}'}]", "level is a template", ""),
    "the variable of Waybill": (HOST % "waybill: 1", "waybill is what Waybill itself tells", "another name"),
    "a name that cannot be": (HOST % "log-level: 1", "log-level cannot be the name of a variable", ""),
    "a password": (HOST % "ansible_password: x", "ansible_password is nothing that an inventory", "leave it"),
    "a password of root": (
        HOST % "ansible_become_password: x",
        "is not possible here",
        "secret://file/become",
    ),
    "other arguments of ssh": (HOST % "ansible_ssh_args: -v", "ansible_ssh_args is nothing that", "leave it"),
    "another ssh": (HOST % "ansible_ssh_executable: /tmp/ssh", "ansible_ssh_executable is nothing", ""),
    "a key of a host that nobody checks": (
        HOST % "ansible_host_key_checking: false",
        "is nothing that an inventory may set",
        "",
    ),
    "an option of ssh that runs a program": (
        HOST % "ansible_ssh_common_args: -o ProxyCommand=id",
        "ansible_ssh_common_args has a value that is not possible",
        "ProxyJump",
    ),
    "an option of ssh that is none": (HOST % "ansible_ssh_common_args: -F /x", "not possible here", ""),
    "an option of ssh that runs a program by a blank": (
        HOST % "ansible_ssh_common_args: -o 'ProxyCommand id'",
        "not possible here",
        "",
    ),
    "another connection": (HOST % "ansible_connection: docker", "not possible here", "only localhost"),
    "this host under another name": (
        HOST % "ansible_connection: local",
        "not possible here",
        "only localhost",
    ),
    "an address that is an option": (HOST % "ansible_host: -oProxyCommand=x", "not possible here", "address"),
    "a port that is none": (HOST % "ansible_port: 70000", "not possible here", "from 1 to 65535"),
    "a word for a flag": (HOST % "ansible_become: 'yes'", "not possible here", "true or false"),
    "a secret that is none": (HOST % "level: secret://nowhere/x", "inventory.yaml:1", ""),
    "more hosts than possible": (
        "chat: {hosts: {" + ", ".join(f"n{number}: " for number in range(1001)) + "}}",
        "has 1001 hosts; 1000 are possible",
        "fewer hosts",
    ),
    "a variable that is large for each host": (
        f"chat: {{vars: {{a: {'x' * 2000}}}, hosts: {{" + ", ".join(f"n{n}: " for n in range(300)) + "}}",
        "the variables of its hosts are more than 512 KiB",
        "values of the site",
    ),
}


@pytest.mark.parametrize(("text", "what", "hint"), BAD.values(), ids=BAD)
def test_an_inventory_with_a_fault_is_refused(text: str, what: str, hint: str) -> None:
    found, problems = read_inventory(text.encode(), "inventory.yaml", ["chat"])
    assert found is None
    assert any(what in f"{each.where}: {each.what}" and hint in each.hint for each in problems), problems


def test_this_host_can_be_in_an_inventory_under_its_own_name() -> None:
    found = read("chat: {hosts: {localhost: {ansible_connection: local}}}", "chat")
    assert found.hosts == {"localhost": {"ansible_connection": "local"}}


def test_this_host_is_changed_as_one_of_an_inventory(tmp_path: Path) -> None:
    within = with_ansible(tmp_path / "host")
    config = root(within) / CONFIG
    config.mkdir(parents=True)
    here = "localhost: {ansible_connection: local}"
    (config / "inventory.yaml").write_text(f"chat: {{vars: {{level: 5}}, hosts: {{{here}}}}}\n")
    spec = for_hosts(1)
    spec.members[SITE].data = b"""\
- hosts: chat
  gather_facts: false
  tasks:
    - name: write the settings
      ansible.builtin.copy: {content: "{{ level }}", dest: "{{ waybill.root }}/settings"}
"""
    shown = [line for step in plan_for(within, spec).methods for line in step.lines]
    assert shown[1:] == [
        *("change: write the settings", "    +5", "    \\ No newline at end of file"),
        *("on localhost", f"if it fails, {FOLDER}/undo.yml runs"),
    ]


def refusal(top: Path, text: str | None, mode: int = 0o644, **files: Any) -> str:
    """Return what a plan is refused with on a host with an inventory."""
    within = context(with_ansible(top).system)
    config = root(within) / CONFIG
    config.mkdir(parents=True)
    for name, (content, bits) in files.items():
        (config / name).write_text(content)
        (config / name).chmod(bits)
    if text is not None:
        (config / "inventory.yaml").write_text(text)
        (config / "inventory.yaml").chmod(mode)
    plan: Plan = plan_for(context(OnDirectory(top)), for_hosts(1))
    with pytest.raises(HostNotReadyError) as caught:
        plan.require_ready()
    return str(caught.value)


KEY = HOST % f"ansible_ssh_private_key_file: /{CONFIG}/id"
NOT_READY: dict[str, tuple[str | None, int, dict[str, Any], str, str]] = {
    "no inventory": (
        None,
        0,
        {},
        "inventory.yaml: is not there",
        "write this inventory, with the groups chat",
    ),
    "an inventory that others can change": (
        HOST % "",
        0o666,
        {},
        "can be written by everybody",
        "chmod go-w",
    ),
    "an inventory with a fault": ("web: ", 0o644, {}, "inventory.yaml: has no group chat", "add the group"),
    "a key that is not there": (KEY, 0o644, {}, f"/{CONFIG}/id: is not there", "put the private key"),
    "a key that others can read": (KEY, 0o644, {"id": ("x", 0o644)}, "can be read by others", "chmod 600"),
    "a secret that is not there": (
        HOST % "ansible_become_password: secret://file/become",
        0o644,
        {},
        "secret://file/become",
        "",
    ),
}


@pytest.mark.parametrize(("text", "mode", "files", "what", "hint"), NOT_READY.values(), ids=NOT_READY)
def test_a_host_without_what_an_inventory_needs_is_not_ready(
    tmp_path: Path, text: str | None, mode: int, files: dict[str, Any], what: str, hint: str
) -> None:
    said = refusal(tmp_path / "host", text, mode, **files)
    assert what in said
    assert hint in said
