"""Manifests of Kubernetes: the files of a directory, or one file."""

from __future__ import annotations

import posixpath
from pathlib import Path

from bundler.config.checks.inputs import directory_problem, member_name
from bundler.config.folders.folder_files import MOST, Folder, files_below
from installer.core.errors import Problem
from installer.core.format.entries.kube_manifests import SUFFIXES

_FOLDER = "deploy/kubernetes"
_KUSTOMIZE = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def read(directory: Path, given: str, where: str) -> Folder:
    """Read manifests.

    Args:
        directory: Of bundle.yaml.
        given: A directory, or one file, as a path from there.
        where: `bundle.yaml:LINE`.
    """
    given = posixpath.normpath(given)
    source, found = directory / given, Folder()
    if source.is_file():
        found.files = [(given, member_name("deploy", given, _FOLDER.partition("/")[2]))]
        if not given.endswith(SUFFIXES):
            what = f"{given} is no manifest: its name does not end in {' or '.join(SUFFIXES)}"
            found.problems.append(Problem(where, what, "rename it"))
        return found
    if problem := directory_problem(source, given, where):
        found.problems.append(problem)
        return found
    names = list(files_below(source, given, where, found.problems))
    # What it makes of these files is what is to be applied, and what people review.
    if any(posixpath.basename(name) in _KUSTOMIZE for name in names):
        hint = f"run `kubectl kustomize {given} > {_FOLDER}.yaml`, and name that file"
        found.problems.append(
            Problem(where, f"{given} has a kustomization, which is not rendered here", hint)
        )
        return found
    # As `kubectl apply --recursive` takes them: the directory may have a README.
    names = sorted(name for name in names if name.endswith(SUFFIXES))
    if not names or len(names) > MOST:
        what = f"{given} has {len(names)} files that end in {', '.join(SUFFIXES)}"
        hint = f"name a directory with at least one and at most {MOST} of them"
        found.problems.append(Problem(where, what, hint))
        return found
    base = given if given.startswith("deploy/") else f"{_FOLDER}/{source.resolve().name}"
    found.files = [(f"{given}/{name}", f"{base}/{name}") for name in names]
    return found
