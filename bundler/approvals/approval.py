"""An approval as it is asked for, made and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bundler.config.durations import parse_expiry
from installer.core.errors import Problem, UsageError
from installer.core.format.archive import Bundle
from installer.core.format.manifest import Manifest
from installer.core.semver import is_version
from installer.core.trust.approval import CHANGE, NOWHERE, TARGET, TEXT, Approval
from installer.core.trust.provenance import Provenance
from installer.core.trust.root import APPROVERS, ENVIRONMENT, format_time


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
        files: Names of the files that were added, `approvals/…`; empty where they were there already.
        place: The directory they lie in; None: the bundle.
    """

    approval: Approval | Provenance
    files: tuple[str, ...]
    place: Path | None

    def text(self) -> str:
        """Return it in words for people."""
        rows = [
            *_rows(self.approval),
            *(("added", name) for name in self.files),
            ("", "" if self.files else "it was there already"),
            ("beside it", f"in {self.place}: carry it along" if self.place else ""),
        ]
        return "\n".join(f"{label:<10} {value}" for label, value in rows if value)

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        said = self.approval
        return {
            "identity": said.identity,
            "added": list(self.files),
            "place": str(self.place) if self.place else "bundle",
            "statement": said.document() if isinstance(said, Approval) else said.as_json(),
        }


def _rows(said: Approval | Provenance) -> list[tuple[str, str]]:
    if isinstance(said, Provenance):
        return [("provenance", f"built by {said.builder}"), ("", said.source()), ("identity", said.identity)]
    return [
        ("approved", f"{said.product} {said.version} for {said.environment}, in the role {said.role}"),
        ("identity", said.identity),
        ("until", format_time(said.expires)),
        ("only on", ", ".join(said.targets)),
        ("change", said.change_id),
        ("back to", said.rollback_to),
        ("note", said.notes),
    ]


def make_approval(request: Request, bundle: Bundle, now: datetime) -> Approval:
    """Return what an approver says of a bundle, not yet signed.

    Raises:
        UsageError: The request makes no sense.
    """
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
