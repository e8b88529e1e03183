"""The variables of a project: an environment file that each release renders, and that Waybill completes.

It is `.env` next to the Compose file, so that an operator's `docker compose` in the directory of the release
sees the same. What Waybill itself runs gets a private copy of the very bytes that were rendered, and nothing
from the environment of whoever runs it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from installer.core.digest import sha256_hex
from installer.core.errors import Problem
from installer.core.format.manifest import FileEntry
from installer.core.format.methods import SPECS
from installer.core.limits import LIMITS
from installer.core.risk.compose_references import references
from installer.deploy import release_files
from installer.deploy.method import Target, full_path
from installer.deploy.operation import Json
from installer.host.context import Context
from installer.host.private_copy import private_file
from installer.host.system import System
from installer.shared.rendering.env_file import PROJECT, completed, read
from installer.shared.rendering.variables import faults
from installer.shared.review.yaml_values import NotReadableError, yaml_values
from installer.state.release import Installed, Release

NO_FILE = ("--env-file", os.devnull)
"""A file `.env` that somebody puts next to the Compose file is in no bundle."""
Words = tuple[str, ...]
"""Words of a command line."""
_OF_DOCKER = ("PATH", "HOME", "DOCKER_HOST")
"""What Docker needs: bundles of earlier versions may use it."""
_CORRECT = "ask the team that built the bundle to give it a default, or to set it in `env` of the step"
_SPEC = SPECS["compose"]


def project_of(target: Target) -> str:
    """Return the name of the project of a step."""
    return str(target.options.get("project") or target.release.manifest.product)


def own_variables(context: Context, target: Target) -> dict[str, str]:
    """Return the variables that Waybill sets for every project."""
    manifest = target.release.manifest
    return {
        "WAYBILL_PRODUCT": manifest.product,
        "WAYBILL_VERSION": manifest.version,
        "WAYBILL_ROOT": context.system.root.rstrip("/"),
        "WAYBILL_RELEASE": full_path(context, target.release.directory),
    }


def complete(context: Context, target: Target, template: str, data: bytes) -> tuple[bytes, list[Problem]]:
    """Return a rendered environment file with Waybill's own variables, and what is wrong with it.

    Args:
        context: The host.
        target: The step.
        template: The path of the template, for messages.
        data: What it was rendered to.
    """
    found = read(data, template)
    known = {**own_variables(context, target), PROJECT: project_of(target)}
    return completed(data, known), found.problems


def env_file(target: Target) -> Installed | None:
    """Return the rendered environment file of a step, as the release's record has it; None for none."""
    places = {f"{target.release.directory}/{place}" for _, place in _SPEC.rendered(target.options)}
    return next((item for item in target.release.installed if item.path in places), None)


def override(target: Target) -> Installed | None:
    """Return the override of the site, as the release's record has it; None for none."""
    places = {f"{target.release.directory}/{place}" for _, place in _SPEC.of_site(target.options)}
    return next((item for item in target.release.installed if item.path in places), None)


def recorded(target: Target) -> Json:
    """Return for the arguments of operations where the rendered files of a step lie, and their digests."""
    items = {"env_file": env_file(target), "override": override(target)}
    return {
        key: {"sha256": item.sha256, "paths": [item.source, item.path], "origin": item.origin}
        for key, item in items.items()
        if item
    }


@contextmanager
def env_words(
    context: Context, args: Json, rendered: Mapping[str, bytes] | None = None
) -> Iterator[tuple[Words, Words]]:
    """Yield the words by which Compose gets the override, and those for the variables, from private copies.

    Args:
        context: The host.
        args: Of an operation; those of earlier versions have no such files.
        rendered: While planning, what is not on the disk yet; see `Release.rendered`.

    Raises:
        ChangedFileError: No copy of one of them is what the plan had. Nothing was run.
    """
    with ExitStack() as stack:

        def words(key: str, option: str, default: Words) -> Words:
            if not (file := args.get(key)):
                return default
            path, data = release_files.recorded_bytes(context.system, file, rendered or {})
            try:
                place = stack.enter_context(private_file(context.system, data, _base(context)))
            except OSError:
                # What only a plan has is nowhere on the disk.
                if not path:
                    raise
                # On a full disk an undo still has to run: the file was checked where it is.
                place = path
            return option, context.system.real(place)

        yield words("override", "-f", ()), words("env_file", "--env-file", NO_FILE)


def _base(context: Context) -> str:
    """Return where private copies are made: of a product that is not installed yet, nothing is there."""
    layout = context.layout
    return layout.base if context.system.is_dir(layout.base) else "/run"


def planned_override(target: Target) -> bytes | None:
    """Return the override of the site for a release that is planned; None where there is none."""
    item = override(target)
    return target.release.rendered.get(item.path) if item else None


def planned_data(target: Target) -> bytes | None:
    """Return the environment file of a release that is planned; None where there is none."""
    item = env_file(target)
    # Empty where the template could not be rendered: a complete one has Waybill's own variables.
    return target.release.rendered.get(item.path) or None if item else None


def unset(context: Context, target: Target) -> list[Problem]:
    """Return each variable of the Compose files of a planned release that has no value and no default."""
    release = target.release
    rendered = read(planned_data(target) or b"", "", own=True)
    names = {*own_variables(context, target), *_OF_DOCKER, PROJECT, *rendered.values}
    more = override(target)
    data = planned_override(target) or b""
    return [
        Problem(f"{more.origin}:{fault.line}", fault.what, "correct the file: it is this site's")
        for fault in faults(data, names)
        if more
    ] + [
        Problem(f"{path}:{fault.line}", fault.what, _CORRECT)
        for path, text in _texts(context.system, release, target)
        for fault in faults(text, names)
    ]


def _texts(system: System, release: Release, target: Target) -> Iterator[tuple[str, bytes]]:
    """Yield the Compose files that have the variables of the project, included and extended ones too."""
    by_path = {entry.path: entry for entry in release.manifest.files}
    listed = [path for option, path in _SPEC.files(target.options) if option.is_yaml]
    ahead, seen = [(path, posixpath.dirname(listed[0])) for path in listed], set[str]()
    while ahead:
        path, base = ahead.pop(0)
        if path in by_path and path not in seen:
            seen.add(path)
            data = _content(system, release.now(path), by_path[path])
            yield path, data
            ahead += _further(data, base, by_path)


def _further(data: bytes, base: str, carried: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield what a Compose file includes and extends with its own variables, and what paths in there mean."""
    try:
        found = [*references(yaml_values(data), base)]
    except NotReadableError:
        return  # Compose says what is wrong with it
    # What is included with a file of variables has more than the project.
    files = [each for each in found if each.role == "variables" and each.target in carried]
    with_more = {each.at for each in files if each.at[0] == "include"}
    for each in found:
        if each.role == "project" and not each.on_host and each.at not in with_more:
            yield each.target, each.inner


def _content(system: System, path: str, entry: FileEntry) -> bytes:
    try:
        data = bytes(system.read(path, LIMITS.document_bytes))
    except OSError:
        return b""
    # Read a second time, after it was staged: it may have been changed since.
    return data if sha256_hex(data) == entry.sha256 else b""
