"""Puts signed statements about a bundle into it, behind the payload, or into a directory beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.archive import append
from bundler.archive.new_file import write_new
from bundler.signing.bundle import open_locked
from installer.core.errors import UnfitInputError
from installer.core.format.archive import Bundle, open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.partial_append import FILES_PER_APPROVAL
from installer.core.limits import LIMITS
from installer.core.trust.approval import DIRECTORY
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from installer.core.trust.signatures import FORMS


@dataclass(frozen=True, slots=True)
class StatementFiles:
    """Where statements about one bundle go; held by this process alone.

    Attributes:
        path: The bundle.
        fd: The bundle, locked, and open for writing where statements go into it.
        bundle: Its head and tail were read.
        directory: The directory beside it; None: they go into the bundle itself.
        there: The statements that are there, in the bundle or the directory, and their signatures.
    """

    path: Path
    fd: int
    bundle: Bundle
    directory: Path | None
    there: Mapping[str, bytes]

    def add(self, role: str, keyid8: str, data: bytes, signatures: Mapping[str, bytes]) -> tuple[str, ...]:
        """Adds a statement with its signatures.

        Args:
            role: In which role it was signed.
            keyid8: By which key.
            data: Its exact bytes.
            signatures: Form to signature.

        Returns:
            The names of what was added; once this returns it is on the disk.

        Raises:
            UnfitInputError: It cannot be written, or there are too many.
        """
        name = self._free(f"{DIRECTORY}{role}-{keyid8}")
        if (
            not name
            or len(self.there) + FILES_PER_APPROVAL > FILES_PER_APPROVAL * LIMITS.approvals
            or len(data) > LIMITS.approval_bytes
        ):
            raise UnfitInputError("has too many approvals, or this one is too long", where=str(self.path))
        files = {name: data, **{f"{name}.{form}": made for form, made in signatures.items()}}
        if self.directory is None:
            self._append(files)
        else:
            _write_beside(self.directory, files)
        return tuple(files)

    def _free(self, stem: str) -> str:
        numbered = [f"{stem}.json", *(f"{stem}.{number}.json" for number in range(2, 100))]
        taken = {each.removesuffix(f".{form}") for each in self.there for form in ("", *FORMS)}
        return next((each for each in numbered if each not in taken), "")

    def _append(self, files: Mapping[str, bytes]) -> None:
        try:
            append.append(self.fd, self.bundle, files)
        except OSError as error:
            raise UnfitInputError(
                f"cannot be approved: {error.strerror}",
                where=str(self.path),
                hint="nothing was changed; --sidecar writes the approval beside the bundle",
            ) from None


@contextmanager
def opened(path: Path, directory: Path | None = None, *, sidecar: bool = False) -> Iterator[StatementFiles]:
    """Opens a bundle for one statement to be added. Only its head and tail are read; verify it before.

    Args:
        path: The bundle.
        directory: Where to write beside the bundle; None: `BUNDLE.approvals`.
        sidecar: Whether to leave the bundle itself as it is, as is done where it cannot be written to.

    Raises:
        UnfitInputError: It cannot be written; an append was cut short before.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle.
    """
    outside = sidecar or directory is not None or (path.exists() and not os.access(path, os.W_OK))
    place = (directory or sidecar_path(path)) if outside else None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if outside and path.exists() else open_locked(path)
    try:
        bundle = look(path)
        if bundle.partial_append and place is None:
            raise UnfitInputError(
                "an approval was cut short while it was added",
                where=str(path),
                hint=f"bundle approve {path} --repair finishes it or takes it back",
            )
        there = {**bundle.read_tail(), **read_sidecar(place or sidecar_path(path))}
        yield StatementFiles(path, fd, bundle, place, there)
    finally:
        os.close(fd)


def look(path: Path) -> Bundle:
    """Reads head and tail of a bundle.

    Raises:
        TamperedError: It is not a bundle.
    """
    medium = FileSource(path)
    try:
        bundle = open_bundle(medium, unsafe_trust_anyone)
        bundle.read_tail()
        return bundle
    finally:
        medium.close()


def add_provenance(path: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Adds signed provenance to a bundle that is there already, unless these keys have given theirs.

    Args:
        path: The bundle.
        files: Statements and signatures, as a new bundle would have them.

    Returns:
        Those that were added.

    Raises:
        UnfitInputError: It cannot be written.
    """
    added: dict[str, bytes] = {}
    for name, data in files.items():
        if not name.endswith(".json") or name.endswith(".sigstore.json"):
            continue
        with opened(path) as place:
            if name not in place.there:
                role, _, keyid8 = name.removeprefix(DIRECTORY).removesuffix(".json").rpartition("-")
                signatures = {form: files[f"{name}.{form}"] for form in FORMS if f"{name}.{form}" in files}
                added |= dict.fromkeys(place.add(role, keyid8, data, signatures), b"")
    return added


def _write_beside(place: Path, files: Mapping[str, bytes]) -> None:
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise UnfitInputError(
            f"cannot be made: {error.strerror}",
            where=str(place),
            hint="say with --output DIR where it is to lie; `install --approvals DIR` reads it there",
        ) from None
    # the statement comes last: without its signatures it would be of no use
    for name, data in reversed(list(files.items())):
        write_new(place / name.removeprefix(DIRECTORY), data, 0o644)
