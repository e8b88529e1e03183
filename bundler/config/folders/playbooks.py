"""Playbooks: the files of their directory, and what in them would not work on a host.

A host has no network: roles and collections have to be in the directory. It has no terminal: a playbook that
asks for something would go on without an answer.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from bundler.config.checks.inputs import file_problem
from bundler.config.folders.folder_files import MOST, Folder, files_below
from bundler.config.folders.playbook_content import Content
from installer.core.errors import Problem

_FOLDER = "deploy/ansible"
_SKIPPED = (".git", ".ansible", "__pycache__")
_YAML = (".yml", ".yaml")


def read(directory: Path, given: str, where: str, groups: Sequence[str] = ()) -> Folder:
    """Read a playbook.

    Args:
        directory: Of bundle.yaml.
        given: The playbook, as a path from there.
        where: `bundle.yaml:LINE`.
        groups: The groups of the inventory of a site that it addresses; empty for the installed host alone.
    """
    given, playbook = posixpath.normpath(given), Folder()
    folder, name = posixpath.split(given)
    if problem := file_problem(directory / given, given, where):
        playbook.problems.append(problem)
        return playbook
    # Next to bundle.yaml the whole product would travel as files of the playbook.
    if not folder or not name.endswith(_YAML):
        what = f"{given} is not in a directory of its own, or does not end in .yml or .yaml"
        hint = "move it to a directory such as deploy/ansible: all that is in there travels with it"
        playbook.problems.append(Problem(where, what, hint))
        return playbook
    names = list(files_below(directory / folder, folder, where, playbook.problems, _SKIPPED))
    if len(names) > MOST:
        what = f"{folder} has {len(names)} files; a playbook can have {MOST}"
        playbook.problems.append(Problem(where, what, "leave out what it does not need, such as tests"))
        return playbook
    ordered = sorted(names, key=lambda each: (each != name, each))
    playbook.files = [(f"{folder}/{each}", member(f"{folder}/{each}", folder)) for each in ordered]
    content = Content(directory / folder, folder, ordered, groups)
    playbook.problems += content.problems()
    playbook.warnings += content.warnings()
    return playbook


def member(given: str, folder: str) -> str:
    """Return the path in the bundle of a file in the directory of a playbook."""
    base = folder if f"{folder}/".startswith("deploy/") else f"{_FOLDER}/{posixpath.basename(folder)}"
    return f"{base}/{posixpath.relpath(given, folder)}"


def read_undo(given: str, playbook: str, where: str) -> Folder:
    """Return the path in the bundle of the playbook that undoes another one, which brings its file.

    Args:
        given: Its path in bundle.yaml.
        playbook: That of the playbook.
        where: `bundle.yaml:LINE`.
    """
    given, folder = posixpath.normpath(given), posixpath.dirname(posixpath.normpath(playbook))
    found = Folder(single=member(given, folder))
    if posixpath.dirname(given) != folder or not given.endswith(_YAML):
        what = f"{given} is no playbook next to {playbook}"
        found.problems.append(Problem(where, what, f"move it to {folder or 'the directory of the playbook'}"))
    return found


def without_undo(given: str, where: str) -> Problem:
    """Return the warning that the first installation of a playbook cannot be undone."""
    what = f"{given} has no undo playbook: its first installation on a host cannot be undone"
    hint = "add `undo` with a playbook that reverts it; a removal runs it as well"
    return Problem(where, what, hint, "no-undo")
