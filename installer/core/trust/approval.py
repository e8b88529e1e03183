"""Approvals: an in-toto Statement about a bundle's identity, signed detached like everything else.

An approval is the file `approvals/<role>-<keyid8>.json`, a later one by the same key
`<role>-<keyid8>.2.json`, each with its signature beside it: `.sig`, `.sigstore.json` or `.asc`. They stand
behind the payload of the bundle or in a directory beside it. What the names say only helps to find the key;
what counts is what was signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from installer.core import jsonio
from installer.core.digest import HEX
from installer.core.errors import TamperedError
from installer.core.format.manifest_json import Fields
from installer.core.limits import LIMITS
from installer.core.semver import is_version
from installer.core.trust.provenance import PREDICATE, Provenance, parse_predicate
from installer.core.trust.root import APPROVERS, ENVIRONMENT, PRODUCT, format_time
from installer.core.trust.signatures import FORMS, SUMS, Signature

DIRECTORY = "approvals/"
STATEMENT = "https://in-toto.io/Statement/v1"
APPROVAL = "urn:waybill:approval:v1"
NOWHERE = "none"
"""`rollback_to` of a first installation: there is nothing to go back to."""
MOST_TARGETS = 1000
NAME = re.compile(
    r"approvals/(?P<role>provenance|security|ops|break-glass)-(?P<keyid8>[0-9a-f]{8})(\.[1-9][0-9]?)?\.json"
)
TARGET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]{0,2000}")
CHANGE = re.compile(r"[^\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]{1,100}")


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person says about one bundle.

    Attributes:
        identity: The bundle's.
        product: Its product; for people, and checked.
        version: Its version; for people, and checked.
        role: In which role.
        environment: Where it may be installed.
        not_before: From when on.
        expires: Until when.
        targets: Host names; empty: every host of the environment.
        change_id: The change that this belongs to; empty: none named.
        rollback_to: The version to go back to, or `none`; empty: not said.
        notes: For people.
    """

    identity: str
    product: str
    version: str
    role: str
    environment: str
    not_before: datetime
    expires: datetime
    targets: tuple[str, ...] = ()
    change_id: str = ""
    rollback_to: str = ""
    notes: str = ""

    def document(self) -> dict[str, Any]:
        """Gives the Statement as a JSON object; fields that say nothing are left out."""
        predicate: dict[str, Any] = {
            "product": self.product,
            "version": self.version,
            "role": self.role,
            "environment": self.environment,
            "not_before": format_time(self.not_before),
            "expires": format_time(self.expires),
            "targets": list(self.targets),
            "change_id": self.change_id,
            "rollback_to": self.rollback_to,
            "notes": self.notes,
        }
        return {
            "_type": STATEMENT,
            "subject": [{"name": SUMS, "digest": {"sha256": self.identity}}],
            "predicateType": APPROVAL,
            "predicate": {name: value for name, value in predicate.items() if value},
        }

    def to_bytes(self) -> bytes:
        """Gives the exact bytes that are signed."""
        return jsonio.dumps(self.document())


@dataclass(frozen=True, slots=True)
class ApprovalFile:
    """An approval as found; nothing in it is believed.

    Attributes:
        name: Its file name.
        source: Where it was found: the bundle or the directory beside it.
        role: What the name says.
        keyid8: What the name says.
        data: Its bytes.
        signatures: The signatures beside it.
    """

    name: str
    source: str
    role: str
    keyid8: str
    data: bytes = field(repr=False)
    signatures: tuple[Signature, ...] = ()

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"{self.source}: {self.name}" if self.source else self.name


def group(files: Mapping[str, bytes], source: str = "") -> tuple[list[ApprovalFile], list[str]]:
    """Puts each approval together with its signatures.

    Args:
        files: Members behind the payload, or files of the directory beside the bundle, under `approvals/…`.
        source: How errors name where they are from; empty for the bundle itself.

    Returns:
        The approvals, in the order of their names, and names that are none of an approval.
    """
    found, strays = [], []
    for name in sorted(files):
        if match := NAME.fullmatch(name):
            beside = tuple(
                Signature(f"{name}.{form}", form, match["keyid8"], files[f"{name}.{form}"])
                for form in FORMS
                if f"{name}.{form}" in files
            )
            found.append(ApprovalFile(name, source, match["role"], match["keyid8"], files[name], beside))
        elif signed_name(name) not in files:
            strays.append(name)
    return found, strays


def signed_name(name: str) -> str:
    """Gives the approval that a file's name says it is a signature of; empty where it is none."""
    for form in FORMS:
        if name.endswith(f".{form}") and NAME.fullmatch(name.removesuffix(f".{form}")):
            return name.removesuffix(f".{form}")
    return ""


def parse(data: bytes, where: str) -> Approval | Provenance:
    """Reads a statement whose signature was checked before.

    Args:
        data: Its exact bytes.
        where: How errors name it.

    Returns:
        What it says.

    Raises:
        TamperedError: It is not a statement that is known here.
    """
    top = Fields(jsonio.loads_strict(data, where, LIMITS.approval_bytes), where)
    top.text("_type", re.compile(re.escape(STATEMENT)))
    kind = top.text("predicateType", re.compile(f"{re.escape(APPROVAL)}|{re.escape(PREDICATE)}"))
    subjects = top.items("subject", _subject, 64, required=True)
    if len(subjects) != 1:
        raise top.fault("subject", f"names {len(subjects)} things, not one")
    read = _approval if kind == APPROVAL else parse_predicate
    made = top.part("predicate", lambda value, at: read(value, at, subjects[0]), None)
    top.done()
    if made is None:
        raise top.fault("predicate", "is missing")
    return made


def _subject(value: Any, where: str) -> str:
    taken = Fields(value, where)
    taken.text("name", re.compile(re.escape(SUMS)))
    digest = taken.part("digest", _digest, "")
    taken.done()
    return digest


def _digest(value: Any, where: str) -> str:
    taken = Fields(value, where)
    digest = taken.text("sha256", HEX)
    taken.done()
    return digest


def _approval(value: Any, where: str, identity: str) -> Approval:
    taken = Fields(value, where)
    made = Approval(
        identity=identity,
        product=taken.text("product", PRODUCT),
        version=taken.text("version"),
        role=taken.text("role", re.compile("|".join(APPROVERS))),
        environment=taken.text("environment", ENVIRONMENT),
        not_before=datetime.fromtimestamp(taken.time("not_before"), UTC),
        expires=datetime.fromtimestamp(taken.time("expires"), UTC),
        targets=taken.items("targets", _target, MOST_TARGETS),
        change_id=taken.text("change_id", CHANGE, default=""),
        rollback_to=taken.text("rollback_to", default=""),
        notes=taken.text("notes", TEXT, default=""),
    )
    taken.done()
    for key, text in (("version", made.version), ("rollback_to", made.rollback_to)):
        if not is_version(text) and not (key == "rollback_to" and text in ("", NOWHERE)):
            raise taken.fault(key, f"is {text!r:.80}, not a version")
    if made.not_before >= made.expires:
        raise taken.fault("expires", "is not after `not_before`")
    return made


def _target(value: Any, where: str) -> str:
    if not isinstance(value, str) or not TARGET.fullmatch(value):
        raise TamperedError(f"is {value!r:.80}, not a host name in lower case", where=where)
    return value
