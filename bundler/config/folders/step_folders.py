"""Reads the directories that steps name as a whole, by the kind of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bundler.config.folders import ansible_core, charts, kube_manifests, playbooks, salt_states
from bundler.config.folders.folder_files import Folder
from installer.core.format.entries import ansible_core_files, chart_files, playbook_files
from installer.core.format.entries import kube_manifests as objects
from installer.core.format.entries import salt_states as states
from installer.core.format.entries.method_spec import Option
from installer.core.format.manifest import Kind

_READERS: dict[str, Callable[[Path, str, str], Folder]] = {
    chart_files.KIND: charts.read,
    states.KIND: salt_states.read,
    objects.KIND: kube_manifests.read,
}
KINDS: tuple[Kind, ...] = (
    chart_files.KIND,
    playbook_files.KIND,
    states.KIND,
    ansible_core_files.KIND,
    objects.KIND,
)


def read(directory: Path, step: Mapping[str, Any], option: Option, given: str, where: str) -> Folder:
    """Read what an option of a step names.

    Args:
        directory: Of bundle.yaml.
        step: The step, as bundle.yaml has it.
        option: The option.
        given: Its value: a path from there.
        where: `bundle.yaml:LINE`.
    """
    kind = str(option.kind)
    if kind == ansible_core_files.KIND:
        return ansible_core.read(directory, given, str(step.get("ansible_core", "")), where)
    if option.list_feature or option.is_list:
        if kind == playbook_files.KIND:
            folder = playbooks.read(directory, given, where, step.get("groups", ()))
            if "undo" not in step:
                folder.warnings.append(playbooks.without_undo(given, where))
            return folder
        folder = _READERS[kind](directory, given, where)
        if kind == states.KIND:
            salt_states.check_undo(folder, str(step.get("undo", "")), where)
        return folder
    # One file of the directory that another option names.
    return playbooks.read_undo(given, str(step.get(kind, "")), where)
