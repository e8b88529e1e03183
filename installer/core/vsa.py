"""The evidence of a verification: an in-toto Statement with a SLSA verification summary.

The form is https://slsa.dev/spec/v1.0/verification_summary; `schemas/v1/evidence.schema.json` describes what
is written here. Extension fields begin with `waybill_`, as the specification requires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import WaybillError
from installer.core.format.manifest import SCHEMA, Manifest
from installer.core.intoto import make_statement
from installer.core.timestamps import format_time
from installer.core.trust.approval import ApprovalFile
from installer.core.trust.approval_check import ApprovalCheck
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.trust.steps import STEPS

PREDICATE = "https://slsa.dev/verification_summary/v1"
VERIFIER = "urn:waybill:install"
Row = dict[str, Any]


@dataclass(slots=True)
class VerificationTrace:
    """What became known in a verification, whether or not it refused the bundle; the rest is empty.

    Attributes:
        file: The argument by which the operator named the bundle.
        root_sha256: SHA-256 of the root that decided.
        root_version: Its version; 0 without a root.
        environment: The environment of the host.
        identity: The identity of the bundle; not trusted if a refusal follows.
        signatures: The signature files of its list.
        released: The release signatures, once enough owners have signed.
        manifest: Its manifest, once the list is trusted.
        host: What is known about the host, once the product is known.
        approvals: All statements that were found.
        approval_check: Which of them count, once they are checked.
        decision: Why it may be installed, once that is decided.
        notes: Remarks about what was unusual.
    """

    file: str = ""
    root_sha256: str = ""
    root_version: int = 0
    environment: str = ""
    identity: str = ""
    signatures: Mapping[str, bytes] = field(default_factory=dict)
    released: SignatureEvidence | None = None
    manifest: Manifest | None = None
    host: HostFacts = field(default_factory=HostFacts)
    approvals: Sequence[ApprovalFile] = ()
    approval_check: ApprovalCheck | None = None
    decision: Decision | None = None
    notes: list[str] = field(default_factory=list)

    def note_approvals(self, check: ApprovalCheck) -> None:
        """Record the check of the approvals."""
        self.approval_check = check


def make_evidence(
    trail: VerificationTrace,
    version: str,
    now: datetime,
    refusal: WaybillError | None,
) -> bytes:
    """Return the evidence of one verification.

    Args:
        trail: What became known.
        version: The version of the program that verified.
        now: The time of the verification.
        refusal: The error that refused the bundle; None if it passed.

    Returns:
        The bytes of the statement.
    """
    # A refusal is evidence too: it is recorded with everything known until then.
    result = "FAILED" if refusal else "PASSED"
    predicate: Row = {
        "verifier": {"id": VERIFIER, "version": {"waybill": version}},
        "timeVerified": format_time(now),
        "resourceUri": f"urn:waybill:bundle:{trail.identity or 'unknown'}",
        "policy": _policy(trail),
        "inputAttestations": [*_signatures(trail), *_approvals(trail)],
        "verificationResult": result,
        "verifiedLevels": ["FAILED"] if refusal else _levels(trail),
        "slsaVersion": "1.0",
        "waybill_bundle": _bundle(trail),
        "waybill_host": _host(trail),
    }
    if refusal:
        predicate["waybill_refusal"] = _refusal(refusal)
    if trail.decision and trail.decision.broken:
        predicate["waybill_breakGlass"] = {
            "missing": list(trail.decision.broken),
            "warning": trail.decision.warning(),
        }
    if trail.notes:
        predicate["waybill_notes"] = list(trail.notes)
    return jsonio.dumps(_plain(make_statement(PREDICATE, predicate, trail.identity)))


def _policy(trail: VerificationTrace) -> Row:
    said: Row = {"annotations": {"version": trail.root_version, "environment": trail.environment}}
    digest = {"digest": {"sha256": trail.root_sha256}} if trail.root_sha256 else {}
    return {"uri": "file:///etc/waybill/trust/root.json", **digest, **said}


def _signatures(trail: VerificationTrace) -> list[Row]:
    good = {each.file: each for each in trail.released.accepted} if trail.released else {}
    bad = {each.file: each.reason for each in trail.released.rejected} if trail.released else {}
    rows = []
    for name, data in trail.signatures.items():
        said: Row = {"role": "release", "counted": name in good}
        if name in good:
            said |= {"keyid": good[name].keyid, "owner": good[name].owner}
        elif name in bad:
            said["reason"] = bad[name]
        rows.append(_attestation(name, data, said))
    return rows


def _approvals(trail: VerificationTrace) -> list[Row]:
    good = {each.file: each for each in trail.approval_check.counted} if trail.approval_check else {}
    bad = dict(trail.approval_check.rejected) if trail.approval_check else {}
    rows = []
    for found in trail.approvals:
        said: Row = {"role": found.role, "counted": found.where in good and found.where not in bad}
        if found.where in good:
            key = good[found.where].key
            said |= {"keyid": key.keyid, "owner": key.owner}
        if found.where in bad:
            said["reason"] = bad[found.where]
        rows.append(_attestation(found.where, found.data, said))
    return rows


def _attestation(uri: str, data: bytes, annotations: Row) -> Row:
    return {"uri": uri, "digest": {"sha256": sha256_hex(data)}, "annotations": annotations}


def _levels(trail: VerificationTrace) -> list[str]:
    # Level 1: provenance exists and was checked; higher levels would need an audit of the builder.
    built = bool(trail.decision and trail.decision.provenance)
    broken = bool(trail.decision and trail.decision.broken)
    return ["SLSA_BUILD_LEVEL_1" if built else "SLSA_BUILD_LEVEL_0"] + ["WAYBILL_BREAK_GLASS"] * broken


def _bundle(trail: VerificationTrace) -> Row:
    row: Row = {"file": trail.file}
    if trail.manifest:
        manifest = trail.manifest
        row |= {
            "format": SCHEMA,
            "product": manifest.product,
            "version": manifest.version,
            "sequence": manifest.sequence,
            "upgrade_from": manifest.upgrade_from,
            "commit": manifest.source.commit,
        }
    if trail.decision:
        row |= {"builder": trail.decision.builder, "change_id": trail.decision.change_id}
    return {name: value for name, value in row.items() if value != ""}


def _host(trail: VerificationTrace) -> Row:
    host = trail.host
    row: Row = {"name": host.name, "platform": host.platform, "runs": host.version}
    if host.highest >= 0:
        row["highest"] = host.highest
    return {name: value for name, value in row.items() if value != ""}


def _refusal(error: WaybillError) -> Row:
    document = error.as_json()
    row: Row = {name: document[name] for name in ("error", "exit", "what", "where", "hint", "problems")}
    return row | ({"step": error.step, "words": STEPS[error.step]} if error.step else {})


def _plain(value: Any) -> Any:
    """Return `value` with texts that UTF-8 can encode: a file name may be bytes that are not text."""
    if isinstance(value, str):
        # Evidence must be valid JSON for other tools, also about a file with a broken name.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
