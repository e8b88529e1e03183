"""Checks signatures against a root: which count, which do not and why, and which are a sign of tampering."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from installer.core.errors import (
    CheckFailedError,
    ExpiredError,
    Problem,
    TamperedError,
    UntrustedError,
    WaybillError,
)
from installer.core.format.manifest import SUMS
from installer.core.timestamps import expired_text
from installer.core.trust.root import Root
from installer.core.trust.signatures import Scheme, Signature, TrustedKey, verify


@dataclass(frozen=True, slots=True)
class Accepted:
    """A valid signature by a trusted key.

    Attributes:
        file: The signature's file name.
        scheme: The tool that made it.
        keyid: The whole id of the key.
        owner: The holder of the key, according to the root.
    """

    file: str
    scheme: Scheme
    keyid: str
    owner: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A signature that does not count, and why.

    Attributes:
        file: The signature's file name.
        keyid8: The eight digits in its name.
        kind: `untrusted`: not a key of the role; `expired`, `revoked`: not valid; `unchecked`: no tool.
        reason: The reason in words.
        hint: What can be done about it; may be empty.
    """

    file: str
    keyid8: str
    kind: Literal["untrusted", "expired", "revoked", "unchecked"]
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SignatureEvidence:
    """Why something is trusted: the signatures that count and the threshold they meet.

    Attributes:
        identity: SHA-256 of the signed bytes.
        role: The role that was required.
        threshold: How many owners the role requires.
        root_version: The version of the root that decided.
        accepted: The signatures that count.
        rejected: Those that do not.
    """

    identity: str
    role: str
    threshold: int
    root_version: int
    accepted: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...] = ()

    @property
    def owners(self) -> tuple[str, ...]:
        """The owners who signed, each once."""
        return tuple(sorted({item.owner for item in self.accepted}))

    def as_json(self) -> dict[str, object]:
        """Return the evidence as a JSON object, for reports and `--json`."""
        return {
            "identity": self.identity,
            "role": self.role,
            "threshold": self.threshold,
            "root_version": self.root_version,
            "owners": list(self.owners),
            "accepted": [asdict(each) for each in self.accepted],
            "rejected": [
                {"file": r.file, "keyid8": r.keyid8, "kind": r.kind, "reason": r.reason}
                for r in self.rejected
            ],
        }


def check_signature(
    root: Root, role: str, signature: Signature, signed: bytes, now: datetime
) -> Accepted | Rejected:
    """Decide on one signature.

    Args:
        root: The keys and roles that are trusted.
        role: The role whose keys count.
        signature: The signature that was found.
        signed: Exactly the signed bytes.
        now: The time.

    Returns:
        That it counts, or why it does not.

    Raises:
        TamperedError: It names a key of the role, but is not by that key or not of these bytes.
    """
    key = _key_of(root, role, signature)
    file, keyid8 = signature.name, signature.keyid8
    if key is None:
        what = "not trusted here" if role == "release" else f"not trusted here for the role {role}"
        return Rejected(file, keyid8, "untrusted", f"key {keyid8} ({signature.scheme}) is {what}")
    who = f"key {keyid8} of {key.owner}"
    another = "ask for a bundle signed with" if role == "release" else "have it signed with"
    if key.keyid in root.revoked_keys:
        return Rejected(file, keyid8, "revoked", f"{who} was revoked", f"{another} another key")
    try:
        verify(key, signature, signed)
    except CheckFailedError as error:
        return Rejected(file, keyid8, "unchecked", f"{who}: {error.what}", error.hint)
    except ExpiredError as error:
        return Rejected(file, keyid8, "expired", f"{who}: {error.what}", error.hint)
    except UntrustedError as error:
        # The file name has the id of a trusted key and the content is by another: not a missing signature,
        # but one that somebody made look like a trusted one.
        raise TamperedError(error.what, where=error.where, hint="the signature file was renamed") from error
    # After the signature itself: an invalid signature by an expired key is still a sign of tampering.
    if key.not_after is not None and now > key.not_after:
        reason = f"{who} {expired_text(key.not_after, now)}"
        return Rejected(file, keyid8, "expired", reason, f"{another} a valid key")
    return Accepted(file, key.scheme, key.keyid, key.owner)


def _key_of(root: Root, role: str, signature: Signature) -> TrustedKey | None:
    for keyid in root.roles[role].keys if role in root.roles else ():
        key = root.keys[keyid]
        if (key.scheme, key.keyid8) == (signature.scheme, signature.keyid8):
            return key
    return None


def too_few_owners_error(root: Root, owners: int, rejected: list[Rejected]) -> WaybillError:
    """Return the error for a bundle that too few owners have signed.

    Args:
        root: The keys and roles that are trusted.
        owners: How many owners have signed.
        rejected: The signatures that do not count.
    """
    problems = [Problem(item.file, item.reason, item.hint) for item in rejected]
    kinds = {item.kind for item in rejected}
    if kinds & {"expired", "revoked"}:
        return ExpiredError(
            "is signed with a key that has expired or was revoked", where=SUMS, problems=problems
        )
    if "unchecked" in kinds:
        return CheckFailedError("has a signature that cannot be checked here", where=SUMS, problems=problems)
    if owners:
        threshold = root.roles["release"].threshold
        what = f"is signed by {owners} of the {threshold} owners that the role release requires"
    elif rejected:
        what = "is not signed by a key that is trusted here"
    else:
        what = "has no signature"
    who = ", ".join(f"{key.keyid8} ({key.scheme}, {key.owner})" for key in root.holders("release"))
    return UntrustedError(what, where=SUMS, hint=f"trusted here: {who or 'nobody'}", problems=problems)
