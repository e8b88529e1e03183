"""Wrong usage in plain words, and words of scripts whose variables are not set."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pytest
import typer

from bundler.cli.main import app as bundle
from installer.cli.app import app as install
from installer.core.errors import UsageError
from installer.shared.terminal.invocation import command_of
from installer.shared.terminal.usage import check_values, plain

PROGRAMS = {"bundle": bundle, "install": install}


def every_command(command: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", {})
    found = [(words, command)]
    return found + [pair for name, each in below.items() for pair in every_command(each, (*words, name))]


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_option_of_any_command_takes_an_option_or_nothing_for_its_value(program: str) -> None:
    top = command_of(PROGRAMS[program])
    tried = 0
    for words, command in every_command(top):
        options = [each for each in command.params if each.param_type_name == "option" and not each.is_flag]
        for option in options:
            for name in option.opts:
                tried += 1
                for value, why in ((["--help"], "--help is an option"), ([""], "its value is empty")):
                    with pytest.raises(UsageError, match=f"^{name} has no value: {why}"):
                        check_values(top, [*words, name, *value])
                with pytest.raises(UsageError, match="nothing follows it"):
                    check_values(top, [*words, name])
                with pytest.raises(UsageError, match="its value is empty"):
                    check_values(top, [*words, f"{name}="])
                check_values(top, [*words, name, "x", f"{name}=x", name, "-", name, "-1"])
    assert tried > 50


@pytest.mark.parametrize(
    "words",
    [
        ["apply", "b.tar", "--set", "--quiet-hours=1"],
        ["apply", "--", "", "--root"],
        ["status", "--json"],
        ["trust", "init", "root.json", "--fingerprint", "00"],
    ],
)
def test_other_words_are_left_to_the_command(words: list[str]) -> None:
    check_values(command_of(install), words)


@pytest.mark.parametrize("words", [[""], ["plan", ""], ["remove", "", "--yes"]])
def test_an_empty_argument_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(UsageError, match="an argument is empty") as caught:
        check_values(command_of(install), words)
    assert "check that the variable is set" in caught.value.hint


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_shows_arguments_and_ranges_as_manual_pages_do(program: str) -> None:
    for words, command in every_command(command_of(PROGRAMS[program])):
        text = command.make_context(" ".join(words), [], resilient_parsing=True).get_help()
        assert re.findall(r"\{[A-Z]+\}|<=x", text) == [], words


def test_sentences_of_the_library_are_said_in_plain_words() -> None:
    app = typer.Typer()

    @app.command()
    def run(
        place: Annotated[str, typer.Argument(metavar="PLACE")],
        role: Annotated[str, typer.Option("--role", "-r", metavar="ROLE")],
        keep: Annotated[int, typer.Option("--keep", min=1, max=9)] = 1,
        fast: Annotated[bool, typer.Option("--fast")] = False,
    ) -> None:
        """Do nothing."""

    command = command_of(app)
    for words, said in (
        (["a", "b", "-r", "x"], "unexpected argument: b"),
        (["-r", "x"], "PLACE is missing"),
        (["a"], "--role is missing"),
        (["a", "-r", "x", "--keep", "0"], "--keep: 0 is not in the range from 1 to 9"),
        (["a", "-r", "x", "--fast=1"], "--fast takes no value"),
    ):
        with pytest.raises(Exception, match=r".") as caught:
            command(args=words, standalone_mode=False)
        assert plain(caught.value.format_message()) == said
