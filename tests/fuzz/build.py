"""Targets of what people write: YAML, bundle.yaml, values and their schema, templates."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

import yaml

from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from installer.shared import strict_yaml
from installer.shared.rendering.template import RenderError, render
from installer.shared.values import BUILT_IN, BuiltIns, Layer, examine
from tests.fuzz.target import Target, refusal, same
from tests.rig.product import YAML
from tests.rig.products import BUNDLE, make_product

FULL = (
    BUNDLE
    + """\
trees:
  - {path: docs, install: /opt/lan-chat/web}
config:
  - {template: CHANGELOG.md, install: /etc/lan-chat/x, mode: "0640", owner: root:root}
deploy:
  - {method: script, apply: CHANGELOG.md, undo: CHANGELOG.md, optional: true}
health:
  - {http: "http://127.0.0.1:8080/healthz", within: 2m, stable: 10s, status: 204}
rollback: {plan: docs/UPGRADE.md}
upgrade_from: "1.2.0"
"""
)
MAPPINGS = ("str", "int", "float", "bool", "NoneType", "list", "dict")


def check_yaml(data: bytes) -> None:
    """What has no problem is plain, bounded, and means the same to PyYAML's own safe loader."""
    document = strict_yaml.load(data, "values.yaml")
    for problem in document.problems:
        if not problem.what or not problem.where.startswith("values.yaml"):
            raise AssertionError(f"a problem without a place: {problem}")
    if not document.problems:
        _plain(document.value)
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml and PyYAML differ on what is YAML
        same(repr(yaml.load(data.decode("utf-8"), loader)), repr(document.value))


def _plain(value: object, depth: int = 0) -> None:
    if type(value).__name__ not in MAPPINGS or depth > strict_yaml.MAX_DEPTH:
        raise AssertionError(f"not plain: {value!r:.80}")
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _plain(below, depth + 1)


def documents() -> list[bytes]:
    """Gives documents, good ones and those that mean different things to different readers."""
    odd = (
        "a: &x [1]\nb: *x\n",
        "a: 1.10\nb: no\nc: 0755\n",
        "a: 1\na: 2\n",
        "--- 1\n--- 2\n",
        "!!python/name:os.system",
        "{a: [",
    )
    return [
        YAML.encode(),
        FULL.encode(),
        b"port: 8080\nlist: [1, 2.5, x]\nn: null\n",
        *(text.encode() for text in odd),
    ]


@functools.cache
def product() -> Path:
    """Gives the directory of a product of this process."""
    return make_product(Path(mkdtemp(prefix="waybill-fuzz-")))


def check_config(data: bytes) -> None:
    """A bundle.yaml is read, or everything wrong with it is said, each with a place."""
    (product() / "bundle.yaml").write_bytes(data)
    try:
        config = load(product(), "1.4.0")
    except UnfitInputError as error:
        if not error.problems or not all(problem.where and problem.what for problem in error.problems):
            raise AssertionError("refused without a reason") from error
    else:
        for item in config.items:
            if item.given.startswith("/") or ".." in item.given.split("/"):
                raise AssertionError(f"an input from outside: {item.given}")


VALUES = b"""port: 8080
chat: {name: a, list: [1, 2]}
---schema---
{"type": "object", "properties": {"port": {"type": "integer", "maximum": 9}, "chat": {"$ref": "#/$defs/c"}},
 "$defs": {"c": {"type": "object", "required": ["x"], "additionalProperties": false}}}
---schema---
port: 1
"""


def check_values(data: bytes) -> None:
    """Values of the bundle, their schema and the site's values: problems in words, or plain values."""
    pieces = [*data.split(b"---schema---"), b"", b""]
    built_ins = BuiltIns("1.4.0", "lan-chat", "production")
    layers = [Layer("config/values.yaml", pieces[0], kind="defaults"), Layer("/etc/values.yaml", pieces[2])]
    for schema in (None, Layer("config/values.schema.json", pieces[1])):
        values, problems = examine(layers, schema, built_ins)
        same(values[BUILT_IN], asdict(built_ins))
        _plain(values)
        if not all(problem.what and problem.where for problem in problems):
            raise AssertionError(f"a problem without a place: {problems}")


KNOWN = {
    "port": 8080,
    "flag": True,
    "none": None,
    "chat": {"name": "lan & <chat>", "list": [1, 2], "items": 3},
}
TEMPLATES = (
    "port: {{ port }}\r\n{% if flag %}x{% endif %}",
    "{% for i in chat.list %}{{ loop.index }}{{ i }}{% endfor %}",
    "{{ chat.name | upper | tojson }}",
    "{{ ''.__class__.__mro__ }}",
    "{% include 'x' %}",
    "{{ range(9) | join(',') }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}",
    "{{ 'x' * 9 }}{{ '%9s' % 1 }}{{ 2 ** 9 }}",
    "{% set a = namespace(b=1) %}{{ a.b }}",
    "{{ none }}",
    "{% raw %}{{ x }}{% endraw %}",
    "{{ missing.deep }}",
    "{{ 'a'.format(port) }}",
    "{{ chat | dictsort }}",
)


def check_template(data: bytes) -> None:
    """A template is rendered from the values alone, to the same bytes twice, or refused."""
    with refusal(RenderError):
        made = render(data, "config/a.j2", KNOWN)
        if b"{" not in data:
            same(made, data)
        if b" at 0x" in made and b" at 0x" not in data:
            raise AssertionError("shows an object of the interpreter")
        same(render(data, "config/a.j2", KNOWN), made)


TAGS = (
    b"{{ ",
    b" }}",
    b"{% for x in ",
    b"{% endfor %}",
    b"{% if ",
    b"{% endif %}",
    b" | ",
    b"chat.list",
    b"__class__",
    b"range(",
    b"loop",
    b"{% set ",
    b"{% macro m() %}",
    b"{% endmacro %}",
    b"tojson",
    b"join",
    b"map(",
    b"attribute=",
    b"format(",
)
FIELDS = (
    b"binaries:",
    b"trees:",
    b"images:",
    b"config:",
    b"deploy:",
    b"health:",
    b"  - {",
    b"path: ",
    b"../",
    b"{version}",
    b": null\n",
)
TARGETS = (
    Target(
        "yaml",
        check_yaml,
        documents,
        runs=2500,
        most=2048,
        words=(b"&a", b"*a", b"<<: ", b"!!", b"---\n", b"? ", b"- ", b"|\n"),
    ),
    Target(
        "bundle-yaml",
        check_config,
        lambda: [YAML.encode(), FULL.encode(), BUNDLE.encode()],
        runs=60,
        words=FIELDS,
    ),
    Target(
        "values",
        check_values,
        lambda: [VALUES, b"a: 1\n---schema---\n{}---schema---\na: x\n"],
        runs=200,
        most=2048,
        words=(
            b'"$ref":"#/',
            b'"type":',
            b'"pattern":"',
            b'"enum":',
            b'"oneOf":',
            b'"minimum":',
            b'"items":',
        ),
    ),
    Target(
        "template",
        check_template,
        lambda: [text.encode() for text in TEMPLATES],
        runs=500,
        most=512,
        words=TAGS,
    ),
)
