"""What a run on hosts of an inventory has in its private directory, and how it reaches them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from textwrap import indent
from typing import Any

from installer.deploy.ansible.inventory import Inventory
from installer.deploy.ansible.inventory_variables import KEY_FILE
from installer.deploy.ansible.variables import as_they_are
from installer.deploy.method import full_path
from installer.deploy.operation import Json
from installer.deploy.site.rendered_values import with_secrets
from installer.host.context import Context

INVENTORY = "inventory"
"""The key of a step that runs on hosts of an inventory."""
SITE_FILE = "site"
"""The key with the path of the file of the site."""
REACH = "reach"
"""The name of the playbook that only reaches the hosts."""
REACH_TASK = "Reach the host"
_FORKS = 32
SECRET_FILES = ("variables.yaml", "hosts.yaml")
"""What Ansible has read when it begins, and may have secrets."""
# A raw command needs no Python there, becomes root where the inventory says so, and runs in check mode, too.
_REACH = f"""\
- name: Reach all hosts
  hosts: all
  gather_facts: false
  tasks:
    - name: {REACH_TASK}
      ansible.builtin.raw: exit 0
      check_mode: false
      changed_when: false
"""
SSH_SETTINGS: Mapping[str, str] = {
    # No other plugin reads inventories: some of them run programs.
    "ANSIBLE_INVENTORY_ENABLED": "yaml",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    "ANSIBLE_HOST_KEY_CHECKING": "1",
    # The first value of an option counts, so that neither the inventory nor ssh_config can weaken these.
    # A host that goes down in a task is noticed after half a minute, not when the time of the step is up.
    "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=no -o ControlPath=none -o BatchMode=yes "
    "-o StrictHostKeyChecking=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=3",
}


def inventory_files(
    context: Context, step: Json, local: Mapping[str, str], limit: Collection[str]
) -> dict[str, bytes]:
    """Return the files of a run by their names.

    Args:
        context: The host.
        step: A step with `INVENTORY`.
        local: How Ansible runs tasks on this host.
        limit: The hosts to run on; empty for all.

    Raises:
        StepError: A secret that the inventory refers to cannot be had.
    """
    inventory = Inventory.from_json(step[INVENTORY])
    where = step[SITE_FILE]
    # Here and not in the step: a journal has no secrets.
    hosts = with_secrets(context, dict(inventory.hosts), lambda _: where)
    lines = ["all:", " hosts:"]
    for name, values in hosts.items():
        lines += [f"  {json.dumps(name)}:", indent(_variables(context, values, local), "   ")]
    text = "\n".join([*lines, f" children: {json.dumps(inventory.children())}"])
    files = {"hosts.yaml": text.encode(), f"{REACH}.yml": _REACH.encode()}
    return files | ({"limit": "\n".join(limit).encode()} if limit else {})


def reach_words(step: Json, memory: str) -> list[str]:
    """Return the words by which Ansible reaches all hosts first, many of them at once.

    Args:
        step: A step with `INVENTORY`.
        memory: The directory of the files of the run.
    """
    # Hosts that are down take ten seconds each.
    return ["--forks", str(min(_FORKS, len(step[INVENTORY]["hosts"]))), f"{memory}/{REACH}.yml"]


def _variables(context: Context, values: Mapping[str, Any], local: Mapping[str, str]) -> str:
    """Return the variables of a host: no text is a template, a secret neither, but those of Waybill are."""
    own = local if values.get("ansible_connection") == "local" else {}
    others = {key: value for key, value in values.items() if key not in own}
    if KEY_FILE in others:
        others[KEY_FILE] = full_path(context, others[KEY_FILE])
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in own.items())
    return lines + (as_they_are(others).decode() if others or not own else "")
