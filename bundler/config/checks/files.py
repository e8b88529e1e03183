"""Check the content of every file of a bundle, each read once: secrets, placeholders, missing libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.config.checks import placeholders
from bundler.config.checks.libraries import Libraries
from bundler.config.elf import MAGIC
from bundler.config.entries import Entries
from bundler.config.model import InputFile
from bundler.config.secrets import listed, scanner
from bundler.config.secrets.archives import Report
from bundler.config.secrets.patterns import is_configuration
from installer.core.errors import Problem
from installer.core.format.methods import FILE_KINDS, LIBRARIES
from installer.core.limits import KIB

_CONFIGURATION = ("template", "values", *FILE_KINDS, "deploy")
_WHOLE = 256 * KIB
"""Bytes of a file that are read at once: most files have no more."""


@dataclass(frozen=True, slots=True)
class _File:
    source: Path | str
    shown: str
    is_config: bool
    tree: str = ""


def check_files(entries: Entries) -> tuple[list[Problem], list[Problem]]:
    """Check every file of the bundle that is not in an image, and all texts and names that travel with them.

    Returns:
        Problems and warnings.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    libraries = Libraries(_carried(entries))
    for file in _files(entries):
        data = _head(file.source)
        problems += placeholders.check(data, file.shown)
        report = _secrets(file, data)
        hint = scanner.TREE_HINT if file.tree else scanner.HINT
        problems += scanner.problems_of(report.found, entries.allowances, hint)
        warnings += scanner.unsearched_of(report)
        if data.startswith(MAGIC):
            libraries.add(file.source, file.shown)
    for image in entries.images:
        # An archive of images is checked by its source, which would call a pointer no tar file.
        if image.path is not None and image.path.is_file():
            problems += placeholders.check(_head(image.path), image.reference)
    problems += listed.in_texts(entries.document, entries.value, entries.problems, entries.allowances)
    problems += listed.in_names(_names(entries), entries.allowances)
    # An allowance may be for a file that could not be read.
    if not entries.problems:
        searches = bool(entries.images) and "secrets_skip_images" not in entries.value
        problems += entries.allowances.unused(but_images=searches)
    return problems, [*warnings, *libraries.warnings()]


def _names(entries: Entries) -> Iterator[tuple[str, str]]:
    """Yield how messages name each file, directory and link, and what SHA256SUMS or bundle.json has of it."""
    yield from ((item.given, item.given) for item in entries.items)
    for tree in entries.trees:
        below = [(file.path, file.path) for file in tree.files]
        below += [(each.path, each.path) for each in tree.directories]
        below += [(link.path, f"{link.path} {link.target}") for link in tree.links]
        yield from ((f"{tree.given}/{path}", text) for path, text in below)


def _secrets(file: _File, data: bytes) -> Report:
    """Search a file: what was read of it, if that is all, else as it is read once more."""
    options = {"is_config": file.is_config, "is_tree": bool(file.tree)}
    if len(data) < _WHOLE:
        return scanner.search_data(data, file.shown, **options)
    try:
        return scanner.search_file(file.source, file.shown, **options)
    except OSError:
        # Other checks report a file that cannot be read.
        return Report()


def _files(entries: Entries) -> Iterator[_File]:
    for item in entries.items:
        # Everybody has these files: they are as their publishers' lists say (`folders/ansible_core.py`).
        if item.kind in LIBRARIES:
            continue
        yield _File(item.source, item.given, item.kind in _CONFIGURATION)
    for tree in entries.trees:
        for file in tree.files:
            shown = f"{tree.given}/{file.path}"
            yield _File(f"{tree.source}/{file.path}", shown, is_configuration(file.path), tree.given)


def _head(source: Path | str) -> bytes:
    """Return the beginning of a file, which tells what it is; other checks report one that fails."""
    try:
        # O_NONBLOCK: a pipe among the inputs must not block the check.
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, _WHOLE)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _carried(entries: Entries) -> set[str]:
    """Return the names under which the files of the bundle can be found on a host."""
    names = {
        _name(name)
        for item in entries.items
        if isinstance(item, InputFile)
        for name in (item.given, item.install)
    }
    for tree in entries.trees:
        names |= {_name(file.path) for file in tree.files} | {_name(link.path) for link in tree.links}
    return names


def _name(path: str) -> str:
    return path.rpartition("/")[2]
