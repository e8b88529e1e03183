"""Playbooks in bundle.yaml: their whole directory travels, and what hosts could not run has its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.config.folders.folder_files import Folder
from bundler.config.folders.playbooks import read
from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from tests.rig.products import add

SITE = "- hosts: all\n  roles: [chat]\n  tasks:\n    - ansible.builtin.ping:\n"
FILES = {
    "site.yml": SITE,
    "undo.yml": SITE,
    "roles/chat/tasks/main.yml": "- ping:\n",
    "templates/a.j2": "{{ x }}",
}
VENDORED = "collections/ansible_collections/rig/tools"
MANIFEST = json.dumps({"collection_info": {"version": "1.2.0"}})


def lay(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def of(
    tmp_path: Path,
    files: dict[str, str],
    given: str = "deploy/ansible/site.yml",
    groups: tuple[str, ...] = (),
) -> Folder:
    lay(tmp_path / given.rpartition("/")[0], FILES | files)
    return read(tmp_path, given, "bundle.yaml:7", groups)


def said(folder: Folder) -> str:
    return "\n".join(f"{each.where}: {each.what} ({each.hint})" for each in folder.problems)


def test_the_directory_of_a_playbook_travels_with_it_the_playbook_first(tmp_path: Path) -> None:
    folder = of(tmp_path, {f"{VENDORED}/MANIFEST.json": MANIFEST, ".git/config": "x"})
    assert said(folder) == ""
    assert folder.members[0] == "deploy/ansible/site.yml"
    assert set(folder.members) == {f"deploy/ansible/{name}" for name in [*FILES, f"{VENDORED}/MANIFEST.json"]}


def test_a_directory_elsewhere_keeps_its_own_name_in_the_bundle(tmp_path: Path) -> None:
    folder = of(tmp_path, {}, "playbooks/chat/site.yml")
    assert folder.files[0] == ("playbooks/chat/site.yml", "deploy/ansible/chat/site.yml")


PLAY = "- hosts: all\n  tasks:\n"
BAD: dict[str, tuple[dict[str, str], str, str]] = {
    "variables that are asked for": (
        {"site.yml": "- hosts: all\n  vars_prompt: [{name: x}]\n"},
        "deploy/ansible/site.yml:2: asks for variables, and a host has no terminal",
        "values of the site",
    ),
    "a pause without an end": (
        {"site.yml": PLAY + "    - block:\n        - name: wait\n          ansible.builtin.pause:\n"},
        "deploy/ansible/site.yml:5: waits for a key",
        "seconds or minutes",
    ),
    "a pause in a role": (
        {"roles/chat/tasks/main.yml": "- pause: {prompt: Go on}\n"},
        "deploy/ansible/roles/chat/tasks/main.yml:1: waits for a key",
        "",
    ),
    "a module of a collection that is not vendored": (
        {"site.yml": PLAY + "    - community.general.ufw: {state: enabled}\n"},
        "site.yml:3: community.general.ufw is in the collection community.general, which is not in deploy",
        "ansible-galaxy collection install -p collections",
    ),
    "a requirement that is not vendored": (
        {"collections/requirements.yml": "collections:\n  - name: ansible.posix\n  - rig.tools\n"},
        "deploy/ansible/collections/requirements.yml:2: the collection ansible.posix is not in",
        "ansible-galaxy",
    ),
    "a requirement of another version": (
        {"requirements.yml": "collections:\n  - {name: rig.tools, version: '>=1.3,<2'}\n"},
        "requirements.yml:2: the collection rig.tools >=1.3,<2 is needed, but version 1.2.0 is in",
        "",
    ),
    "a required role that is not there": (
        {"requirements.yml": "roles:\n  - {src: geerlingguy.nginx}\n"},
        "deploy/ansible/requirements.yml:2: the role geerlingguy.nginx is not in deploy/ansible/roles",
        "cannot download",
    ),
    "a role that is not there": (
        {"site.yml": "- hosts: all\n  roles:\n    - chat\n    - {role: store}\n"},
        "deploy/ansible/site.yml:4: the role store is not in deploy/ansible/roles",
        "",
    ),
    "an included role that is not there": (
        {"site.yml": PLAY + "    - include_role: {name: store}\n"},
        "deploy/ansible/site.yml:3: the role store is not in",
        "",
    ),
    "a role that another one needs": (
        {"roles/chat/meta/main.yml": "dependencies:\n  - role: store\n"},
        "deploy/ansible/roles/chat/meta/main.yml:2: the role store is not in",
        "",
    ),
    "a play for other hosts": (
        {"site.yml": "- hosts: webservers\n"},
        "deploy/ansible/site.yml:1: hosts: webservers names other hosts",
        "write hosts: all",
    ),
    "a file of Ansible Vault": (
        {"group_vars/all.yml": "$ANSIBLE_VAULT;1.1;AES256\n6162\n"},
        "deploy/ansible/group_vars/all.yml:1: is encrypted with Ansible Vault",
        "secret://",
    ),
    "a value of Ansible Vault": (
        {"site.yml": "- hosts: all\n  vars:\n    x: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      6162\n"},
        "deploy/ansible/site.yml:4: is encrypted with Ansible Vault",
        "secret://",
    ),
    "a file of Ansible Vault that is no YAML": (
        {"files/key.pem": "$ANSIBLE_VAULT;1.1;AES256\n6162\n"},
        "deploy/ansible/files/key.pem:1: is encrypted with Ansible Vault",
        "secret://",
    ),
    "settings that ask for a password": (
        {"ansible.cfg": "[privilege_escalation]\nbecome_ask_pass = True\n"},
        "deploy/ansible/ansible.cfg: sets become_ask_pass",
        "remove it",
    ),
    "a playbook that is no YAML": (
        {"site.yml": "- hosts: [all\n"},
        "deploy/ansible/site.yml:2: is not YAML",
        "",
    ),
}


@pytest.mark.parametrize(("files", "what", "hint"), BAD.values(), ids=BAD)
def test_what_hosts_could_not_run_is_told_with_its_place(
    tmp_path: Path, files: dict[str, str], what: str, hint: str
) -> None:
    lay(tmp_path / "deploy/ansible", {f"{VENDORED}/MANIFEST.json": MANIFEST})
    (problem,) = [line for line in said(of(tmp_path, files)).splitlines() if what in line]
    assert hint in problem


def test_what_ansible_allows_is_allowed(tmp_path: Path) -> None:
    tasks = """\
    - rig.tools.word:
    - pause: {seconds: 1}
    - import_role: {name: rig.tools.server}
    - include_role: {name: "{{ which }}"}
    - debug: {msg: !unsafe "{{ x }}"}
