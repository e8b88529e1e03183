"""Writes the pages of the reference that the code knows best: `python -m docs.reference.generate`.

`bundle-yaml.md`, `vault-yaml.md`, `registry-yaml.md`, `discovery-yaml.md`, `kubernetes-yaml.md`, `audit.md`
and `json.md` come from JSON Schemas, `cli.md` from the help of the commands. A test holds them current.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

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


def vault_yaml() -> str:
    """Return the page about vault.yaml."""
    return _with_login(
        "vault",
        "[How to use it](../how-to/use-secret-stores.md).",
        "Only root may be able to change the file. Whoever may is told the login of this host.",
    )


def registry_yaml() -> str:
    """Return the page about registry.yaml."""
    return _with_login(
        "registry",
        "[How to use it](../how-to/push-images-to-a-registry.md).",
        "Only root may be able to change the file. Whoever may is told the login of this host, and decides "
        "where its clusters take images from.",
    )


def _with_login(name: str, how_to: str, warning: str) -> str:
    """Return the page about a file of settings with a login in it."""
    schema: Schema = json.loads(
        (TOP / "schemas" / "v1" / f"{name}-yaml.schema.json").read_text(encoding="utf-8")
    )
    parts = [
        f"# {name}.yaml\n",
        f"<!-- Made by docs/reference/generate.py from schemas/v1/{name}-yaml.schema.json. -->\n",
        f"{schema['description']} {how_to}\n",
        f"{warning}\n",
        _table(schema, schema),
        "## `auth`\n",
    ]
    for form in schema["properties"]["auth"]["oneOf"]:
        title = form["title"].replace("{", "`{").replace("}", "}`")
        parts.append(f"### {title}\n\n{_said(form)}\n\n{_table(schema, form)}")
    return "\n".join(parts)


def discovery_yaml() -> str:
    """Return the page about discovery.yaml."""
    return _settings(
        "discovery", "run-a-cluster.md#peers-that-are-seen", "Only root may be able to change the file."
    )


def kubernetes_yaml() -> str:
    """Return the page about kubernetes.yaml."""
    rule = "Only root may be able to change the file: whoever may chooses the cluster and the programs."
    return _settings("kubernetes", "install-on-kubernetes.md#say-which-cluster", rule)


def _settings(name: str, guide: str, rule: str) -> str:
    """Return the page about a settings file without forms."""
    source = f"schemas/v1/{name}-yaml.schema.json"
    schema: Schema = json.loads((TOP / source).read_text(encoding="utf-8"))
    return "\n".join(
        [
            f"# {name}.yaml\n",
            f"<!-- Made by docs/reference/generate.py from {source}. -->\n",
            f"{schema['description']} [How to use it](../how-to/{guide}).\n",
            f"{rule}\n",
            _table(schema, schema),
        ]
    )


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
    from installer.shared.terminal.invocation import command_of

    parts = [
        "# Commands\n",
        "<!-- Made by docs/reference/generate.py from --help. -->\n",
        "[Exit codes](exit-codes.md) are the same for both.\n",
        "`--json` prints [one JSON document](json.md) on stdout; progress and logs go to stderr.\n",
    ]
    for program, app in (("bundle", bundle), ("install", install)):
        parts += _helps(program, command_of(app))
    return "\n".join(parts)


def _helps(path: str, command: Any, parent: Any = None) -> Iterator[str]:
    """Return the help of a command and of all below it."""
    name = path.rsplit(" ", 1)[-1]
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH)
    text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    text = text.replace("install BUNDLE [OPTIONS] BUNDLE", "install [OPTIONS] BUNDLE")
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


_JSON_HEAD = """\
# JSON documents

<!-- Made by docs/reference/generate.py from schemas/v1/cli. -->

With `--json`, a command prints exactly one JSON document on stdout and nothing else there, however it ends:
a success, a refusal, wrong usage, an interruption, a fault of Waybill, an executable that cannot start. All
documents have one shape: the common fields and those of the command. An error is the same document with
`code` set. A value that is not known is null. Times are RFC 3339 in UTC. Control, bidirectional and invisible
characters are `\\u` escapes.

Fields are added in later versions, never renamed or removed: ignore what you do not know. The JSON Schemas
are in `schemas/v1/cli`. The name in `schema` is the name of the file. `--help` prints the help, with `--json`
too.

With `--log-format json`, each line on stderr is a JSON object with `time`, `level` (`info`, `warning`,
`error`), `program`, `run` (the same in all lines and in the document), `product`, `host`, `event` and
`message`. Events: `message`, `progress`, `step` (a step of a transaction, with `step`, `kind`, `phase` and
`seconds`), `output` (a line that a script wrote, with `source`), `plan`, `warning`, `failure` (of something
that stops nothing), `error`, `traceback` and `ended` (with `exit`).
"""


def json_documents() -> str:
    """Return the page about the documents of `--json`."""
    folder = TOP / "schemas" / "v1" / "cli"
    schemas: dict[str, Schema] = {
        path.name.removesuffix(".schema.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.schema.json"))
    }
    shared = schemas.pop("common")["$defs"]
    parts = [_JSON_HEAD, "## Common fields\n", _fields(shared["document"])]
    for name, schema in schemas.items():
        own = {key: field for key, field in schema["properties"].items() if key != "schema"}
        also = [each["$ref"].rpartition("/")[2] for each in schema["allOf"]]
        for each in also[1:]:
            own |= shared[each]["properties"]
        head = (
            f"## {schema['title']}\n\n`waybill/cli/{name}/v1`. {schema.get('description', '')}".strip() + "\n"
        )
        parts += [head, _fields({"properties": own}) if own else "Has the common fields only.\n"]
    parts.append("## Objects\n")
    for name, schema in shared.items():
        if name != "document" and "properties" in schema:
            parts.append(f"### `{name}`\n\n{schema['description']}\n\n{_fields(schema)}")
    return "\n".join(parts)


def _fields(schema: Schema) -> str:
    rows = ["| field | type | is |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        rows += _rows(name, field)
    return "\n".join(rows) + "\n"


def _rows(name: str, field: Schema) -> Iterator[str]:
    """Return the row of a field, and those of an object that has no name of its own."""
    choices = [each for each in field.get("anyOf", [field]) if each != {"type": "null"}]
    inner = choices[0]
    said = field.get("description") or inner.get("description", "")
    words = inner.get("enum")
    if words:
        said += " One of " + ", ".join(f"`{word}`" for word in words if word) + "."
    yield f"| `{name}` | {_type(field)} | {said} |".replace("||", "\\|\\|")
    item = inner.get("items", inner)
    more = "[]" if "items" in inner else ""
    for below, each in item.get("properties", {}).items():
        yield from _rows(f"{name}{more}.{below}", each)


def _type(field: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})" if name not in ("time", "cause") else name
    names = field["type"] if isinstance(field["type"], list) else [field["type"]]
    if "items" in field:
        inner = _type(field["items"])
        names = [f"array of {inner}" if each == "array" else each for each in names]
    return " or ".join(names)


PAGES = {
    "bundle-yaml.md": bundle_yaml,
    "vault-yaml.md": vault_yaml,
    "registry-yaml.md": registry_yaml,
    "discovery-yaml.md": discovery_yaml,
    "kubernetes-yaml.md": kubernetes_yaml,
    "cli.md": cli,
    "audit.md": audit,
    "json.md": json_documents,
}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")
