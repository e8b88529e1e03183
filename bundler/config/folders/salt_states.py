"""Directories of Salt states: their files, and whether the state that undoes them is there."""

from __future__ import annotations

import posixpath
from pathlib import Path

from bundler.config.checks.inputs import directory_problem
from bundler.config.folders.folder_files import MOST, Folder, files_below
from installer.core.errors import Problem
from installer.core.format.entries import salt_states

_FOLDER = "deploy/salt"


def read(directory: Path, given: str, where: str) -> Folder:
    """Read a directory of states.

    Args:
        directory: Of bundle.yaml.
        given: The directory of the states, as a path from there.
        where: `bundle.yaml:LINE`.
    """
    given = posixpath.normpath(given)
    source, found = directory / given, Folder()
    if problem := directory_problem(source, given, where):
        found.problems.append(problem)
        return found
    # A directory with both is the file root of several states: its top.sls says what is applied.
    first = next((name for name in (salt_states.TOP, salt_states.STATE) if (source / name).is_file()), "")
    if not first:
        what = f"{given} has neither {salt_states.STATE} nor {salt_states.TOP}"
        hint = f"name the directory of a state, or a file root with a {salt_states.TOP}"
        found.problems.append(Problem(where, what, hint))
        return found
    names = list(files_below(source, given, where, found.problems))
    if len(names) > MOST:
        what = f"{given} has {len(names)} files; a step can name {MOST}"
        found.problems.append(Problem(where, what, "ship what states only copy as a tree"))
        return found
    base = given if given.startswith("deploy/") else f"{_FOLDER}/{source.resolve().name}"
    ordered = sorted(names, key=lambda name: (name != first, name))
    found.files = [(f"{given}/{name}", f"{base}/{name}") for name in ordered]
    if fault := salt_states.fault([member for _, member in found.files]):
        hint = "rename the directory: letters, digits, hyphens and underscores are allowed"
        found.problems.append(Problem(where, f"{given} {fault}", hint))
    return found


def check_undo(folder: Folder, undo: str, where: str) -> None:
    """Note why the state that undoes a step is none of its states, or that nothing undoes it.

    Args:
        folder: What `read` returned.
        undo: The name of the state; empty where there is none.
        where: `bundle.yaml:LINE`.
    """
    if folder.problems:
        return
    if not undo:
        what = "has no `undo`: the first installation of these states on a host cannot be undone"
        hint = "declare a state that reverts them, such as `undo: NAME.undo`; a removal applies it, too"
        folder.warnings.append(Problem(where, what, hint, "no-undo"))
    elif fault := salt_states.undo_fault([member for _, member in folder.files], undo):
        hint = "write its full name, as `include` in a state has it"
        folder.problems.append(Problem(where, f"undo {fault}", hint))
