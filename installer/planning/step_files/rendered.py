"""Renders the templates of steps into the directory of the release, and lets their methods complete them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from installer.core.errors import Problem
from installer.core.format.manifest import Deployment, FileEntry, Manifest
from installer.core.format.methods import SPECS
from installer.deploy.method import Target
from installer.deploy.method_registry import method
from installer.host.context import Context
from installer.state.release import Release


@dataclass(frozen=True, slots=True)
class StepFile:
    """A file that a step renders.

    Attributes:
        path: Where it will lie on the host.
        entry: Its template.
        step: The step.
    """

    path: str
    entry: FileEntry
    step: Deployment


def step_files(manifest: Manifest, directory: str, used: Collection[str] | None) -> Iterator[StepFile]:
    """Yield the files that the steps of a release render.

    Args:
        manifest: Of the release.
        directory: Where the release will lie.
        used: The methods that are used; None for all.
    """
    by_path = {entry.path: entry for entry in manifest.files}
    for step in manifest.deploy:
        if step.method not in SPECS or (used is not None and step.method not in used):
            continue
        for template, place in SPECS[step.method].rendered(step.options):
            yield StepFile(f"{directory}/{place}", by_path[template], step)


def completed(context: Context, release: Release, file: StepFile, data: bytes) -> tuple[bytes, list[Problem]]:
    """Return what a rendered file becomes, and what is wrong with it, as its method says."""
    found = method(file.step.method)
    if found is None:
        return data, []
    return found.rendered(context, Target(release, file.step.options), file.entry.path, data)
