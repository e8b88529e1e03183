"""The evidence of a release: what old and new hosts have stored is read, and written again as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.jsonio import dumps
from installer.state.evidence import NO_EVIDENCE, Evidence, EvidenceFile
from installer.state.state import Entry

KEY = {"owner": "Rea", "scheme": "cosign", "keyid": "ab" * 32}
APPROVAL = {"role": "ops", "owner": "Ops", "keyid": "cd" * 32}
STORED = {
    "identity": "a" * 64,
    "role": "release",
    "accepted": [{**KEY, "file": "SHA256SUMS.abababab.sig"}, {**KEY, "file": "SHA256SUMS.abababab.asc"}],
    "signers": ["Rea (cosign key abababababababab)"],
    "approvals": ["approvals/ops.json"],
    "policy": {
        "environment": "production",
        "approvals": [{**APPROVAL, "file": "approvals/ops.json", "notes": ""}],
        "change_id": "CHG-7",
        "builder": "ci",
        "break_glass": ["role security: missing"],
        "reset": 2,
    },
    "record": {"path": "/var/lib/waybill/evidence.d/000001.json", "sha256": "e" * 64},
    "verified": 5,
    "of a later version": {"kept": [1, None]},
}


def test_what_is_stored_is_read() -> None:
    found = Evidence(STORED)
    assert found.signers == ("Rea (cosign key abababababababab)",)
    assert found.released_by == [KEY]
    assert found.approved_by == [APPROVAL]
    assert (found.environment, found.change_id, found.builder) == ("production", "CHG-7", "ci")
    assert (found.break_glass, found.reset, found.verified) == (("role security: missing",), 2, 5)
    assert found.file == EvidenceFile("/var/lib/waybill/evidence.d/000001.json", "e" * 64)


def test_a_release_with_it_is_written_as_it_was_read_fields_of_a_later_version_included() -> None:
    stored = {
        **Entry("1-aaaaaaaaaaaa", "1.0.0", 1, "a" * 64, "b" * 64, "000001", "c" * 64).as_json(),
        "evidence": STORED,
    }
    assert dumps(Entry.from_json(stored).as_json()) == dumps(stored)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"signers": 1, "accepted": {}, "policy": [], "record": "x", "verified": "5"},
        {"policy": {"approvals": 1, "break_glass": "ops", "reset": "2", "environment": None}},
    ],
    ids=["of an old installer", "other types", "other types inside"],
)
def test_what_is_absent_or_of_another_type_is_empty(stored: dict[str, object]) -> None:
    found = Evidence(stored)
    assert (found.signers, found.released_by, found.approved_by, found.break_glass) == ((), [], [], ())
    assert (found.environment, found.change_id, found.builder) == ("", "", "")
    assert (found.reset, found.verified, found.file) == (0, None, None)


def test_what_is_added_leaves_the_rest() -> None:
    found = NO_EVIDENCE.with_file(EvidenceFile("/x", "e" * 64)).with_time(7)
    assert found.document == {"record": {"path": "/x", "sha256": "e" * 64}, "verified": 7}
    assert replace(found).with_time(8).verified == 8
