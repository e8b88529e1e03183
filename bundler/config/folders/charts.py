"""Charts: the files of a directory or the archive, and whether they have all that an installation needs."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundler.config.checks.inputs import directory_problem, member_name
from bundler.config.folders.folder_files import MOST, Folder, files_below
from installer.core.errors import Problem
from installer.core.format.entries.chart_files import METADATA
from installer.core.limits import LIMITS
from installer.shared.review.yaml_values import NotReadableError, yaml_values

_FOLDER = "deploy/helm"
_VENDOR = "run `helm dependency build` on the chart: hosts cannot download anything"


def read(directory: Path, given: str, where: str) -> Folder:
    """Read a chart.

    Args:
        directory: Of bundle.yaml.
        given: The directory of the chart, or its archive, as a path from there.
        where: `bundle.yaml:LINE`.
    """
    given = posixpath.normpath(given)
    source, chart = directory / given, Folder()
    if source.is_file():
        chart.single = member_name("deploy", given, _FOLDER.partition("/")[2])
        chart.files = [(given, chart.single)]
        if not given.endswith(".tgz"):
            what, hint = (
                f"{given} is no archive of a chart",
                "name the directory, or what `helm package` makes",
            )
            chart.problems.append(Problem(where, what, hint))
        else:
            _check(*_in_archive(source), given, where, chart.problems)
        return chart
    if problem := directory_problem(source, given, where):
        chart.problems.append(problem)
        return chart
    names = list(_walk(source, given, where, chart.problems))
    base = given if given.startswith("deploy/") else f"{_FOLDER}/{source.resolve().name}"
    chart.files = [(f"{given}/{name}", f"{base}/{name}") for name in names]
    metadata = source / METADATA
    _check(set(names), metadata.read_bytes() if metadata.is_file() else b"", given, where, chart.problems)
    return chart


def _walk(source: Path, given: str, where: str, problems: list[Problem]) -> Iterator[str]:
    """Yield the names of the files below a directory, the metadata of the chart first."""
    # Also names that begin with a dot: Helm reads .helmignore.
    names = list(files_below(source, given, where, problems))
    if len(names) > MOST:
        what = f"{given} has {len(names)} files; a chart can have {MOST}"
        problems.append(Problem(where, what, "ship the archive that `helm package` makes"))
        return
    yield from sorted(names, key=lambda name: (name != METADATA, name))


def _in_archive(source: Path) -> tuple[set[str], bytes]:
    """Return the names in an archive, without the directory of the chart, and its metadata."""
    names, metadata = set(), b""
    try:
        with tarfile.open(source, "r:gz") as archive:
            # Names and metadata only, up to a limit: an archive is not unpacked to look at it.
            for number, member in enumerate(archive):
                if number > MOST:
                    break
                name = posixpath.normpath(member.name).partition("/")[2]
                names.add(name)
                if name == METADATA and (file := archive.extractfile(member)) is not None:
                    metadata = file.read(LIMITS.document_bytes)
    except (tarfile.TarError, OSError, EOFError):
        return set(), b""
    return names, metadata


def _check(names: set[str], metadata: bytes, given: str, where: str, problems: list[Problem]) -> None:
    """Check the metadata of a chart, and that the charts it depends on are in it."""
    try:
        values = yaml_values(metadata)
    except NotReadableError as error:
        problems.append(Problem(f"{given}/{METADATA}", str(error), "correct the file"))
        return
    if not isinstance(values, dict) or not values.get("name") or not values.get("version"):
        what = f"{given} is no chart: its {METADATA} is missing, or has no name and version"
        problems.append(Problem(where, what, "name the directory that has this file"))
        return
    # Helm refuses it as well, but only in the cluster.
    if values.get("type") == "library":
        problems.append(
            Problem(where, f"{given} is a library, which cannot be installed", "name a chart that uses it")
        )
    for each in _dependencies(values):
        name = str(each.get("name", ""))
        if not any(path == f"charts/{name}/{METADATA}" or _is_archive_of(path, name) for path in names):
            what = f"{given} depends on the chart {name}, which is not in its directory charts"
            problems.append(Problem(where, what, _VENDOR))


def _dependencies(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    listed = values.get("dependencies")
    yield from (each for each in (listed if isinstance(listed, list) else []) if isinstance(each, dict))


def _is_archive_of(path: str, name: str) -> bool:
    file = path.removeprefix("charts/")
    return file != path and "/" not in file and file.startswith(f"{name}-") and file.endswith(".tgz")
