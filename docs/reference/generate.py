"""Writes the pages of the reference that the code knows best: `python -m docs.reference.generate`.

`bundle-yaml.md` and `audit.md` come from JSON Schemas, `cli.md` from the commands' help. A test holds them
current.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
WIDTH = 100
Schema = dict[str, Any]


def bundle_yaml() -> str:
    """Return the page about bundle.yaml."""
    schema: Schema = json.loads(
        (TOP / "schemas" / "v1" / "bundle-yaml.schema.json").read_text(encoding="utf-8")
    )
    parts = [
        "# bundle.yaml\n",
        "<!-- Made by docs/reference/generate.py from schemas/v1/bundle-yaml.schema.json. -->\n",
        schema["description"] + "\n",
        "An editor with a YAML language server completes and checks the file with the schema.\n",
    ]
    for name, raw in schema["properties"].items():
        field = _resolved(schema, raw)
        must = ", required" if name in schema["required"] else ""
        parts.append(f"## `{name}`{must}\n\n{_said(field)}\n")
        inner = _resolved(schema, field.get("items", field))
        for form in inner.get("oneOf", [inner]):
            if "title" in form:
                title = form["title"].replace("{", "`{").replace("}", "}`")
                parts.append(f"### {title}\n\n{_said(_resolved(schema, form))}\n")
            if "properties" in form:
                parts.append(_table(schema, form))
    return "\n".join(parts)


def _resolved(schema: Schema, field: Schema) -> Schema:
    if "$ref" not in field:
        return field
    target = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
    return {**_resolved(schema, target), **{key: value for key, value in field.items() if key != "$ref"}}


def _said(field: Schema) -> str:
    """Return description, choices and default in one line."""
    words = [field.get("description", "")]
    choices = field.get("enum") or field.get("items", {}).get("enum")
    if choices:
        words.append("One of " + ", ".join(f"`{choice}`" for choice in choices) + ".")
    if "const" in field:
        words.append(f"Always `{field['const']}`.")
    if "default" in field:
        default = field["default"]
        words.append(f"Default: `{default if isinstance(default, str) else json.dumps(default)}`.")
    elif "examples" in field:
        example = field["examples"][0]
        words.append(f"For example `{example if isinstance(example, str) else json.dumps(example)}`.")
    return " ".join(word for word in words if word)


def _table(schema: Schema, form: Schema) -> str:
    rows = ["| field | is |", "|---|---|"]
    for name, field in form["properties"].items():
        must = " (required)" if name in form.get("required", []) else ""
        said = _said(_resolved(schema, field)).replace("|", "\\|")
        rows.append(f"| `{name}`{must} | {said} |")
    return "\n".join(rows) + "\n"


def cli() -> str:
    """Return the page about the two commands."""
    from bundler.cli.main import app as bundle
    from installer.cli.app import app as install

    parts = [
        "# Commands\n",
        "<!-- Made by docs/reference/generate.py from --help. -->\n",
        "[Exit codes](exit-codes.md) are the same for both.\n",
        "`--json` prints one JSON document on stdout; progress and logs go to stderr.\n",
    ]
    for program, app in (("bundle", bundle), ("install", install)):
        parts += _helps(program, typer.main.get_command(app))
    return "\n".join(parts)


def _helps(path: str, command: Any, parent: Any = None) -> Iterator[str]:
    """Return the help of a command and of all below it."""
    name = path.rsplit(" ", 1)[-1]
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH)
    text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    text = text.replace("install BUNDLE [OPTIONS] {BUNDLE}", "install [OPTIONS] BUNDLE")
    yield f"{'#' * min(len(path.split()) + 1, 3)} {path}\n\n```text\n{text.strip()}\n```\n"
    for below, inner in getattr(command, "commands", {}).items():
        if below == "apply":  # what `install BUNDLE` does; the word itself need not be typed
            yield from _helps(f"{path} BUNDLE", inner, context)
        elif not inner.hidden:
            yield from _helps(f"{path} {below}", inner, context)


def audit() -> str:
    """Return the page about the audit log."""
    schema: Schema = json.loads((TOP / "schemas" / "v1" / "audit.schema.json").read_text(encoding="utf-8"))
    events = schema["properties"]["event"]["oneOf"]
    needed = {
        event: rule["then"]["required"]
        for rule in schema["allOf"]
        for event in _events(rule["if"]["properties"]["event"])
    }
    rows = [
        f"| `{each['const']}` | {each['description']} | {_names(needed.get(each['const'], ()))} |"
        for each in events
    ]
    parts = [
        "# The audit log\n",
        "<!-- Made by docs/reference/generate.py from schemas/v1/audit.schema.json. -->\n",
        schema["description"] + " [How to read it](../how-to/read-the-audit-log.md).\n",
        "## Events\n",
        "| `event` | means | always has, besides the fields of every record |\n|---|---|---|\n"
        + "\n".join(rows),
        "\n## Fields\n",
        _table(schema, schema),
    ]
    return "\n".join(parts)


def _events(rule: Schema) -> list[str]:
    return rule.get("enum") or [rule["const"]]


def _names(fields: Iterable[str]) -> str:
    return ", ".join(f"`{field}`" for field in fields)


PAGES = {"bundle-yaml.md": bundle_yaml, "cli.md": cli, "audit.md": audit}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")
