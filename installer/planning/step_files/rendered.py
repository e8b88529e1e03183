"""Renders the templates of steps into the directory of the release, and lets their methods complete them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.manifest import Deployment, FileEntry, Manifest
from installer.core.format.methods import SPECS
from installer.deploy.method import Target
from installer.deploy.method_registry import method
from installer.host.context import Context
from installer.secrets.references import PREFIX
from installer.shared import strict_yaml
from installer.shared.rendering.confidential import Rendered
from installer.shared.rendering.template import RenderError
from installer.shared.review.yaml_values import NotReadableError, yaml_documents
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

    @property
    def keeps_references(self) -> bool:
        """Whether references to secrets stay in it."""
        return SPECS[self.step.method].keeps_references


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


def with_references(made: Rendered, template: str) -> bytes | RenderError:
    """Return a rendered values file with references in place of secrets, or why there is none.

    A method that keeps references puts the secrets in their places. What a filter or a condition made of a
    secret could not be made again.

    Args:
        made: What the template was rendered to, both with the secrets and with the references.
        template: Its path, for messages.
    """
    if isinstance(made.data, bytes) and isinstance(made.referring, bytes):
        values, others = (_values(each, template) for each in (made.data, made.referring))
        # A secret may be no plain YAML; where it is none, only the references can be read.
        if values is None or _differ_by_references(values, others):
            return made.referring
    what = "makes something else of a secret than a value of its own"
    return RenderError(
        what,
        template=template,
        hint="use the secret as it is: {{ key | tojson }}, without other filters and without conditions",
    )


def _values(data: bytes, template: str) -> Any:
    """Return the values of a rendered text, or of each of its documents; None where it cannot be read."""
    document = strict_yaml.load(data, template)
    if not document.problems:
        return [document.value]
    try:
        # Manifests of a cluster are several documents, and may have anchors.
        return yaml_documents(data)
    except NotReadableError:
        return None


def _differ_by_references(value: Any, other: Any) -> bool:
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(
            _differ_by_references(value[key], other[key]) for key in value
        )
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_differ_by_references, value, other))
    return bool(value == other) or (isinstance(other, str) and other.startswith(PREFIX))


def completed(context: Context, release: Release, file: StepFile, data: bytes) -> tuple[bytes, list[Problem]]:
    """Return what a rendered file becomes, and what is wrong with it, as its method says."""
    found = method(file.step.method)
    if found is None:
        return data, []
    return found.rendered(context, Target(release, file.step.options), file.entry.path, data)
