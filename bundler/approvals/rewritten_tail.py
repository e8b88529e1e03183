"""The end of a bundle, rewritten without some of its statements.

Only the last statement of a bundle can be removed by the states that `partial_append` defines. So the
statements of others behind the withdrawn one are copied to the sidecar first, where they count all the time;
then they are appended again, and the copies go. A kill at any moment loses no approval of anybody else.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundler.approvals.statements import StatementFiles, free_name
from bundler.archive import append
from bundler.archive.new_file import write_new
from bundler.archive.reading import read_with_tail
from installer.core.errors import BusyError, UnfitInputError, UsageError, WaybillError
from installer.core.format.approval_names import DIRECTORY, NAME, signed_name
from installer.core.format.archive import Bundle
from installer.core.format.partial_append import MAX_APPEND_BYTES, STATEMENT_START
from installer.core.format.tar_header import extent
from installer.core.limits import LIMITS
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path


@dataclass(frozen=True, slots=True)
class _Group:
    """A statement in a bundle with its signatures, and where its header is."""

    name: str
    files: Mapping[str, bytes]
    offset: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a bundle from the first statement that is withdrawn.

    Attributes:
        groups: All statements there.
        others: Those that stay.
    """

    groups: Sequence[_Group]
    others: Sequence[_Group]


def find_tail(statements: StatementFiles, own: Mapping[str, Mapping[str, bytes]]) -> Tail:
    """Return what has to be rewritten for some statements to go.

    Args:
        statements: The bundle, locked.
        own: The statements, by name, with the files of each as they were read before.

    Raises:
        UnfitInputError: Something is behind the payload that could not be written again.
        BusyError: The bundle no longer has these approvals.
    """
    groups = _groups(statements.bundle)
    there = {group.name: dict(group.files) for group in groups}
    # They were read before the bundle was locked, and confirmed by a person.
    if any(there.get(name) != dict(files) for name, files in own.items()):
        raise BusyError(
            "another process has changed the approvals of the bundle meanwhile; nothing was withdrawn",
            where=str(statements.path),
            hint="run the command again",
        )
    first = next(place for place, group in enumerate(groups) if group.name in own)
    behind = groups[first:]
    _require_known_form(statements.path, behind)
    return Tail(behind, [group for group in behind if group.name not in own])


def rewrite(statements: StatementFiles, tail: Tail) -> None:
    """Remove the statements of a tail but for those of others.

    Args:
        statements: The bundle, locked.
        tail: What `find_tail` found.

    Raises:
        UnfitInputError: Something cannot be written; the message says what the bundle has now.
    """
    path = statements.path
    # Next to the file itself, where hosts look whatever link leads to it.
    beside = sidecar_path(path.resolve() if path.is_symlink() else path)
    copies = _copy_beside(beside, tail.others)
    try:
        for group in reversed(tail.groups):
            append.remove(statements.fd, group.offset)
        for group in tail.others:
            append.append(statements.fd, read_with_tail(path), group.files)
        remove_files(copies)
    except OSError as error:
        raise _account(path, tail, beside, error) from error
    # Only if this made it, and nothing else is in it.
    with suppress(OSError):
        beside.rmdir()


def _account(path: Path, tail: Tail, beside: Path, error: OSError) -> UnfitInputError:
    """Return what a bundle has after a write failed: what was withdrawn must not be called given."""
    others = {group.name for group in tail.others}
    try:
        bundle = read_with_tail(path)
    except (WaybillError, OSError):
        what = "the bundle cannot be read after a write failed"
        return UnfitInputError(f"{what}: {error.strerror}", where=str(path), hint=_carry(beside))
    there = set(bundle.read_tail())
    own = {group.name for group in tail.groups} - others
    hints = [f"run `bundle approve {shlex.quote(str(path))} --repair`"] if bundle.partial_append else []
    missing = others - there
    hints += [_carry(beside)] if missing else []
    if left := own & there:
        what = f"not withdrawn: {', '.join(sorted(left))}"
        hints.append("run the command again")
    elif missing:
        what = "the approval was withdrawn, but approvals of others could not be put back into the bundle"
    else:
        what = f"the approval was withdrawn, but copies of the approvals of others are still in {beside}"
        hints.append("they do no harm")
    return UnfitInputError(f"{what}: {error.strerror}", where=str(path), hint="; ".join(hints))


