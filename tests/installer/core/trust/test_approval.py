"""The statement of an approval: one form in and out, the schema that says the same, files found together."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from installer.core.errors import TamperedError
from installer.core.format.approval_names import signed_name
from installer.core.format.partial_append import STATEMENT_START
from installer.core.jsonio import dumps
from installer.core.trust.approval import Approval, group_files, parse
from installer.core.trust.provenance import Provenance
from tests.rig.documents import at, schema, validator, without

fits = validator("approval")

FULL = Approval(
    identity="a" * 64,
    product="lan-chat",
    version="1.4.0-rc.1",
    role="security",
    environment="production",
    not_before=datetime(2026, 6, 1, tzinfo=UTC),
    expires=datetime(2026, 6, 15, tzinfo=UTC),
    targets=("chat01", "chat02.plant.example"),
    change_id="CHG-7/Ü",
    rollback_to="1.3.0",
    notes="Größe geprüft: 漢字",
)
SLSA = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "SHA256SUMS", "digest": {"sha256": "a" * 64}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {"x": [1]},
        "runDetails": {"builder": {"id": "https://ci.example/1", "v": {}}},
    },
}


@pytest.mark.parametrize(
    "approval",
    [
        FULL,
        replace(FULL, targets=(), change_id="", rollback_to="", notes=""),
        replace(FULL, rollback_to="none"),
    ],
    ids=["full", "least", "first installation"],
)
def test_what_is_written_is_read_the_same_and_fits_the_schema(approval: Approval) -> None:
    data = approval.to_bytes()
    assert parse(data, "x") == approval
    assert data.startswith(STATEMENT_START)
    assert all(approval.document()["predicate"].values())
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert fits(json.loads(data))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema("approval"))


REFUSED: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {name}": without(name) for name in FULL.document()},
    **{
        f"no {name}": without("predicate", name)
        for name in ("product", "version", "role", "environment", "expires")
    },
    "unknown field": at("trusted", value=True),
    "unknown field of the predicate": at("predicate", "trusted", value=True),
    "other type": at("_type", value="https://in-toto.io/Statement/v0.1"),
    "other predicate": at("predicateType", value="urn:waybill:approval:v2"),
    "no subject at all": at("subject", value=[]),
    "two subjects": lambda d: d["subject"].append(d["subject"][0]),
    "subject of another name": at("subject", 0, "name", value="bundle.tar"),
    "digest short": at("subject", 0, "digest", "sha256", value="a" * 63),
    "digest in capitals": at("subject", 0, "digest", "sha256", value="A" * 64),
    "digest with a newline": at("subject", 0, "digest", "sha256", value="a" * 64 + "\n"),
    "subject with another field": at("subject", 0, "uri", value="x"),
    "version is none": at("predicate", "version", value="none"),
    "version empty": at("predicate", "version", value=""),
    "two digests": at("subject", 0, "digest", "sha512", value="a"),
    "role release": at("predicate", "role", value="release"),
    "role of a newline": at("predicate", "role", value="ops\n"),
    "environment in capitals": at("predicate", "environment", value="Production"),
    "environment empty": at("predicate", "environment", value=""),
    "version with v": at("predicate", "version", value="v1.4.0"),
    "rollback to a word": at("predicate", "rollback_to", value="yesterday"),
    "rollback to a number": at("predicate", "rollback_to", value=1),
    "time with an offset": at("predicate", "expires", value="2026-06-15T00:00:00+00:00"),
    "target in capitals": at("predicate", "targets", value=["Chat01"]),
    "target with a wildcard": at("predicate", "targets", value=["*"]),
    "target is a number": at("predicate", "targets", value=[1]),
    "target is text": at("predicate", "targets", value="chat01"),
    "too many targets": at("predicate", "targets", value=["a"] * 1001),
    "change id with a space": at("predicate", "change_id", value="a b"),
    "notes with an escape": at("predicate", "notes", value="\x1b[2J"),
    "notes with a bidi control": at("predicate", "notes", value="a\u202eb"),
    "notes with a line break": at("predicate", "notes", value="a\nb"),
    "notes too long": at("predicate", "notes", value="x" * 2001),
    "predicate a list": at("predicate", value=[]),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_reader_and_schema_refuse_the_same_statements(fault: str) -> None:
    document = copy.deepcopy(FULL.document())
    REFUSED[fault](document)
    assert not fits(document)
    with pytest.raises(TamperedError):
        parse(dumps(document), "x")


@pytest.mark.parametrize(
    ("field", "value"), [("version", "v1"), ("version", 7), ("rollback_to", "yesterday"), ("rollback_to", 7)]
)
def test_what_is_no_version_is_named_with_its_field(field: str, value: object) -> None:
    document = copy.deepcopy(FULL.document())
    document["predicate"][field] = value
    with pytest.raises(TamperedError, match=f"is {value!r}, but must be a version") as caught:
        parse(dumps(document), "x")
    assert caught.value.where.endswith(field)


@pytest.mark.parametrize(
    "change",
    [
        at("predicate", "expires", value="2026-06-01T00:00:00Z"),
        at("predicate", "expires", value="2026-02-30T00:00:00Z"),
    ],
    ids=["it ends when it begins", "a day that is not"],
)
def test_the_reader_knows_better_than_the_schema(change: Callable[[dict[str, Any]], object]) -> None:
    document = copy.deepcopy(FULL.document())
    change(document)
    assert fits(document)
    with pytest.raises(TamperedError):
        parse(dumps(document), "x")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a":1,"a":1}', b"\xff", b" " * 65537])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(TamperedError):
        parse(data, "x")


def test_provenance_is_read_for_its_builder() -> None:
    assert parse(json.dumps(SLSA).encode(), "x") == Provenance("a" * 64, "https://ci.example/1")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["subject"].append(d["subject"][0]),
        at("subject", 0, "name", value="bundle.tar"),
        at("subject", 0, "digest", "sha256", value="A" * 64),
        at("trusted", value=True),
    ],
    ids=["two subjects", "subject of another name", "digest in capitals", "unknown field"],
)
def test_provenance_is_read_as_strictly_as_an_approval_around_its_predicate(
    change: Callable[[dict[str, Any]], object],
) -> None:
    document = copy.deepcopy(SLSA)
    change(document)
    with pytest.raises(TamperedError):
        parse(json.dumps(document).encode(), "x")


@pytest.mark.parametrize("builder", [None, "", 7, "x" * 501, "a\nb"])
def test_provenance_without_a_builder_is_refused(builder: object) -> None:
    document = copy.deepcopy(SLSA)
    at("predicate", "runDetails", "builder", "id", value=builder)(document)
    with pytest.raises(TamperedError):
        parse(json.dumps(document).encode(), "x")


class TestFiles:
    @pytest.mark.parametrize(
        "name",
        [
            "approvals/ops-0a1b2c3d.json",
            "approvals/ops-0a1b2c3d.json.pem",
            "approvals/note.json.sig",
            "ops-0a1b2c3d.json.sig",
        ],
    )
    def test_what_is_no_signature_of_an_approval_is_said_to_be_of_none(self, name: str) -> None:
        assert signed_name(name) == ""
        assert signed_name("approvals/ops-0a1b2c3d.json.sig") == "approvals/ops-0a1b2c3d.json"

    def test_a_statement_and_its_signatures_are_found_together(self) -> None:
        names = [
            "approvals/ops-0a1b2c3d.json",
            "approvals/ops-0a1b2c3d.json.sig",
            "approvals/ops-0a1b2c3d.json.sigstore.json",
            "approvals/ops-0a1b2c3d.2.json",
            "approvals/ops-0a1b2c3d.2.json.asc",
            "approvals/break-glass-00000000.json",
        ]
        found, strays = group_files(dict.fromkeys(names, b"x"), "beside")
        assert strays == []
        assert [(each.name[10:], each.role, len(each.signatures)) for each in found] == [
            ("break-glass-00000000.json", "break-glass", 0),
            ("ops-0a1b2c3d.2.json", "ops", 1),
            ("ops-0a1b2c3d.json", "ops", 2),
        ]
        assert found[0].where == "beside/break-glass-00000000.json"

    @pytest.mark.parametrize(
        "name",
        [
            "approvals/release-0a1b2c3d.json",
            "approvals/ops-0A1B2C3D.json",
            "approvals/ops-0a1b2c3d.0.json",
            "approvals/ops-0a1b2c3d.100.json",
            "approvals/ops-0a1b2c3d.json.sig",
            "approvals/ops-0a1b2c3d.json.pem",
            "approvals/x",
            "ops-0a1b2c3d.json",
        ],
    )
    def test_a_file_that_is_no_approval_is_a_stray(self, name: str) -> None:
        assert group_files({name: b"x"}) == ([], [name])
