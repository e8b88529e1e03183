"""VERB `bundle approve`: countersigns a bundle, in the bundle or in a directory beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bundler import append
from bundler.keygen import write_new
from bundler.sign import open_locked
from bundler.signers import Signer
from bundler.trust import parse_expiry
from installer.core.approval import CHANGE, DIRECTORY, NOWHERE, TARGET, TEXT, Approval
from installer.core.archive import Bundle, open_bundle, unsafe_no_decision
from installer.core.errors import Problem, UnfitInputError, UsageError
from installer.core.limits import LIMITS
from installer.core.manifest import Manifest
from installer.core.medium import FileMedium
from installer.core.root import APPROVERS, ENVIRONMENT, format_time
from installer.core.sidecar import beside, read_sidecar
from installer.core.signatures import FORMS
from installer.core.torn import FILES
from installer.core.versions import is_version


@dataclass(frozen=True, slots=True)
class Request:
    """What an approver says.

    Attributes:
        role: In which role.
        environment: For which environment.
        expires: Until when: `14d`, or a time of the form 2030-01-31T00:00:00Z.
        targets: Host names; empty: every host of the environment.
        change_id: The change; empty: none named.
        rollback_to: The version to go back to, or `none`; empty: not said.
        notes: For people.
    """

    role: str
    environment: str
    expires: str = "14d"
    targets: tuple[str, ...] = ()
    change_id: str = ""
    rollback_to: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Approved:
    """What `approve` did.

    Attributes:
        approval: What was signed.
        files: Names of the files that were added, `approvals/…`.
        place: The directory they lie in; None: the bundle.
    """

    approval: Approval
    files: tuple[str, ...]
    place: Path | None

    def text(self) -> str:
        """Gives it in words for people."""
        said = self.approval
        rows = [
            ("approved", f"{said.product} {said.version} for {said.environment}, in the role {said.role}"),
            ("identity", said.identity),
            ("until", format_time(said.expires)),
            ("only on", ", ".join(said.targets)),
            ("change", said.change_id),
            ("back to", said.rollback_to),
            ("note", said.notes),
            *(("added", name) for name in self.files),
            ("beside it", f"in {self.place}: carry it along" if self.place else ""),
        ]
        return "\n".join(f"{label:<10} {value}" for label, value in rows if value)

    def as_json(self) -> dict[str, Any]:
        """Gives it as `--json` prints it."""
        return {
            "identity": self.approval.identity,
            "added": list(self.files),
            "place": str(self.place) if self.place else "bundle",
            "statement": self.approval.document(),
        }


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `repair` did: `finished` the approval `name`, `dropped` what was there of it, or `nothing`."""

    outcome: Literal["finished", "dropped", "nothing"]
    name: str = ""

    def text(self) -> str:
        """Gives it in words for people."""
        return {
            "finished": f"{self.name} was all there: finished, it counts now",
            "dropped": "what was there of an approval was taken back: approve again",
            "nothing": "nothing was cut short",
        }[self.outcome]


def approve(
    path: Path,
    signer: Signer,
    request: Request,
    now: datetime,
    *,
    directory: Path | None = None,
    sidecar: bool = False,
) -> Approved:
    """Approves a bundle. Only its head and tail are read; verify it before.

    Args:
        path: The bundle.
        signer: Whose approval.
        request: What it says.
        now: The time.
        directory: Where to write it beside the bundle; None: `BUNDLE.approvals`.
        sidecar: Whether to leave the bundle itself as it is, as is done where it cannot be written to.

    Returns:
        What was added.

    Raises:
        UsageError: The request makes no sense.
        UnfitInputError: It cannot be written, or there are too many; an append was cut short before.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle.
    """
    outside = sidecar or directory is not None or (path.exists() and not os.access(path, os.W_OK))
    place = (directory or beside(path)) if outside else None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if outside and path.exists() else open_locked(path)
    try:
        bundle = _look(path)
        if bundle.torn and place is None:
            raise UnfitInputError(
                "an approval was cut short while it was added",
                where=str(path),
                hint=f"bundle approve {path} --repair finishes it or takes it back",
            )
        approval = _approval(request, bundle, now)
        there = [*bundle.read_tail(), *(read_sidecar(place or beside(path)))]
        files = _files(signer, approval, there, str(path))
        if place is None:
            _append(fd, path, bundle, files)
        else:
            _write_beside(place, files)
        return Approved(approval, tuple(files), place)
    finally:
        os.close(fd)