def _carry(beside: Path) -> str:
    return f"the approvals of others are in {beside}: carry it with the bundle"


def _groups(bundle: Bundle) -> list[_Group]:
    """Return the statements behind the payload, each with the signatures that follow it."""
    groups, at = list[_Group](), bundle.end
    for name, data in bundle.read_tail().items():
        if groups and signed_name(name) == groups[-1].name:
            groups[-1] = _Group(groups[-1].name, {**groups[-1].files, name: data}, groups[-1].offset)
        else:
            groups.append(_Group(name, {name: data}, at))
        at += extent(len(data))
    return groups


def _require_known_form(path: Path, groups: Sequence[_Group]) -> None:
    """Refuse what could not be removed and appended again by the states of an append."""
    for group in groups:
        statement = group.files[group.name]
        size = sum(extent(len(data)) for data in group.files.values())
        if not statement.startswith(STATEMENT_START) or size > MAX_APPEND_BYTES:
            raise UnfitInputError(
                f"{group.name} stands behind the approval and was not added by `bundle approve`",
                where=str(path),
                hint="create the bundle again from the same inputs and let it be approved again",
            )


def _copy_beside(directory: Path, groups: Sequence[_Group]) -> list[Path]:
    """Write the statements of others into the sidecar, where hosts read them; return what was made there.

    Raises:
        UnfitInputError: They cannot be written. Nothing was withdrawn, and nothing is left of them.
    """
    copies = _copies(groups, read_sidecar(directory)) if groups else {}
    made = list[Path]()
    try:
        if copies and not directory.is_dir():
            directory.mkdir()
            _sync(directory.parent)
        for name, data in copies.items():
            path = directory / name.removeprefix(DIRECTORY)
            write_new(path, data, 0o644)
            made.append(path)
    except (OSError, UsageError, UnfitInputError) as error:
        with suppress(OSError):
            remove_files(reversed(made))
            directory.rmdir()
        why = error.strerror if isinstance(error, OSError) else error.what
        raise UnfitInputError(
            f"the approvals of others cannot be copied here before the bundle is rewritten: {why}",
            where=str(directory),
            hint="nothing was withdrawn; copy the bundle to a directory that you can write to",
        ) from error
    # The statement first: without it its signatures are nothing.
    return made[::-1]


def _copies(groups: Sequence[_Group], there: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files to write for statements of others, each behind its signatures.

    A file of the same name may be another statement: what counts is the content.

    Raises:
        UnfitInputError: There would be more than hosts read.
    """
    copies = dict[str, bytes]()
    for group in groups:
        present = {**there, **copies}
        ends = {name.removeprefix(group.name): data for name, data in group.files.items()}
        if any(all(present.get(f"{name}{end}") == data for end, data in ends.items()) for name in present):
            continue
        match = NAME.fullmatch(group.name)
        name = free_name(f"{DIRECTORY}{match['role']}-{match['keyid8']}", present) if match else ""
        if not name or sum(bool(NAME.fullmatch(each)) for each in present) >= LIMITS.approvals:
            raise UnfitInputError(
                "the approvals of others cannot be copied next to the bundle before it is rewritten: there "
                f"would be more than {LIMITS.approvals}, or more than 99 of one key",
                hint="nothing was withdrawn; move the approvals that are next to the bundle elsewhere",
            )
        # It never is there without its signatures.
        copies |= {f"{name}{end}": data for end, data in reversed(ends.items())}
    return copies


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files in this order, durably.

    Raises:
        OSError: One cannot be removed.
    """
    directories = dict[Path, None]()
    for path in paths:
        path.unlink(missing_ok=True)
        directories[path.parent] = None
    for directory in directories:
        _sync(directory)


def _sync(directory: Path) -> None:
    with suppress(FileNotFoundError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
