"""`state: absent` of the collection: what goes with a product, and what check mode says of it before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.rig.ansibled import Controller, Play
from tests.rig.executables import executables

pytestmark = pytest.mark.needs("ansible")
COPIES = "east/var/lib/waybill-bundles"
PLAYBOOK = """\
- hosts: east
  gather_facts: false
  vars: {{ansible_connection: local}}
  module_defaults:
    waybill.release.bundle:
      root: "{{{{ playbook_dir }}}}/east"
      executable: "{{{{ playbook_dir }}}}/install"
  tasks:
    - name: trust
      waybill.release.trust:
        src: root.json
        fingerprint: {fingerprint}
        env: plant
        root: "{{{{ playbook_dir }}}}/east"
        executable: "{{{{ playbook_dir }}}}/install"
    - name: refused
      waybill.release.bundle: {{src: lan-chat-1.4.0.tar, values: {{port: no number}}}}
      ignore_errors: true
    - name: never installed, in check mode
      waybill.release.bundle: &away {{state: absent, product: lan-chat}}
      check_mode: true
    - name: never installed
      waybill.release.bundle: *away
    - name: never installed, again
      waybill.release.bundle: *away
    - name: install
      waybill.release.bundle: {{src: lan-chat-1.4.0.tar, only: [files]}}
    - name: would remove
      waybill.release.bundle: *away
      check_mode: true
    - name: remove
      waybill.release.bundle: *away
    - name: would remove again
      waybill.release.bundle: *away
      check_mode: true
    - name: remove again
      waybill.release.bundle: *away
    - name: a copy that was left
      ansible.builtin.raw: |
        cd {{{{ playbook_dir }}}}/{copies} && touch a.tar && ln -s a.tar .lan-chat.installed
    - name: would remove the copy
      waybill.release.bundle: *away
      check_mode: true
    - name: remove the copy
      waybill.release.bundle: *away
    - name: a link that leads elsewhere
      ansible.builtin.raw: |
        cd {{{{ playbook_dir }}}}/{copies} && touch ../kept && ln -s ../kept .lan-chat.installed
    - name: remove the link
      waybill.release.bundle: *away
"""


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    controller = Controller.set_up(tmp_path_factory.mktemp("ansible"))
    here = controller.directory
    shutil.copy(executables().install, here / "install")
    controller.release("1.4.0")
    controller.write("inventory.ini", "east\n")
    controller.write("absent.yml", PLAYBOOK.format(fingerprint=controller.fingerprint, copies=COPIES))
    (here / "east").mkdir()
    return controller


@pytest.fixture(scope="module")
def play(controller: Controller) -> Play:
    return controller.play("absent.yml")


def changed(play: Play, *tasks: str) -> list[bool]:
    return [play.of(task).result["changed"] for task in tasks]


def test_a_product_that_was_refused_is_absent_for_check_mode_and_for_a_run(play: Play) -> None:
    assert play.of("refused").result["exit"] == 15, play.output
    assert play.of("never installed, in check mode").status == "ok"
    assert play.of("never installed").status == "ok", play.output
    assert changed(play, "never installed, in check mode", "never installed, again") == [False, False]


def test_values_of_a_task_are_named_and_not_their_temporary_file(play: Play) -> None:
    result = play.of("refused").result
    assert "values of the task" in result["msg"]
    assert "values.yaml" not in str(result["problems"]) + result["msg"] + result["stderr"]


def test_the_copy_of_a_bundle_goes_with_its_product(play: Play, controller: Controller) -> None:
    assert play.exit == 0, play.output
    assert changed(play, "would remove", "remove", "would remove again", "remove again") == [
        *(True, True, False, False),
    ]
    assert list((controller.directory / COPIES).iterdir()) == []


def test_a_copy_that_an_earlier_removal_has_left_goes_too(play: Play) -> None:
    assert changed(play, "would remove the copy", "remove the copy") == [True, True]


def test_nothing_outside_of_the_directory_of_copies_goes(play: Play, controller: Controller) -> None:
    assert changed(play, "remove the link") == [True]
    assert Path(controller.directory, "east/var/lib/kept").exists()
