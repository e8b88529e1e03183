"""From one root to its successor: version N+1, signed by the threshold of N and by its own.

Pure: takes bytes, returns a root or raises. The order is security: nothing of a new root is parsed before the
owners that the old one names have signed its exact bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from installer.core.errors import ExpiredError, Problem, RefusedError, TamperedError, UntrustedError
from installer.core.limits import LIMITS
from installer.core.timestamps import format_time
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import Root
from installer.core.trust.root_json import parse_root
from installer.core.trust.signature_check import Accepted, Rejected, check_signature
from installer.core.trust.signatures import Signature


def check_successor(
    old: Root, data: bytes, signatures: Sequence[Signature], where: str, now: datetime
) -> Root:
    """Decide whether some bytes are the next root.

    Args:
        old: The root that is trusted.
        data: The exact bytes of the new one.
        signatures: All signatures of it that were found.
        where: How errors name it.
        now: The time.

    Returns:
        The new root. Whether it is expired is looked at by `require_unexpired`, for the last of a chain only.

    Raises:
        UntrustedError: Too few owners of the old root's role `root`, or of the new one's, have signed it.
        TamperedError: It is no root, or a signature that names a key of that role is not of these bytes.
        RefusedError: It is not the version that follows.
    """
    # 1. The owners that are trusted now have signed exactly these bytes.
    _require(old, data, signatures, f"version {old.version}, which is trusted here", where, now)
    # 2. They are a root.
    new = parse_root(data, where)
    # 3. It is the next one.
    if new.version != old.version + 1:
        what = f"is version {new.version} of the root, and version {old.version} is trusted here"
        if new.version <= old.version:
            raise RefusedError(what, where=where, hint="a root is only ever replaced by a later one")
        hint = f"version {old.version + 1} has to come first: bring the folder with all versions"
        raise RefusedError(what, where=where, hint=hint)
    # 4. Those whom it trusts have signed it too: nobody can hand over to people who cannot sign.
    _require(new, data, signatures, "the new version itself", where, now)
    return new


def require_unexpired(root: Root, where: str, now: datetime) -> None:
    """Refuse a root that is expired: the last one of a chain, never one in between.

    Raises:
        ExpiredError: It is.
    """
    if now > root.expires:
        raise ExpiredError(
            f"version {root.version} of the root expired on {format_time(root.expires)}",
            where=where,
            hint="ask whoever keeps the root for the current one; check this host's clock with `date`",
        )


def signing_owners(
    root: Root, data: bytes, signatures: Sequence[Signature], now: datetime
) -> tuple[dict[str, str], list[Rejected]]:
    """Return which owners of the role `root` have signed some bytes.

    Args:
        root: Whose role counts.
        data: The signed bytes.
        signatures: What was found.
        now: The time.

    Returns:
        Folded name to the owner's name, and the signatures that do not count.

    Raises:
        TamperedError: A signature that names a key of the role is not by it or not of these bytes.
    """
    owners: dict[str, str] = {}
    rejected: list[Rejected] = []
    for signature in signatures[: LIMITS.signatures]:
        verdict = check_signature(root, "root", signature, data, now)
        if isinstance(verdict, Accepted):
            owners[fold_owner(verdict.owner)] = verdict.owner
        else:
            rejected.append(verdict)
    return owners, rejected


def _require(
    root: Root, data: bytes, signatures: Sequence[Signature], whose: str, where: str, now: datetime
) -> None:
    if len(signatures) > LIMITS.signatures:
        raise TamperedError(f"has more than {LIMITS.signatures} signatures", where=where)
    role = root.roles.get("root")
    if role is None:
        raise UntrustedError(
            "the root that is trusted here names nobody who may replace it",
            where="root.json",
            hint="remove it by hand and set up trust anew with `install trust init`",
        )
    owners, rejected = signing_owners(root, data, signatures, now)
    if len(owners) < role.threshold:
        has = f"only {', '.join(sorted(owners.values()))} of" if owners else "none of"
        who = ", ".join(f"{key.owner} ({key.scheme} {key.keyid8})" for key in root.holders("root"))
        raise UntrustedError(
            f"is signed by {has} the {role.threshold} owners that {whose} asks for",
            where=where,
            hint=f"may sign: {who or 'nobody'}: bundle trust sign root.json --key KEY",
            problems=[Problem(item.file, item.reason, item.hint) for item in rejected],
        )
