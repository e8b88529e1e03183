"""The help names what the value of an option is, not the type that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from bundler.cli.main import app as bundle
from installer.cli.app import app as install


def options(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Yield all options that take a value, with the command that has them."""
    for each in command.params:
        if each.param_type_name == "option" and not each.is_flag and not each.hidden and not each.count:
            yield f"{words} {each.opts[-1]}", each
    for name, below in getattr(command, "commands", {}).items():
        yield from options(below, f"{words} {name}")


@pytest.mark.parametrize(
    ("app", "name"), [(bundle, "bundle"), (install, "install")], ids=["bundle", "install"]
)
def test_the_value_of_every_option_has_a_name(app: typer.Typer, name: str) -> None:
    found = list(options(typer.main.get_command(app), name))
    assert len(found) > 20
    assert [
        words for words, each in found if each.metavar is None and not getattr(each.type, "choices", ())
    ] == []
