"""`--version` answers next to the options that every command takes."""

from __future__ import annotations

import json
import subprocess

import pytest

from installer import __version__
from installer.shared.terminal.version import version_asked_for
from tests.rig.terminal import command, environment


@pytest.mark.parametrize("program", ["install", "bundle"])
@pytest.mark.parametrize(
    "words",
    ["--version", "--version --quiet", "--quiet --version", "--version --log-format json",
     "--log-format=text --version", "--version --all"],
)  # fmt: skip
def test_the_version_is_printed(program: str, words: str) -> None:
    done = subprocess.run(
        command(program, *words.split()), env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{program} {__version__}\n", "")


@pytest.mark.parametrize("program", ["install", "bundle"])
@pytest.mark.parametrize("words", ["--version --json", "--json --quiet --version"])
def test_the_version_is_a_document_where_that_is_asked_for(program: str, words: str) -> None:
    done = subprocess.run(
        command(program, *words.split()), env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["name"], document["version"]) == (program, __version__)


@pytest.mark.parametrize(
    "words", ["", "status --version", "--version status", "--version --log-format", "--json"]
)
def test_other_command_lines_are_left_to_the_program(words: str) -> None:
    assert version_asked_for(words.split()) == ""
