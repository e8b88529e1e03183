"""Read bundle.yaml for one version, and report all problems of it and its inputs at once.

1 the file      strict YAML, then the schema; what is not valid is set aside, the rest is checked further
2 the entries   placeholders, existence and permissions of inputs, names (`bundler/config/entries.py`)
3 the content   changelog, values, templates, Compose files, secrets, destinations (`checks/`)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundler.config import resources
from bundler.config.checks.content import check_content
from bundler.config.checks.trees import excluded_warning, leftovers_warning, private_warning
from bundler.config.durations import seconds
from bundler.config.entries import CONTENT, Entries
from bundler.config.model import BundleConfig
from bundler.config.secrets.allowances import Allowances
from installer.core import schema_errors
from installer.core.digest import sha256_hex
from installer.core.errors import Problem, UnfitInputError, UsageError
from installer.core.format.manifest import Manifest, ValuesLayer
from installer.core.semver import Version, default_sequence, parse
from installer.shared import strict_yaml

NAME = "bundle.yaml"
SCHEMA = "v1/bundle-yaml.schema.json"


def load(directory: Path, version: str, *, platforms: Sequence[str] = ()) -> BundleConfig:
    """Read and checks bundle.yaml and its inputs for a release.

    Args:
        directory: Directory of bundle.yaml.
        version: The version to make; a leading `v` is dropped.
        platforms: Only these of the platforms in bundle.yaml; empty: all.

    Raises:
        UnfitInputError: It cannot be bundled; `problems` has every problem, with place and hint.
    """
    problems: list[Problem] = []
    parsed = _version(version, problems)
    document, sha256 = _read(directory)
    problems += document.problems
    # Without a document there is nothing more to check.
    if document.value is None:
        raise _unfit(problems, directory)
    # What does not fit the schema is removed here, so that the checks below need not doubt types.
    value, whole = _fitting(document, problems)
    # From here on each step adds its problems: a person sees all of them in one run.
    chosen = _platforms(value, platforms, problems)
    sequence = _sequence(value, parsed, problems)
    upgrade_from = _upgrade_from(value, document, parsed, problems)
    entries = Entries(directory, document, value, str(parsed or version), chosen)
    problems += entries.problems
    content = check_content(entries, parsed, images_known="images" in whole)
    problems += content.problems
    # Only if nothing else is wrong: an entry that was refused would make a release look empty.
    if not problems and entries.is_empty():
        what = f"is empty: none of {', '.join(CONTENT)} is given, and no step that brings files of its own"
        problems.append(Problem(document.name, what, "list the content of the release"))
    if problems or parsed is None:
        raise _unfit(problems, directory)
    skip_images = value.get("secrets_skip_images", "") if entries.images else ""
    searches = bool(entries.images) and not skip_images
    for_images = entries.allowances.for_images() if searches else Allowances()
    manifest = Manifest(
        product=value["product"],
        version=str(parsed),
        sequence=sequence,
        created=0,
        expires=0,
        platforms=chosen,
        files=(),
        deploy=tuple(entries.deploy),
        health=tuple(entries.health),
        rollback=entries.rollback,
        values=entries.values,
        values_schema=entries.values_schema,
        values_layers=_values_layers(entries),
        upgrade_from=upgrade_from,
        cluster=entries.cluster,
    )
    return BundleConfig(
        directory=directory,
        manifest=manifest,
        expires=seconds(value.get("expires", "180d")),
        compression=value.get("compression", "zstd"),
        items=tuple(entries.items),
        trees=tuple(entries.trees),
        images=tuple(entries.images),
        release_notes=content.release_notes,
        sha256=sha256,
        warnings=(*_left_out(entries), *entries.warnings, *content.warnings),
        allowed=tuple(entries.allowances.allowed),
        for_images=for_images,
        skip_images=skip_images,
        pins=tuple(use for use in content.uses if "@" in use.reference),
    )


def read_entries(directory: Path, version: str) -> Entries:
    """Return what bundle.yaml lists, as far as it can be read: what is wrong is for `load` to say.

    Args:
        directory: Of bundle.yaml.
        version: Filled in for `{version}`.

    Raises:
        UnfitInputError: It cannot be read at all.
    """
    document, _ = _read(directory)
    if document.value is None or document.problems:
        raise _unfit(list(document.problems), directory)
    value, _ = _fitting(document, [])
    return Entries(directory, document, value, version, value.get("platforms") or ["linux/amd64"])


def _values_layers(entries: Entries) -> tuple[ValuesLayer, ...]:
    rows = [ValuesLayer(row.of, row.name, row.item.member) for row in entries.site_values]
    return tuple(sorted(rows, key=lambda row: (row.layer, row.name)))


def _left_out(entries: Entries) -> list[Problem]:
    found = (
        warning(tree, entries.where(tree))
        for tree in entries.trees
        for warning in (leftovers_warning, excluded_warning, private_warning)
    )
    return [warning for warning in found if warning is not None]


def _read(directory: Path) -> tuple[strict_yaml.Document, str]:
    """Return bundle.yaml and the SHA-256 of the bytes that were parsed."""
    path = directory / NAME
    try:
        with path.open("rb") as file:
            # The hash is that of the very bytes that are parsed: the file may change meanwhile.
            data = file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "run `bundle init` to create one, or give its directory with -C"
        problem = Problem(str(path), "does not exist", hint)
    except OSError as error:
        hint = "check that it is a file, and check its permissions"
        problem = Problem(str(path), f"cannot be read: {error.strerror}", hint)
    else:
        document = strict_yaml.load(data, NAME)
        if isinstance(document.value, dict) or document.problems:
            return document, sha256_hex(data)
        hint = "run `bundle init` to create an example"
        problem = Problem(f"{NAME}:1", "must be a mapping of keys to values", hint)
    return strict_yaml.Document(NAME, None, {}, (problem,)), ""


def _fitting(document: strict_yaml.Document, problems: list[Problem]) -> tuple[dict[str, Any], set[str]]:
    """Validate; return the valid part of the document, and the top-level keys that are valid as a whole."""
    if not isinstance(document.value, dict):
        return {}, set()
    value: dict[str, Any] = document.value
    schema = resources.schema(SCHEMA)
    findings = schema_errors.findings(schema, value, document.where)
    # One problem for each place: a broken value would otherwise be reported by parser and schema.
    taken = {problem.where for problem in problems}
    problems += [finding.problem for finding in findings if finding.problem.where not in taken]
    for path, text in _texts(value):
        # A line break in a path or name would forge lines in reports on the host.
        if not text.isprintable() and not any(finding.path == path for finding in findings):
            what = f"{schema_errors.dotted(path)} has a control character or a line break"
            problems.append(Problem(document.where(path), what, "write it on one line"))
            findings.append(schema_errors.Finding("control", path, problems[-1]))
    # Later checks must not call an image missing that stands in an entry which was removed.
    damaged = {str(finding.path[0]) for finding in findings if finding.path}
    for finding in findings:
        _set_aside(value, finding)
    # What is left of an entry may lack something now; then the entry goes as a whole.
    for finding in schema_errors.findings(schema, value, document.where):
        in_list = len(finding.path) > 1 and isinstance(finding.path[1], int)
        _set_aside(value, replace(finding, keyword="rest", path=finding.path[: 2 if in_list else 1]))
    return value, {"images", *value} - damaged


def _set_aside(value: Any, finding: schema_errors.Finding) -> None:
    """Remove what is not valid: a key, or the list entry that it is in (replaced by None)."""
    path = finding.path
    # An unknown key is removed alone; the rest of its entry can still be checked.
    if finding.keyword != "additionalProperties":
        ends = [end for end, part in enumerate(path, 1) if isinstance(part, int)]
        path = path[: ends[0]] if ends else path
    for part in path[:-1]:
        if not isinstance(value, dict | list) or (isinstance(value, dict) and part not in value):
            return
        value = value[int(part)] if isinstance(value, list) else value[part]
    if not path or value is None:
        return
    if isinstance(value, dict):
        value.pop(path[-1], None)
    elif isinstance(value, list):
        # The place stays, so that the numbers of later entries still lead to their lines.
        value[int(path[-1])] = None


def _texts(value: Any, path: strict_yaml.Path = ()) -> list[tuple[strict_yaml.Path, str]]:
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, list):
        value = dict(enumerate(value))
    children = value.items() if isinstance(value, dict) else ()
    return [text for key, child in children for text in _texts(child, (*path, key))]


def _version(version: str, problems: list[Problem]) -> Version | None:
    try:
        return parse(version)
    except UsageError as error:
        problems.append(Problem("VERSION", error.what, error.hint))
        return None


def _sequence(value: dict[str, Any], version: Version | None, problems: list[Problem]) -> int:
    # An explicit number wins: some products have releases that versions cannot order.
    if isinstance(value.get("sequence"), int):
        return int(value["sequence"])
    sequence = default_sequence(version) if version else 0
    if sequence is None or (version and sequence == 0):
        what = f"no sequence number can be derived from the version {version}"
        hint = (
            "set sequence: to a higher number than every earlier release has, or use a version "
            "with alpha.N, beta.N or rc.N"
        )
        problems.append(Problem(NAME, what, hint))
    return sequence or 0


def _upgrade_from(
    value: dict[str, Any], document: strict_yaml.Document, version: Version | None, problems: list[Problem]
) -> str:
    text = value.get("upgrade_from")
    if not isinstance(text, str):
        return ""
    where = document.where(("upgrade_from",))
    try:
        least = parse(text)
    except UsageError as error:
        problems.append(Problem(where, f"upgrade_from: {error.what}", error.hint))
        return ""
    if version is not None and least >= version:
        hint = "give an earlier version that hosts can be upgraded from"
        problems.append(Problem(where, f"upgrade_from is {least}, which is not lower than {version}", hint))
    return str(least)


def _platforms(value: dict[str, Any], chosen: Sequence[str], problems: list[Problem]) -> tuple[str, ...]:
    listed = [platform for platform in value.get("platforms", []) if platform]
    for platform in chosen:
        if platform not in listed:
            what = f"{platform} is not listed under platforms in {NAME}"
            hint = f"listed platforms: {', '.join(listed) or 'none'}"
            problems.append(Problem("--platform", what, hint))
    return tuple(platform for platform in listed if not chosen or platform in chosen)


def _unfit(problems: list[Problem], directory: Path) -> UnfitInputError:
    # Two checks may find the same.
    unique = list(dict.fromkeys(problems))
    count = f"{len(unique)} problem{'' if len(unique) == 1 else 's'}"
    return UnfitInputError(
        f"cannot be bundled: {count}",
        where=str(directory / NAME),
        problems=sorted(unique, key=_order),
    )


def _order(problem: Problem) -> tuple[bool, str, int]:
    """bundle.yaml first, then file by file, each from its top."""
    # Line numbers are compared as numbers: line 9 comes before line 10.
    match = re.fullmatch(r"(.*?)(?::([0-9]+))?", problem.where)
    name, line = (match[1], match[2]) if match else (problem.where, None)
    return name != NAME, name, int(line or 0)
