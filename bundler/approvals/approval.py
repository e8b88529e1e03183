"""Approvals: the request of an approver, the statement made of it, and the report of what was added."""

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
from installer.core.timestamps import format_time
from installer.core.trust.approval import CHANGE, NO_ROLLBACK, TARGET, TEXT, Approval
from installer.core.trust.provenance import Provenance
from installer.core.trust.root import APPROVERS, ENVIRONMENT


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What an approver states.

    Attributes:
        role: The role of the approver.
        environment: The environment that the approval is for.
        expires: How long it is valid: `14d`, or a time of the form 2030-01-31T00:00:00Z.
        targets: Host names; empty: every host of the environment.
        change_id: Id of the change request; empty: none.
        rollback_to: The version to roll back to, or `none` for a first release; empty: not stated.
        notes: Free text for people.
    """

    role: str
    environment: str
    expires: str = "14d"
    targets: tuple[str, ...] = ()
    change_id: str = ""
    rollback_to: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class AddedStatement:
    """A statement that was added to a bundle or its sidecar.

    Attributes:
        approval: What was signed.
        files: Names of the files that were added, `approvals/…`; empty if they were there already.
        directory: The sidecar directory; None: the bundle.
    """

    approval: Approval | Provenance
    files: tuple[str, ...]
    directory: Path | None

    def as_text(self) -> str:
        """Return it in words for people."""
        rows = [
            *_rows(self.approval),
            *(("added", name) for name in self.files),
            ("", "" if self.files else "already present: nothing was added"),
            ("sidecar", f"{self.directory}: carry it with the bundle" if self.directory else ""),
        ]
        return "\n".join(f"{label:<12} {value}" for label, value in rows if value)

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        statement = self.approval
        return {
            "added": list(self.files),
            "place": str(self.directory) if self.directory else "bundle",
            "statement": statement.document() if isinstance(statement, Approval) else statement.as_json(),
        }


def _rows(statement: Approval | Provenance) -> list[tuple[str, str]]:
    if isinstance(statement, Provenance):
        return [
            ("provenance", f"built by {statement.builder}"),
            ("", statement.source()),
            ("identity", statement.identity),
        ]
    return [
        (
            "approved",
            f"{statement.product} {statement.version} for {statement.environment}, role {statement.role}",
        ),
        ("identity", statement.identity),
        ("expires", format_time(statement.expires)),
        ("only on", ", ".join(statement.targets)),
        ("change", statement.change_id),
        ("roll back to", statement.rollback_to),
        ("note", statement.notes),
    ]


def make_approval(request: ApprovalRequest, bundle: Bundle, now: datetime) -> Approval:
    """Return the statement of an approver about a bundle, not yet signed.

    Raises:
        UsageError: The request is not valid; all problems at once.
    """
    check_request(request, now, bundle.manifest)
    return Approval(
        identity=bundle.identity,
        product=bundle.manifest.product,
        version=bundle.manifest.version,
        role=request.role,
        environment=request.environment,
        # Whole seconds: the format has no fractions, and a reader would refuse them.
        not_before=now.replace(microsecond=0),
        expires=parse_expiry(request.expires, now),
        # Host names are compared in lower case; sorted, the same request gives the same bytes.
        targets=tuple(sorted({target.lower() for target in request.targets})),
        change_id=request.change_id,
        # Versions in bundles have no `v`; people type it.
        rollback_to=request.rollback_to.removeprefix("v"),
        notes=request.notes,
    )


def check_request(request: ApprovalRequest, now: datetime, manifest: Manifest | None = None) -> None:
    """Refuse a request that no approval can be made of.

    Args:
        request: What the approver states.
        now: The current time.
        manifest: The bundle's; None before it is known.

    Raises:
        UsageError: The request is not valid; all problems at once.
    """
    problems = list(_problems(request, manifest.version if manifest else ""))
    try:
        parse_expiry(request.expires, now)
    except UsageError as error:
        problems.append(Problem("--expires", f"{error.where} {error.what}", error.hint))
    if problems:
        raise UsageError("the approval is not valid", problems=problems)


def _problems(request: ApprovalRequest, version: str) -> Sequence[Problem]:
    problems = []

    def check(valid: object, option: str, what: str, hint: str = "") -> None:
        if not valid:
            problems.append(Problem(option, what, hint))

    # All problems at once: an approver should not have to type the command again for each.
    check(request.role in APPROVERS, "--role", f"must be one of {', '.join(APPROVERS)}")
    check(
        ENVIRONMENT.fullmatch(request.environment),
        "--env",
        "is not the name of an environment",
        "for example production",
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
        back in ("", NO_ROLLBACK) or is_version(back),
        "--rollback-to",
        "is not a version",
        f"give the version to roll back to, or `{NO_ROLLBACK}` for a first release",
    )
    check(not back or back != version, "--rollback-to", "is the version that this bundle installs")
    # Notes are shown on terminals of hosts: control characters could rewrite what is on the screen.
    check(TEXT.fullmatch(request.notes), "--note", "has control characters, or more than 2000 characters")
    check(request.role != "break-glass" or request.notes, "--note", "the role break-glass needs a reason")
    return problems
