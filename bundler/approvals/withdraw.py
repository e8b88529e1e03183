"""Withdraws an approval before the bundle is handed over: out of the bundle, or out of the sidecar.

Only the last statement of a bundle can be removed by the states that `partial_append` defines. So the
statements of others behind the withdrawn one are copied to the sidecar first, where they count all the time;
then they are appended again, and the copies go. A kill at any moment loses no approval of anybody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.approvals.statements import StatementFiles, open_statements
from bundler.archive import append
from bundler.archive.new_file import write_new
from bundler.archive.reading import read_with_tail
from installer.core.errors import TamperedError, UnfitInputError, os_errors_as
from installer.core.format.approval_names import DIRECTORY, NAME, signed_name
from installer.core.format.archive import Bundle
from installer.core.format.partial_append import MAX_APPEND_BYTES, STATEMENT_START
from installer.core.format.tar_header import extent
from installer.core.trust.approval import Approval, parse
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from installer.shared.terminal import interrupts


@dataclass(frozen=True, slots=True)
class Own:
    """One approval by the key that withdraws it.

    Attributes:
        name: Its file, `approvals/…`.
        approval: What it states.
        files: Its files, the statement first.
        directory: The sidecar that it is in; None: the bundle.
    """

    name: str
    approval: Approval
    files: Mapping[str, bytes]
    directory: Path | None

    def as_text(self) -> str:
        """Return it in words for people."""
        said = self.approval
        place = f"in {self.directory}" if self.directory else "in the bundle"
        return f"{said.product} {said.version} for {said.environment}, role {said.role} ({place})"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        said = self.approval
        return {
            "file": self.name,
            "place": str(self.directory) if self.directory else "bundle",
            "role": said.role,
            "environment": said.environment,
        }


@dataclass(frozen=True, slots=True)
class _Group:
    """A statement in a bundle with its signatures, and where its header is."""

    name: str
    files: Mapping[str, bytes]
    offset: int


def own_approvals(
    path: Path, keys: Iterable[str], role: str = "", environment: str = "", sidecar: Path | None = None
) -> list[Own]:
    """Return the approvals of a bundle by some keys, in the bundle and next to it.

    Args:
        path: The bundle.
        keys: The eight digits of each key.
        role: Only of this role; empty: of all.
        environment: Only for this environment; empty: for all.
        sidecar: The directory next to it; None: `BUNDLE.approvals`.

    Raises:
        TamperedError: It is not a bundle.
    """
    bundle, beside = read_with_tail(path), sidecar or sidecar_path(path)
    found = list[Own]()
    for directory, files in ((None, bundle.read_tail()), (beside, read_sidecar(beside))):
        for name, data in files.items():
            said = _approval(name, data, bundle.identity)
            is_own = any(f"-{key}." in name for key in keys)
            if said is None or not is_own or role not in ("", said.role):
                continue
            if environment in ("", said.environment):
                group = {each: made for each, made in files.items() if signed_name(each) == name}
                found.append(Own(name, said, {name: data, **group}, directory))
    return found


def _approval(name: str, data: bytes, identity: str) -> Approval | None:
    """Return what an approval of this bundle states; None for provenance, and for what is no approval."""
    if not NAME.fullmatch(name):
        return None
    try:
        said = parse(data, name)
    except TamperedError:
        return None
    return said if isinstance(said, Approval) and said.identity == identity else None


def withdraw(path: Path, own: Sequence[Own]) -> None:
    """Remove approvals; once it returns they are gone from the disk.

    Args:
        path: The bundle.
        own: What `own_approvals` found.

    Raises:
        UnfitInputError: The bundle cannot be written, or has something else behind its payload.
        BusyError: Another process signs or approves it.
    """
    with interrupts.deferred():
        for each in own:
            if each.directory is not None:
                _remove_files(each.directory, each.files)
        names = {each.name for each in own if each.directory is None}
        if names:
            if not os.access(path, os.W_OK):
                what = "cannot be written, and the approval is in it"
                hint = "copy the bundle to a directory that you can write to"
                raise UnfitInputError(what, where=str(path), hint=hint)
            with open_statements(path) as statements:
                _rewrite_tail(statements, names)
        interrupts.finish()


def _rewrite_tail(statements: StatementFiles, names: set[str]) -> None:
    groups = _groups(statements.bundle)
    first = next(place for place, group in enumerate(groups) if group.name in names)
    behind = groups[first:]
    kept = [group for group in behind if group.name not in names]
    _require_known_form(statements.path, behind)
    beside = sidecar_path(statements.path)
    with os_errors_as(UnfitInputError, "the approval cannot be withdrawn", statements.path):
        copies = _copy_beside(beside, kept)
        for group in reversed(behind):
            append.remove(statements.fd, group.offset)
        for group in kept:
            append.append(statements.fd, read_with_tail(statements.path), group.files)
        _remove_files(beside, copies)
        # Only if this made it, and nothing else is in it.
        with suppress(OSError):
            beside.rmdir()


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


def _copy_beside(directory: Path, groups: Sequence[_Group]) -> dict[str, bytes]:
    """Write the statements of others into the sidecar, where hosts read them; return what was not there."""
    there, made = read_sidecar(directory), dict[str, bytes]()
    if groups:
        directory.mkdir(exist_ok=True)
    for group in groups:
        # The statement comes last: it never is there without its signatures.
        for name, data in reversed(list(group.files.items())):
            if name not in there:
                write_new(directory / name.removeprefix(DIRECTORY), data, 0o644)
                made[name] = data
    return made


def _remove_files(directory: Path, files: Iterable[str]) -> None:
    # The statement first: without it its signatures are nothing.
    for name in sorted(files, key=lambda name: bool(signed_name(name))):
        (directory / name.removeprefix(DIRECTORY)).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
