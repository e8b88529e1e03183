"""Releases whose playbook runs on hosts behind sshd, and a live host in a directory with their inventory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from installer.core.format.manifest import Deployment
from installer.host.system import Completed
from tests.rig.playbooks import SITE, UNDO, OnDirectory, Parts, playbook
from tests.rig.releases import PRODUCT, ReleaseSpec
from tests.rig.sshhosts import SshHost

CONFIG = f"etc/waybill/{PRODUCT}"
WORD = "{{ 6 * 7 }}"
"""A secret of the site that is no template."""
PLAY = "- hosts: chat\n  gather_facts: false\n  tasks:\n"
# These hosts have no Python: only this module works on them.
WRITE = """\
    - name: write the level
      ansible.builtin.raw: |
        echo NUMBER {{ kind }} {{ groups.chat | join(",") }} >/level; echo {{ word | quote }} >/word
"""
BREAK = """\
    - name: migrate
      ansible.builtin.raw: echo the disk is full; exit 3
      when: inventory_hostname == "node2"
"""
FACTS = """\
    - name: look at the host
      ansible.builtin.setup:
"""
HOLD = """\
    - name: hold
      ansible.builtin.raw: touch /began; while [ -e /hold ]; do sleep 0.05; done
    - name: go on
      ansible.builtin.raw: exit 0
"""
DELETE = """\
    - name: delete the level
      ansible.builtin.raw: rm -f /level
      when: not waybill.old_version
"""


def for_hosts(number: int, more: str = "") -> ReleaseSpec:
    """Return a release whose playbook writes its number on each host of the group `chat`."""
    spec = playbook(number, Parts())
    spec.members[SITE].data = (PLAY + WRITE.replace("NUMBER", str(number)) + more).encode()
    spec.members[UNDO].data = (PLAY + DELETE).encode()
    options = {**spec.deploy[0].options, "inventory": "inventory.yaml", "groups": ["chat"]}
    return replace(spec, deploy=(Deployment("ansible", options),))


def level(host: SshHost) -> str:
    """Return what a playbook has written on a host; empty for nothing."""
    file = host.root / "level"
    return file.read_text().strip() if file.exists() else ""


def write_inventory(top: Path, hosts: Sequence[SshHost], kind: str, *more: str) -> None:
    """Write the inventory of a live host, with what it needs to reach the hosts.

    Args:
        top: The live host.
        hosts: The hosts of the group `chat`; a user becomes root by `su` and a password of the site.
        kind: A variable of all of them.
        more: Other lines for the group.
    """
    config, directory = top / CONFIG, hosts[0].key.parent
    (config / "secrets").mkdir(parents=True, exist_ok=True)
    secrets = {"id": hosts[0].key.read_bytes(), "secrets/su": b"secret\n", "secrets/word": WORD.encode()}
    for name, text in secrets.items():
        file = config / name
        file.write_bytes(text)
        file.chmod(0o600)
    become = "ansible_become: true, ansible_become_method: su, ansible_become_password: secret://file/su"
    rows = [
        f"{each.name}: {{ansible_host: {each.address}, ansible_port: {each.port}, ansible_user: {each.user}"
        f"{'' if each.user == 'root' else f', {become}'}}}"
        for each in hosts
    ]
    lines = "".join(f"    {row}\n" for row in [*rows, *more])
    (config / "inventory.yaml").write_text(
        f"all:\n  vars:\n    kind: {kind}\n    word: secret://file/word\n"
        f"    ansible_ssh_private_key_file: /{CONFIG}/id\n"
        f"    ansible_ssh_common_args: -o UserKnownHostsFile={directory}/known_hosts\n"
        f"chat:\n  hosts:\n{lines}"
    )


class Interrupted(OnDirectory):
    """The same live host, on which something happens once all hosts are in the task `hold`.

    Args:
        root: Its directory.
        hosts: The other hosts.
        then: What happens; the hosts go on afterwards. By default `install` is killed.
    """

    def __init__(
        self, root: Path, hosts: Sequence[SshHost], then: Callable[[], object] | None = None
    ) -> None:
        super().__init__(root)
        self._hosts, self._then = hosts, then or self._die

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        told = options.get("heard")
        if told is None or not argv[-1].endswith("/site.yml") or "--check" in argv:
            return super().run(argv, **options)
        for host in self._hosts:
            (host.root / "hold").touch()

        def heard(line: bytes) -> None:
            told(line)
            if b'"event": "task", "task": "hold"' in line:
                self._wait()
                try:
                    self._then()
                finally:
                    for host in self._hosts:
                        (host.root / "hold").unlink()
                        (host.root / "began").unlink()

        return super().run(argv, **{**options, "heard": heard})

    def _wait(self) -> None:
        for host in self._hosts:
            host.daemon.wait_until((host.root / "began").exists, 60)


class DyingInUndo(OnDirectory):
    """The same live host, on which `install` is killed before an undo playbook runs."""

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if argv[-1].endswith("/undo.yml"):
            self._die()
        return super().run(argv, **options)
