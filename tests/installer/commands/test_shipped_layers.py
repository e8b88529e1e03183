"""A release brings values for environments and clusters; whatever the site wrote wins over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from installer.host.layout import Layout
from installer.host.system import System
from installer.shared import strict_yaml
from installer.state.known_secrets import known_secrets
from tests.rig.bench import Bench, environment
from tests.rig.configured import DEFAULTS, configured, in_cluster, layer

SITE = "/etc/waybill/lan-chat"
ENVIRONMENT, CLUSTER = "config/environment/production.yaml", "config/cluster/plant-3.yaml"
SHIPPED = {
    "environment/production": "log: debug\nports: {client: 1}\npeers: [x]\n",
    "environment/staging": "log: debug\nports: {client: 8}\n",
    "cluster/plant-3": "peers: [b, c]\nports: {client: 2}\n",
    "cluster/plant-4": "peers: [z]\nports: {client: 9}\n",
}
NEXT = ("1.5.0", 100_050_000_999)


@pytest.fixture
def host(bench: Bench) -> Bench:
    """A host in production, in the cluster plant-3."""
    environment(bench.host, "production\n")
    in_cluster(bench, "plant-3")
    return bench


def bundle(bench: Bench, layers: Mapping[str, str] = SHIPPED, name: str = "b.tar", **fields: Any) -> str:
    return str(bench.bundle(configured(layers=layers, **fields), name))


def conf(bench: Bench) -> str:
    return (bench.host / "etc/chat.conf").read_text()


def test_the_cluster_wins_over_the_environment_and_both_win_over_the_defaults(host: Bench) -> None:
    assert host.run(bundle(host), "--yes")[0] == 0
    assert conf(host) == f"# {CLUSTER} of the release\nlisten 2\nlog debug\npeers b c\npassword \n"


def test_each_layer_of_the_site_wins_over_all_of_the_release(host: Bench) -> None:
    path = bundle(host)
    layer(host, "environments/production.yaml", "ports: {client: 3}\npeers: [site]\n")
    assert host.run(path, "--yes")[0] == 0
    assert conf(host).splitlines()[1:4] == ["listen 3", "log debug", "peers site"]
    layer(host, "clusters/plant-3.yaml", "ports: {client: 4}\n")
    assert host.run(path, "--yes")[0] == 0
    assert conf(host).startswith(f"# {SITE}/clusters/plant-3.yaml\nlisten 4\n")
    layer(host, "values.yaml", "ports: {client: 5}\n")
    assert host.run(path, "--yes")[0] == 0
    assert conf(host).startswith(f"# {SITE}/values.yaml\nlisten 5\n")
    assert host.run(path, "--yes", "--set", "ports.client=6")[0] == 0
    assert conf(host).startswith("# --set\nlisten 6\n")


ORDER = (
    "defaults", "release-environment", "release-cluster", "environment", "cluster", "host", "set",
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.sampled_from(ORDER[1:])))
def test_the_strongest_of_the_layers_that_are_there_sets_a_value(host: Bench, chosen: set[str]) -> None:
    number = {kind: 1000 + at for at, kind in enumerate(ORDER)}
    text = {kind: f"ports: {{client: {number[kind]}}}\n" for kind in ORDER}
    shipped = {
        name: text[kind] if kind in chosen else ""
        for name, kind in (("environment/production", ORDER[1]), ("cluster/plant-3", ORDER[2]))
    }
    for kind, name in (
        ("environment", "environments/production.yaml"),
        ("cluster", "clusters/plant-3.yaml"),
        ("host", "values.yaml"),
    ):
        layer(host, name, text[kind] if kind in chosen else "")
    words = ("--set", f"ports.client={number['set']}") if "set" in chosen else ()
    defaults = DEFAULTS.replace("client: 4222", f"client: {number['defaults']}")
    path = bundle(host, shipped, defaults=defaults)
    found = host.run("config", "show", "ports.client", "--bundle", path, *words)[1]["values"]
    strongest = max(chosen | {"defaults"}, key=ORDER.index)
    assert [(each["value"], each["layer"]) for each in found] == [(number[strongest], strongest)]


def test_values_for_others_are_not_used_and_not_even_parsed(host: Bench) -> None:
    layers = {"environment/staging": "log: [loud\n", "cluster/plant-9": "nothing: 1\n"}
    code, found, _ = host.run(bundle(host, layers), "--yes")
    assert (code, [each["layer"] for each in found["plan"]["layers"]]) == (0, ["defaults"])
    assert conf(host).startswith("# the defaults of the release\nlisten 4222\nlog info\n")


def test_the_plan_lists_the_layers_of_the_release_below_those_of_the_site(host: Bench) -> None:
    layer(host, "values.yaml", "log: info\n")
    path = bundle(host)
    found = host.run("plan", path)[1]
    assert [(each["layer"], each["file"]) for each in found["layers"]] == [
        ("defaults", "config/values.yaml"),
        ("release-environment", ENVIRONMENT),
        ("release-cluster", CLUSTER),
        ("host", f"{SITE}/values.yaml"),
    ]
    said = host.text("plan", path)[1]
    assert (
        f"  {ENVIRONMENT} (the release, for this environment)\n"
        f"  {CLUSTER} (the release, for this cluster)\n"
        f"  {SITE}/values.yaml (host)\n"
    ) in said


def test_a_host_in_no_cluster_is_told_that_the_release_has_values_for_clusters(bench: Bench) -> None:
    environment(bench.host, "production\n")
    code, found, _ = bench.run("plan", bundle(bench))
    told = (
        "not used: the values of the release for the clusters plant-3, plant-4, since this host belongs to "
        "none: write its name to /etc/waybill/cluster"
    )
    assert (code, [each for each in found["notes"] if "not used" in each]) == (0, [told])


def test_a_name_that_nearly_is_one_of_the_release_is_told(host: Bench) -> None:
    in_cluster(host, "plant3")
    said = host.text("plan", bundle(host, {"cluster/plant-3": "log: debug\n"}))[1]
    assert (
        f"not used: {CLUSTER} of the release is for the cluster plant-3; this host belongs to plant3" in said
    )


def test_what_is_wrong_in_a_layer_of_the_release_is_named_with_its_line(host: Bench) -> None:
    path = bundle(host, {"cluster/plant-3": "\npers: [b]\nlog: loud\n"})
    code, found, _ = host.run("config", "validate", path)
    places = [each["where"] for each in found["problems"][1:]]
    assert (code, sorted(places)) == (15, [f"{CLUSTER}:2", f"{CLUSTER}:3"])
    assert host.run(path, "--yes")[0] == 15


def test_the_bounds_hold_for_the_layers_of_release_and_site_together(host: Bench) -> None:
    big = "#" * strict_yaml.MAX_BYTES
    for name in ("environments/production.yaml", "clusters/plant-3.yaml", "values.yaml"):
        layer(host, name, big)
    file = host.stick / "given.yaml"
    file.write_text(big)
    path = bundle(host, {"cluster/plant-3": big, "environment/production": big})
    words = ("config", "validate", path, *("--values", str(file)) * 3)
    code, found, _ = host.run(*words)
    assert (code, [each["what"] for each in found["problems"][1:]]) == (
        15,
        ["are larger than 8 MiB together"],
    )
    # Without those of the release, or without those of the command, they are not.
    assert host.run(*words[:3])[0] == 0
    assert host.run("config", "validate", bundle(host, {}), *words[3:])[0] == 0


def test_the_installed_release_shows_its_own_layers(host: Bench) -> None:
    assert host.run(bundle(host), "--yes")[0] == 0
    code, found, _ = host.run("config", "show", "peers")
    (row,) = found["values"]
    assert (code, row["value"], row["layer"], row["file"], row["line"], row["applied"]) == (
        0, ["b", "c"], "release-cluster", CLUSTER, 1, True,
    )  # fmt: skip
    assert host.run("config", "validate")[0] == 0


def test_a_rollback_brings_back_the_layers_of_the_old_release(host: Bench) -> None:
    assert host.run(bundle(host), "--yes")[0] == 0
    before = conf(host)
    newer = bundle(
        host, SHIPPED | {"cluster/plant-3": "peers: [n]\n"}, "n.tar", version=NEXT[0], sequence=NEXT[1]
    )
    assert (
        '~ peers: ["b", "c"] (' + CLUSTER + ':1 of 1.4.0) → ["n"] (' + CLUSTER + ":1 of 1.5.0)"
        in (host.text("config", "diff", newer)[1])
    )
    assert host.run(newer, "--yes")[0] == 0
    changes = {each["key"]: each for each in host.run("config", "diff", "--release", "1.4.0")[1]["changes"]}
    assert changes["peers"]["after"]["value"] == ["b", "c"]
    code, found, _ = host.run("rollback", "--yes")
    assert (code, {each["key"] for each in found["plan"]["values"]}) == (0, {"peers", "ports.client"})
    assert conf(host) == before


def test_a_damaged_record_is_rebuilt_with_the_layers_of_the_release(host: Bench) -> None:
    path = bundle(host)
    assert host.run(path, "--yes")[0] == 0
    before = conf(host)
    (record,) = host.host.glob("var/lib/waybill/lan-chat/rendered/*/record.json")
    record.write_text("{}")
    code, _, said = host.run(path, "--yes")
    assert (code, conf(host)) == (0, before), said
    assert host.run("status")[0] == 0


def test_references_of_a_layer_of_the_release_are_checked(host: Bench) -> None:
    path = bundle(host, {"cluster/plant-3": "db: {password: secret://file/db}\n"})
    code, found, _ = host.run("secrets", "check", path)
    assert (code, [(each["where"], each["key"]) for each in found["secrets"]]) == (
        15, [(f"{CLUSTER}:1", "db.password")],
    )  # fmt: skip


def test_a_secret_of_a_layer_of_the_release_is_shown_nowhere(host: Bench) -> None:
    path = bundle(host, {"cluster/plant-3": "db: {password: tr0ub4dor-3}\n"})
    said = host.text("plan", path)[1] + json.dumps(host.run("config", "show", "--bundle", path)[1])
    assert host.run(path, "--yes")[0] == 0
    (host.host / "etc/chat.conf").write_text("edited, but still tr0ub4dor-3\n")
    said += json.dumps(host.run("plan", path, "--on-drift", "replace")[1]) + host.text("status")[1]
    assert "tr0ub4dor" not in said


def test_secrets_by_the_schema_are_known_of_every_layer_of_the_installed_release(host: Bench) -> None:
    layers = {"cluster/plant-3": "db: {pin: 471147}\n", "cluster/plant-4": "db: {pin: 471148}\n"}
    assert host.run(bundle(host, layers), "--yes")[0] == 0
    assert {"471147", "471148"} <= known_secrets(System(host.host), Layout("lan-chat"))
