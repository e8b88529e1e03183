"""Check Compose files with the JSON Schema of the Compose specification: typing errors and wrong types.

The schema comes with the package `check-jsonschema`, as a file; the code of the package is not imported.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bundler.config.compose.document import Document
from installer.core import schema_errors
from installer.core.errors import Problem

_FILE = "builtin_schemas/vendor/compose-spec.json"
_REFERENCE = "see the reference of Compose files"
_CLOSED = "unevaluatedProperties"
_UNKNOWN = "additionalProperties"


def check(document: Document) -> tuple[list[Problem], list[Problem]]:
    """Check the values of a Compose file.

    Returns:
        The problems, and the warnings. A key that the schema does not know is a warning where it is no typing
        error: a newer Compose may know it.
    """
    problems, warnings = list[Problem](), list[Problem]()
    for finding in schema_errors.findings(_schema(), document.value, document.where):
        found = finding.problem
        if finding.keyword == _UNKNOWN:
            if found.hint.startswith("did you mean"):
                problems.append(found)
            else:
                what = f"{found.what}: it is not in the Compose specification that this version knows"
                hint = f"Compose on the hosts may refuse it; {_REFERENCE}"
                warnings.append(Problem(found.where, what, hint, "compose-unknown-key"))
        elif not _has_variable(document.value, finding.path):
            problems.append(Problem(found.where, found.what, found.hint or _REFERENCE))
    return problems, warnings


def _has_variable(value: Any, path: schema_errors.Path) -> bool:
    """Return whether a variable decides over a value: Compose fills it in before it checks the type."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False
    return "$" in json.dumps(value, default=str)


@functools.cache
def _schema() -> Mapping[str, Any]:
    found = find_spec("check_jsonschema")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("check_jsonschema")
    data = Path(found.submodule_search_locations[0], _FILE).read_bytes()
    document: dict[str, Any] = json.loads(data)
    definitions = document["$defs"]
    document["$defs"] = {
        name: _closed(each, definitions) if each.get(_CLOSED) is False else each
        for name, each in definitions.items()
    }
    told: Mapping[str, Any] = _undescribed(document, definitions)
    return told


def _undescribed(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a part of the schema without its descriptions, and with the type of each form that it refers to.

    Descriptions say what a key is for; shown as hints, they would be no remedy for a wrong type.
    """
    if isinstance(node, list):
        return [_undescribed(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    # A key of a Compose file that is called `description` has a schema, not a text.
    kept = {key: value for key, value in node.items() if key != "description" or not isinstance(value, str)}
    kind = definitions.get(str(node.get("$ref")).rpartition("/")[2], {}).get("type")
    return {key: _undescribed(value, definitions) for key, value in kept.items()} | (
        {"type": kind} if kind else {}
    )


def _closed(each: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition of several parts as one: only then does an unknown key have its known ones."""
    parts = [definitions[part["$ref"].rpartition("/")[2]] for part in each.get("allOf", [])]
    rest = {key: value for key, value in each.items() if key not in ("allOf", _CLOSED)}
    return {
        **rest,
        "type": "object",
        "properties": {key: value for part in (*parts, each) for key, value in part["properties"].items()},
        "patternProperties": {"^x-": {}},
        _UNKNOWN: False,
    }
