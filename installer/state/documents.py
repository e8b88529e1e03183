"""Releases of a host as the documents of `--json` have them: RFC 3339 times, and null for what is unknown.

State and journal keep their own form, which hosts of every version read.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from installer.core.timestamps import format_seconds
from installer.state.evidence import EvidenceFile
from installer.state.state import Entry


def release_brief(entry: Entry | None) -> dict[str, Any] | None:
    """Return what identifies a release, as `from` and `to` have it; None where there is none."""
    return entry.brief() if entry else None


def evidence_row(file: EvidenceFile | None) -> dict[str, Any] | None:
    """Return where the record of a verification is; None where there is none."""
    return asdict(file) if file else None


def release_document(entry: Entry) -> dict[str, Any]:
    """Return all that a host knows of a release that it retains."""
    found = entry.evidence
    policy = found.document.get("policy")
    return {
        **entry.brief(),
        "since": format_seconds(entry.installed),
        "verified": format_seconds(entry.verified),
        "methods": list(entry.methods),
        "environment": found.environment or None,
        "change_id": found.change_id or None,
        "builder": found.builder or None,
        "released_by": found.released_by,
        "approved_by": found.approved_by,
        "break_glass": list(found.break_glass),
        "policy": dict(policy) if isinstance(policy, dict) else None,
        "evidence": evidence_row(found.file),
        "irreversible": list(entry.irreversible),
        "incomplete": entry.incomplete or None,
    }