def repair(path: Path) -> Repaired:
    """Finishes or takes back an approval that was cut short.

    Args:
        path: The bundle.

    Returns:
        What was done.

    Raises:
        UnfitInputError: It cannot be written.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle, or was cut short by something else.
    """
    fd = open_locked(path)
    try:
        return Repaired(*append.repair(fd, _look(path)))
    except OSError as error:
        raise UnfitInputError(f"cannot be repaired: {error.strerror}", where=str(path)) from None
    finally:
        os.close(fd)


def _look(path: Path) -> Bundle:
    medium = FileMedium(path)
    try:
        bundle = open_bundle(medium, unsafe_no_decision)
        bundle.read_tail()
        return bundle
    finally:
        medium.close()


def _approval(request: Request, bundle: Bundle, now: datetime) -> Approval:
    problems = list(_problems(request, bundle.manifest))
    if problems:
        raise UsageError("the approval makes no sense", problems=problems)
    return Approval(
        identity=bundle.identity,
        product=bundle.manifest.product,
        version=bundle.manifest.version,
        role=request.role,
        environment=request.environment,
        not_before=now.replace(microsecond=0),
        expires=parse_expiry(request.expires, now),
        targets=tuple(sorted({target.lower() for target in request.targets})),
        change_id=request.change_id,
        rollback_to=request.rollback_to.removeprefix("v"),
        notes=request.notes,
    )


def _problems(request: Request, manifest: Manifest) -> Sequence[Problem]:
    found = []

    def check(fine: object, option: str, what: str, hint: str = "") -> None:
        if not fine:
            found.append(Problem(option, what, hint))

    check(request.role in APPROVERS, "--role", f"is none of {', '.join(APPROVERS)}")
    check(
        ENVIRONMENT.fullmatch(request.environment), "--env", "is not a name of an environment", "production"
    )
    for target in request.targets:
        check(TARGET.fullmatch(target.lower()), "--target", f"{target!r:.80} is not a host name")
    check(
        not request.change_id or CHANGE.fullmatch(request.change_id),
        "--change-id",
        "has spaces or is too long",
    )
    back = request.rollback_to.removeprefix("v")
    check(
        back in ("", NOWHERE) or is_version(back),
        "--rollback-to",
        "is not a version",
        f"the version to go back to, or `{NOWHERE}` where nothing was installed before",
    )
    check(back != manifest.version, "--rollback-to", "is the version that is to be installed")
    check(TEXT.fullmatch(request.notes), "--note", "has control characters, or more than 2000 characters")
    check(request.role != "break-glass" or request.notes, "--note", "break-glass needs a reason")
    return found


def _files(signer: Signer, approval: Approval, there: Sequence[str], where: str) -> dict[str, bytes]:
    stem = f"{DIRECTORY}{approval.role}-{signer.keyid8}"
    numbered = [f"{stem}.json", *(f"{stem}.{number}.json" for number in range(2, 100))]
    taken = {each.removesuffix(f".{form}") for each in there for form in ("", *FORMS)}
    name = next((each for each in numbered if each not in taken), "")
    data = approval.to_bytes()
    if not name or len(there) + FILES > FILES * LIMITS.approvals or len(data) > LIMITS.approval_bytes:
        raise UnfitInputError("has too many approvals, or this one is too long", where=where)
    return {name: data, **{f"{name}.{form}": made for form, made in signer.sign(data).items()}}


def _append(fd: int, path: Path, bundle: Bundle, files: Mapping[str, bytes]) -> None:
    try:
        append.append(fd, bundle, files)
    except OSError as error:
        raise UnfitInputError(
            f"cannot be approved: {error.strerror}",
            where=str(path),
            hint="nothing was changed; --sidecar writes the approval beside the bundle",
        ) from None


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
