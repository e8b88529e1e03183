"""The files of a release that its steps execute or give to an engine: checked right before, each time.

They lie in the directory of the release for as long as it is retained, and run again when a later release is
undone, or when the product is removed. Until then a disk may damage them, and somebody may edit them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from installer.core.digest import sha256_hex
from installer.core.errors import Problem, TamperedError
from installer.core.format.manifest import MANIFEST, Kind, Manifest
from installer.core.limits import LIMITS
from installer.deploy.operation import Json, ThirdStateError
from installer.host.context import Context
from installer.host.private_copy import DifferentError, private_copy
from installer.host.system import System
from installer.state.release import Release
from installer.state.retained import read_manifest


class ChangedFileError(ThirdStateError):
    """A file that is about to be executed or given to an engine is not what was verified."""


def listed(manifest: Manifest, kind: Kind) -> Json:
    """Return digest and mode of each file of a kind, by its path, for the arguments of operations."""
    return {entry.path: [entry.sha256, entry.mode] for entry in manifest.of_kind(kind)}


def changed(context: Context, release: Release, kind: Kind) -> list[Problem]:
    """Return which files of a kind in the directory of a release are not as they were verified."""
    directory, problems = release.directory, []
    for path, (sha256, _) in listed(release.manifest, kind).items():
        try:
            seen = context.system.observe(f"{directory}/{path}")
            what = "is missing" if seen.kind == "absent" else "was changed since it was installed"
            same = (seen.kind, seen.sha256) == ("file", sha256)
        except OSError as error:
            what, same = f"cannot be read: {error.strerror}", False
        if not same:
            hint = put_back(context, directory, path, release.manifest.version)
            problems.append(Problem(f"{directory}/{path}", what, hint))
    return problems


def put_back(context: Context, directory: str, path: str, version: str = "") -> str:
    """Return how to get back the released content of a file."""
    bundle = f"the bundle of {version}" if version else "the bundle of that release"
    place = context.system.root.rstrip("/") + directory
    return f"put it back: tar -xf BUNDLE -C {place} {path} with {bundle}; then run the command again"


@contextmanager
def checked_directory(
    context: Context, directory: str, files: Json | None, kind: Kind, *, alone: bool = False
) -> Iterator[str]:
    """Yield a directory that is like that of a release, whose files of a kind are checked and cannot change.

    Args:
        context: The host.
        directory: Of the release.
        files: What `listed` returned; None in an operation of an older version, which did not record it.
        kind: Of the files.
        alone: Whether only these files are in it; else everything of the release is, as links.

    Raises:
        ChangedFileError: A file is not what was verified. Nothing was run.
    """
    files = listed_there(context, directory, kind) if files is None else files
    try:
        with private_copy(context.system, directory, files, context.layout.base, alone=alone) as place:
            yield place
    except DifferentError as error:
        raise refusal(context, directory, str(error)) from None


def checked_bytes(context: Context, directory: str, path: str, files: Json | None, kind: Kind) -> bytes:
    """Return the content of a file of a release's steps.

    Args:
        context: The host.
        directory: Of the release.
        path: Of the file, below it.
        files: As for `checked_directory`.
        kind: Of the file.

    Raises:
        ChangedFileError: It is not what was verified.
    """
    files = listed_there(context, directory, kind) if files is None else files
    file = f"{directory}/{path}"
    try:
        if context.system.observe(file, digest=False).kind == "file":
            data = bytes(context.system.read(file, LIMITS.document_bytes))
            if path in files and sha256_hex(data) == files[path][0]:
                return data
    except OSError as error:
        raise ChangedFileError(f"cannot be read: {error.strerror}", where=file) from error
    raise refusal(context, directory, path)


def recorded_bytes(system: System, file: Json, rendered: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return the first place that has the content of a rendered file, and the content.

    Args:
        system: The host.
        file: Its `sha256`, and the `paths` that may have it.
        rendered: While planning, what is not on the disk yet; see `Release.rendered`. The place is "" then.

    Raises:
        ChangedFileError: None has it.
    """
    for path in file["paths"]:
        if sha256_hex(data := rendered.get(path, b"")) == file["sha256"]:
            return "", data
        try:
            # Not a link, and nothing that is no file: opening a pipe would wait for ever.
            if system.observe(path, digest=False).kind == "file":
                data = bytes(system.read(path, LIMITS.document_bytes))
                if sha256_hex(data) == file["sha256"]:
                    return path, data
        except OSError:
            continue
    raise ChangedFileError(
        "is missing, or is not what was rendered; nothing was run with it",
        where=file["paths"][-1],
        hint="install the release again from its bundle: that writes the file again",
    )


def listed_there(context: Context, directory: str, kind: Kind) -> Json:
    """Return what `listed` would, from the manifest in the directory of a release.

    Raises:
        ChangedFileError: It cannot be read, or is not what SHA256SUMS says.
    """
    try:
        return listed(read_manifest(context.system, directory)[0], kind)
    except (OSError, TamperedError) as error:
        what = "cannot be read, and without it no file of the release can be checked"
        hint = put_back(context, directory, MANIFEST)
        raise ChangedFileError(what, where=f"{directory}/{MANIFEST}", hint=hint) from error


def refusal(context: Context, directory: str, path: str) -> ChangedFileError:
    """Return the error for a file, or a directory of files, that is not what was verified."""
    return ChangedFileError(
        "was changed since it was installed, and was not run",
        where=f"{directory}/{path}",
        hint=put_back(context, directory, path),
    )
