"""Values for environments and clusters: found by the names of their files, checked as hosts merge them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundler.config.checks.site import values as site
from bundler.config.loader import load
from bundler.config.model import InputFile
from installer.core.format.manifest import ValuesLayer
from installer.shared.values import Layer
from tests.rig.products import add, faults, hints, put

YAML = """\
config: [{template: config/chatd.j2, install: /etc/chatd.conf}]
values: {defaults: config/values.yaml, schema: config/schema.json, environments: config/environments,
  clusters: config/clusters}
"""
SCHEMA: dict[str, Any] = {
    "properties": {"port": {"type": "integer", "maximum": 100}, "log": {"enum": ["info", "debug"]}}
}
PRODUCTION, PLANT = "config/environments/production.yaml", "config/clusters/plant-3.yaml"


@pytest.fixture
def product(product_dir: Path) -> Path:
    """A product with values for one environment and one cluster."""
    put(product_dir, "config/values.yaml", "port: 80\nlog: info\npeers: [a]\ntls: {cert: x}\n")
    put(product_dir, "config/schema.json", json.dumps(SCHEMA | {"additionalProperties": True}))
    put(product_dir, "config/chatd.j2", "port={{ port }}\npeers={{ peers | join(' ') }}\n")
    put(product_dir, PRODUCTION, "log: debug\n")
    put(product_dir, PLANT, "peers: [b, c]\n")
    add(product_dir, YAML)
    return product_dir


def described(product: Path, **schema: Any) -> None:
    put(product, "config/schema.json", json.dumps({**SCHEMA, **schema}))


def test_each_file_of_the_directories_is_a_layer_of_its_name(product: Path) -> None:
    put(product, "config/environments/test.yaml", "")
    config = load(product, "1.4.0")
    assert config.manifest.values_layers == (
        ValuesLayer("cluster", "plant-3", PLANT),
        ValuesLayer("environment", "production", PRODUCTION),
        ValuesLayer("environment", "test", "config/environments/test.yaml"),
    )
    assert {item.member for item in config.items if item.kind == "values"} == {
        "config/values.yaml", PLANT, PRODUCTION, "config/environments/test.yaml",
    }  # fmt: skip


def test_a_directory_elsewhere_gets_a_place_below_config(product: Path) -> None:
    put(product, "sites/prod/production.yaml", "log: debug\n")
    add(product, YAML.replace("environments: config/environments", "environments: sites/prod/"))
    assert load(product, "1.4.0").manifest.values_layers[1].path == PRODUCTION


def test_leftovers_of_desktops_and_editors_are_no_layers(product: Path) -> None:
    for name in (".DS_Store", "production.yaml~", ".production.yaml.swp"):
        put(product, f"config/environments/{name}", "log: loud\n")
    assert len(load(product, "1.4.0").manifest.values_layers) == 2


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("production.yml", "rename it to production.yaml, if that is the name on the hosts"),
        ("Test_1.yaml", "rename it to test-1.yaml, if that is the name on the hosts"),
        ("README.md", "name it NAME.yaml, where NAME is a name of at most 32 lower-case letters"),
        (f"{'a' * 33}.yaml", "name it NAME.yaml, where NAME is a name of at most 32 lower-case letters"),
        ("sub/production.yaml", "or move it to another directory"),
    ],
)
def test_a_file_that_is_no_layer_is_named_with_a_remedy(product: Path, name: str, remedy: str) -> None:
    put(product, f"config/environments/{name}", "log: debug\n")
    where = f"bundle.yaml:9: config/environments/{name.partition('/')[0]}"
    assert faults(product) == [f"{where} is not the values file of an environment or cluster"]
    assert remedy in hints(product)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("config/gone", "config/gone does not exist"),
        ("config/values.yaml", "config/values.yaml must be a directory with a file NAME.yaml for each name"),
        ("config/environments/*.yaml", "must be a directory with a file NAME.yaml for each name"),
        ("config/empty", "config/empty has no values files"),
        ("config/{versoin}", "{versoin} is not a known placeholder here"),
    ],
)
def test_a_directory_that_is_none_is_named(product: Path, given: str, what: str) -> None:
    (product / "config/empty").mkdir()
    add(product, YAML.replace("config/environments", f"'{given}'"))
    assert what in faults(product)[0]


def test_a_map_of_files_is_refused_with_the_form_that_is_taken(product: Path) -> None:
    add(product, YAML.replace("config/environments", f"{{production: {PRODUCTION}}}"))
    assert "values.environments must be text" in faults(product)[0]
    assert "A directory with a file NAME.yaml for each environment" in hints(product)


def test_the_defaults_are_no_layer(product: Path) -> None:
    put(product, "config/sites/defaults.yaml", "port: 80\n")
    add(
        product,
        YAML.replace("config/values.yaml", "config/sites/defaults.yaml").replace("/clusters", "/sites"),
    )
    assert (
        "config/sites/defaults.yaml has the defaults, and cannot be the values of cluster defaults, too"
        in (faults(product)[0])
    )


@pytest.mark.parametrize(
    ("path", "text", "line", "what"),
    [
        (PRODUCTION, "\nlog: loud\n", 2, "log is 'loud'"),
        (PLANT, "\n\nport: 101\n", 3, "port is 101, the maximum is 100"),
        (PLANT, "port: [80\n", 2, ""),
        (PLANT, "port: 0644\n", 1, ""),
        (PRODUCTION, "waybill: {version: '9'}\n", 1, "sets waybill"),
        (PRODUCTION, "tls: text\n", 1, "tls is a group of values (cert), not a single value"),
        (PRODUCTION, "- a\n", 1, "must hold a mapping"),
    ],
)
def test_what_is_wrong_with_a_layer_is_told_with_its_line_and_once(
    product: Path, path: str, text: str, line: int, what: str
) -> None:
    put(product, path, text)
    found = faults(product)
    assert len(found) == 1
    assert found[0].startswith(f"{path}:{line}: ")
    assert what in found[0]


def test_a_key_that_neither_defaults_nor_schema_know_is_refused(product: Path) -> None:
    described(product)
    put(product, PLANT, "\npers: [b]\n")
    assert faults(product) == [f"{PLANT}:2: pers is not a value of this release"]
    assert "did you mean peers?" in hints(product)


def test_a_default_that_the_schema_does_not_know_is_told_once_with_where_to_describe_it(
    product: Path,
) -> None:
    described(product, additionalProperties=False)
    put(product, "config/values.yaml", "port: 80\nlog: info\npeers: [a]\ntls: {cert: x}\ndb: {user: x}\n")
    (found,) = (each for each in faults(product) if "unknown key db" in each)
    assert found.startswith("config/values.yaml:5: ")
    assert "if it is a new value, describe it in config/schema.json; " in hints(product)


def test_a_layer_does_not_stand_in_for_defaults_that_a_release_does_not_have(product: Path) -> None:
    add(product, YAML.replace("defaults: config/values.yaml, schema: config/schema.json, ", ""))
    put(product, "config/chatd.j2", "log={{ log }}\n")
    put(product, PLANT, "log: debug\n")
    assert faults(product) == ["config/chatd.j2:1: uses log, which is not a known value"]


def test_two_layers_that_are_right_alone_are_checked_together(product: Path) -> None:
    rule = {
        "if": {"properties": {"log": {"const": "debug"}}},
        "then": {"properties": {"peers": {"maxItems": 1}}},
    }
    described(product, **rule)
    put(product, "config/environments/test.yaml", "log: info\n")
    (found,) = faults(product)
    assert found == (
        f"{PLANT}:1: peers has more than 1 entries (with the values for environment production and cluster "
        "plant-3)"
    )


def test_templates_are_rendered_with_the_values_of_each_layer(product: Path) -> None:
    put(product, PLANT, "peers: 5\n")
    assert faults(product) == [
        "config/chatd.j2:2: 'int' object is not iterable (rendered with the values for cluster plant-3)"
    ]


def test_templates_are_rendered_with_the_values_of_each_pair(product: Path) -> None:
    put(product, "config/chatd.j2", "{% if log == 'debug' %}{{ 1 / (peers | length - 2) }}{% endif %}\n")
    (found,) = faults(product)
    assert found == (
        "config/chatd.j2:1: division by zero (rendered with the values for environment production and "
        "cluster plant-3)"
    )


def test_templates_see_the_environment_of_a_layer(product: Path) -> None:
    put(product, "config/chatd.j2", "{% if waybill.environment == 'production' %}{{ 1 / 0 }}{% endif %}\n")
    put(product, PLANT, "log: info\n")
    assert "division by zero (rendered with the values for environment production)" in faults(product)[0]


def test_a_probe_is_rendered_with_the_values_of_each_layer(product: Path) -> None:
    add(product, YAML + "health: [{tcp: 'localhost:{{ port }}'}]\n")
    put(product, PLANT, "port: -1\n")
    (found,) = faults(product)
    assert found.startswith("bundle.yaml:11: the probe is 'localhost:-1' with the values for cluster plant-3")


def test_a_group_that_a_layer_sets_to_null_is_no_unknown_value(product: Path) -> None:
    described(product)
    put(product, "config/chatd.j2", "{% if tls is not none %}{{ tls.cert }}{% endif %}\n")
    put(product, PRODUCTION, "tls: null\n")
    assert len(load(product, "1.4.0").manifest.values_layers) == 2


def test_faults_of_the_defaults_are_told_once_and_those_of_the_layers_too(product: Path) -> None:
    put(product, "config/values.yaml", "port: 800\nlog: info\npeers: [a]\n")
    put(product, PRODUCTION, "log: loud\n")
    assert faults(product) == [
        f"{PRODUCTION}:1: log is 'loud'",
        "config/values.yaml:1: port is 800, the maximum is 100",
    ]


def test_secrets_in_a_layer_are_refused(product: Path) -> None:
    put(product, "config/values.yaml", "port: 80\nlog: info\npeers: []\ndb: {password: ''}\n")
    put(product, PLANT, "db:\n  password: tr0ub4dor-and-more\n")
    (found,) = faults(product)
    assert found.startswith(f"{PLANT}:2: contains")
    assert "tr0ub4dor" not in found


def test_more_layers_than_a_bundle_can_have_are_refused(product: Path) -> None:
    for number in range(256):
        put(product, f"config/clusters/p{number}.yaml", "")
    assert faults(product) == [
        "bundle.yaml: 258 files with values for environments and clusters are more than 256"
    ]


def test_a_layer_of_a_byte_too_much_is_refused(product: Path) -> None:
    put(product, PLANT, "#" * (1024 * 1024 + 1))
    assert faults(product) == [f"{PLANT}: is larger than 1024 KiB"]


def test_layers_that_are_too_large_together_are_refused(product: Path) -> None:
    for number in range(9):
        put(product, f"config/clusters/p{number}.yaml", "#" * 1024 * 1000)
    assert faults(product) == [
        "bundle.yaml: the values for environments and clusters are larger than 8 MiB together"
    ]


def rows(environments: int, clusters: int, size: int = 10) -> list[tuple[site.SiteValues, Layer]]:
    item = InputFile("", Path(), "", "values")
    return [
        (site.SiteValues(of, f"x{number}", item), Layer("x", b"#" * size))
        for of, count in (("environment", environments), ("cluster", clusters))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("environments", "clusters", "size", "checked", "left_out"),
    [
        (0, 3, 10, 0, 0),
        (2, 3, 10, 6, 0),
        (10, 10, 10, site.MOST_PAIRS, 0),
        (11, 10, 10, site.MOST_PAIRS, 10),
        (3, 3, 1024 * 1024, 4, 5),
    ],
)
def test_the_number_of_pairs_and_their_size_is_bounded(
    environments: int, clusters: int, size: int, checked: int, left_out: int
) -> None:
    found, rest = site.pairs(None, rows(environments, clusters, size))
    assert (len(found), rest) == (checked, left_out)
    assert len({each.words for each in found}) == checked


def test_pairs_that_were_not_checked_are_a_warning(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "MOST_PAIRS", 1)
    put(product, "config/environments/test.yaml", "")
    (warning,) = [each for each in load(product, "1.4.0").warnings if each.code == "values-pairs"]
    assert warning.what.startswith("1 pairs of an environment and a cluster were not checked together")
