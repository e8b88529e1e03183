"""Configuration files in the manifest: who checks them, what their change does, which words that needs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.entries.config_file import OnChange
from installer.core.format.features import KNOWN
from installer.core.format.manifest import FileEntry, Manifest
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build
from tests.rig.manifests import BASE

SCHEMA = json.loads((Path(__file__).parents[5] / "schemas/v1/bundle.schema.json").read_text())
NGINX = ("nginx", "-t", "-c", "{file}")


def with_file(**fields: Any) -> Manifest:
    entry = build.entry_for("config/web.conf", b"", kind="template", install="/etc/web.conf")
    files = sorted((*BASE.files, replace(entry, **fields)), key=lambda each: each.path.startswith("bin/"))
    order = ("docs", "config", "bin", "trees", "images")
    files.sort(key=lambda each: order.index(each.path.partition("/")[0]))
    return replace(BASE, files=tuple(files))


def written(**fields: Any) -> Any:
    """Return a manifest as JSON whose configuration file has these raw fields, and the words for them."""
    document = json.loads(manifest_json.dump(with_file()))
    entry = next(each for each in document["files"] if each["path"] == "config/web.conf")
    entry.update(fields)
    words = {"on_change": "on-change/1", "timeout": "timeouts/1", "validate": "validators/1"}
    return document | {"requires": [word for key, word in words.items() if key in fields]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"validate": NGINX}, ["validators/1"]),
        ({"on_change": OnChange(reload="web.service")}, ["on-change/1"]),
        ({"on_change": OnChange(restart="web@1.service")}, ["on-change/1"]),
        (
            {"validate": NGINX, "on_change": OnChange(command=("/usr/bin/true",))},
            ["on-change/1", "validators/1"],
        ),
        ({"validate": NGINX, "timeout": 3600}, ["timeouts/1", "validators/1"]),
        (
            {"on_change": OnChange(command=("/usr/bin/true",)), "timeout": 1},
            ["on-change/1", "timeouts/1"],
        ),
    ],
)
def test_a_configuration_file_is_read_as_it_was_written(fields: dict[str, Any], words: list[str]) -> None:
    data = manifest_json.dump(with_file(**fields))
    assert manifest_json.parse(data) == with_file(**fields)
    assert json.loads(data)["requires"] == words
    Draft202012Validator(SCHEMA).validate(json.loads(data))


def test_a_manifest_without_them_has_the_bytes_that_it_always_had() -> None:
    data = manifest_json.dump(with_file())
    assert not any(word in data for word in (b"requires", b"validate", b"on_change", b"timeout"))
    assert {each.name for each in FileEntry.__dataclass_fields__.values()} >= {"validate", "on_change"}


@pytest.mark.parametrize("key", ["validate", "on_change"])
def test_a_manifest_that_uses_them_without_the_word_is_refused(key: str) -> None:
    value = list(NGINX) if key == "validate" else {"reload": "web.service"}
    document = {name: each for name, each in written(**{key: value}).items() if name != "requires"}
    with pytest.raises(TamperedError, match="requires"):
        manifest_json.parse(dumps_lines(document))


WRONG: dict[str, dict[str, Any]] = {
    "a validator without words": {"validate": []},
    "a validator that is no list": {"validate": "nginx {file}"},
    "a validator without a file": {"validate": ["nginx", "-t"]},
    "a validator with two files": {"validate": ["nginx", "{file}", "{file}"]},
    "a validator with the file twice in a word": {"validate": ["nginx", "{file}{file}"]},
    "a validator whose program is the file": {"validate": ["{file}"]},
    "a validator with a relative path": {"validate": ["bin/nginx", "{file}"]},
    "a validator with an empty word": {"validate": ["nginx", "", "{file}"]},
    "a validator with a new line in a word": {"validate": ["nginx", "a\nb", "{file}"]},
    "nothing on a change": {"on_change": {}},
    "two things on a change": {"on_change": {"reload": "a.service", "restart": "a.service"}},
    "an unknown thing on a change": {"on_change": {"signal": "HUP"}},
    "a unit without its suffix": {"on_change": {"reload": "nginx"}},
    "a unit without a name": {"on_change": {"reload": ""}},
    "an option in place of a unit": {"on_change": {"restart": "--no-block.service"}},
    "a command without words": {"on_change": {"command": []}},
    "a command with a relative path": {"on_change": {"command": ["./run"]}},
    "no time at all": {"validate": list(NGINX), "timeout": 0},
    "more than an hour": {"validate": list(NGINX), "timeout": 3601},
    "a time as text": {"validate": list(NGINX), "timeout": "30s"},
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_parser_and_the_schema_refuse(fault: str) -> None:
    document = written(**WRONG[fault])
    with pytest.raises(TamperedError):
        manifest_json.parse(dumps_lines(document))
    assert not Draft202012Validator(SCHEMA).is_valid(document)


@pytest.mark.parametrize("fields", [{}, {"on_change": {"reload": "web.service"}}])
def test_a_time_limit_without_a_command_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TamperedError, match="has `timeout`, but no command"):
        manifest_json.parse(dumps_lines(written(**fields, timeout=30)))


def test_the_schema_has_all_words_that_a_manifest_may_require() -> None:
    assert set(SCHEMA["properties"]["requires"]["items"]["enum"]) == KNOWN


@pytest.mark.parametrize("fields", [{"kind": "binary"}, {"install": ""}])
def test_only_installed_templates_have_them(fields: dict[str, Any]) -> None:
    for more in ({"validate": NGINX}, {"on_change": OnChange(reload="web.service")}):
        with pytest.raises(TamperedError, match="not a template that is installed"):
            manifest_json.parse(manifest_json.dump(with_file(**fields, **more)))


@pytest.mark.parametrize(
    ("said", "is_good"),
    [
        ({"validate": list(NGINX), "timeout": 3600}, True),
        ({"on_change": {"command": ["true"]}, "timeout": 1}, True),
        ({"on_change": {"reload": "web.service"}, "timeout": 1}, False),
        ({"validate": list(NGINX), "timeout": 3601}, False),
        ({"validate": list(NGINX), "timeout": True}, False),
        ({"timeout": 30}, False),
    ],
)
def test_the_second_reader_says_of_a_time_limit_what_the_first_one_says(
    said: dict[str, Any], is_good: bool
) -> None:
    document = json.loads(manifest_json.dump(build.plan().manifest))
    (entry,) = (each for each in document["files"] if each["kind"] == "template")
    entry.update(said, install="/etc/chatd.yaml")
    words = {"on_change": "on-change/1", "timeout": "timeouts/1", "validate": "validators/1"}
    # The order of the fields, and of the words, is that of a manifest that was written by us.
    document = {"schema": document["schema"], "requires": [words[key] for key in sorted(said)], **document}
    data = build.plan().resealed(document=dumps_lines(document)).tar()
    with nullcontext() if is_good else pytest.raises(TamperedError):
        build.read(data)
