"""`install config show`: every value of a host with the file and line that set it; secrets are not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rig.bench import Bench, environment
from tests.rig.configured import configured, in_cluster, layer

PASSWORD = "tr0ub4dor&3"


@pytest.fixture
def layered(bench: Bench) -> Bench:
    """A host with a file of each layer; nothing is installed yet."""
    environment(bench.host, "production\n")
    in_cluster(bench, "plant-3")
    layer(bench, "environments/production.yaml", f"\nlog: debug\ndb: {{password: '{PASSWORD}', pin: 7007}}\n")
    layer(bench, "environments/test.yaml", "log: nonsense\n")
    layer(bench, "clusters/plant-3.yaml", "peers:\n- b\n- c\n")
    layer(bench, "values.yaml", "ports:\n  client: 14222\n")
    return bench


def shown(bench: Bench, *words: str) -> dict[str, tuple[Any, str, str | None, int | None]]:
    code, found, said = bench.run("config", "show", *words)
    assert code == 0, said
    return {
        each["key"]: (each["value"], each["layer"], each["file"], each["line"]) for each in found["values"]
    }


def test_each_value_has_the_layer_the_file_and_the_line_that_set_it(layered: Bench) -> None:
    path = str(layered.bundle(configured()))
    environments = "/etc/waybill/lan-chat/environments/production.yaml"
    assert shown(layered, "--bundle", path, "--set", "ports.monitor=9") == {
        "ports.client": (14222, "host", "/etc/waybill/lan-chat/values.yaml", 2),
        "ports.monitor": (9, "set", "--set ports.monitor", None),
        "log": ("debug", "environment", environments, 2),
        "peers": (["b", "c"], "cluster", "/etc/waybill/lan-chat/clusters/plant-3.yaml", 1),
        "db.password": ("***", "environment", environments, 3),
        "db.pin": ("***", "environment", environments, 3),
    }


def test_a_key_or_a_group_is_shown_alone(layered: Bench) -> None:
    path = str(layered.bundle(configured()))
    assert list(shown(layered, "log", "--bundle", path)) == ["log"]
    assert list(shown(layered, "ports", "--bundle", path)) == ["ports.client", "ports.monitor"]


def test_a_key_that_is_not_there_is_wrong_usage_with_the_one_that_was_meant(layered: Bench) -> None:
    code, found, _ = layered.run(
        "config", "show", "ports.cleint", "--bundle", str(layered.bundle(configured()))
    )
    assert (code, found.hint) == (2, "did you mean ports.client?")
    assert found.what == "lan-chat 1.4.0 has no value 'ports.cleint'"


def test_without_a_bundle_it_is_about_the_installed_release(layered: Bench) -> None:
    assert layered.run("config", "show")[0] == 2
    assert layered.run(str(layered.bundle(configured())), "--yes")[0] == 0
    code, found, _ = layered.run("config", "show")
    assert (code, found["installed"], found["release"]["version"]) == (0, True, "1.4.0")
    assert [each["layer"] for each in found["layers"]] == ["defaults", "environment", "cluster", "host"]
    assert {each["applied"] for each in found["values"]} == {True}


def test_a_value_that_was_changed_since_the_release_was_installed_is_told(layered: Bench) -> None:
    assert layered.run(str(layered.bundle(configured())), "--yes")[0] == 0
    layer(layered, "values.yaml", "ports:\n  client: 15222\n")
    found = layered.run("config", "show")[1]
    assert [each["key"] for each in found["values"] if not each["applied"]] == ["ports.client"]
    assert "changed since lan-chat 1.4.0 was installed: ports.client" in layered.text("config", "show")[1]


def test_what_it_prints_has_no_secret(layered: Bench) -> None:
    assert layered.run(str(layered.bundle(configured())), "--yes")[0] == 0
    said = layered.text("config", "show")[1] + json.dumps(layered.run("config", "show")[1])
    assert PASSWORD not in said
    (row,) = [line.split() for line in layered.text("config", "show")[1].splitlines() if "db.pin" in line]
    assert row == ["db.pin", "***", "/etc/waybill/lan-chat/environments/production.yaml:3"]


def test_what_is_wrong_is_told_next_to_what_could_be_merged(layered: Bench) -> None:
    layer(layered, "values.yaml", "log: loud\n")
    code, found, _ = layered.run("config", "show", "--bundle", str(layered.bundle(configured())))
    assert (code, found["code"]) == (15, "host-not-ready")
    assert [each["where"] for each in found["problems"][1:]] == ["/etc/waybill/lan-chat/values.yaml:1"]
    assert {each["key"] for each in found["values"]} >= {"log", "ports.client"}


def test_an_empty_name_of_a_bundle_is_not_the_installed_release(layered: Bench) -> None:
    assert layered.run("config", "show", "--bundle", "")[0] == 2
    assert layered.run("config", "validate", "")[0] == 2


def test_a_bundle_that_is_not_trusted_is_not_parsed(layered: Bench) -> None:
    data = bytearray(configured().tar())
    data[data.index(b"monitor: 8222")] ^= 1
    (layered.stick / "b.tar").write_bytes(data)
    assert layered.run("config", "show", "--bundle", str(layered.stick / "b.tar"))[0] == 11


def test_a_document_of_the_installed_release_that_was_edited_is_not_believed(layered: Bench) -> None:
    assert layered.run(str(layered.bundle(configured())), "--yes")[0] == 0
    (edited,) = (layered.host / "var/lib/waybill/lan-chat/releases").glob("*/config/values.yaml")
    edited.chmod(0o600)
    edited.write_text("ports: {client: 1}\n")
    code, found, _ = layered.run("config", "show")
    assert (code, found["problems"][1]["what"]) == (15, "differs from the verified content")


def test_a_warning_is_called_one(layered: Bench) -> None:
    layer(layered, "values.yaml", "db: {password: short-no-more}\n", 0o644)
    for words in (("show", "--bundle"), ("validate",)):
        said = layered.text("config", *words, str(layered.bundle(configured())))[1]
        (line,) = [each for each in said.splitlines() if "contains secrets (db.password)" in each]
        assert line.startswith("warning: ")


def test_a_short_secret_is_warned_of_once_and_only_where_it_is_in_force(layered: Bench) -> None:
    path = str(layered.bundle(configured()))
    layer(layered, "clusters/plant-3.yaml", "db: {password: '77'}\n")
    layer(layered, "values.yaml", "db: {password: '78'}\n")
    said = layered.text("config", "show", "--bundle", path)[1]
    (line,) = [each for each in said.splitlines() if "is shorter than 4 characters" in each]
    assert "/etc/waybill/lan-chat/values.yaml: db.password" in line
    layer(layered, "values.yaml", "db: {password: long-enough}\n")
    assert "is shorter than" not in layered.text("config", "show", "--bundle", path)[1]
