"""`install config validate`: all problems of all layers at once, and what the templates make of them."""

from __future__ import annotations

import json

import pytest

from tests.rig.bench import Bench, environment
from tests.rig.configured import TEMPLATE, configured, in_cluster, layer

HOST = "/etc/waybill/lan-chat"


@pytest.fixture
def host(bench: Bench) -> Bench:
    environment(bench.host, "production\n")
    in_cluster(bench, "plant-3")
    return bench


def test_valid_values_are_exit_0(host: Bench) -> None:
    layer(host, "clusters/plant-3.yaml", "log: debug\n")
    code, found, _ = host.run("config", "validate", str(host.bundle(configured())))
    assert (code, found["code"], found["count"]) == (0, None, 6)
    assert [each["file"] for each in found["layers"]] == [
        "config/values.yaml",
        f"{HOST}/clusters/plant-3.yaml",
    ]


def test_all_problems_of_all_layers_are_told_at_once_each_in_its_file(host: Bench) -> None:
    layer(host, "environments/production.yaml", "log: loud\nports: {client: 70000}\n")
    layer(host, "clusters/plant-3.yaml", "\nprots: {client: 1}\n")
    layer(host, "values.yaml", "peers: yes\n")
    path = str(host.bundle(configured()))
    code, found, _ = host.run("config", "validate", path, "--set", "log=chatty")
    assert (code, found["code"]) == (15, "host-not-ready")
    assert sorted(each["where"] for each in found["problems"][1:]) == [
        "--set log",
        f"{HOST}/clusters/plant-3.yaml:2",
        f"{HOST}/environments/production.yaml:2",
        f"{HOST}/values.yaml:1",
    ]
    assert all(each["hint"] or each["what"] for each in found["problems"])


def test_a_value_that_a_template_needs_and_nobody_sets_is_a_problem(host: Bench) -> None:
    world = configured(template=TEMPLATE + "{{ db.host }}\n")
    code, found, _ = host.run("config", "validate", str(host.bundle(world)))
    assert code == 15
    assert "the value db.host is not defined" in found["problems"][1]["what"]


def test_without_a_bundle_it_is_about_the_installed_release(host: Bench) -> None:
    assert host.run(str(host.bundle(configured())), "--yes")[0] == 0
    assert host.run("config", "validate")[1]["installed"] is True
    layer(host, "values.yaml", "log: loud\n")
    code, found, _ = host.run("config", "validate")
    assert (code, found["problems"][1]["where"]) == (15, f"{HOST}/values.yaml:1")


def test_a_misspelt_directory_is_a_warning(host: Bench) -> None:
    layer(host, "environment/production.yaml", "log: debug\n")
    code, found, _ = host.run("config", "validate", str(host.bundle(configured())))
    assert code == 0
    assert [each["what"] for each in found["warnings"]] == [
        f"not read: {HOST}/environment; did you mean environments?"
    ]


def test_a_layer_with_secrets_that_everybody_can_read_is_a_warning(host: Bench) -> None:
    layer(host, "clusters/plant-3.yaml", "db: {password: tr0ub4dor}\n", 0o644)
    found = host.run("config", "validate", str(host.bundle(configured())))[1]
    (warning,) = found["warnings"]
    assert (
        f"{HOST}/clusters/plant-3.yaml contains secrets (db.password) and can be read by every"
        in warning["what"]
    )


def test_a_secret_in_an_error_is_hidden(host: Bench) -> None:
    layer(host, "environments/production.yaml", "db: {pin: '4711-4711'}\n")
    code, found, said = host.run("config", "validate", str(host.bundle(configured())))
    assert code == 15
    assert "4711" not in json.dumps(found) + said


def test_a_damaged_name_of_the_cluster_is_a_problem_of_its_file(host: Bench) -> None:
    in_cluster(host, "two words")
    code, found, _ = host.run("config", "validate", str(host.bundle(configured())))
    assert (code, found["problems"][1]["where"]) == (15, "/etc/waybill/cluster")


def test_before_the_first_installation_the_command_to_type_is_named(bench: Bench) -> None:
    for words, hint in (
        ("show", "`install config show --bundle BUNDLE`"),
        ("validate", "`install config validate BUNDLE`"),
    ):
        code, said = bench.text("config", words)
        assert (code, "no release is installed here" in said) == (2, True)
        assert hint.partition(" --root")[0].removesuffix("BUNDLE`") in said


def test_a_host_without_a_release_is_no_wrong_usage_of_a_comparison(bench: Bench) -> None:
    code, found, _ = bench.run("config", "diff", str(bench.bundle(configured())))
    assert (code, found.what) == (15, "lan-chat is not installed here")
    assert "there is nothing to compare with" in found.hint