"""
    requirements = "collections: [{name: rig.tools, version: '>=1.0'}]\nroles: [chat]\n"
    files = {
        "site.yml": PLAY + tasks,
        "requirements.yml": requirements,
        f"{VENDORED}/MANIFEST.json": MANIFEST,
    }
    assert said(of(tmp_path, files)) == ""


def test_a_playbook_for_an_inventory_addresses_the_groups_of_its_step(tmp_path: Path) -> None:
    plays = "- hosts: chat\n- hosts: store:!chat\n- hosts: all\n- hosts: localhost\n- hosts: chat[0]\n"
    assert said(of(tmp_path, {"site.yml": plays}, groups=("chat", "store"))) == ""
    told = said(of(tmp_path, {"site.yml": "- hosts: chat,web\n"}, groups=("chat", "store")))
    assert "site.yml:1: hosts: chat,web names hosts that are in none of the groups of the step" in told
    assert "write one of chat, store, or all; or add it to `groups`" in told


def test_a_link_is_refused(tmp_path: Path) -> None:
    lay(tmp_path / "deploy/ansible", FILES)
    (tmp_path / "deploy/ansible/latest").symlink_to("site.yml")
    assert "deploy/ansible/latest is a link" in said(of(tmp_path, {}))


def test_a_playbook_without_a_directory_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(SITE)
    assert "is not in a directory of its own" in said(read(tmp_path, "site.yml", "bundle.yaml:7"))


STEP = "deploy: [{method: ansible, playbook: deploy/ansible/site.yml%s}]\n"


def test_a_step_has_its_files_and_its_undo(product_dir: Path) -> None:
    lay(product_dir / "deploy/ansible", FILES)
    add(product_dir, STEP % ", undo: deploy/ansible/undo.yml, timeout: 5m, ansible_core: '>=2.15'")
    config = load(product_dir, "1.4.0")
    (step,) = config.manifest.deploy
    assert step.options["undo"] in step.options["playbook"]
    assert (step.options["timeout"], step.options["ansible_core"]) == (300, ">=2.15")
    assert not [each for each in config.warnings if each.code == "no-undo"]


def test_a_step_for_an_inventory_has_its_groups(product_dir: Path) -> None:
    lay(product_dir / "deploy/ansible", FILES | {"site.yml": "- hosts: chat\n"})
    add(product_dir, STEP % ", undo: deploy/ansible/undo.yml, inventory: inventory.yaml, groups: [chat]")
    (step,) = load(product_dir, "1.4.0").manifest.deploy
    assert (step.options["inventory"], step.options["groups"]) == ("inventory.yaml", ["chat"])


def test_a_step_without_an_undo_playbook_is_warned_of(product_dir: Path) -> None:
    lay(product_dir / "deploy/ansible", FILES | {"site.yml": PLAY + "    - ping:\n      check_mode: false\n"})
    add(product_dir, STEP % "")
    warnings = {each.code: each for each in load(product_dir, "1.4.0").warnings}
    assert "its first installation on a host cannot be undone" in warnings["no-undo"].what
    assert warnings["check-mode"].where == "deploy/ansible/site.yml:4"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (
            ", undo: deploy/ansible/roles/chat/tasks/main.yml",
            "is no playbook next to deploy/ansible/site.yml",
        ),
        (", undo: CHANGELOG.md", "CHANGELOG.md is no playbook next to"),
        (", ansible_core: '2.15'", "which is not in the required form"),
        (", inventory: inventory.yaml, groups: [chat]", "undo"),
        (", undo: deploy/ansible/undo.yml, inventory: inventory.yaml", "groups"),
        (
            ", undo: deploy/ansible/undo.yml, inventory: hosts/inventory.yaml, groups: [chat]",
            "which is not in the required form",
        ),
    ],
)
def test_a_wrong_option_is_refused(product_dir: Path, options: str, what: str) -> None:
    lay(product_dir / "deploy/ansible", FILES)
    add(product_dir, STEP % options)
    with pytest.raises(UnfitInputError) as caught:
        load(product_dir, "1.4.0")
    assert what in str(caught.value)


def test_a_line_feed_in_a_name_makes_no_line_of_its_own(product_dir: Path) -> None:
    lay(product_dir / "deploy/ansible", {**FILES, "a\nerror: b": ""})
    add(product_dir, "deploy: [{method: ansible, playbook: deploy/ansible/site.yml}]\n")
    with pytest.raises(UnfitInputError) as caught:
        load(product_dir, "1.4.0")
    assert "the name of deploy/ansible/a\\nerror: b has the invisible or control" in str(caught.value)
