"""Signed statements about a bundle: written into it after the payload, or into a directory next to it."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bundler.archive import append
from bundler.archive.new_file import write_new
from bundler.archive.output_file import UnwritableError
from bundler.archive.reading import read_with_tail
from bundler.signing.bundle import open_locked
from installer.core.errors import UnfitInputError, os_errors_as
from installer.core.format.approval_names import DIRECTORY, NAME
from installer.core.format.archive import Bundle
from installer.core.limits import LIMITS
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from installer.core.trust.signatures import FORMS


@dataclass(frozen=True, slots=True)
class StatementFiles:
    """The statements about one bundle, held by this process alone.

    Attributes:
        path: The bundle.
        fd: The bundle, locked, and open for writing if statements go into it.
        bundle: The bundle, its head and tail read.
        directory: The sidecar directory; None: statements go into the bundle itself.
        places: Where statements exist, a sidecar or None for the bundle, and their files there.
    """

    path: Path
    fd: int
    bundle: Bundle
    directory: Path | None
    places: Sequence[tuple[Path | None, Mapping[str, bytes]]]

    @property
    def present(self) -> dict[str, bytes]:
        """The statements that exist, and their signatures, wherever they are: their names are taken."""
        return {name: data for _, files in self.places for name, data in files.items()}

    def add(self, role: str, keyid8: str, data: bytes, signatures: Mapping[str, bytes]) -> tuple[str, ...]:
        """Add a statement with its signatures.

        Args:
            role: The role of the signer.
            keyid8: The signer's key.
            data: The exact bytes of the statement.
            signatures: Form to signature.

        Returns:
            The names of the files that were added; once this returns they are on the disk.

        Raises:
            UnfitInputError: They cannot be written, or there are too many.
        """
        name = free_name(f"{DIRECTORY}{role}-{keyid8}", self.present)
        # A host refuses more: better to find that out here than behind the air gap.
        if not name or sum(bool(NAME.fullmatch(each)) for each in self.present) >= LIMITS.approvals:
            raise UnfitInputError(
                f"has {LIMITS.approvals} approvals, or 99 of this key, and hosts accept no more",
                where=str(self.path),
                hint="approve an earlier copy of the bundle, which has fewer approvals",
            )
        if len(data) > LIMITS.approval_bytes:
            raise UnfitInputError(
                f"the approval has {len(data)} bytes, at most {LIMITS.approval_bytes} are allowed",
                where=str(self.path),
                hint="shorten the note, or the list of targets",
            )
        files = {name: data, **{f"{name}.{form}": made for form, made in signatures.items()}}
        if self.directory is None:
            self._append(files)
        else:
            _write_sidecar(self.directory, files)
        return tuple(files)

    def _append(self, files: Mapping[str, bytes]) -> None:
        with os_errors_as(UnfitInputError, "cannot be approved", self.path, _elsewhere):
            append.append(self.fd, self.bundle, files)


def _elsewhere(error: OSError) -> str:
    """Return what to do if a bundle cannot be written to: a full disk takes no file next to it either."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "nothing was changed; free some space, or write the approval to another disk with --output DIR:"
            " `install --approvals DIR` reads it from there"
        )
    return "nothing was changed; use --sidecar to write the approval next to the bundle"


def require_whole(path: Path, bundle: Bundle) -> None:
    """Refuse a bundle with an approval that is there in part: a repair could still complete it.

    Args:
        path: The bundle.
        bundle: The bundle, its tail read.

    Raises:
        UnfitInputError: An append was interrupted.
    """
    if bundle.partial_append:
        raise UnfitInputError(
            "an earlier `bundle approve` was interrupted",
            where=str(path),
            hint=f"run `bundle approve {shlex.quote(str(path))} --repair` to complete it or to remove it",
        )


def free_name(stem: str, present: Collection[str]) -> str:
    """Return a name for another statement; empty if 99 are there.

    Args:
        stem: Role and key, `approvals/ops-0a1b2c3d`.
        present: The names of all statements and signatures that are there.
    """
    numbered = [f"{stem}.json", *(f"{stem}.{number}.json" for number in range(2, 100))]
    # A stray signature takes a name too: it must not become the signature of another statement.
    taken = {each.removesuffix(f".{form}") for each in present for form in ("", *FORMS)}
    return next((each for each in numbered if each not in taken), "")


@contextmanager
def open_statements(path: Path, sidecar: Path | None = None) -> Iterator[StatementFiles]:
    """Open a bundle to add one statement. Only its head and tail are read: verify it first.

    Args:
        path: The bundle.
        sidecar: The directory to write to instead of the bundle. A bundle that cannot be written to gets
            `BUNDLE.approvals` in any case.

    Raises:
        UnfitInputError: It cannot be written, or an append was interrupted before.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle.
    """
    exists = path.exists()
    # A write-protected stick or a bundle of another owner can still be approved.
    if sidecar is None and exists and not os.access(path, os.W_OK):
        sidecar = sidecar_path(path)
    # Without writing to the bundle, no lock is needed: the sidecar's files are created exclusively.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if sidecar and exists else open_locked(path)
    try:
        bundle = read_with_tail(path)
        # Appending after a truncated append would turn repairable bytes into garbage.
        if sidecar is None:
            require_whole(path, bundle)
        beside = sidecar or sidecar_path(path)
        places = ((None, bundle.read_tail()), (beside, read_sidecar(beside)))
        yield StatementFiles(path, fd, bundle, sidecar, places)
    finally:
        os.close(fd)


def add_provenance(path: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Add signed provenance to a bundle that exists, unless these keys have signed theirs before.

    Args:
        path: The bundle.
        files: Statements and signatures, as a new bundle would have them.

    Returns:
        The names of those that were added.

    Raises:
        UnfitInputError: They cannot be written.
    """
    added: dict[str, bytes] = {}
    for name, data in files.items():
        # Signatures follow their statement; each statement is added together with its own.
        if not name.endswith(".json") or name.endswith(".sigstore.json"):
            continue
        with open_statements(path) as statements:
            if name not in statements.present:
                role, _, keyid8 = name.removeprefix(DIRECTORY).removesuffix(".json").rpartition("-")
                signatures = {form: files[f"{name}.{form}"] for form in FORMS if f"{name}.{form}" in files}
                added |= dict.fromkeys(statements.add(role, keyid8, data, signatures), b"")
    return added


def _write_sidecar(directory: Path, files: Mapping[str, bytes]) -> None:
    hint = "choose another place with --output DIR; `install --approvals DIR` reads the approval from there"
    is_new = not directory.exists()
    with os_errors_as(UnfitInputError, "cannot be created", directory, hint):
        directory.mkdir(exist_ok=True)
    made = list[Path]()
    try:
        # The statement comes last: an interrupted run must not leave a statement without its signatures.
        for name, data in reversed(list(files.items())):
            path = directory / name.removeprefix(DIRECTORY)
            write_new(path, data, 0o644)
            made.append(path)
    except BaseException as error:
        # Signatures of what is not there, and a directory of them, would only be carried along.
        with suppress(OSError):
            for path in made:
                path.unlink()
            if is_new:
                directory.rmdir()
        if isinstance(error, UnwritableError):
            remedy = error.hint.replace("choose another place", hint)
            raise UnfitInputError(error.what, where=error.where, hint=remedy) from error
        raise
