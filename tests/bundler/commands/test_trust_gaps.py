"""Roots that nobody could satisfy: refused where they are made, and told where a revocation makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundler.cli.main import app, console
from bundler.commands import trust_edit, trust_sign
from bundler.commands.trust_edit import make_policy
from bundler.commands.trust_init import init_root
from bundler.trust.root_files import load
from installer.core.errors import UsageError
from installer.core.trust.root import Role
from installer.shared.command.command_line import run_app
from tests.rig.answers import Document
from tests.rig.trustworld import NOW, person, public_file

SEC, ANN, BEN = (person(name).key for name in ("Sec", "Ann", "Ben"))
Run = Callable[..., Document]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A root of two heads, of whom both must sign, with one policy that Sec alone can meet."""
    made = tmp_path / "root.json"
    heads = [public_file(tmp_path, name) for name in ("Ann", "Ben")]
    init_root(made, [public_file(tmp_path, "Rea")], root_keys=heads, root_threshold=2)
    trust_edit.add_keys(made, [SEC], ["security"], NOW)
    trust_edit.set_policy(made, "plant", make_policy("plant", requires=["release", "security"]), NOW)
    return made


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`bundle trust … --json` in this process; gives the document."""
    monkeypatch.chdir(path.parent)

    def run(*words: str, code: int = 0) -> Document:
        ended = run_app(console, app, ["trust", *words, "--json"])
        found = Document.read(capsys.readouterr().out)
        assert (ended, found["exit"]) == (code, code), found
        return found

    return run


def warnings(document: dict[str, Any]) -> list[str]:
    return [each["what"] for each in document["warnings"]]


def test_a_revocation_warns_of_each_threshold_and_policy_that_it_leaves_unmet(run: Run) -> None:
    role, policy = warnings(run("revoke", "root.json", "--key", SEC.keyid8))
    assert role.startswith("role security: signatures of 1 owner are required, but no owners have a key")
    assert "`bundle trust add-key root.json KEY.pub --role security --owner NAME`" in role
    assert policy.startswith("environment plant: the policy cannot be met: too few owners have a key for sec")
    assert "`bundle trust set-policy root.json plant --require ROLE`" in policy


def test_a_signature_of_an_unmet_root_warns_too(
    path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundler.signing.cosign import encrypt_key

    (path.parent / "ann.key").write_bytes(encrypt_key(person("Ann").signer._private, b""))
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    run("revoke", "root.json", "--key", SEC.keyid8)
    assert len(warnings(run("sign", "root.json", "--key", "ann.key"))) == 2


def test_a_policy_that_only_a_revoked_key_could_meet_is_refused(path: Path, run: Run) -> None:
    run("revoke", "root.json", "--key", SEC.keyid8)
    before = path.read_bytes()
    refused = run("set-policy", "root.json", "lab", "--require", "security", code=2)
    assert refused.what == "nobody could satisfy the changed root; nothing was written"
    assert [each["where"] for each in refused.others] == ["environment lab"]
    # Neither is the policy that the revocation has left unmet, where it is set anew.
    again = run("set-policy", "root.json", "plant", "--require", "security", "--change-id", code=2)
    assert [each["where"] for each in again.others] == ["environment plant"]
    assert path.read_bytes() == before


def test_changes_that_mend_a_gap_are_taken_one_after_the_other(run: Run) -> None:
    run("set-policy", "root.json", "lab", "--require", "security")
    run("revoke", "root.json", "--key", SEC.keyid8)
    assert len(warnings(run("set-policy", "root.json", "lab", "--require", "release"))) == 2
    (rest,) = warnings(run("set-policy", "root.json", "plant", "--remove"))
    assert rest.startswith("role security: ")
    public_file(Path.cwd(), "Sam")
    assert warnings(run("add-key", "root.json", "Sam.pub", "--role", "security")) == []


def test_a_gap_of_several_owners_is_closed_by_one_after_the_other(path: Path) -> None:
    trust_edit.add_keys(path, [person("Sam").key], ["security"], NOW, threshold=2)
    trust_edit.revoke(path, [SEC.keyid8, person("Sam").key.keyid8], [], NOW)
    (role, _) = trust_edit.add_keys(path, [person("Di").key], ["security"], NOW).warnings
    assert "signatures of 2 owners are required, but 1 owner has a key" in role
    before = path.read_bytes()
    # It must not become wider again.
    with pytest.raises(UsageError, match="nobody could satisfy"):
        trust_edit.rotate(path, NOW, removed=[person("Di").key.keyid8])
    assert path.read_bytes() == before
    assert trust_edit.add_keys(path, [person("Ed").key], ["security"], NOW).warnings == ()


@pytest.mark.parametrize("released", [False, True], ids=["not signed yet", "signed"])
def test_a_revocation_after_which_nobody_could_sign_a_root_is_refused(path: Path, *, released: bool) -> None:
    for name in ("Ann", "Ben") if released else ():
        trust_sign.sign_root(path, [person(name).signer], NOW)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="nobody could satisfy the changed root") as caught:
        trust_edit.revoke(path, [ANN.keyid8], [], NOW)
    (problem,) = caught.value.problems
    assert problem.where == "role root"
    assert "--role root --owner NAME" in problem.hint
    assert path.read_bytes() == before
    # With another owner first, the same key can go.
    trust_edit.add_keys(path, [person("Cid").key], ["root"], NOW)
    assert trust_edit.revoke(path, [ANN.keyid8], [], NOW).warnings == ()


def test_a_threshold_counts_no_owner_whose_keys_are_revoked(path: Path) -> None:
    trust_edit.add_keys(path, [person("Sam").key], ["security"], NOW)
    trust_edit.revoke(path, [SEC.keyid8], [], NOW)
    with pytest.raises(UsageError, match="nobody could satisfy"):
        trust_edit.add_keys(path, [person("Sam").key], ["security"], NOW, threshold=2)
    with pytest.raises(UsageError, match="nobody could satisfy"):
        trust_edit.rotate(path, NOW, removed=[person("Sam").key.keyid8])


def test_a_new_root_counts_two_spellings_of_an_owner_once(tmp_path: Path) -> None:
    keys = [public_file(tmp_path, "Rea"), public_file(tmp_path, "Rob")]
    with pytest.raises(UsageError, match="nobody could satisfy this root") as caught:
        init_root(tmp_path / "root.json", keys, owners=["Ann Bo", "Ann  Bo"], threshold=2)
    assert "1 owner has a key" in caught.value.problems[0].what
    assert not (tmp_path / "root.json").exists()


def test_an_owner_who_has_signed_under_another_spelling_is_not_asked_again(path: Path) -> None:
    from dataclasses import replace

    from bundler.trust.root_files import root_bytes

    root = load(path).root
    second = replace(person("Cid").key, owner="ANN")
    root = replace(
        root,
        keys={**root.keys, second.keyid: second},
        roles={**root.roles, "root": Role((*root.roles["root"].keys, second.keyid), 2)},
    )
    path.write_bytes(root_bytes(root))
    trust_sign.sign_root(path, [person("Ann").signer], NOW)
    (standing,) = load(path).standings(NOW)
    assert (standing.signed, standing.open) == (("Ann",), ("Ben",))
