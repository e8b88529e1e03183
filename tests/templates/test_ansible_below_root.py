"""The role of templates/ansible on hosts that are directories of one machine: nothing is outside of them."""

from __future__ import annotations

import shutil

import pytest

from tests.rig.ansibled import Controller, Play
from tests.rig.executables import executables

pytestmark = pytest.mark.needs("ansible")
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  vars:
    ansible_connection: local
    waybill_root: "{{ playbook_dir }}/{{ inventory_hostname }}/"
    waybill_only: [files]
  roles:
    - role: waybill.release.install
      waybill_bundle: lan-chat-1.4.0.tar
      waybill_root_file: root.json
"""
COPIES = "var/lib/waybill-bundles"


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    controller = Controller.set_up(tmp_path_factory.mktemp("ansible"))
    here = controller.directory
    shutil.copy(executables().install, here / "install")
    controller.release("1.4.0")
    controller.write("inventory.ini", "east\nwest waybill_executable=/absent/install\n")
    controller.write("site.yml", PLAYBOOK)
    for name in ("east", "west"):
        (here / name).mkdir()
    return controller


@pytest.fixture(scope="module")
def plays(controller: Controller) -> list[Play]:
    return [controller.play("site.yml") for _ in range(2)]


def test_each_host_has_its_own_executable_and_its_own_copy_of_the_bundle(
    controller: Controller, plays: list[Play]
) -> None:
    assert plays[0].exit == 0, plays[0].output
    for name in ("east", "west"):
        host = controller.directory / name
        assert (host / "opt/waybill/bin/install").is_file()
        assert (host / COPIES / "lan-chat-1.4.0.tar").is_file()
        assert {path.name for path in (host / COPIES).iterdir()} == {
            "lan-chat-1.4.0.tar",
            ".lan-chat.installed",
        }


def test_the_directories_above_the_copy_can_be_entered_by_others(
    controller: Controller, plays: list[Play]
) -> None:
    modes = {
        place: (controller.directory / "east" / place).stat().st_mode & 0o777
        for place in ("var", "var/lib", COPIES)
    }
    assert plays
    assert modes == {"var": 0o755, "var/lib": 0o755, COPIES: 0o700}


def test_a_second_run_changes_nothing(plays: list[Play]) -> None:
    assert plays[1].exit == 0, plays[1].output
    assert plays[1].changed() == []
