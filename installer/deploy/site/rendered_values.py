"""The values file that a step renders for its engine: YAML with references in place of secrets.

The file lies in the directory of the release. Its secrets are asked for when the engine runs, and go into
memory only: neither the journal nor a disk has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from installer.core.errors import Problem, WaybillError
from installer.core.format.methods import SPECS
from installer.deploy import release_files
from installer.deploy.method import Target
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.secrets.references import Path, Reference
from installer.secrets.registry import references_in
from installer.secrets.resolve import examine
from installer.shared import strict_yaml


def recorded_values(target: Target, method: str) -> Json | None:
    """Return where the rendered values of a step lie, and their digest; None where it has none.

    Args:
        target: The step.
        method: Its method, which renders one file at most.
    """
    places = {f"{target.release.directory}/{place}" for _, place in SPECS[method].rendered(target.options)}
    item = next((each for each in target.release.installed if each.path in places), None)
    return {"sha256": item.sha256, "paths": [item.source, item.path]} if item else None


def has_values(target: Target, method: str) -> bool:
    """Return whether the values of a planned step could be rendered, if it has some."""
    places = [f"{target.release.directory}/{place}" for _, place in SPECS[method].rendered(target.options)]
    release = target.release
    # A retained release has its file on the disk.
    return release.staged == release.directory or all(release.rendered.get(place) for place in places)


def value_problems(data: bytes, template: str) -> list[Problem]:
    """Return what is wrong with rendered values: their YAML, and the secrets that they refer to."""
    document = strict_yaml.load(data, f"{template} (rendered)")
    return _form_problems(document) or references_in(document.value or {}, document.where)[1]


def values_with_references(context: Context, recorded: Json | None, target: Target | None) -> dict[str, Any]:
    """Return the values with references in place of secrets.

    Args:
        context: The host.
        recorded: What `recorded_values` returned.
        target: While planning, the step: its file is not on the disk yet.

    Raises:
        StepError: They cannot be read.
        ChangedFileError: They are not what was rendered.
    """
    return dict(_document(context, recorded, target).value or {})


def values_with_secrets(context: Context, recorded: Json | None, target: Target | None) -> dict[str, Any]:
    """Return the values with their secrets, which are hidden from messages from then on.

    Args:
        context: The host.
        recorded: What `recorded_values` returned.
        target: While planning, the step.

    Raises:
        StepError: They cannot be read, or a secret cannot be had.
        ChangedFileError: They are not what was rendered.
    """
    document = _document(context, recorded, target)
    return with_secrets(context, document.value or {}, document.where)


def with_secrets(context: Context, values: dict[str, Any], where: Callable[[Path], str]) -> dict[str, Any]:
    """Return values with secrets in place of references; they are hidden from messages from then on.

    Args:
        context: The host.
        values: The values.
        where: Gives `file:line` of a path.

    Raises:
        StepError: A secret cannot be had.
    """
    secrets = revealed(context, *references_in(values, where))
    return dict(_filled(values, secrets.get))


def revealed(
    context: Context, found: Mapping[Path, Reference], problems: Sequence[Problem]
) -> dict[Path, str]:
    """Return the secrets that values refer to, by their paths; they are hidden from messages from then on.

    Args:
        context: The host.
        found: The references, from `references_in`.
        problems: What is wrong with others.

    Raises:
        StepError: Something is wrong with a reference, or a secret cannot be had.
    """
    try:
        resolution = examine(context, frozenset(found.values()))
    except WaybillError as error:
        raise StepError(error.what, where=error.where, hint=error.hint) from error
    problems = [*problems, *resolution.problems()]
    if problems:
        first = problems[0]
        raise StepError(first.what, where=first.where, hint=first.hint, problems=problems[1:])
    return {path: resolution.secrets[each].reveal() for path, each in found.items()}


def _document(context: Context, recorded: Json | None, target: Target | None) -> strict_yaml.Document:
    if not recorded:
        return strict_yaml.Document("", {}, {})
    planned = target.release.rendered if target else {}
    _, data = release_files.recorded_bytes(context.system, recorded, planned)
    document = strict_yaml.load(data, recorded["paths"][-1])
    # Found when it was rendered, too; but what tries a step while planning does not wait for that.
    if problems := _form_problems(document):
        first = problems[0]
        raise StepError(first.what, where=first.where, hint=first.hint)
    return document


def _form_problems(document: strict_yaml.Document) -> list[Problem]:
    if document.problems or document.value is None or isinstance(document.value, dict):
        return list(document.problems)
    return [Problem(document.name, "is not a mapping of values", "write KEY: value")]


def _filled(value: Any, take: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, take, (*path, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, take, (*path, number)) for number, each in enumerate(value)]
    return take(path, value)
