"""Rendered values that keep references in place of secrets: only where a secret is a value of its own."""

from __future__ import annotations

import pytest

from installer.planning.step_files.rendered import with_references
from installer.shared.rendering.confidential import Rendered, Rendering
from installer.shared.rendering.release import Template
from installer.shared.rendering.template import RenderError

REFERENCE = "secret://file/db"


def kept(template: str, secret: str = "open-sesame") -> bytes | RenderError:
    values, references = ({"db": {"password": each}, "level": 1} for each in (secret, REFERENCE))
    rendering = Rendering.of(values, references, lambda _key: "", [secret])
    (made,) = rendering([Template("values.j2", template.encode)])
    assert isinstance(made, Rendered)
    return with_references(made, "values.j2")


@pytest.mark.parametrize(
    "template",
    [
        "password: {{ db.password | tojson }}\nlevel: {{ level }}\n",
        "password: {{ db.password }}\n",
        "all: {{ db | tojson }}\nlist: [{{ db.password | tojson }}, x]\n",
        "a: &one {{ db.password | tojson }}\n---\nb: {c: {{ db.password | tojson }}, d: 0o7}\n",
    ],
)
def test_a_secret_that_is_a_value_of_its_own_stays_a_reference(template: str) -> None:
    data = kept(template)
    assert isinstance(data, bytes)
    assert REFERENCE.encode() in data
    assert b"open-sesame" not in data


@pytest.mark.parametrize(
    "template",
    [
        "password: {{ db.password | upper }}\n",
        "length: {{ db.password | length }}\n",
        "{% if db.password == 'open-sesame' %}a: 1{% else %}b: 1{% endif %}\n",
        "{{ db.password }}: 1\n",
        "a: 1\n---\nlength: {{ db.password | length }}\n",
    ],
    ids=["a filter", "a number", "a condition", "a key", "a number in the second document"],
)
def test_what_a_template_makes_of_a_secret_is_refused(template: str) -> None:
    error = kept(template)
    assert isinstance(error, RenderError)
    assert "makes something else of a secret" in error.what
    assert "open-sesame" not in str(error)


def test_a_secret_that_is_no_plain_yaml_stays_a_reference() -> None:
    assert kept("password: {{ db.password }}\n", "a: b: c") == f"password: {REFERENCE}\n".encode()
