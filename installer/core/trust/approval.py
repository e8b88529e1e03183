"""Approvals: in-toto Statements about the identity of a bundle, with detached signatures.

An approval is the file `approvals/<role>-<keyid8>.json`, a later one by the same key
`<role>-<keyid8>.2.json`, each with its signature next to it: `.sig`, `.sigstore.json` or `.asc`. They follow
the payload of the bundle or are in a directory next to it. Role and key in the name only help to find the
key; what counts is what was signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from installer.core.fields import Document, Value
from installer.core.format.approval_names import DIRECTORY, NAME, signed_name
from installer.core.intoto import make_statement, read_statement
from installer.core.jsonio import dumps, loads_strict
from installer.core.limits import LIMITS
from installer.core.semver import is_version
from installer.core.timestamps import format_time
from installer.core.trust.provenance import PREDICATE, Provenance, parse_predicate
from installer.core.trust.root import APPROVERS, ENVIRONMENT, PRODUCT
from installer.core.trust.signatures import FORMS, Signature

APPROVAL = "urn:waybill:approval:v1"
NO_ROLLBACK = "none"
"""`rollback_to` of a first installation: there is no release to roll back to."""
MAX_TARGETS = 1000
TARGET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]{0,2000}")
CHANGE = re.compile(r"[^\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]{1,100}")


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval of one bundle.

    Attributes:
        identity: The bundle's.
        product: Its product; for people, and checked.
        version: Its version; for people, and checked.
        role: In which role.
        environment: Where it may be installed.
        not_before: Start of its validity.
        expires: End of its validity.
        targets: Host names; empty: every host of the environment.
        change_id: The change that it belongs to; empty: none named.
        rollback_to: The version to roll back to, or `none`; empty: not given.
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
        """Return the Statement as a JSON object; empty fields are left out."""
        times = {"not_before": format_time(self.not_before), "expires": format_time(self.expires)}
        predicate = {**asdict(self), **times, "targets": list(self.targets), "identity": ""}
        return make_statement(
            APPROVAL, {name: value for name, value in predicate.items() if value}, self.identity
        )

    def to_bytes(self) -> bytes:
        """Return the exact bytes that are signed."""
        return dumps(self.document())


@dataclass(frozen=True, slots=True)
class ApprovalFile:
    """An approval as found, not verified.

    Attributes:
        name: Its file name.
        source: Where it was found: empty for the bundle, else the directory next to it.
        role: According to its name.
        keyid8: According to its name.
        data: Its bytes.
        signatures: Its signatures.
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
        return place(self.name, self.source)


def place(name: str, source: str) -> str:
    """Return how errors name a file `approvals/…`: in the bundle by that name, else by its path."""
    return f"{source}/{name.removeprefix(DIRECTORY)}" if source else name


def group_files(files: Mapping[str, bytes], source: str = "") -> tuple[list[ApprovalFile], list[str]]:
    """Put each approval together with its signatures.

    Args:
        files: Members after the payload, or files of the directory next to the bundle, as `approvals/…`.
        source: How errors name their origin; empty for the bundle itself.

    Returns:
        The approvals, in the order of their names, and the names of other files.
    """
    found, strays = [], []
    # Sorted, so that reports and evidence do not depend on the order in the bundle.
    for name in sorted(files):
        if match := NAME.fullmatch(name):
            beside = tuple(
                Signature(place(f"{name}.{form}", source), form, match["keyid8"], files[f"{name}.{form}"])
                for form in FORMS
                if f"{name}.{form}" in files
            )
            found.append(ApprovalFile(name, source, match["role"], match["keyid8"], files[name], beside))
        elif signed_name(name) not in files:
            strays.append(name)
    return found, strays


def parse(data: bytes, where: str) -> Approval | Provenance:
    """Read a statement whose signature was checked before.

    Args:
        data: Its exact bytes.
        where: How errors name it.

    Returns:
        The approval or the provenance.

    Raises:
        TamperedError: It is not a statement of a known form.
    """
    document = Document(where)
    value = Value(document, loads_strict(data, where, LIMITS.approval_bytes))
    kind, identity, predicate = read_statement(value, (APPROVAL, PREDICATE))
    document.require_valid()
    if kind == PREDICATE:
        return parse_predicate(predicate.raw, f"{where}: predicate", identity)
    approval = _approval(predicate, identity)
    document.require_valid()
    return approval


def _approval(value: Value, identity: str) -> Approval:
    with value.fields() as taken:
        not_before, expires = taken.take("not_before"), taken.take("expires")
        approval = Approval(
            identity=identity,
            product=taken.take("product").text(PRODUCT, "a product name"),
            version=_version(taken.take("version")),
            role=taken.take("role").choice(APPROVERS),
            environment=taken.take("environment").text(ENVIRONMENT, "a name of an environment"),
            not_before=datetime.fromtimestamp(not_before.seconds(), UTC),
            expires=datetime.fromtimestamp(expires.seconds(), UTC),
            targets=taken.take("targets", []).items(_target, MAX_TARGETS),
            change_id=taken.optional_text("change_id", CHANGE, "1 to 100 characters without spaces"),
            rollback_to=_version(taken.take("rollback_to", ""), "", NO_ROLLBACK),
            notes=taken.optional_text("notes", TEXT, "at most 2000 printable characters"),
        )
    if approval.not_before >= approval.expires:
        expires.note("is not after `not_before`")
    return approval


def _version(value: Value, *others: str) -> str:
    text = value.text(form="a version")
    return text if text in others or is_version(text) else value.expected("a version", "")


def _target(value: Value) -> str:
    return value.text(TARGET, "a host name in lower case")
