"""`bundle init` lays down something that works, and never overwrites."""

from __future__ import annotations

import json
import os
import re
import subprocess

import jsonschema
import pytest
import yaml

from bundler.commands.init import init_project, is_addition, templates
from bundler.commands.schema import bundle_schema
from bundler.config.loader import load
from installer.core.errors import UnfitInputError, UsageError
from tests.rig.needs import needs

ALL = "the templates are ansible, ci, compose, helm, monitoring, quadlet, salt, script, service, systemd"
PRODUCTS = [name for name, _ in templates() if not is_addition(name)]
ADDITIONS = [name for name, _ in templates() if is_addition(name)]


def test_the_files_are_listed_and_named_after_the_directory(tmp_path):
    written = init_project(tmp_path / "new" / "door-bell")
    assert [str(path) for path in written] == sorted(str(path) for path in written)
    assert "deploy/systemd/door-bell.service" in {str(path) for path in written}
    for path in written:
        assert b"example-product" not in (tmp_path / "new/door-bell" / path).read_bytes()


def test_a_directory_whose_name_is_no_product_name_gets_a_stand_in(tmp_path):
    init_project(tmp_path / "My Product!")
    assert b"product: example-product\n" in (tmp_path / "My Product!/bundle.yaml").read_bytes()


def test_an_existing_bundle_yaml_stops_everything(tmp_path):
    (tmp_path / "bundle.yaml").write_text("mine")
    with pytest.raises(UnfitInputError, match="exists already"):
        init_project(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.yaml"]
    assert (tmp_path / "bundle.yaml").read_text() == "mine"


def test_other_files_that_are_there_are_kept(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text("mine")
    written = init_project(tmp_path)
    assert (tmp_path / "CHANGELOG.md").read_text() == "mine"
    assert "CHANGELOG.md" not in {str(path) for path in written}


def test_nothing_is_left_when_a_file_cannot_be_written(tmp_path):
    (tmp_path / "docs").write_text("a file where a directory is needed")
    with pytest.raises(UnfitInputError, match="cannot be written"):
        init_project(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "docs"]


def test_a_template_that_is_not_there_is_named_with_a_way_out(tmp_path):
    with pytest.raises(UsageError, match="compos") as caught:
        init_project(tmp_path, "compos")
    assert caught.value.hint == f"did you mean compose? {ALL}"
    with pytest.raises(UsageError, match="nomad") as caught:
        init_project(tmp_path, "nomad")
    assert caught.value.hint == ALL
    # Each of them is described, also one that is added later.
    assert all(creates for _, creates in templates())


@pytest.mark.parametrize("template", PRODUCTS)
def test_an_editor_finds_the_schema_next_to_bundle_yaml(tmp_path, template):
    init_project(tmp_path / "bell", template)
    first = (tmp_path / "bell/bundle.yaml").read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    document = json.loads((tmp_path / "bell" / first.partition("=")[2]).read_text())
    assert document == bundle_schema().document
    value = yaml.safe_load((tmp_path / "bell/bundle.yaml").read_text())
    jsonschema.Draft202012Validator(document).validate(value)
    assert not jsonschema.Draft202012Validator(document).is_valid(value | {"porduct": "x"})


@pytest.mark.parametrize("template", ADDITIONS)
def test_an_addition_goes_into_a_directory_of_its_own_and_is_named_after_the_product(tmp_path, template):
    init_project(tmp_path)
    (tmp_path / "bundle.yaml").write_text('schema: waybill/v1\nproduct: "7-door-bells"  # rings\n')
    before = (tmp_path / "bundle.yaml").read_bytes()
    written = init_project(tmp_path, template)
    assert {path.parts[0] for path in written} == {template}
    assert (tmp_path / template / "README.md").is_file()
    for path in written:
        assert not re.search("example[-_]product", str(path) + (tmp_path / path).read_text())
    assert (tmp_path / "bundle.yaml").read_bytes() == before
    # What is there stays, and what was removed comes back.
    (tmp_path / template / "README.md").write_text("mine")
    last = written[-1]
    (tmp_path / last).unlink()
    assert init_project(tmp_path, template) == [last]
    assert (tmp_path / template / "README.md").read_text() == "mine"


def test_names_of_metrics_have_no_hyphen_and_no_digit_at_their_beginning(tmp_path):
    init_project(tmp_path / "7-door-bells", "monitoring")
    rules = (tmp_path / "7-door-bells/monitoring/rules/product.rules.yml").read_text()
    assert "rate(_7_door_bells_requests_total{" in rules


@pytest.mark.parametrize("template", ["systemd", "compose"])
def test_what_is_commented_out_can_be_used_as_it_is(tmp_path, template):
    init_project(tmp_path / "shop", template)
    path = tmp_path / "shop/bundle.yaml"
    text, count = re.subn(r"(?m)^( *)# (?=(validate|on_change|timeout|cluster): )", r"\1", path.read_text())
    assert count == 4
    values = tmp_path / "shop/config/values.yaml"
    values.write_text(f"{values.read_text()}cluster: {{node: '', peers: []}}\n")
    (tmp_path / "shop/config/values.schema.json").write_text("{}")
    path.write_text(text)
    jsonschema.validate(yaml.safe_load(text), json.loads(bundle_schema().text))
    if template == "systemd":
        loaded = load(path.parent, "0.1.0")
        (item,) = (each for each in loaded.items if each.kind == "template")
        assert (item.validate, item.timeout) == (("sh", "-n", "{file}"), 60)


@pytest.mark.needs("helm3")
def test_the_chart_of_the_template_is_carried_whole_and_renders(tmp_path):
    init_project(tmp_path / "door-bell", "helm")
    loaded = load(tmp_path / "door-bell", "0.1.0")
    top = "deploy/helm/door-bell"
    carried = {item.member for item in loaded.items if item.kind == "chart"}
    assert carried == {f"{top}/{name}" for name in ("Chart.yaml", "templates/deployment.yaml", "values.yaml")}
    command = [needs("helm3"), "template", "bell", str(tmp_path / "door-bell" / top)]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (deployment,) = yaml.safe_load_all(made)
    assert deployment["metadata"]["name"] == "door-bell"


def test_the_example_program_runs_and_answers_its_probe(tmp_path):
    product = tmp_path / "door-bell"
    init_project(product)
    program = product / "bin/door-bell"
    assert os.access(program, os.X_OK)
    (tmp_path / "conf").write_text("version=1\ngreeting=hi\npulse=1\n")
    environment = {
        **os.environ, "RUNTIME_DIRECTORY": str(tmp_path), "EXAMPLE_PRODUCT_CONF": str(tmp_path / "conf")
    }  # fmt: skip
    check = [str(program), "check"]
    assert subprocess.run(check, env=environment, check=False, capture_output=True).returncode == 1
    with subprocess.Popen([str(program)], env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "door-bell 1: hi\n"
        while not (tmp_path / "alive").exists():
            assert running.poll() is None
        assert subprocess.run(check, env=environment, check=False).returncode == 0
        running.terminate()
        assert running.wait(10) == 0
    assert not (tmp_path / "alive").exists()


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ([], "wrote CHANGELOG.md", "next: `bundle create v0.1.0`"),
        (["--template", "monitoring"], "wrote monitoring/README.md", "next: read monitoring/README.md"),
        (["door-bell"], "wrote door-bell/CHANGELOG.md", "next: `bundle create v0.1.0 -C door-bell`"),
        (["my bell"], "wrote my bell/CHANGELOG.md", "next: `bundle create v0.1.0 -C 'my bell'`"),
    ],
)
def test_init_prints_commands_that_can_be_typed_in_the_current_directory(
    tmp_path, monkeypatch, capsys, words, first, last
):
    from bundler.cli.main import app, console
    from installer.shared.command.command_line import run_app

    monkeypatch.chdir(tmp_path)
    assert run_app(console, app, ["init", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == (first, last)
    for line in lines[:-1]:
        assert (tmp_path / line.removeprefix("wrote ")).is_file()


def test_the_help_of_init_names_every_template(capsys):
    from bundler.cli.main import app, console
    from installer.shared.command.command_line import run_app

    assert run_app(console, app, ["init", "--help"]) == 0
    create, add = " ".join(capsys.readouterr().out.split()).split("which create a product, and ")
    assert {name for name in PRODUCTS if name not in create} == set()
    assert {name for name in ADDITIONS if name not in add.split("which add")[0]} == set()
