"""`--all` on the command line: every command takes it, and where a list is long it shows all of it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from bundler.cli.main import app as desk
from bundler.cli.options import console as desk_console
from installer.cli.app import app
from installer.cli.options import console
from installer.cli.words import with_command
from installer.core.format.manifest import SECTIONS, Deployment
from installer.shared.command.command_line import run_app
from installer.shared.command_tree.tree import commands
from installer.shared.terminal.listing import ALL
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench, release
from tests.rig.terminal import command, environment
from tests.rig.trustworld import FILES, World

COUNT = 40
LAST = f"/opt/web/{COUNT - 1:02}"
SHOWN_BY_ALL = f"; {ALL} shows all of them"


@pytest.fixture
def bundle(bench: Bench) -> str:
    """A release with more files than a summary shows."""
    names = [f"docs/w{number:02}" for number in range(COUNT)]
    files = {**FILES, **{name: name.encode() for name in names}}
    files = dict(sorted(files.items(), key=lambda item: (SECTIONS.index(item[0].split("/")[0]), item[0])))
    plan = build.plan(
        files, room=512, rollback="docs/ROLLBACK.md",
        entries={name: {"install": f"/opt/web/{name[-2:]}"} for name in names},
    )  # fmt: skip
    return str(bench.bundle(World(plan=plan, approvals=release().approvals)))


def typed(bench: Bench, *words: str) -> tuple[int, str]:
    """Run `install` as a process of its own; return its exit code and everything that it said."""
    done = subprocess.run(
        command("install", *words, "--root", str(bench.host)),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", [("plan", "BUNDLE"), ("BUNDLE", "--dry-run"), ("BUNDLE", "--yes")])
def test_a_plan_shows_every_file_where_all_is_asked_for(
    bench: Bench, bundle: str, words: tuple[str, ...]
) -> None:
    words = tuple(bundle if word == "BUNDLE" else word for word in words)
    code, said = typed(bench, *words)
    assert (code, LAST in said, SHOWN_BY_ALL in said) == (0, False, True)
    typed(bench, "remove", "lan-chat", "--yes")
    code, said = typed(bench, *words, ALL)
    assert (code, LAST in said, SHOWN_BY_ALL in said) == (0, True, False)


@pytest.fixture
def dangerous(bench: Bench) -> str:
    """A release with a long script, and with many programs and places to read of before it is let in."""
    lines = "".join(f"useradd user{number:02}\n" for number in range(COUNT))
    names = [f"docs/w{number:02}" for number in range(COUNT)]
    files = {
        **FILES, **dict.fromkeys(names, b"x"), "deploy/apply.sh": f"#!/bin/sh\n{lines}".encode(),
        "deploy/undo.sh": b"#!/bin/sh\n",
    }  # fmt: skip
    files = dict(sorted(files.items(), key=lambda item: (SECTIONS.index(item[0].split("/")[0]), item[0])))
    executable = {"kind": "script", "mode": 0o755}
    places = {name: {"install": f"/etc/cron.d/{name[-2:]}", "mode": 0o666} for name in names}
    plan = build.plan(
        files, room=512, rollback="docs/ROLLBACK.md",
        entries={**places, "deploy/apply.sh": executable, "deploy/undo.sh": executable},
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),),
    )  # fmt: skip
    return str(bench.bundle(World(plan=plan, approvals=release().approvals)))


def test_whoever_lets_a_release_in_sees_all_of_what_it_does_where_all_is_asked_for(
    bench: Bench, dangerous: str
) -> None:
    """The host has no `bundle inspect`: what the plan leaves out could be read nowhere else."""
    last = COUNT - 1
    findings = (
        f"    | useradd user{last:02}\n",  # the text of the script
        f"deploy/apply.sh:{COUNT + 1}: changes who may log in",
        f"every user may write to /etc/cron.d/{last:02} (mode 0666)",
        f"  /etc/cron.d/{last:02}: ",  # decides over the host itself
    )
    words = ("plan", dangerous, "--only", "files,script")
    code, said = typed(bench, *words)
    assert code == 0, said
    assert [each in said for each in findings] == [False] * 4
    assert f" more lines{SHOWN_BY_ALL}" in said
    assert said.count(f" more of this kind{SHOWN_BY_ALL}") == 2
    code, said = typed(bench, *words, ALL)
    assert (code, SHOWN_BY_ALL in said) == (0, False)
    assert [each in said for each in findings] == [True] * 4, said


def test_a_reviewer_sees_every_finding_where_all_is_asked_for(
    dangerous: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundler.commands.inspect_risks.MOST", 20)
    found = []
    for words in ((), (ALL,)):
        assert run_app(desk_console, desk, ["inspect", dangerous, "risks", *words]) == 0
        found.append(capsys.readouterr().out)
    for last in (f"/etc/cron.d/{COUNT - 1:02} (mode 0666)", f"  /etc/cron.d/{COUNT - 1:02}: "):
        assert [last in each for each in found] == [False, True]
    assert [f" more of this kind{SHOWN_BY_ALL}" in each for each in found] == [True, False]


@pytest.fixture
def edited(bench: Bench, bundle: str) -> str:
    """The release is installed, and somebody has edited every file of it."""
    assert bench.run(bundle, "--yes")[0] == 0
    for file in (bench.host / "opt/web").iterdir():
        file.write_text("edited\n")
    return bundle


def test_status_lists_every_file_that_was_edited_where_all_is_asked_for(bench: Bench, edited: str) -> None:
    code, said = typed(bench, "status")
    assert (code, LAST in said, SHOWN_BY_ALL in said) == (0, False, True)
    code, said = typed(bench, "status", ALL)
    assert (code, LAST in said, SHOWN_BY_ALL in said) == (0, True, False)


@pytest.mark.parametrize(
    "words", [("remove", "lan-chat", "--on-drift", "refuse", "--yes"), ("plan", "BUNDLE")]
)
def test_a_refusal_of_many_files_shows_every_one_where_all_is_asked_for(
    bench: Bench, edited: str, words: tuple[str, ...]
) -> None:
    words = tuple(edited if word == "BUNDLE" else word for word in words)
    code, said = typed(bench, *words)
    assert (code, f"{LAST}\n" in said, SHOWN_BY_ALL in said) == (15, False, True), said
    code, said = typed(bench, *words, ALL)
    assert (code, SHOWN_BY_ALL in said) == (15, False)
    assert said.count("/opt/web/") >= COUNT


def test_problems_that_say_different_things_are_all_shown(bench: Bench) -> None:
    anchors = [word for number in range(COUNT) for word in ("--anchor", f"{number:016}")]
    code, said = typed(bench, "audit", *anchors)
    assert (code, ALL in said) == (11, False)
    assert all(f"the record {number:016}" in said for number in range(COUNT))


@pytest.mark.parametrize("position", ["before the command", "after the command"])
@pytest.mark.parametrize(
    ("terminal", "program", "arrange", "words"),
    [
        pytest.param(one, program, arrange, each.words, id=" ".join([one.program, *each.words]))
        for one, program, arrange in ((console, app, with_command), (desk_console, desk, list))
        for each in commands(program)
        if each.words
    ],
)
def test_every_command_takes_all(
    terminal: Any, program: Any, arrange: Any, words: tuple[str, ...], position: str
) -> None:
    typed = (ALL, *words, "--help") if position == "before the command" else (*words, ALL, "--help")
    assert run_app(terminal, program, typed, arrange) == 0
    assert terminal.everything
    assert run_app(terminal, program, [*words, "--help"], arrange) == 0
    assert not terminal.everything


def test_what_follows_two_dashes_is_not_the_option(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["remove", "--root", str(bench.host), "--yes", "--", ALL]
    assert run_app(console, app, words, with_command) == 2
    assert ALL in capsys.readouterr().err
    assert not console.everything
