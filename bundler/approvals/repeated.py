"""An approval that was given before: a pipeline that runs again must add nothing.

Two approvals by one key say the same if only their times differ. The earlier one is used as long as it lasts
for at least half of the time that was asked for; after that, an approver who repeats the command renews it.
A time of expiry (`--expires 2030-01-31T00:00:00Z`) has to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from bundler.signing import Signer
from installer.core.errors import WaybillError
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
    """
    key: TrustedKey | None = None
    for file in group_files(present)[0]:
        if (file.role, file.keyid8) != (wanted.role, signer.keyid8):
            continue
        found = says_the_same(file.data, file.name, wanted, asked, now)
        if found is None or not file.signatures:
            continue
        key = key or TrustedKey.from_public(signer.public, "approver")
        # Whoever can write to the bundle could place a statement that looks like ours.
        try:
            for signature in file.signatures:
                signatures.verify(key, signature, file.data)
        except WaybillError:
            continue
        return found
    return None


def says_the_same(data: bytes, where: str, wanted: Approval, asked: str, now: datetime) -> Approval | None:
    """Return the approval in a file if it says the same as another one, and lasts long enough; else None."""
    try:
        found = parse(data, where)
    except WaybillError:
        return None
    if not isinstance(found, Approval) or found.not_before > now:
        return None
    if replace(found, not_before=wanted.not_before, expires=wanted.expires) != wanted:
        return None
    # "T" is in every time, and in no duration.
    if "T" in asked.upper():
        return found if found.expires == wanted.expires else None
    return found if found.expires - now >= (wanted.expires - now) / 2 else None
