"""Every command that prints JSON has a schema, and every schema a command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command

from bundler.cli import documents as bundle_documents
from bundler.cli.main import app as bundle
from installer.cli import documents as install_documents
from installer.cli.app import app as install
from installer.shared.command.run_record import COMMON, RunRecord
from tests.rig import answers

PROGRAMS = {"install": (install, install_documents.SHAPES), "bundle": (bundle, bundle_documents.SHAPES)}


def commands(group: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    """All commands of a program, groups included, by the words that name them."""
    yield words, group
    for name, inner in getattr(group, "commands", {}).items():
        yield from commands(inner, f"{words} {name}".strip())


def schema_name(program: str, words: str) -> str:
    name = RunRecord(program, command=words).schema
    return name.removeprefix("waybill/cli/").removesuffix("/v1")


def prints_json(command: Any) -> bool:
    # A group prints the document of wrong usage.
    return hasattr(command, "commands") or any("--json" in each.opts for each in command.params)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_with_json_has_its_fields(program: str) -> None:
    app, shapes = PROGRAMS[program]
    expected = {words for words, command in commands(get_command(app)) if prints_json(command)}
    assert expected | {"version"} == set(shapes)


def test_every_schema_has_a_command_and_every_command_a_schema() -> None:
    expected = {schema_name(program, words) for program, (_, shapes) in PROGRAMS.items() for words in shapes}
    assert expected == set(answers.names())


@pytest.mark.parametrize(
    ("program", "words"), [(name, words) for name, (_, shapes) in PROGRAMS.items() for words in shapes]
)
def test_the_schema_has_the_fields_of_the_code(program: str, words: str) -> None:
    found = answers.schema(schema_name(program, words))
    Draft202012Validator.check_schema(found)
    assert found["properties"]["schema"] == {"const": RunRecord(program, command=words).schema}
    shared = answers.schema(answers.COMMON)["$defs"]
    parts = [shared[each["$ref"].rpartition("/")[2]] for each in found["allOf"]]
    assert tuple(parts[0]["properties"]) == COMMON
    own = [name for part in (*parts[1:], found) for name in part["properties"] if name != "schema"]
    assert set(own) == set(PROGRAMS[program][1][words])
    # A script can rely on each of them, in every document.
    assert set(found.get("required", ())) == set(found["properties"]) - {"schema"}
    assert all(set(part["required"]) == set(part["properties"]) for part in parts)


def test_a_document_without_anything_known_is_valid() -> None:
    for program, (_, shapes) in PROGRAMS.items():
        for words in shapes:
            answers.validate(RunRecord(program, shapes, words).document(1))
