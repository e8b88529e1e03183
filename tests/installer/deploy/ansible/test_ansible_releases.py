"""The method `ansible` with real Ansible: releases come, change, fail, come back and go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from installer.commands.status import product_status
from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.host.private_copy import memory_place
from tests.rig.playbooks import FOLDER, WRITE, Member, Parts, playbook, settings, with_ansible
from tests.rig.releases import ReleaseSpec, install, plan_for, remove, root, state_file

# None of these is a template, whatever is in it: a command in a value would run as root, also in check mode.
SECRET = "open-{{ 7 }}-{# sesame #}-{{ lookup('pipe', 'kill $PPID') }}71"
LEVEL = "high {% raw %} \\N \U0001f600"
SITE = "password: {{ password | tojson }}\nlevel: {{ level | tojson }}\nnames: {{ names | tojson }}\n"
DEFAULTS = "password: ''\nlevel: low\nnames: {'{{ 8 }}': ['{{ 9 }}', 2, true, null]}\n"
ROLE = """\
- name: write the login
  ansible.builtin.template: {src: login.j2, dest: "{{ waybill.root }}/login", mode: "0600"}
"""
LOGIN = """\
{{ level }} {{ password }} {{ waybill.product }} {{ waybill.version }} {{ word | rig.tools.loud }}
{{ names | to_json }} {{ (names | dict2items)[0].key }}
"""
FILTER = """\
class FilterModule:
    def filters(self):
        return {"loud": str.upper}
"""
# What a role of the release does with a file of the bundle.
COLLECTED = """\
    - name: load a role of the release
      ansible.builtin.include_role: {name: chat}
      vars: {word: "{{ lookup('ansible.builtin.file', waybill.files ~ '/bin/word') }}"}
"""
BROKEN = """\
    - name: migrate
      ansible.builtin.command:
        argv: [sh, -c, 'echo "the disk of $1 is full" >&2; exit 3', sh, "{{ password }}"]
"""


def with_site(number: int, tasks: str) -> ReleaseSpec:
    """Return a release whose playbook gets the values of the site, one of them a secret."""
    role = {"roles/chat/tasks/main.yml": ROLE, "roles/chat/templates/login.j2": LOGIN}
    role["collections/ansible_collections/rig/tools/plugins/filter/loud.py"] = FILTER
    spec = playbook(number, Parts(tasks=tasks, site=SITE, defaults=DEFAULTS, files=role))
    members = {**spec.members, "bin/word": Member(b"word")}
    return ReleaseSpec(spec.version, number, members, deploy=spec.deploy, values=spec.values)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A host with a secret of its own, on which the first release is installed."""
    within = with_ansible(tmp_path_factory.mktemp("ansible") / "host")
    secrets = root(within) / "etc/waybill/lan-chat/secrets"
    secrets.mkdir(parents=True)
    (secrets / "login").write_text(f"{SECRET}\n")
    (secrets / "login").chmod(0o600)
    values = yaml.safe_dump({"password": "secret://file/login", "level": LEVEL})
    (secrets.parent / "values.yaml").write_text(values)
    with pytest.MonkeyPatch.context() as patch:
        # What a person has in a shell decides nothing.
        patch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
        patch.setenv("ANSIBLE_CONFIG", "/etc/ansible/ansible.cfg")
        install(within, with_site(1, WRITE + COLLECTED))
    return within


def steps(within: Context, spec: ReleaseSpec) -> list[str]:
    return [line for step in plan_for(within, spec).methods for line in step.lines]


def with_secret(host: Context) -> list[str]:
    """Return which files of the host have the secret."""
    found = [path for path in root(host).rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(str(path.relative_to(root(host))) for path in found if SECRET.encode() in path.read_bytes())


def test_a_playbook_gets_values_secrets_files_and_the_version(host: Context) -> None:
    assert settings(root(host)) == "level 1"
    login, names = (root(host) / "login").read_text().splitlines()
    assert login == f"{LEVEL} {SECRET} lan-chat 1.0.0 WORD"
    assert names == '{"{{ 8 }}": ["{{ 9 }}", 2, true, null]} {{ 8 }}'


def test_progress_names_what_changed(host: Context) -> None:
    said = host.progress.lines  # type: ignore[attr-defined]
    assert "localhost: write the settings" in said
    assert "localhost: chat : write the login" in said


def test_secrets_are_where_the_playbook_puts_them_and_nowhere_else(host: Context) -> None:
    assert with_secret(host) == ["etc/waybill/lan-chat/secrets/login", "login"]
    assert SECRET not in "\n".join(host.progress.lines)  # type: ignore[attr-defined]
    assert not list(Path(memory_place()).glob(f".waybill.run-{os.getpid()}-*"))
    assert not [name for name in os.listdir(state_file(host, "")) if name.startswith(".run-")]


def test_a_release_that_is_there_has_nothing_to_do(host: Context) -> None:
    plan = plan_for(host, with_site(1, WRITE + COLLECTED))
    assert plan.nothing
    assert product_status(host).drift == ()


def test_a_release_whose_settings_were_edited_is_repaired(host: Context) -> None:
    (root(host) / "settings").write_text("level 9\n")
    shown = steps(host, with_site(1, WRITE + COLLECTED))
    (root(host) / "settings").write_text("level 1\n")
    assert shown[1:4] == ["change: write the settings", "    -level 9", "    +level 1"]


def test_an_edited_playbook_of_the_release_is_told(host: Context) -> None:
    path = next((root(host) / "var/lib/waybill/lan-chat/releases").glob(f"1-*/{FOLDER}/undo.yml"))
    before = path.read_bytes()
    path.write_bytes(before + b"# edited\n")
    (found,) = product_status(host).drift
    path.write_bytes(before)
    assert "was changed since it was installed" in found.what


def test_a_plan_shows_changes_hides_secrets_and_says_what_it_does_not_know(host: Context) -> None:
    tasks = WRITE + COLLECTED + BROKEN
    shown = steps(host, with_site(2, tasks))
    assert shown[0].startswith(f"run {FOLDER}/site.yml with ansible-core 2.")
    assert shown[1:4] == ["change: write the settings", "    -level 1", "    +level 2"]
    assert f"    +{LEVEL} *** lan-chat 2.0.0 WORD" in shown
    assert "not known before it runs: migrate" in shown
    assert shown[-1] == f"if it fails, {FOLDER}/undo.yml, then the playbook of 1.0.0 runs"
    assert settings(root(host)) == "level 1"


def test_a_failure_names_the_host_and_the_task_and_is_undone(host: Context) -> None:
    with pytest.raises(RolledBackError) as caught:
        install(host, with_site(2, WRITE + BROKEN))
    text = str(caught.value)
    assert f"localhost: the task migrate ({FOLDER}/site.yml:7) failed" in text
    assert "the disk of *** is full" in text
    assert SECRET not in text
    assert settings(root(host)) == "level 1"
    assert (root(host) / "login").exists()


def test_a_removal_runs_the_undo_playbook(host: Context) -> None:
    remove(host)
    assert settings(root(host)) == ""
    assert "login" in with_secret(host)  # the undo playbook says nothing of it
