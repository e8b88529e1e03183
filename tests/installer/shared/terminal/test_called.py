"""Hints name the program as the person can type it: on a host, `install` alone is that of coreutils."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bundler.cli.main import app as bundle
from installer.cli.app import app as install
from installer.core.errors import HostNotReadyError, Problem
from installer.shared.command.command_line import run_app
from installer.shared.command.console import Console
from installer.shared.command_tree.tree import commands
from installer.shared.terminal.called import called_as, rename, words_for


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    directory = tmp_path / "my stick"
    directory.mkdir()
    (directory / "install").write_text("#!/bin/sh\n")
    (directory / "install").chmod(0o755)
    return directory


def test_a_program_beside_the_person_is_called_with_a_dot(stick: Path) -> None:
    assert words_for(stick / "install", stick, "/usr/bin") == "./install"


def test_a_program_elsewhere_is_called_by_its_path(stick: Path) -> None:
    assert words_for(stick / "install", Path("/"), "/usr/bin") == f"'{stick}/install'"


def test_a_program_on_media_without_modes_is_called_with_sh(stick: Path) -> None:
    (stick / "install").chmod(0o644)
    assert words_for(stick / "install", stick, "/usr/bin") == "sh ./install"


def test_a_program_that_the_shell_finds_is_called_by_its_name(stick: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "waybill-install"
    link.symlink_to(stick / "install")
    assert words_for(link, Path("/"), str(tmp_path / "bin")) == "waybill-install"
    # The shell finds another one of this name: that of coreutils.
    (tmp_path / "bin" / "install").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "install").chmod(0o755)
    assert words_for(stick / "install", stick, str(tmp_path / "bin")) == "./install"


def test_from_source_the_name_stays() -> None:
    assert called_as("install") == "install"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `install recover`", "run `./install recover`"),
        ("retained 1.4.0 (`install rollback VERSION`)", "retained 1.4.0 (`./install rollback VERSION`)"),
        ("`install --help`, `install ./b.tar`", "`./install --help`, `./install ./b.tar`"),
        ("Example: install b.tar", "Example: ./install b.tar"),
        ("Help.\nExample: install b.tar", "Help.\nExample: ./install b.tar"),
        ("the script said: `install -m 0644 a b`", "the script said: `install -m 0644 a b`"),
        ("another install is running", "another install is running"),
        ("to install this release, `docker install x`", "to install this release, `docker install x`"),
        ("`installer`", "`installer`"),
    ],
)
def test_only_commands_are_renamed(text: str, shown: str) -> None:
    assert rename(text, "install", "./install") == shown
    assert rename(text, "install", "install") == text


def test_every_output_names_the_program_as_it_was_called(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console("install")
    console.called, console.root = "./install", "/r"
    console.result("then (`install status`)", dict)
    console.note("run `install recover`")
    console.error(
        HostNotReadyError("x", hint="run `install status`", problems=[Problem("", "y", "`install a`")])
    )
    said = capsys.readouterr()
    assert said.out == "then (`./install status --root /r`)\n"
    assert "run `./install recover --root /r`" in said.err
    assert "`./install status --root /r`" in said.err
    assert "`./install a --root /r`" in said.err


def test_warnings_name_the_program_as_it_was_called_also_in_the_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console("install", json_output=True)
    console.called, console.root = "./install", "/r"
    console.warn_about(Problem("/etc/waybill/x", "is old", "see /etc/waybill/x; run `install status`"))
    (warning,) = console.record.document(0, None)["warnings"]
    assert warning["hint"] == "see /r/etc/waybill/x; run `./install status --root /r`"
    assert warning["hint"] in capsys.readouterr().err


@pytest.mark.parametrize(("program", "app"), [("install", install), ("bundle", bundle)])
def test_every_help_names_the_program_as_it_was_called(
    program: str, app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(program)
    console.called = "/media/usb/it"
    for command in commands(app):
        assert run_app(console, app, [*command.words, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Example: /media/usb/it " in said
    assert re.findall(rf"(?:`|Example: ){program} .*", said) == []
