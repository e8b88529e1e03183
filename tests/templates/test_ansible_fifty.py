"""Fifty hosts at once with the collection of templates/ansible, five of them broken in five ways."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.ansibled import Controller, Play
from tests.rig.executables import executables

pytestmark = pytest.mark.needs("ansible")
HOSTS = 50
# The table at the end is made of what each host returned, however it ended.
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  vars:
    ansible_connection: local
  tasks:
    - name: install
      waybill.release.bundle:
        src: "{{ playbook_dir }}/{{ bundle | default('lan-chat-1.4.0.tar') }}"
        remote_src: true
        root: "{{ playbook_dir }}/hosts/{{ inventory_hostname }}"
        executable: "{{ playbook_dir }}/install"
      register: done
- hosts: localhost
  gather_facts: false
  tasks:
    - name: table
      ansible.builtin.debug:
        msg: >-
          {% for host in groups.all %}{% set said = hostvars[host].done %}
          {{ host }} {{ said.exit }} {{ said.code or "ok" }} {{ said.changed }};{% endfor %}
"""
BROKEN = {
    "host07": "10 untrusted",
    "host17": "11 tampered",
    "host27": "13 downgrade",
    "host37": "15 host-not-ready",
    "host47": "16 busy",
}


def install(controller: Controller, root: Path, *words: str) -> None:
    done = controller.run(controller.directory / "install", *words, "--root", root)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    controller = Controller.set_up(tmp_path_factory.mktemp("ansible"))
    here = controller.directory
    (here / "install").symlink_to(executables().install)
    good = controller.release("1.4.0")
    damaged = bytearray(good.read_bytes())
    damaged[damaged.rindex(b"port {{ port }}")] ^= 1
    (here / "damaged.tar").write_bytes(damaged)
    hosts = here / "hosts"
    trusting = hosts / "host01"
    trusting.mkdir(parents=True)
    install(controller, trusting, "trust", "init", "root.json", "--fingerprint", controller.fingerprint)
    names = [f"host{number:02}" for number in range(1, HOSTS + 1)]
    for name in names[1:]:
        shutil.copytree(trusting, hosts / name)
    (hosts / "host07/etc/waybill/trust/root.json").unlink()
    install(controller, hosts / "host27", "apply", str(controller.release("1.5.0")), "--yes")
    (hosts / "host37/opt").mkdir()
    (hosts / "host37/opt/lan-chat").write_text("a file of somebody else\n")
    lines = [f"{name} bundle=damaged.tar" if name == "host17" else name for name in names]
    controller.write("inventory.ini", "\n".join(lines))
    controller.write("fifty.yml", PLAYBOOK)
    state = hosts / "host47/var/lib/waybill/lan-chat"
    state.mkdir(mode=0o700)
    with (state / "lock").open("w") as lock:
        Path(lock.name).chmod(0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield controller.play("fifty.yml", "--forks", "8")


def test_the_table_has_every_host_and_says_how_the_broken_ones_are_broken(play: Play) -> None:
    assert play.exit == 2, play.output
    table = {
        host: f"{code} {name} {changed}"
        for host, code, name, changed in (
            line.split() for line in play.of("table").result["msg"].strip(" ;").split(";")
        )
    }
    wanted = {f"host{number:02}": "0 ok True" for number in range(1, HOSTS + 1)}
    assert table == wanted | {name: f"{said} False" for name, said in BROKEN.items()}


def test_a_host_that_fails_says_what_to_do(play: Play) -> None:
    hints = {name: play.of("install", name).result for name in BROKEN}
    assert {name for name, result in hints.items() if result["hint"] and result["hint"] in result["msg"]} == {
        *BROKEN
    }, json.dumps(hints, indent=1)


def test_the_recap_counts_five_failures(play: Play) -> None:
    recap = play.output.partition("PLAY RECAP")[2]
    assert (recap.count("failed=1"), recap.count("changed=1")) == (5, 45)
