"""A file of defaults never conflicts with what is typed, and is never taken for something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.cli.defaults import APART, take_defaults
from bundler.cli.main import app, without_keys
from bundler.cli.options import console
from bundler.trust.root_files import root_bytes
from installer.shared.command.command_line import run_app
from installer.shared.command_tree.tree import commands
from tests.rig import bundlebuild as build
from tests.rig.approvaldesk import LATER, encrypted
from tests.rig.trustworld import FILES, World, person, root

OTHERS = f"gpg-key: {'ab' * 20}\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle, the root that hosts trust, keys, and a file of defaults with key and root."""
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    plan = build.plan(FILES, room=16384, expires=int(LATER.timestamp()))
    Path("b.tar").write_bytes(World(plan=plan, approvals=()).tar())
    Path("root.json").write_bytes(root_bytes(root(expires=LATER)))
    for name in ("Rea", "Sec"):
        Path(f"{name}.key").write_bytes(encrypted(name))
        Path(f"{name}.pub").write_text(person(name).key.public)
    Path("config").mkdir()
    defaults(tmp_path, "key: Sec.key\nroot: root.json\n")
    return tmp_path


def defaults(desk: Path, text: str) -> None:
    file = desk / "config/waybill.yaml"
    file.write_text(text)
    file.chmod(0o600)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`bundle` in this process, with the file of defaults; gives exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = run_app(console, app, words, without_keys, take_defaults)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


APPROVE = ("approve", "b.tar", "--role", "security", "--env", "production")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("approve", "b.tar", "--repair"), "nothing to repair"),
        (("approve", "b.tar", "--withdraw", "--yes"), "nothing to withdraw"),
        ((*APPROVE, "--prepare"), "wrote b.tar.security.json"),
        ((*APPROVE, "--yes"), "added        approvals/security-"),
        (("sign", "b.tar", "--prepare"), "wrote b.tar.SHA256SUMS"),
        (("trust", "sign", "root.json", "--prepare"), "wrote root.json.unsigned"),
        (("verify", "b.tar"), "verified     lan-chat 1.4.0"),
        (("verify", "b.tar", "--key", "Rea.pub"), "verified     lan-chat 1.4.0"),
        ((*APPROVE, "--release-key", "Rea.pub", "--yes"), "added        approvals/security-"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("desk")
def test_every_form_works_with_a_key_and_a_root_in_the_file(
    run: Run, words: tuple[str, ...], said: str
) -> None:
    code, out, err = run(*words)
    assert code == 0, err
    assert "cannot be" not in err
    assert said in out


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("approve", "b.tar", "--repair", "--key", "Sec.key"), "--key"),
        (("approve", "b.tar", "--repair", "--root", "root.json"), "--root"),
        (("approve", "b.tar", "--repair", "--expires", "3d"), "--expires"),
        (("approve", "b.tar", "--withdraw", "--root", "root.json"), "--root"),
        (("approve", "b.tar", "--attach", "SIG", "--key", "Sec.key"), "--key"),
        (("sign", "b.tar", "--prepare", "--key", "Sec.key"), "--key"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_what_is_typed_and_has_no_meaning_is_refused_all_the_same(
    run: Run, words: tuple[str, ...], option: str
) -> None:
    code, _, err = run(*words)
    assert (code, f"{option} cannot be used with --" in err) == (2, True), err


@pytest.mark.usefixtures("desk")
def test_two_typed_alternatives_are_refused_all_the_same(run: Run) -> None:
    code, _, err = run("verify", "b.tar", "--key", "Rea.pub", "--root", "root.json")
    assert (code, "exactly one key or one root" in err) == (2, True)


@pytest.mark.parametrize(
    ("trusted", "by"),
    [((), "root"), (("--release-key", "Rea.pub"), "key"), (("--root", "root.json"), "root")],
)
@pytest.mark.usefixtures("desk")
def test_the_typed_root_or_key_counts(run: Run, trusted: tuple[str, ...], by: str) -> None:
    code, out, err = run(*APPROVE, *trusted, "--yes", "--json")
    assert code == 0, err
    assert json.loads(out)["verified"]["checked_by"] == by


def test_the_typed_key_counts_alone(desk: Path, run: Run) -> None:
    """GPG has no key of that fingerprint, and nothing has its password: using them would be an error."""
    defaults(desk, OTHERS + "root: root.json\npassword-from: of-the-gpg-key\n")
    code, out, err = run(*APPROVE, "--key", "Sec.key", "--yes", "--json")
    assert code == 0, err
    assert len(json.loads(out)["approvals"]) == 1
    assert run("sign", "b.tar", "--key", "Sec.key")[0] == 0


@pytest.mark.usefixtures("desk")
def test_the_key_that_signs_is_not_the_key_to_trust(run: Run) -> None:
    """`verify --key` takes a public key."""
    code, out, err = run("verify", "b.tar")
    assert (code, "PRIVATE" in err) == (0, False), err
    assert "Rea" in out


@pytest.mark.usefixtures("desk")
def test_the_key_that_signs_is_not_revoked(run: Run) -> None:
    code, _, err = run("trust", "revoke", "root.json", "--bundle", "b.tar")
    assert code == 0, err
    document = json.loads(Path("root.json").read_text())
    assert (document["revoked"]["keys"], len(document["revoked"]["bundles"])) == ([], 1)


def test_the_builder_and_the_rules_of_create_are_no_policy(desk: Path, run: Run) -> None:
    defaults(desk, "builder: https://ci\nrequire: clean\n")
    Path("root.json").write_bytes(root_bytes(replace(root(expires=LATER), environments={})))
    code, _, err = run("trust", "set-policy", "root.json", "test", "--require", "ops")
    assert code == 0, err
    policy = json.loads(Path("root.json").read_text())["environments"]["test"]
    assert (policy["builders"], policy["requires"]) == ([], {"ops": 1})


@pytest.mark.parametrize(("command", "option"), APART)
def test_an_option_that_means_something_else_has_no_default(
    desk: Path, run: Run, command: str, option: str
) -> None:
    text = f"{option}: x\n"
    for word in reversed(command.split()):
        text = f"{word}:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    defaults(desk, text)
    code, _, err = run("schema")
    assert (code, f"--{option} cannot have a default: it is decided for each run" in err) == (2, True), err


def test_every_option_that_is_set_apart_exists() -> None:
    found = {
        (" ".join(each.words), name)
        for each in commands(app)
        for option in each.options
        for name in option.names
    }
    assert {(command, f"--{option}") for command, option in APART} <= found
