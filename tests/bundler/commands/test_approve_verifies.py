"""`bundle approve` verifies, shows and asks before it signs, and refuses what no host would count."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bundler.approvals.approval import ApprovalRequest
from bundler.commands.approve import approve_bundle
from bundler.commands.verify import load_trust, verify_bundle
from installer.core.errors import ExpiredError
from installer.core.trust.root import PRODUCTION, Policy
from installer.shared.progress import Progress
from tests.rig import bundlebuild as build
from tests.rig.approvaldesk import LATER, ApprovalDesk, encrypted, interrupt_append, plan
from tests.rig.trustworld import NOW, World, person, root


def test_approve_shows_what_is_approved_and_signs_it(desk: ApprovalDesk) -> None:
    conditions = ("--change-id", "CHG-7", "--rollback-to", "1.3.0", "--target", "chat01", "--expires", "3d")
    code, out, err = desk.approve("--note", "scanned", *conditions)
    assert code == 0, err
    identity = build.read((desk.path / "b.tar").read_bytes()).identity
    for line in (
        "product      lan-chat 1.4.0",
        f"identity     {identity}",
        "environment  production",
        "role         security",
        f"key          {person('Sec').key.keyid8} of Sec",
        "released by  Rea",
        "expires      3d",
        "only on      chat01",
        "change       CHG-7",
        "roll back to 1.3.0",
        "note         scanned",
        "1 × runs as root",
        "see `bundle inspect BUNDLE risks`",
    ):
        assert line in err
    assert "approved     lan-chat 1.4.0 for production, role security" in out
    assert len(desk.approvals) == 3


def test_the_document_says_what_was_verified(desk: ApprovalDesk) -> None:
    code, out, _ = desk.approve(json_=True)
    document = json.loads(out)["verified"]
    assert code == 0
    assert (document["checked_by"], document["released_by"], document["warnings"]) == ("root", ["Rea"], [])
    assert document["risk_counts"]["root"] == 1


def test_without_a_terminal_a_missing_answer_names_the_flag(desk: ApprovalDesk) -> None:
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"))
    code, _, err = desk.run(*words)
    assert (code, desk.approvals) == (2, [])
    assert "give --yes" in err


@pytest.mark.parametrize(("answer", "code"), [("n", 17), ("", 17), ("y", 0), ("yes", 0)])
def test_approve_asks_on_a_terminal(
    desk: ApprovalDesk, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    from bundler.cli.options import console

    asked = []
    monkeypatch.setattr(console, "ask", lambda question, flag: asked.append((question, flag)) or answer)
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"))
    assert desk.run(*words)[0] == code
    assert asked == [("Approve lan-chat 1.4.0 for production in the role security? [y/N] ", "--yes")]
    assert bool(desk.approvals) == (code == 0)


def test_nothing_says_whom_to_trust(desk: ApprovalDesk) -> None:
    code, _, err = desk.run("--role", "security", "--env", "production", "--yes")
    assert (code, desk.approvals) == (2, [])
    assert "give --root root.json" in err
    assert "--release-key PUB" in err


def test_a_bundle_is_verified_by_a_pinned_key_before_its_approval(desk: ApprovalDesk) -> None:
    words = (
        "--role",
        "security",
        "--env",
        "production",
        "--release-key",
        str(desk.path / "Rea.pub"),
        "--yes",
    )
    code, _, err = desk.run(*words)
    assert (code, len(desk.approvals)) == (0, 3)
    assert "production (not checked: no root was given)" in err
    assert desk.run(*words[:-1], "--root", "x", "--yes")[0] == 2


def unsigned(world: World) -> World:
    return replace(world, signers=())


def tampered(world: World) -> World:
    return replace(world, edits={"trees/t/b": b"BETA" * 150})


def expired(world: World) -> World:
    return replace(world, plan=plan(expires=int(NOW.timestamp())))


def by_another(world: World) -> World:
    return replace(world, signers=("Sec",))


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (unsigned, 10, ""),
        (by_another, 10, ""),
        (tampered, 11, "trees/t/b"),
        (expired, 12, "expired"),
    ],
)
def test_what_a_host_would_refuse_is_not_approved(
    desk: ApprovalDesk, make: Callable[[World], World], code: int, words: str
) -> None:
    desk.bundle(make(World(plan=plan(), approvals=())))
    before = (desk.path / "b.tar").read_bytes()
    got, _, err = desk.approve()
    assert (got, words in err) == (code, True), err
    assert (desk.path / "b.tar").read_bytes() == before
    assert not (desk.path / "b.tar.approvals").exists()


def test_a_revoked_bundle_is_not_approved_by_break_glass_either(desk: ApprovalDesk) -> None:
    identity = build.read((desk.path / "b.tar").read_bytes()).identity
    desk.root(root(expires=LATER, revoked_bundles=frozenset({identity})))
    assert desk.approve()[0] == 12


@pytest.mark.parametrize(
    ("role", "env", "key", "code", "words"),
    [
        ("security", "prodution", "Sec", 2, "did you mean production?"),
        ("security", "moon", "Sec", 2, "it has: production"),
        ("securty", "production", "Sec", 2, "did you mean security?"),
        ("boss", "production", "Sec", 2, "roles of approvers: provenance, security, ops, break-glass"),
        ("ops", "production", "Sec", 10, "give --role security; the key has: security"),
        ("security", "production", "Rea", 10, "use a key of the role security; the key has: release"),
        ("break-glass", "production", "Sec", 2, "does not accept the role break-glass"),
    ],
)
def test_what_no_host_would_count_is_refused(
    desk: ApprovalDesk, role: str, env: str, key: str, code: int, words: str
) -> None:
    got, _, err = desk.approve(role=role, env=env, key=key)
    assert (got, words in err) == (code, True), err
    assert desk.approvals == []


def test_a_key_that_the_root_does_not_have_or_has_revoked_or_that_has_ended(desk: ApprovalDesk) -> None:
    made = root(expires=LATER)
    keyid = person("Sec").key.keyid
    keys = {**made.keys, keyid: replace(made.keys[keyid], not_after=NOW - timedelta(days=1))}
    for changed, code, words in (
        (replace(made, revoked_keys=frozenset({keyid})), 10, "was revoked"),
        (replace(made, keys=keys), 12, "counts only until"),
    ):
        desk.root(changed)
        got, _, err = desk.approve()
        assert (got, words in err) == (code, True), err
    desk.root(made)
    (desk.path / "Sec.key").write_bytes(encrypted("Stranger"))
    got, _, err = desk.approve()
    assert (got, "the root does not have the key" in err) == (10, True)


def test_a_role_that_the_environment_does_not_need_is_warned_of(desk: ApprovalDesk) -> None:
    desk.root(root(expires=LATER, environments={"production": Policy({"release": 1, "ops": 1})}))
    code, _, err = desk.approve()
    assert (code, "warning: production does not require the role security" in err) == (0, True)


def test_a_bundle_that_is_replaced_between_look_and_signature_is_refused(
    desk: ApprovalDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundler.cli.options import console

    def replaced(_question: str, _flag: str) -> str:
        desk.bundle(World(plan=plan(version="6.6.6"), approvals=()))
        return "y"

    monkeypatch.setattr(console, "ask", replaced)
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"))
    code, _, err = desk.run(*words)
    assert (code, desk.approvals) == (11, [])
    assert "another bundle than the one that was verified" in err


GLASS = {"production": replace(PRODUCTION, break_glass=True)}
AN_HOUR_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def break_glass(desk: ApprovalDesk) -> tuple[int, str, str]:
    return desk.approve("--note", "outage", role="break-glass", key="Boss")


def test_break_glass_admits_the_return_of_an_expired_bundle(desk: ApprovalDesk) -> None:
    desk.root(root(expires=LATER, environments=GLASS))
    desk.bundle(expired(World(plan=plan(), approvals=())))
    code, _, err = break_glass(desk)
    assert (code, "this approval can only admit a rollback to this release" in err) == (0, True), err


@pytest.mark.parametrize("make", [lambda world: world, expired], ids=["a valid bundle", "an expired bundle"])
def test_break_glass_does_not_make_up_for_an_expired_root(
    desk: ApprovalDesk, make: Callable[[World], World]
) -> None:
    desk.root(root(expires=AN_HOUR_AGO, environments=GLASS))
    desk.bundle(make(World(plan=plan(), approvals=())))
    code, _, err = break_glass(desk)
    assert (code, "root.json: the root expired on" in err, desk.approvals) == (12, True, []), err


def test_an_expired_root_at_the_desk_is_named_with_what_to_do_there(desk: ApprovalDesk) -> None:
    path = desk.path / "root.json"
    desk.root(root(expires=AN_HOUR_AGO))
    with pytest.raises(ExpiredError) as caught:
        verify_bundle(str(desk.path / "b.tar"), load_trust(None, path), Progress())
    assert caught.value.where == str(path)
    assert caught.value.what.startswith("the root expired on")
    assert f"`bundle trust rotate {path} --expires 365d`" in caught.value.hint
    assert "install trust update" not in caught.value.hint


@pytest.mark.parametrize("make", [lambda world: world, expired], ids=["a valid bundle", "an expired bundle"])
def test_break_glass_does_not_make_up_for_an_expired_release_key(
    desk: ApprovalDesk, make: Callable[[World], World]
) -> None:
    made = root(expires=LATER, environments=GLASS)
    keyid = person("Rea").key.keyid
    keys = {**made.keys, keyid: replace(made.keys[keyid], not_after=AN_HOUR_AGO)}
    desk.root(replace(made, keys=keys))
    desk.bundle(make(World(plan=plan(), approvals=())))
    code, _, err = break_glass(desk)
    assert (code, desk.approvals) == (12, []), err


MISTAKES = ("--expires", "soon", "--target", "-x-", "--note", "a\x07bell", "--change-id", "a b")


@pytest.mark.parametrize("form", ["a key", "--prepare"])
def test_what_is_wrong_with_the_words_is_said_at_once_and_together(desk: ApprovalDesk, form: str) -> None:
    """Before the bundle is read, which is damaged here, and before the key is, which is absent."""
    desk.bundle(tampered(World(plan=plan(), approvals=())))
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"), "--yes")
    key = ("--prepare",) if form == "--prepare" else ("--key", str(desk.path / "none.key"))
    code, _, err = desk.call(*words, *MISTAKES, *key)
    assert code == 2
    assert [f"- {option}: " in err for option in MISTAKES[::2]] == [True] * 4, err


def test_a_rollback_to_the_same_version_is_refused_before_the_payload_is_read(desk: ApprovalDesk) -> None:
    desk.bundle(tampered(World(plan=plan(), approvals=())))
    code, _, err = desk.approve("--rollback-to", "v1.4.0")
    assert (code, "--rollback-to: is the version that this bundle installs" in err) == (2, True), err


def test_a_bundle_that_needs_a_repair_is_named_before_the_key_and_the_payload_are_read(
    desk: ApprovalDesk,
) -> None:
    desk.bundle(tampered(World(plan=plan(), approvals=())))
    interrupt_append(desk.path / "b.tar")
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"), "--yes")
    code, _, err = desk.call(*words, "--key", str(desk.path / "none.key"))
    assert (code, "an earlier `bundle approve` was interrupted" in err) == (30, True), err
    assert "b.tar --repair`" in err


@pytest.mark.parametrize(
    ("env", "said"),
    [("production", "hosts refuse the bundle there"), ("lab", "hosts that trust it require no approvals")],
)
def test_a_root_without_policies_is_told_as_hosts_take_it(desk: ApprovalDesk, env: str, said: str) -> None:
    desk.root(root(expires=LATER, environments={}))
    code, _, err = desk.approve(env=env)
    assert code == 0, err
    assert said in err


def test_the_owner_who_released_a_bundle_is_warned_also_under_another_spelling(desk: ApprovalDesk) -> None:
    made = root(expires=LATER, environments={"production": Policy({"release": 1, "ops": 1})})
    keys = {k: replace(key, owner="REA" if key.owner == "Sec" else key.owner) for k, key in made.keys.items()}
    desk.root(replace(made, keys=keys))
    code, _, err = desk.approve()
    assert (code, "warning: REA has released this bundle" in err) == (0, True), err


@pytest.mark.parametrize(("most", "code"), [(10, 0), (0, 2)])
def test_a_renewal_is_compared_with_what_the_policy_still_counts(
    desk: ApprovalDesk, most: int, code: int
) -> None:
    desk.root(root(expires=LATER, environments={"production": replace(PRODUCTION, max_age_days=most)}))
    before = datetime.now(UTC) - timedelta(days=11)
    asked = ApprovalRequest("security", "production", "30d")
    approve_bundle(desk.path / "b.tar", person("Sec").signer, asked, before)
    assert desk.approve()[0] == code


@pytest.mark.parametrize(("expires", "warned"), [("31d", True), ("30d", False), ("14d", False)])
def test_an_approval_for_longer_than_the_policy_counts_it_is_warned_of(
    desk: ApprovalDesk, expires: str, *, warned: bool
) -> None:
    desk.root(root(expires=LATER, environments={"production": replace(PRODUCTION, max_age_days=30)}))
    code, _, err = desk.approve("--expires", expires)
    said = "warning: production counts approvals for 30 days at most: this one counts until"
    assert (code, said in err) == (0, warned), err
