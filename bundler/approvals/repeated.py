"""An approval that was given before: a pipeline that runs again must add nothing.

Two approvals by one key say the same if only their times differ. The earlier one is used as long as it lasts
for at least half of the time that was asked for; after that, an approver who repeats the command renews it.
A time of expiry (`--expires 2030-01-31T00:00:00Z`) has to be the same.

Hosts count whichever lasts longest: an approval for a shorter time than one that is there would change
nothing. It is refused, so that nobody believes to have limited what still counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from bundler.signing import Signer
from installer.core.errors import UsageError, WaybillError
from installer.core.timestamps import format_time
from installer.core.trust import signatures
from installer.core.trust.approval import Approval, group_files, parse
from installer.core.trust.signatures import TrustedKey


def given_before(
    present: Mapping[str, bytes], wanted: Approval, asked: str, signer: Signer, now: datetime
) -> Approval | None:
    """Return an approval by the same key that says the same; None if there is none.

    Args:
        present: The statements that exist, and their signatures.
        wanted: The approval that would be added.
        asked: Its expiry as the approver asked for it.
        signer: The approver's key.
        now: The current time.

    Raises:
        UsageError: One of them lasts longer than what is asked for.
    """
    key: TrustedKey | None = None
    same: Approval | None = None
    for file in group_files(present)[0]:
        if (file.role, file.keyid8) != (wanted.role, signer.keyid8):
            continue
        found = _same_words(file.data, file.name, wanted, now)
        if found is None or not file.signatures:
            continue
        key = key or TrustedKey.from_public(signer.public, "approver")
        # Whoever can write to the bundle could place a statement that looks like ours.
        try:
            for signature in file.signatures:
                signatures.verify(key, signature, file.data)
        except WaybillError:
            continue
        if found.expires > wanted.expires:
            raise _longer(file.name, found, wanted)
        same = same or (found if _lasts(found, wanted, asked, now) else None)
    return same


def _longer(where: str, found: Approval, wanted: Approval) -> UsageError:
    return UsageError(
        f"this key has approved the same until {format_time(found.expires)}, longer than asked for now "
        f"({format_time(wanted.expires)}): hosts would count the longer one",
        where=where,
        hint="withdraw it first, `bundle approve BUNDLE --withdraw "
        f"--role {wanted.role} --env {wanted.environment} --key KEY`, then approve again",
    )


def says_the_same(data: bytes, where: str, wanted: Approval, asked: str, now: datetime) -> bool:
    """Return whether a file has an approval that says the same as another one, and lasts as long as asked."""
    found = _same_words(data, where, wanted, now)
    return found is not None and found.expires <= wanted.expires and _lasts(found, wanted, asked, now)


def _same_words(data: bytes, where: str, wanted: Approval, now: datetime) -> Approval | None:
    """Return the approval in a file if it counts already, and differs from another one in its times only."""
    try:
        found = parse(data, where)
    except WaybillError:
        return None
    if not isinstance(found, Approval) or found.not_before > now:
        return None
    same = replace(found, not_before=wanted.not_before, expires=wanted.expires) == wanted
    return found if same else None


def _lasts(found: Approval, wanted: Approval, asked: str, now: datetime) -> bool:
    # "T" is in every time, and in no duration.
    if "T" in asked.upper():
        return found.expires == wanted.expires
    return found.expires - now >= (wanted.expires - now) / 2
