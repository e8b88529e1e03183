"""`bundle approve` verifies, shows and asks before it signs, and refuses what no host would count."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.signing.cosign import encrypt_key
from bundler.trust.root_files import root_bytes
from installer.core.format.manifest import Deployment
from installer.core.trust.root import Policy, Root
from tests.rig import bundlebuild as build
from tests.rig.trustworld import FILES, NOW, World, person, root

LATER = NOW + timedelta(days=3650)
"""By the clock of the machine that runs the tests."""
SCRIPT = {"deploy/apply.sh": b"#!/bin/sh\nuseradd eve\n"}


def plan(**fields: Any) -> build.Plan:
    files = {**FILES, **SCRIPT}
    order = ("docs/ROLLBACK.md", "docs/a", "deploy/apply.sh", "trees/t/b")
    return build.plan(
        {path: files[path] for path in order}, room=512, rollback="docs/ROLLBACK.md",
        entries={"deploy/apply.sh": {"kind": "script", "mode": 0o755}},
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "roll_forward_only": "adds a user"}),),
        **{"expires": int(LATER.timestamp()), **fields},
    )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    made = Desk(tmp_path, capsys)
    made.bundle(World(plan=plan(), approvals=()))
    made.root(root(expires=LATER))
    return made


@functools.cache
def encrypted(name: str) -> bytes:
    """The key file of a person; its password takes a while on purpose."""
    return encrypt_key(person(name).signer._private, b"")


class Desk:
    """A transfer desk on which `bundle` runs in this process."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self._capsys = path, capsys
        for name in ("Sec", "Ops", "Rea"):
            (path / f"{name}.key").write_bytes(encrypted(name))
        (path / "Rea.pub").write_text(person("Rea").key.public)

    def bundle(self, world: World) -> None:
        (self.path / "b.tar").write_bytes(world.tar())

    def root(self, made: Root) -> None:
        (self.path / "root.json").write_bytes(root_bytes(made))

    def run(self, *words: str, key: str = "Sec", json_: bool = False) -> tuple[int, str, str]:
        """Runs `bundle approve`; gives exit code, stdout and stderr."""
        from bundler.cli.main import app
        from bundler.cli.options import console
        from installer.shared.command_line import run_app

        console.json_output = False
        given = ["approve", str(self.path / "b.tar"), "--key", str(self.path / f"{key}.key")]
        code = run_app(console, app, [*given, *words, *(["--json"] if json_ else [])])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def approve(
        self, *words: str, role: str = "security", env: str = "production", **more: Any
    ) -> tuple[int, str, str]:
        trusted = ("--root", str(self.path / "root.json"))
        return self.run("--role", role, "--env", env, *trusted, "--yes", *words, **more)

    @property
    def approvals(self) -> list[str]:
        return list(build.read((self.path / "b.tar").read_bytes()).read_tail())


def test_it_shows_what_is_approved_and_signs(desk: Desk) -> None:
    code, out, err = desk.approve("--note", "scanned")
    assert code == 0, err
    identity = build.read((desk.path / "b.tar").read_bytes()).identity
    for line in (
        "product      lan-chat 1.4.0",
        f"identity     {identity}",
        "environment  production",
        "role         security",
        f"key          {person('Sec').key.keyid8} of Sec",
        "released by  Rea",
        "note         scanned",
        "1 × runs as root",
        "see `bundle inspect BUNDLE risks`",
    ):
        assert line in err
    assert "approved     lan-chat 1.4.0 for production, role security" in out
    assert len(desk.approvals) == 3


def test_the_document_says_what_was_verified(desk: Desk) -> None:
    code, out, _ = desk.approve(json_=True)
    document = json.loads(out)["verified"]
    assert code == 0
    assert (document["checked_by"], document["released_by"], document["warnings"]) == ("root", ["Rea"], [])
    assert document["risk_counts"]["root"] == 1


def test_without_a_terminal_a_missing_answer_names_the_flag(desk: Desk) -> None:
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"))
    code, _, err = desk.run(*words)
    assert (code, desk.approvals) == (2, [])
    assert "give --yes" in err


@pytest.mark.parametrize(("answer", "code"), [("n", 17), ("", 17), ("y", 0), ("yes", 0)])
def test_on_a_terminal_it_asks(desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    from bundler.cli.options import console

    asked = []
    monkeypatch.setattr(console, "ask", lambda question, flag: asked.append((question, flag)) or answer)
    words = ("--role", "security", "--env", "production", "--root", str(desk.path / "root.json"))
    assert desk.run(*words)[0] == code
    assert asked == [("Approve lan-chat 1.4.0 for production in the role security? [y/N] ", "--yes")]
    assert bool(desk.approvals) == (code == 0)


def test_nothing_says_whom_to_trust(desk: Desk) -> None:
    code, _, err = desk.run("--role", "security", "--env", "production", "--yes")
    assert (code, desk.approvals) == (2, [])
    assert "give --root root.json" in err
    assert "--release-key PUB" in err


def test_by_a_pinned_key(desk: Desk) -> None:
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
    desk: Desk, make: Callable[[World], World], code: int, words: str
) -> None:
    desk.bundle(make(World(plan=plan(), approvals=())))
    before = (desk.path / "b.tar").read_bytes()
    got, _, err = desk.approve()
    assert (got, words in err) == (code, True), err
    assert (desk.path / "b.tar").read_bytes() == before
    assert not (desk.path / "b.tar.approvals").exists()


def test_a_revoked_bundle_is_not_approved_by_break_glass_either(desk: Desk) -> None:
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
    desk: Desk, role: str, env: str, key: str, code: int, words: str
) -> None:
    got, _, err = desk.approve(role=role, env=env, key=key)
    assert (got, words in err) == (code, True), err
    assert desk.approvals == []


def test_a_key_that_the_root_does_not_have_or_has_revoked_or_that_has_ended(desk: Desk) -> None:
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


def test_a_role_that_the_environment_does_not_need_is_warned_of(desk: Desk) -> None:
    desk.root(root(expires=LATER, environments={"production": Policy({"release": 1, "ops": 1})}))
    code, _, err = desk.approve()
    assert (code, "warning: production does not require the role security" in err) == (0, True)


def test_a_bundle_that_is_replaced_between_look_and_signature_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
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
