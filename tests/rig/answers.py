"""What `--json` prints, as tests read it: every document is checked against the schema of its command."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from installer.core.jsonio import loads_strict

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "v1" / "cli"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What could steer a terminal, or turn round what is shown on it."""
COMMON = "common"
_OPEN = ("document", "plan", "transaction", "verified", "versions", "edited_root")
"""Definitions that a document is put together from: the document itself is what is closed."""


def names() -> list[str]:
    """The names of all schemas of documents."""
    found = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
    return [name for name in found if name != COMMON]


@functools.cache
def schema(name: str) -> dict[str, Any]:
    file = SCHEMAS / f"{name}.schema.json"
    # Strictly: two people may have added the same field.
    found: dict[str, Any] = loads_strict(file.read_bytes(), file.name, 1 << 20)
    return found


def _closed(value: Any, name: str = "") -> Any:
    """The schema without room for fields that it does not name: scripts may get more, tests may not."""
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _closed(each, key) for key, each in value.items()}
    if isinstance(value.get("properties"), dict) and name not in _OPEN:
        made["unevaluatedProperties"] = False
    return made


@functools.cache
def validator(name: str) -> Draft202012Validator:
    resources = [Resource.from_contents(_closed(schema(each))) for each in (COMMON, *names())]
    registry: Registry[Any] = Registry().with_resources((each.id() or "", each) for each in resources)
    return Draft202012Validator(_closed(schema(name)), registry=registry)


def validate(document: dict[str, Any]) -> None:
    """Demands that a document has the form that the schema it names says."""
    name = document["schema"].removeprefix("waybill/cli/").removesuffix("/v1")
    wrong = [f"{each.json_path}: {each.message}" for each in validator(name).iter_errors(document)]
    assert not wrong, f"{document['schema']}: " + "\n".join(wrong[:10])


class Document(dict[str, Any]):
    """The one document of a run; the first problem of a run that failed is the error itself."""

    @classmethod
    def read(cls, text: str) -> Document:
        """Parses standard output, which has exactly one document, of the form that its schema says."""
        found = cls(json.loads(text))
        validate(found)
        return found

    @property
    def what(self) -> str:
        return str(self["problems"][0]["what"])

    @property
    def where(self) -> str:
        return str(self["problems"][0]["where"] or "")

    @property
    def hint(self) -> str:
        return str(self["problems"][0]["hint"] or "")

    @property
    def step(self) -> int | None:
        """The step of the verification that refused."""
        found: int | None = self["problems"][0]["verification_step"]
        return found

    @property
    def others(self) -> list[dict[str, Any]]:
        """The further problems of the same input."""
        return list(self["problems"][1:])
