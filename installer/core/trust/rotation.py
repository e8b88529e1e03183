"""The step from one root to its successor: version N+1, signed by the thresholds of N and of N+1 (TUF, 5.3).

Pure: takes bytes, returns a root or raises. Nothing of a new root is parsed before the owners that the old
one names have signed its exact bytes.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime

from installer.core.errors import ExpiredError, Problem, RefusedError, TamperedError, UntrustedError
from installer.core.limits import LIMITS
from installer.core.timestamps import expired_text
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import Root
from installer.core.trust.root_json import parse_root
from installer.core.trust.signature_check import Accepted, Rejected, check_signature
from installer.core.trust.signatures import Signature, TrustedKey


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
        The new root. `require_unexpired` checks its expiry, for the last root of a chain only.

    Raises:
        UntrustedError: Too few owners of the old root's role `root`, or of the new one's, have signed it.
        TamperedError: It is not a root, or a signature that names a key of that role is not of these bytes.
        RefusedError: It is not the version that follows.
    """
    # 1. The owners that are trusted now have signed exactly these bytes.
    _require(old, data, signatures, f"version {old.version}, which is trusted here,", where, now)
    # 2. They are a root.
    new = parse_root(data, where)
    # 3. It is the next one.
    if new.version != old.version + 1:
        what = f"is version {new.version} of the root, but version {old.version} is trusted here"
        if new.version <= old.version:
            raise RefusedError(what, where=where, hint="a root is replaced only by a later version")
        hint = f"version {old.version + 1} must be applied first: give a directory with all versions"
        raise RefusedError(what, where=where, hint=hint)
    # 4. The owners that it names have signed it too: else a typing error in a key would lock everybody out.
    _require(new, data, signatures, "the new version itself", where, now)
    return new


def require_unexpired(root: Root, where: str, now: datetime) -> None:
    """Refuse an expired root: the last one of a chain, never one in between.

    Raises:
        ExpiredError: The root has expired.
    """
    if now > root.expires:
        raise ExpiredError(
            f"version {root.version} of the root {expired_text(root.expires, now)}",
            where=where,
            hint="ask the owners of the root keys for the current version; check this host's clock "
            "with `date -u`",
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
        TamperedError: A signature that names a key of the role is not by that key or not of these bytes.
    """
    # Verification is expensive, and anybody can add signatures.
    verdicts = [check_signature(root, "root", each, data, now) for each in signatures[: LIMITS.signatures]]
    owners = {fold_owner(each.owner): each.owner for each in verdicts if isinstance(each, Accepted)}
    return owners, [each for each in verdicts if isinstance(each, Rejected)]


def open_signers(root: Root, signed: Container[str], now: datetime) -> tuple[TrustedKey, ...]:
    """Return the keys of the role `root` that can still add an owner's signature.

    Args:
        root: Whose role counts.
        signed: The folded names of the owners who have signed.
        now: The time.
    """
    return tuple(
        key
        for key in root.holders("root")
        if fold_owner(key.owner) not in signed and (key.not_after is None or now <= key.not_after)
    )


def _require(
    root: Root, data: bytes, signatures: Sequence[Signature], whose: str, where: str, now: datetime
) -> None:
    if len(signatures) > LIMITS.signatures:
        raise TamperedError(f"has more than {LIMITS.signatures} signatures", where=where)
    role = root.roles.get("root")
    if role is None:
        raise UntrustedError(
            "the root of this host has no role root: nobody can sign a new one",
            where="root.json",
            hint="remove it and set up trust again with `install trust init`",
        )
    owners, rejected = signing_owners(root, data, signatures, now)
    if len(owners) < role.threshold:
        has = f"only {', '.join(sorted(owners.values()))}, not by" if owners else "none of"
        able = open_signers(root, owners, now)
        who = ", ".join(f"{key.owner} ({key.scheme} {key.keyid8})" for key in able)
        raise UntrustedError(
            f"is signed by {has} the {role.threshold} owners that {whose} requires",
            where=where,
            hint=f"can still sign: {who}: `bundle trust sign root.json --key KEY`"
            if who
            else "nobody else can sign it: ask the owners of the root keys for a root that they can sign",
            problems=[Problem(item.file, item.reason, item.hint) for item in rejected],
        )
