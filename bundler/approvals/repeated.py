"""An approval that was given before: a pipeline that runs again must add nothing.

Two approvals by one key say the same if only their times differ. The earlier one is used as long as it lasts
for at least half of the time that was asked for; after that, an approver who repeats the command renews it.
A time of expiry (`--expires 2030-01-31T00:00:00Z`) has to be the same.

Hosts count whichever lasts longest: an approval for a shorter time than one that is there would change
nothing. It is refused, so that nobody believes to have limited what still counts. An approval lasts until it
expires, or until it is older than the policy of the environment allows: hosts count it no longer then.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from bundler.approvals.approval import AddedStatement
from bundler.approvals.statements import StatementFiles
from bundler.signing import Signer
from installer.core.errors import UsageError, WaybillError
from installer.core.timestamps import format_time
from installer.core.trust import signatures
from installer.core.trust.approval import Approval, group_files, parse
from installer.core.trust.approval_sidecar import sidecar_directories
from installer.core.trust.signatures import TrustedKey


def given_before(
    statements: StatementFiles,
    wanted: Approval,
    asked: str,
    signer: Signer,
    now: datetime,
    max_age_days: int = 0,
) -> AddedStatement | None:
    """Return an approval by the same key that says the same, with its place; None if there is none.

    Args:
        statements: The statements that exist.
        wanted: The approval that would be added.
        asked: Its expiry as the approver asked for it.
        signer: The approver's key.
        now: The current time.
        max_age_days: How old the policy lets approvals become; 0: any age, or no policy is known.

    Raises:
        UsageError: One of them lasts longer than what is asked for.
    """
    key: TrustedKey | None = None
    same: AddedStatement | None = None
    # Each place by itself: two of them may have a file of one name, and hosts read both.
    for directory, files in statements.places:
        for file in group_files(files, str(directory) if directory else "")[0]:
            if (file.role, file.keyid8) != (wanted.role, signer.keyid8):
                continue
            found = _same_words(file.data, file.where, wanted, now, max_age_days)
            if found is None or not file.signatures:
                continue
            key = key or TrustedKey.from_public(signer.public, "approver")
            # Whoever can write to the bundle could place a statement that looks like ours.
            try:
                for signature in file.signatures:
                    signatures.verify(key, signature, file.data)
            except WaybillError:
                continue
            if _end(found, max_age_days) > _end(wanted, max_age_days):
                ends = _end(found, max_age_days), _end(wanted, max_age_days)
                raise _longer(file.where, ends, wanted, statements.path, directory)
            if not _lasts(found, wanted, asked, now, max_age_days):
                continue
            # Of several, the one in the place that was asked for is named.
            if same is None or directory == statements.directory:
                same = AddedStatement(found, (), directory)
    return same


def _longer(
    where: str, ends: tuple[datetime, datetime], wanted: Approval, bundle: Path, directory: Path | None
) -> UsageError:
    outside = ""
    # A withdrawal looks where hosts look by themselves: any other directory has to be named.
    if directory is not None and directory not in sidecar_directories(bundle):
        outside = f" --output {shlex.quote(str(directory))}"
    return UsageError(
        f"this key has approved the same until {format_time(ends[0])}, longer than asked for now "
        f"({format_time(ends[1])}): hosts would count the longer one",
        where=where,
        hint=f"withdraw it first, `bundle approve {shlex.quote(str(bundle))} --withdraw "
        f"--role {wanted.role} --env {wanted.environment} --key KEY{outside}`, then approve again",
    )


def says_the_same(
    data: bytes, where: str, wanted: Approval, asked: str, now: datetime, max_age_days: int = 0
) -> bool:
    """Return whether a file has an approval that says the same as another one, and lasts as long as asked."""
    found = _same_words(data, where, wanted, now, max_age_days)
    if found is None or _end(found, max_age_days) > _end(wanted, max_age_days):
        return False
    return _lasts(found, wanted, asked, now, max_age_days)


def _end(approval: Approval, max_age_days: int) -> datetime:
    """Return until when hosts count an approval."""
    if not max_age_days:
        return approval.expires
    return min(approval.expires, approval.not_before + timedelta(days=max_age_days))


def _same_words(
    data: bytes, where: str, wanted: Approval, now: datetime, max_age_days: int
) -> Approval | None:
    """Return the approval in a file if it counts now, and differs from another one in its times only."""
    try:
        found = parse(data, where)
    except WaybillError:
        return None
    if not isinstance(found, Approval) or not found.not_before <= now < _end(found, max_age_days):
        return None
    same = replace(found, not_before=wanted.not_before, expires=wanted.expires) == wanted
    return found if same else None


def _lasts(found: Approval, wanted: Approval, asked: str, now: datetime, max_age_days: int) -> bool:
    # "T" is in every time, and in no duration.
    if "T" in asked.upper() and found.expires != wanted.expires:
        return False
    return _end(found, max_age_days) - now >= (_end(wanted, max_age_days) - now) / 2
