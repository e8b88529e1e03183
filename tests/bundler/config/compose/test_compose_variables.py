"""Every variable of a Compose file has a value on hosts, or `create` refuses the release."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from tests.rig.products import add, faults, put

STEP = "deploy: [{method: compose, file: deploy/compose.yaml, env: deploy/compose.env.j2}]\n"
FILE = "services:\n  web:\n    image: 'web:${WAYBILL_VERSION}'\n    ports: ['${PORT}:80']\n"
REST = "images: ['web:{version}']\nvalues: {defaults: config/values.yaml}\n"


def product(
    directory: Path, env: str, file: str = FILE, values: str = "port: 80\n", more: str = STEP
) -> None:
    put(directory, "deploy/compose.env.j2", env)
    put(directory, "deploy/compose.yaml", file)
    put(directory, "config/values.yaml", values)
    add(directory, more + REST)


def test_a_template_of_a_step_is_carried_and_named_in_the_manifest(product_dir: Path) -> None:
    product(product_dir, "PORT={{ port }}\n")
    config = load(product_dir, "1.4.0")
    (step,) = config.manifest.deploy
    assert step.options == {"file": "deploy/compose.yaml", "env": "deploy/compose.env.j2"}
    (item,) = [each for each in config.items if each.member == "deploy/compose.env.j2"]
    assert (item.kind, item.install) == ("template", "")


def test_a_variable_that_nobody_sets_is_refused_with_file_line_and_remedy(product_dir: Path) -> None:
    more = STEP.replace(", env: deploy/compose.env.j2", "")
    file = FILE + "    command: ['$HOME', \"$$x\", '${A:-${B}}']\nx-a: $5\n"
    product(product_dir, "", file, more=more)
    assert faults(product_dir) == [
        "deploy/compose.yaml:4: uses $PORT, which has no value and no default",
        "deploy/compose.yaml:5: uses $HOME, which has no value and no default",
        "deploy/compose.yaml:5: uses $B, which has no value and no default",
        "deploy/compose.yaml:6: has a `$` that begins no variable",
    ]
    with pytest.raises(Exception, match="with a template under `env` of the step, or give it a default"):
        load(product_dir, "1.4.0")


def test_a_variable_that_the_template_does_not_set_is_refused(product_dir: Path) -> None:
    product(product_dir, "{% if port > 80 %}PORT=1{% endif %}\n")
    assert faults(product_dir) == [
        "deploy/compose.yaml:4: uses $PORT, which has no value and no default (with the default values)"
    ]


def test_what_is_rendered_has_to_be_an_environment_file(product_dir: Path) -> None:
    product(product_dir, "PORT={{ port }}\n", values="port: '80\n\n  HOME: x'\n")
    (fault,) = faults(product_dir)
    what = "line 2 of what is rendered sets no variable (rendered with the default values)"
    assert fault == f"deploy/compose.env.j2: {what}"


def test_a_template_that_needs_values_of_the_site_is_checked_by_its_text(product_dir: Path) -> None:
    put(product_dir, "config/schema.json", '{"properties": {"host": {"type": "string"}}}')
    product(product_dir, "HOST={{ host }}\n", values="{}\n")
    path = product_dir / "bundle.yaml"
    path.write_text(path.read_text().replace("values.yaml}", "values.yaml, schema: config/schema.json}"))
    assert faults(product_dir) == ["deploy/compose.yaml:4: uses $PORT, which has no value and no default"]
    put(product_dir, "deploy/compose.env.j2", "{{ host }}=1\n")
    load(product_dir, "1.4.0")


def test_an_image_that_only_a_host_could_name_is_refused(product_dir: Path) -> None:
    file = FILE.replace("WAYBILL_VERSION", "TAG:-1.4.0")
    product(product_dir, "PORT={{ port }}\n", file)
    load(product_dir, "1.4.0")
    put(product_dir, "deploy/compose.env.j2", "PORT={{ port }}\nTAG=2\n")
    assert faults(product_dir) == [
        "deploy/compose.yaml:3: the image of service web depends on $TAG, which is known only on the host"
    ]


def test_each_layer_of_values_is_checked(product_dir: Path) -> None:
    put(product_dir, "config/environments/production.yaml", "port: '80 $x'\n")
    product(product_dir, "PORT={{ port }}\n")
    path = product_dir / "bundle.yaml"
    path.write_text(
        path.read_text().replace("values.yaml}", "values.yaml, environments: config/environments}")
    )
    (fault,) = faults(product_dir)
    assert "sets PORT to a value that has a `$`" in fault
    assert "production" in fault
