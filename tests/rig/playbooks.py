"""Releases with a playbook, on a directory that is a live host, with the real Ansible of the rig."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bundler.config.folders.ansible_core import read as read_ansible_core
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from tests.rig.livedir import LiveDir
from tests.rig.needs import needs
from tests.rig.releases import Member, ReleaseSpec, context
from tests.rig.stepreleases import stepped

FOLDER = "deploy/ansible"
SITE, UNDO = f"{FOLDER}/site.yml", f"{FOLDER}/undo.yml"
PLAY = "- hosts: all\n  gather_facts: false\n  tasks:\n"
WRITE = """\
    - name: write the settings
      ansible.builtin.lineinfile:
        {path: "{{ waybill.root }}/settings", line: "level NUMBER", regexp: "^level", create: true}
"""
DELETE = """\
    - name: delete the settings
      ansible.builtin.file: {path: "{{ waybill.root }}/settings", state: absent}
"""


@dataclass(frozen=True)
class Parts:
    """What one release has.

    Attributes:
        tasks: Of its playbook; NUMBER in them is the number of the release.
        undo: Tasks of its undo playbook; empty for none.
        site: The text of the template of variables; empty for none.
        defaults: The default values of the bundle.
        options: More options of the step.
        files: More files next to the playbook.
        health: Probes.
    """

    tasks: str = WRITE
    undo: str = DELETE
    site: str = ""
    defaults: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    health: tuple[HealthCheck, ...] = ()


def playbook(number: int, parts: Parts = Parts()) -> ReleaseSpec:
    """Return a release with a playbook."""
    texts = {"site.yml": PLAY + parts.tasks.replace("NUMBER", str(number)), **parts.files}
    texts |= {"undo.yml": PLAY + parts.undo} if parts.undo else {}
    members = {f"{FOLDER}/{name}": Member(text.encode(), kind="playbook") for name, text in texts.items()}
    options = {"playbook": [SITE, *sorted(set(members) - {SITE})], "timeout": 120, **parts.options}
    options |= {"undo": UNDO} if parts.undo else {}
    template = ("values", "deploy/variables.yaml.j2", parts.site)
    return stepped(number, Deployment("ansible", options), members, template, parts.defaults, parts.health)


class OnDirectory(LiveDir):
    """A live host in a directory, with the Ansible of the rig."""

    def which(self, tool: str) -> str | None:
        return needs("ansible") if tool == "ansible-playbook" else super().which(tool)


def with_ansible(root: Path) -> Context:
    """Return a live host that has Ansible."""
    needs("ansible")
    root.mkdir(parents=True)
    return context(OnDirectory(root))


def settings(root: Path) -> str:
    """Return what the playbooks have written; empty for nothing."""
    file = root / "settings"
    return file.read_text().strip() if file.exists() else ""


def copied(root: Path, to: Path) -> Path:
    """Return a copy of a host."""
    shutil.copytree(root, to, symlinks=True)
    return to


def ansible_core(to: Path) -> Path:
    """Make a directory with the ansible-core of the rig, as `pip install --target` makes it; return it."""
    packages = next(Path(needs("ansible")).parents[1].glob("lib/python*/site-packages"))
    # What never travels, because it is compiled or large, and what pip itself brings to an environment.
    left = ("ansible_test", "cryptography*", "cffi*", "_cffi*", "pycparser*", "pip*", "setuptools*", "*.pth")
    left += ("pkg_resources", "_distutils_hack")
    for path in packages.iterdir():
        if path.is_dir() and not any(fnmatch(path.name, each) for each in left):
            shutil.copytree(path, to / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def with_ansible_core(spec: ReleaseSpec, directory: Path, version: str = "") -> ReleaseSpec:
    """Return a release whose step carries the ansible-core in a directory.

    Args:
        spec: The release.
        directory: What `ansible_core` made.
        version: What it says of its version, to be told from others; empty for its own.
    """
    folder = read_ansible_core(directory.parent, directory.name, "", "bundle.yaml")
    assert not folder.problems
    members = {
        member: Member((directory.parent / given).read_bytes(), kind="ansible-core")
        for given, member in folder.files
    }
    if version:
        path = next(path for path in members if path.endswith("/ansible/release.py"))
        text = re.sub(rb"__version__ = .*", f"__version__ = '{version}'".encode(), members[path].data)
        members[path] = replace(members[path], data=text)
    (step,) = spec.deploy
    options = {**step.options, "ansible": folder.members}
    return replace(spec, members={**spec.members, **members}, deploy=(replace(step, options=options),))


class WithoutAnsible(LiveDir):
    """A live host in a directory that has no Ansible, but a Python."""

    def which(self, tool: str) -> str | None:
        return None if tool.startswith("ansible") else super().which(tool)
