"""Which word of a command line is the command: a misspelt one is wrong usage, never a refused bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from installer.cli.app import app
from installer.cli.words import COMMANDS, GROUPS, TAKE_VALUE, with_command
from installer.core.errors import UsageError
from tests.rig.bench import Bench, release


def commands(group: Any) -> list[Any]:
    below = list(getattr(group, "commands", {}).values())
    return [group, *(each for inner in below for each in commands(inner))]


def test_the_lists_are_those_of_the_application() -> None:
    group: Any = get_command(app)
    assert set(COMMANDS) == set(group.commands)
    assert set(GROUPS) == {name for name, each in group.commands.items() if hasattr(each, "commands")}
    options = [each for one in commands(group) for each in one.params if each.param_type_name == "option"]
    # --log-format is taken from any position before.
    assert {name for each in options if not each.is_flag for name in each.opts} - {
        "--log-format"
    } == TAKE_VALUE


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("b.tar --verify", "apply b.tar --verify"),
        ("./status", "apply ./status"),
        ("- --yes", "apply - --yes"),
        ("--root /r b.tar --yes", "apply --root /r b.tar --yes"),
        ("--json status", "status --json"),
        ("--root D status", "status --root D"),
        ("--root D --json trust show", "trust show --root D --json"),
        ("--root=D trust --help", "trust --root=D --help"),
        ("--env x -y apply b", "apply --env x -y b"),
        ("--help", "--help"),
        ("status --root D", "status --root D"),
        ("--yes", "apply --yes"),
        ("--yes -- b", "apply --yes -- b"),
        ("", ""),
    ],
)
def test_options_before_a_command_belong_to_it(typed: str, meant: str) -> None:
    assert with_command(typed.split()) == meant.split()


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("stauts", "did you mean `install status`?"),
        ("--root D --json hist", "did you mean `install history`?"),
        ("help", "did you mean `install --help`?"),
        ("help rollback", "did you mean `install rollback --help`?"),
        ("lanchat --yes", "give the path of a bundle: `install ./BUNDLE`"),
    ],
)
def test_a_word_that_is_neither_command_nor_file_is_wrong_usage(typed: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is neither a command nor a file") as caught:
        with_command(typed.split())
    assert hint in caught.value.hint


def test_a_file_without_a_dot_is_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release").mkdir()
    (tmp_path / "lost").symlink_to("nowhere")
    assert with_command(["release"]) == ["apply", "release"]
    assert with_command(["lost"]) == ["apply", "lost"]  # its media is gone: that is what is to be said


@pytest.mark.parametrize("words", [["stauts"], ["help"], ["--json", "verfy"]])
def test_a_misspelt_command_leaves_no_trace_on_the_host(bench: Bench, words: list[str]) -> None:
    before = sorted(bench.host.rglob("*"))
    code, said = bench.text(*words)
    assert code == 2
    assert "did you mean `install " in said
    assert sorted(bench.host.rglob("*")) == before


def test_no_words_show_the_help_and_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    from bundler.cli.main import app as bundle
    from bundler.cli.options import console as desk
    from installer.cli.options import console
    from installer.shared.command.command_line import run_app

    for one, other in ((console, app), (desk, bundle)):
        assert run_app(one, other, []) == 2
        assert run_app(one, other, ["trust"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("Usage: ") == 2


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (
            ["status", "--prodcut", "x"],
            "there is no option --prodcut",
            "did you mean --product?; for example: ",
        ),
        (["status", "-q"], "there is no option -q", "did you mean --quiet?"),
        (["b.tar", "--timeout", "1x"], "'1x' is not a whole number of seconds", "for example: "),
        (["b.tar", "--keep", "x"], "'x' is not a whole number", "for example: "),
        (
            ["recover", "--everything"],
            "there is no option --everything",
            "hint: for example: `install recover`",
        ),
        (["trust", "shwo"], "there is no command 'shwo'", "did you mean `install trust show`?"),
        (
            ["trust", "frobnicate"],
            "there is no command 'frobnicate'",
            "`install trust --help` lists the commands",
        ),
        (["apply"], "BUNDLE is missing", "for example: `install apply lan-chat-1.4.0.tar --yes`"),
        (
            ["b.tar", "--root", ""],
            "--root has no value: its value is empty",
            "check that the variable is set",
        ),
        (["plan", "b.tar", "--env", "--yes"], "--env has no value: --yes is an option", "leave --env out"),
        (["remove"], "PRODUCT is missing", "for example: `install remove lan-chat`"),
        (
            ["status", "lan-chat"],
            "unexpected argument: lan-chat",
            "name a product by `install status --product PRODUCT`; for example: `install status`",
        ),
    ],
)
def test_wrong_usage_shows_how_it_is_right(bench: Bench, words: list[str], what: str, hint: str) -> None:
    code, said = bench.text(*words)
    assert code == 2
    assert what in said
    assert hint in said


def test_apply_is_the_form_for_scripts(bench: Bench) -> None:
    code, document, _ = bench.run("apply", str(bench.bundle(release())), "--yes")
    assert (code, document["changed"]) == (0, True)


def test_whoever_is_asked_to_agree_to_a_plan_sees_whose_release_it_is(bench: Bench) -> None:
    bundle = str(bench.bundle(release()))
    for words in (["plan", bundle], [bundle, "--yes"]):
        _, said = bench.text(*words)
        assert "verified: released by Rea (cosign key " in said
        assert "approved for production by Ops (ops), Ci (provenance), Sec (security)" in said
