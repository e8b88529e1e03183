"""`bundle approve --attach` verifies as every approval does, and refuses what no host would count."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from installer.core import jsonio
from installer.core.intoto import make_statement
from installer.core.trust.provenance import PREDICATE
from tests.rig.approvaldesk import LATER, ApprovalDesk, interrupt_append, plan
from tests.rig.trustworld import World, person, root


def root_json(desk: ApprovalDesk) -> str:
    return str(desk.path / "root.json")


def pub(desk: ApprovalDesk, name: str) -> str:
    return str(desk.path / f"{name}.pub")


def test_the_bundle_is_verified_and_the_document_says_so(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    words = ("--attach", signature, "--public", pub(desk, "Sec"), "--root", root_json(desk))
    code, out, err = desk.call(*words, json_=True)
    assert code == 0, err
    document = json.loads(out)
    assert (document["verified"]["checked_by"], document["verified"]["released_by"]) == ("root", ["Rea"])
    assert f"approvals/security-{person('Sec').key.keyid8}.json" in desk.approvals


def test_the_keys_of_the_root_are_looked_through(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    code, _, err = desk.call("--attach", signature, "--root", root_json(desk))
    assert (code, len(desk.approvals)) == (0, 2), err


@pytest.mark.parametrize("option", ["--root", "--public"])
def test_a_key_without_the_role_is_refused_and_its_roles_are_named(desk: ApprovalDesk, option: str) -> None:
    """Whether the root is given to verify by, or for its keys."""
    signature = desk.prepared("Ops")
    code, _, err = desk.call("--attach", signature, option, root_json(desk))
    assert code == 10
    assert f"the key {person('Ops').key.keyid8} of Ops does not have the role security" in err
    assert "the key has: ops" in err
    assert desk.approvals == []


def test_a_key_that_the_root_does_not_have_is_refused(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Stranger")
    words = ("--attach", signature, "--public", pub(desk, "Stranger"), "--root", root_json(desk))
    code, _, err = desk.call(*words)
    assert (code, "the root does not have the key" in err, desk.approvals) == (10, True, [])


@pytest.mark.parametrize("option", ["--root", "--public"])
def test_a_signature_by_no_key_of_the_root_is_one_problem(desk: ApprovalDesk, option: str) -> None:
    signature = desk.prepared("Stranger")
    code, _, err = desk.call("--attach", signature, option, root_json(desk))
    assert (code, desk.approvals) == (2, [])
    assert err.count("error:") + err.count("damaged") == 1, err
    assert "no key of the root made this signature" in err
    assert "`bundle trust add-key root.json KEY.pub --role ROLE`" in err


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\x30\x45\x02raw", b"YQ==\n", b"\x89binary"])
def test_a_file_that_is_no_signature_is_one_problem(desk: ApprovalDesk, data: bytes) -> None:
    signature = desk.prepared("Sec")
    (desk.path / "SIG").write_bytes(data)
    code, _, err = desk.call("--attach", signature, "--root", root_json(desk))
    assert (code, desk.approvals) == (2, [])
    assert err.count("error:") + err.count("damaged") == 1, err
    assert "is no signature in a form that hosts read" in err


def test_a_revoked_key_is_refused(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    desk.root(root(expires=LATER, revoked_keys=frozenset({person("Sec").key.keyid})))
    code, _, err = desk.call("--attach", signature, "--root", root_json(desk))
    assert (code, "was revoked" in err, desk.approvals) == (10, True, [])


def test_an_environment_without_a_policy_is_refused(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    policy = root().environments["production"]
    desk.root(root(expires=LATER, environments={"plant": policy}))
    code, _, err = desk.call("--attach", signature, "--root", root_json(desk))
    assert (code, "the root has no policy for the environment 'production'" in err) == (2, True)
    assert desk.approvals == []


@pytest.mark.parametrize(
    "trusted", [("--root", "root.json"), ("--public", "root.json"), ("--release-key", "Rea.pub")]
)
def test_a_damaged_bundle_is_refused(
    desk: ApprovalDesk, trusted: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.path)
    signature = desk.prepared("Sec")
    desk.bundle(replace(World(plan=plan(), approvals=()), edits={"trees/t/b": b"BETA" * 150}))
    before = (desk.path / "b.tar").read_bytes()
    more = () if trusted[0] == "--public" else ("--public", "Sec.pub")
    code, _, err = desk.call("--attach", signature, *trusted, *more)
    assert (code, "trees/t/b" in err) == (11, True), err
    assert (desk.path / "b.tar").read_bytes() == before


def test_an_approval_that_expired_before_it_was_attached_is_refused(desk: ApprovalDesk) -> None:
    desk.prepared("Sec")
    statement = desk.path / "b.tar.security.json"
    said = json.loads(statement.read_text())
    begin, end = "2026-09-21T14:13:20Z", "2026-09-22T14:13:20Z"
    said["predicate"] |= {"not_before": begin, "expires": end}
    statement.write_text(json.dumps(said))
    (desk.path / "SIG").write_bytes(person("Sec").signer.sign(statement.read_bytes())["sig"])
    code, _, err = desk.call("--attach", str(desk.path / "SIG"), "--root", root_json(desk))
    assert (code, f"the approval expired on {end}" in err, desk.approvals) == (12, True, []), err


def test_without_a_root_it_says_what_was_not_checked(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    code, out, err = desk.call("--attach", signature, "--public", pub(desk, "Sec"), json_=True)
    assert (code, len(desk.approvals)) == (0, 2), err
    document = json.loads(out)
    assert document["verified"] is None
    assert "nothing was verified but the signature of the statement" in document["warnings"][0]["what"]


def test_whoever_released_the_bundle_is_warned(desk: ApprovalDesk) -> None:
    made = root(expires=LATER)
    both = tuple(sorted(person(name).key.keyid for name in ("Rea", "Sec")))
    roles = {**made.roles, "security": replace(made.roles["security"], keys=both)}
    desk.root(replace(made, roles=roles))
    signature = desk.prepared("Rea")
    code, _, err = desk.call("--attach", signature, "--root", root_json(desk))
    assert (code, "warning: Rea has released this bundle" in err) == (0, True), err


def test_provenance_of_a_bundle_that_nobody_has_released_yet_needs_the_role_only(desk: ApprovalDesk) -> None:
    world = World(plan=plan(), approvals=())
    desk.bundle(replace(world, signers=()))
    builder = {"buildDefinition": {}, "runDetails": {"builder": {"id": "https://ci"}}}
    statement = desk.path / "b.tar.provenance.json"
    statement.write_bytes(jsonio.dumps(make_statement(PREDICATE, builder, world.identity)))
    for name, code in (("Sec", 10), ("Ci", 0)):
        (desk.path / "SIG").write_bytes(person(name).signer.sign(statement.read_bytes())["sig"])
        got, _, err = desk.call("--attach", str(desk.path / "SIG"), "--root", root_json(desk))
        assert got == code, err
    assert len(desk.approvals) == 2


def test_a_private_key_in_place_of_the_public_one_is_named(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    code, _, err = desk.call("--attach", signature, "--public", str(desk.path / "Sec.key"))
    assert (code, "Sec.key: is a PRIVATE key" in err) == (2, True), err


def test_a_bundle_that_needs_a_repair_is_named_before_the_payload_is_read(desk: ApprovalDesk) -> None:
    signature = desk.prepared("Sec")
    desk.bundle(replace(World(plan=plan(), approvals=()), edits={"trees/t/b": b"BETA" * 150}))
    interrupt_append(desk.path / "b.tar")
    code, _, err = desk.call("--attach", signature, "--root", root_json(desk))
    assert (code, "an earlier `bundle approve` was interrupted" in err) == (30, True), err
