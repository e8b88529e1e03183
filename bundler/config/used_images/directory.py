"""The images that the files below a directory use, before there is a bundle.yaml: each file by its form."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bundler.config.compose import project
from bundler.config.used_images import charts, manifests
from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.format.entries.quadlet_files import STORAGE, QuadletFile
from installer.core.limits import LIMITS

MOST_FILES = 20_000
"""Files that are looked at."""
_SKIPPED = ("node_modules", "vendor", "dist", "__pycache__")
_COMPOSE = re.compile(r"(?:docker-)?compose(?:[.-][A-Za-z0-9_.-]+)?\.ya?ml")
_QUADLET = (".container", ".volume", ".image")
_YAML = (".yaml", ".yml", ".json")
_CHART = "Chart.yaml"
VERSION = "0.0.0-version"
"""Stands for the version of a release that there is not yet: `{version}` in bundle.yaml."""
VARIABLES = {"WAYBILL_VERSION": VERSION}


def find(directory: Path) -> tuple[list[ImageUse], list[Problem]]:
    """Return the images, and the files that could not be searched.

    Args:
        directory: What is searched, without directories of tools and hidden ones.
    """
    uses, problems = list[ImageUse](), list[Problem]()
    program, count = charts.helm(), 0
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        here = Path(folder)
        given = here.relative_to(directory).as_posix()
        if _CHART in names:
            # Templates are no manifests before they are rendered.
            folders.clear()
            found, wrong = _chart(here, directory.name if given == "." else given, program)
            uses, problems = [*uses, *found], [*problems, *wrong]
            continue
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                what = f"has more than {MOST_FILES} files: the rest was not searched"
                return uses, [*problems, Problem(str(directory), what, "name a smaller directory")]
            found, wrong = _file(directory, name if given == "." else f"{given}/{name}")
            uses, problems = [*uses, *found], [*problems, *wrong]
    return uses, problems


def _chart(source: Path, given: str, program: str | None) -> tuple[list[ImageUse], list[Problem]]:
    if program is None:
        what = "is a chart, and there is no Helm here to render it"
        return [], [Problem(given, what, "install Helm 3 or 4")]
    own = {path.read_bytes(): f"{given}/{path.name}" for path in _values_files(source)}
    return charts.find(
        charts.Chart(given, source, "release", "default", {b"": "its defaults", **own}), program
    )


def _values_files(source: Path) -> Iterator[Path]:
    """Yield the files of values besides the defaults, by the names that charts give them."""
    for path in sorted(source.iterdir()):
        is_values = path.name.startswith(("values", "overrides")) and path.suffix in (".yaml", ".yml")
        if is_values and path.name != "values.yaml" and path.stat().st_size <= LIMITS.document_bytes:
            yield path


def _file(directory: Path, given: str) -> tuple[list[ImageUse], list[Problem]]:
    name, path = given.rpartition("/")[2], directory / given
    if _COMPOSE.fullmatch(name):
        # What an override changes is found with the file that it overrides, and by itself.
        found = project.read(directory, [given], VARIABLES)
        # A file that another one completes says little by itself: only what hides an image counts.
        return found.uses, found.unsearched
    if name.endswith((*_QUADLET, *_YAML)) and path.is_file() and path.stat().st_size <= LIMITS.document_bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            return [], [Problem(given, f"cannot be read: {error.strerror}", "check its permissions")]
        if name.endswith(_QUADLET):
            return list(_quadlet(given, QuadletFile(name, data.decode("utf-8", "replace")))), []
        if manifests.is_manifest(data):
            return manifests.find(data, given)
    return [], []


def _quadlet(given: str, file: QuadletFile) -> Iterator[ImageUse]:
    for number, section, key, value in file.lines:
        if section == file.group and key == "Image" and value and not value.endswith((".image", ".build")):
            yield ImageUse(value.removeprefix(STORAGE), f"service {file.service}", f"{given}:{number}")
