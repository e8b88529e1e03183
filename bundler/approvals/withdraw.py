"""Withdraws an approval before the bundle is handed over: out of it, and of wherever hosts look next to it.

The bundle comes first: what is in the way there is found before the first file is removed. A message after a
failure says what was withdrawn all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.approvals.rewritten_tail import find_tail, remove_files, rewrite
from bundler.approvals.statements import open_statements, require_whole
from bundler.archive.reading import read_with_tail
from installer.core.errors import TamperedError, UnfitInputError, os_errors_as
from installer.core.format.approval_names import NAME, signed_name
from installer.core.trust.approval import Approval, parse
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_directories, sidecar_files
from installer.shared.terminal import interrupts


@dataclass(frozen=True, slots=True)
class Own:
    """One approval by the key that withdraws it.

    Attributes:
        name: Its file, `approvals/…`.
        approval: What it states.
        files: Its files, the statement first.
        directory: The sidecar that it is in; None: the bundle.
        paths: Its files there, the statement first.
    """

    name: str
    approval: Approval
    files: Mapping[str, bytes]
    directory: Path | None
    paths: tuple[Path, ...] = ()

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


def own_approvals(
    path: Path, keys: Iterable[str], role: str = "", environment: str = "", sidecar: Path | None = None
) -> list[Own]:
    """Return the approvals of a bundle by some keys, in the bundle and wherever hosts look next to it.

    Args:
        path: The bundle.
        keys: The eight digits of each key.
        role: Only of this role; empty: of all.
        environment: Only for this environment; empty: for all.
        sidecar: Another directory to look in.

    Raises:
        UnfitInputError: An append was interrupted; it may be of such an approval, and could be completed.
        TamperedError: It is not a bundle.
        MediaError: A directory cannot be read.
    """
    bundle, wanted = read_with_tail(path), tuple(f"-{key}." for key in keys)
    require_whole(path, bundle)
    found = list[Own]()
    for directory, files in ((None, bundle.read_tail()), *_beside(path, sidecar)):
        for name, data in files.items():
            said = _approval(name, data, bundle.identity)
            is_own = any(key in name for key in wanted)
            if said is None or not is_own or role not in ("", said.role):
                continue
            if environment in ("", said.environment):
                group = {each: made for each, made in files.items() if signed_name(each) == name}
                paths = _paths(directory, name) if directory else ()
                found.append(Own(name, said, {name: data, **group}, directory, paths))
    return found


def _beside(path: Path, more: Path | None) -> Iterator[tuple[Path, Mapping[str, bytes]]]:
    """Yield the directories in which hosts look for approvals of a bundle, with the files in them."""
    seen = set[Path]()
    for directory in (*sidecar_directories(path), *([more] if more else [])):
        # A directory may have several names, as the bundle may.
        if directory.resolve() not in seen:
            yield directory, read_sidecar(directory)
        seen.add(directory.resolve())


def _paths(directory: Path, name: str) -> tuple[Path, ...]:
    """Return the files of a statement and its signatures; media without small letters name them otherwise."""
    with os_errors_as(UnfitInputError, "cannot be read", str(directory)):
        files = [(each, path) for each, path in sidecar_files(directory) if name in (each, signed_name(each))]
    # The statement first: without it its signatures are nothing.
    return tuple(path for each, path in sorted(files, key=lambda file: file[0] != name))


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
        UnfitInputError: The bundle or a directory cannot be written, or something else is behind the payload;
            it says what was withdrawn all the same.
        BusyError: Another process signs or approves the bundle, or has changed the approvals.
    """
    inside = [each for each in own if each.directory is None]
    beside = [each for each in own if each.directory is not None]
    with interrupts.deferred():
        if inside:
            _remove_inside(path, inside, beside)
        _remove_beside(beside, inside)
        interrupts.finish()


def _remove_inside(path: Path, own: Sequence[Own], beside: Sequence[Own]) -> None:
    if not os.access(path, os.W_OK):
        what = "cannot be written, and the approval is in it"
        hint = "nothing was withdrawn; copy the bundle to a directory that you can write to"
        raise UnfitInputError(what, where=str(path), hint=hint)
    try:
        with open_statements(path) as statements:
            rewrite(statements, find_tail(statements, {each.name: each.files for each in own}))
    except UnfitInputError as error:
        if not beside:
            raise
        rest = "what is next to the bundle was not withdrawn: run the command again"
        raise UnfitInputError(error.what, where=error.where, hint=f"{error.hint}; {rest}") from error


def _remove_beside(own: Sequence[Own], inside: Sequence[Own]) -> None:
    for place, each in enumerate(own):
        done = [before.as_text() for before in (*inside, *own[:place])]
        hint = f"withdrawn before: {'; '.join(done)}" if done else "nothing was withdrawn"
        with os_errors_as(UnfitInputError, "the approval cannot be withdrawn", str(each.directory), hint):
            remove_files(each.paths)
