"""Collect the files, links and directories of a bundle from the checked bundle.yaml, in tar order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.archive import allowed_document
from bundler.archive.writer import Input
from bundler.config.loader import NAME
from bundler.config.model import BundleConfig, InputFile, InputTree, TreeFile
from installer.core.errors import Problem, UnfitInputError
from installer.core.format.manifest import DirectoryEntry, FileEntry, LinkEntry
from installer.core.format.manifest_rules import section_rank
from installer.core.format.member_names import encoded_name
from installer.core.format.tar_header import OCTAL_LIMIT

RELEASE_NOTES = "docs/RELEASE-NOTES.md"
PLAIN_DIRECTORY = 0o755
UNKNOWN = "0" * 64
"""Placeholder for digests until the files are read, of the same length."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The content of a bundle besides images.

    Attributes:
        inputs: Files, in the order of the tar, their digests not yet known.
        links: Links of trees.
        directories: Directories of trees that are empty or have a mode of their own.
    """

    inputs: tuple[Input, ...]
    links: tuple[LinkEntry, ...]
    directories: tuple[DirectoryEntry, ...]


def collect(config: BundleConfig) -> Collected:
    """List all files, looking at each one's size only.

    Raises:
        UnfitInputError: Files vanished since bundle.yaml was checked, or one has a name that is taken.
    """
    problems: list[Problem] = []
    inputs = [found for item in config.items if (found := _single(item, problems))]
    for tree in config.trees:
        inputs += _tree_files(tree)
    # A file of that name in bundle.yaml is the product's own and wins.
    if config.release_notes and not any(item.member == RELEASE_NOTES for item in config.items):
        notes = config.release_notes.encode()
        inputs.append(Input(FileEntry(RELEASE_NOTES, len(notes), UNKNOWN, 0o644, "doc"), data=notes))
    if config.exceptions:
        # Only then: a bundle without exceptions is the same as one of earlier versions.
        data = allowed_document.make(config.exceptions)
        inputs.append(Input(FileEntry(allowed_document.NAME, len(data), UNKNOWN, 0o644, "doc"), data=data))
        problems += [
            Problem(
                item.given, f"would be {item.member} in the bundle, which Waybill writes itself", "rename it"
            )
            for item in config.items
            if item.member == allowed_document.NAME
        ]
    if problems:
        raise UnfitInputError("inputs cannot be bundled", where=str(config.directory), problems=problems)
    # The order of the tar depends on names alone, not on the order of bundle.yaml or of directory listings.
    inputs.sort(key=lambda item: (section_rank(item.entry.path), item.entry.tar_name))
    return Collected(
        tuple(inputs),
        tuple(
            LinkEntry(f"{tree.member}/{link.path}", link.target, _below(tree, link.path))
            for tree in config.trees
            for link in tree.links
        ),
        tuple(
            DirectoryEntry(f"{tree.member}/{each.path}", each.mode, _below(tree, each.path), each.owner)
            for tree in config.trees
            for each in tree.directories
            # Other directories follow from the paths of their files; listing them would only grow the
            # manifest.
            if each.empty or each.mode != PLAIN_DIRECTORY or each.owner
        ),
    )


def source_paths(config: BundleConfig, collected: Collected) -> Iterator[str]:
    """Yield the paths of all that a bundle is made from: bundle.yaml, files, links, archives, image layouts.

    Args:
        config: The checked bundle.yaml.
        collected: Its files.
    """
    # It is not in the bundle, and decides about every file that is.
    yield str(config.directory / NAME)
    yield from (item.source for item in collected.inputs if item.source)
    for tree in config.trees:
        yield from (f"{tree.source}/{link.path}" for link in tree.links)
    yield from (str(image.path) for image in config.images if image.path)


def _single(item: InputFile, problems: list[Problem]) -> Input | None:
    try:
        size = item.source.stat().st_size
    except OSError as error:
        problems.append(Problem(item.given, f"cannot be read: {error.strerror}"))
        return None
    entry = FileEntry(
        item.member, size, UNKNOWN, item.mode, item.kind, item.install, item.owner, item.platform,
        member=encoded_name(item.member), validate=item.validate, on_change=item.on_change,
        timeout=item.timeout,
        capabilities=item.capabilities,
    )  # fmt: skip
    return Input(entry, str(item.source))


def _tree_files(tree: InputTree) -> list[Input]:
    # One shared string for the whole tree: a path for each of 250,000 files would cost memory.
    top, cut = f"{tree.source}/", len(tree.member) + 1
    return [Input(_tree_entry(tree, file), top, cut) for file in tree.files]


def _tree_entry(tree: InputTree, file: TreeFile) -> FileEntry:
    path = f"{tree.member}/{file.path}"
    return FileEntry(
        path, file.size, UNKNOWN, file.mode, "tree", _below(tree, file.path), file.owner,
        member=encoded_name(path), capabilities=file.capabilities,
    )  # fmt: skip


def _below(tree: InputTree, path: str) -> str:
    return f"{tree.install}/{path}" if tree.install else ""


@dataclass(frozen=True, slots=True)
class CreationTime:
    """The time of a bundle, which all its members have, and where it comes from.

    Attributes:
        seconds: Since 1970.
        origin: What it is, in words for people.
        renewal: How to get a later one.
    """

    seconds: int
    origin: str
    renewal: str


def creation_time(collected: Collected, commit_time: int | None) -> CreationTime:
    """Return the time of the bundle.

    SOURCE_DATE_EPOCH as https://reproducible-builds.org/specs/source-date-epoch/ has it; else the time of the
    commit; else that of the newest input.

    Raises:
        UnfitInputError: SOURCE_DATE_EPOCH is not a number of seconds since 1970.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    # An explicit time wins: it makes builds reproducible outside of git, too.
    if given:
        if not (given.isascii() and given.isdigit()) or int(given) >= OCTAL_LIMIT:
            raise UnfitInputError(
                f"SOURCE_DATE_EPOCH is {given!r}, which is not a number of seconds since 1970",
                hint="unset it, or set it to the output of `date +%s`",
            )
        return CreationTime(int(given), "SOURCE_DATE_EPOCH", "set it to a later time, or unset it")
    if commit_time is not None:
        return CreationTime(commit_time, "the time of the commit", "make a new commit")
    # Without git, the newest input is the best available time that two builds agree on.
    times = [(Path(item.source).stat().st_mtime, item.entry.path) for item in collected.inputs if item.source]
    newest, name = max(times, default=(0, ""))
    origin = f"the time of the newest file, {name}" if name else "the earliest, as it has no files"
    origin += ", since there is no commit of git"
    # File times before 1970 or beyond the octal field of tar cannot be stored.
    seconds = min(max(0, int(newest)), OCTAL_LIMIT - 1)
    return CreationTime(seconds, origin, "run `export SOURCE_DATE_EPOCH=$(date +%s)`")
