"""A release is installed with the layers of its host; a host without layers is what it always was."""

from __future__ import annotations

import json

import pytest

from installer.cli.options import console
from tests.rig.bench import Bench, environment
from tests.rig.configured import DEFAULTS, configured, in_cluster, layer

HOST = "/etc/waybill/lan-chat"
RENDERED = "etc/chat.conf"


@pytest.fixture
def host(bench: Bench) -> Bench:
    environment(bench.host, "production\n")
    return bench


def conf(bench: Bench) -> str:
    return (bench.host / RENDERED).read_text()


def all_layers(bench: Bench) -> None:
    in_cluster(bench, "plant-3")
    layer(bench, "environments/production.yaml", "log: debug\nports: {client: 1}\npeers: [x]\n")
    layer(bench, "clusters/plant-3.yaml", "peers: [b, c]\nports: {client: 2}\n")
    layer(bench, "values.yaml", "ports: {client: 3}\n")


def test_stronger_layers_win_up_to_the_command_line(host: Bench) -> None:
    all_layers(host)
    path = str(host.bundle(configured()))
    assert host.run(path, "--yes")[0] == 0
    assert conf(host) == f"# {HOST}/values.yaml\nlisten 3\nlog debug\npeers b c\npassword \n"
    first, second = host.stick / "first.yaml", host.stick / "second.yaml"
    first.write_text("ports: {client: 4}\n")
    second.write_text("ports: {client: 5}\n")
    files = ("--values", str(first), "--values", str(second))
    assert host.run(path, "--yes", *files)[0] == 0
    assert conf(host).startswith("# a file given with --values\nlisten 5\n")
    assert host.run(path, "--yes", "--set", "ports.client=6", *files, "--set", "ports.client=7")[0] == 0
    assert conf(host).startswith("# --set\nlisten 7\n")


def test_the_environment_and_the_cluster_of_the_host_choose_the_files(host: Bench) -> None:
    layer(host, "environments/test.yaml", "log: debug\n")
    layer(host, "clusters/plant-4.yaml", "log: debug\n")
    in_cluster(host, "plant-3")
    assert host.run(str(host.bundle(configured())), "--yes")[0] == 0
    assert "log info" in conf(host)


def test_a_host_of_today_gets_the_same_bytes_and_is_told_nothing_new(host: Bench) -> None:
    layer(host, "values.yaml", "log: debug\n")
    path = str(host.bundle(configured(template="log {{ log }}\n{{ waybill | tojson }}\n")))
    assert host.run(path, "--yes")[0] == 0
    assert (
        conf(host) == 'log debug\n{"version": "1.4.0", "product": "lan-chat", "environment": "production"}\n'
    )
    # A directory for all hosts comes, with nothing for this one.
    in_cluster(host, "plant-3")
    layer(host, "environments/test.yaml", "log: info\n")
    layer(host, "clusters/plant-4.yaml", "log: info\n")
    code, found, said = host.run(path, "--yes")
    assert (code, found["changed"], found["warnings"]) == (0, False, [])
    assert "not read" not in said


def test_the_plan_shows_which_layers_were_read(host: Bench) -> None:
    all_layers(host)
    path = str(host.bundle(configured()))
    found = host.run("plan", path, "--set", "log=info")[1]
    assert [(each["layer"], each["file"]) for each in found["layers"]] == [
        ("defaults", "config/values.yaml"),
        ("environment", f"{HOST}/environments/production.yaml"),
        ("cluster", f"{HOST}/clusters/plant-3.yaml"),
        ("host", f"{HOST}/values.yaml"),
        ("set", "--set log"),
    ]
    said = host.text("plan", path, "--set", "log=info")[1]
    assert f"  {HOST}/clusters/plant-3.yaml (cluster)\n  {HOST}/values.yaml (host)\n  --set log\n" in said


def test_the_plan_shows_every_one_of_many_layers_where_all_is_asked_for(host: Bench) -> None:
    path, files = str(host.bundle(configured())), []
    for number in range(30):
        files.append(host.stick / f"{number:02}.yaml")
        files[-1].write_text("log: info\n")
    words = ["plan", path, *(word for file in files for word in ("--values", str(file)))]
    said = host.text(*words)[1]
    assert (str(files[0]) in said, f"{files[-1]} " in said, "--all shows all" in said) == (True, False, True)
    try:
        said = host.text("--all", *words)[1]
    finally:
        console.everything = False
    assert (str(files[0]) in said, f"{files[-1]} " in said, "--all shows all" in said) == (True, True, False)


def test_the_plan_of_a_host_without_layers_shows_none(host: Bench) -> None:
    assert "the last one wins" not in host.text("plan", str(host.bundle(configured())))[1]


def test_a_wrong_layer_stops_the_plan_with_its_file_and_line(host: Bench) -> None:
    all_layers(host)
    layer(host, "clusters/plant-3.yaml", "\npers: [b]\n")
    code, found, _ = host.run("plan", str(host.bundle(configured())))
    assert (code, found["problems"][1]["where"]) == (15, f"{HOST}/clusters/plant-3.yaml:2")
    assert found["problems"][1]["hint"] == "did you mean peers?"


TEXT_FOR_A_NUMBER = "log: debug\nports:\n  client: '4711'\n"
OF_THE_RELEASE = {
    "environment/production": "config/environment/production.yaml:3",
    "cluster/plant-3": "config/cluster/plant-3.yaml:3",
}
OF_THE_HOST = {
    "environments/production.yaml": f"{HOST}/environments/production.yaml:3",
    "clusters/plant-3.yaml": f"{HOST}/clusters/plant-3.yaml:3",
    "values.yaml": f"{HOST}/values.yaml:3",
}
EVERY_LAYER = {"defaults": "config/values.yaml:2", **OF_THE_RELEASE, **OF_THE_HOST}


@pytest.mark.parametrize("kind", [*EVERY_LAYER, "--values", "--set"])
def test_a_value_of_the_wrong_type_in_any_layer_is_told_with_its_line_before_anything_changes(
    host: Bench, kind: str
) -> None:
    in_cluster(host, "plant-3")
    assert host.run(str(host.bundle(configured())), "--yes")[0] == 0
    before, file = conf(host), host.stick / "more.yaml"
    file.write_text(TEXT_FOR_A_NUMBER)
    words = {
        "--values": ("--values", str(file)),
        "--set": ("--set", "ports.client='4711'"),
    }.get(kind, ())
    if kind in OF_THE_HOST:
        layer(host, kind, TEXT_FOR_A_NUMBER)
    layers = {kind: TEXT_FOR_A_NUMBER} if kind in OF_THE_RELEASE else {}
    defaults = DEFAULTS.replace("4222", "'4711'") if kind == "defaults" else DEFAULTS
    newer = configured("1.5.0", 100_050_000_999, defaults, layers=layers)
    code, found, _ = host.run(str(host.bundle(newer, "newer.tar")), "--yes", *words)
    place = {**EVERY_LAYER, "--values": f"{file}:3", "--set": "--set ports.client"}[kind]
    (problem,) = found["problems"][1:]
    assert (code, problem["where"]) == (15, place)
    assert problem["what"] == "ports.client must be a whole number, but is '4711'"
    assert conf(host) == before
    assert host.run("status")[1]["products"][0]["installed"]["version"] == "1.4.0"


def test_a_rollback_names_the_values_that_a_layer_has_changed_since(host: Bench) -> None:
    all_layers(host)
    assert host.run(str(host.bundle(configured())), "--yes")[0] == 0
    before = conf(host)
    layer(host, "clusters/plant-3.yaml", "peers: [z]\n")
    layer(host, "environments/production.yaml", "")
    assert host.run(str(host.bundle(configured("1.5.0", 100_050_000_999), "n.tar")), "--yes")[0] == 0
    code, found, _ = host.run("rollback", "--yes")
    assert code == 0
    assert {each["key"]: each["change"] for each in found["plan"]["values"]} == {
        "log": "changed",
        "peers": "changed",
    }
    assert conf(host) == before


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_secret_on_the_command_line_is_refused_and_shown_nowhere(host: Bench, verb: str) -> None:
    path = str(host.bundle(configured()))
    code, found, said = host.run(verb, path, "--set", "db.password=tr0ub4dor")
    assert code == 2
    assert found.where == "--set db.password"
    assert "put it into a values file that only root can read" in found.hint
    assert "tr0ub4dor" not in json.dumps(found) + said


def test_a_secret_by_the_schema_is_refused_once_the_schema_is_known(host: Bench) -> None:
    code, found, said = host.run("plan", str(host.bundle(configured())), "--set", "db.pin=471147")
    assert (code, found["problems"][1]["where"]) == (15, "--set db.pin")
    assert "471147" not in json.dumps(found) + said


def test_all_that_is_wrong_with_settings_is_wrong_usage_told_at_once(host: Bench) -> None:
    words = ("--set", "a=0644", "--set", "b=yes")
    code, found, _ = host.run("plan", str(host.bundle(configured())), *words)
    assert (code, [each["where"] for each in found["problems"]]) == (2, ["--set a", "--set b"])
    code, found, said = host.run("plan", str(host.bundle(configured())), "--set", "hunter2")
    assert (code, found.what) == (2, "the --set at place 1 has no =")
    assert "hunter2" not in json.dumps(found) + said


def test_secrets_of_every_layer_are_in_no_plan_record_or_archive(host: Bench) -> None:
    all_layers(host)
    words = ("secret-of-environment", "secret-of-cluster", "secret-of-other")
    layer(host, "environments/production.yaml", f"db: {{password: {words[0]}}}\n")
    layer(host, "clusters/plant-3.yaml", f"db: {{password: {words[1]}}}\n", 0o644)
    layer(host, "clusters/plant-4.yaml", f"db: {{password: {words[2]}}}\n")
    path = str(host.bundle(configured()))
    planned, said = host.text("plan", path)[1], host.run(path, "--yes")
    assert (
        f"{HOST}/clusters/plant-3.yaml contains secrets (db.password) and can be read by every user"
        in planned
    )
    assert host.run("support", str(host.stick / "s.tar"))[0] == 0
    shown = planned + json.dumps(said[1]) + said[2] + (host.stick / "s.tar").read_bytes().decode("latin-1")
    assert [word for word in words if word in shown] == []


def test_a_removal_leaves_the_layers_and_says_so(host: Bench) -> None:
    all_layers(host)
    assert host.run(str(host.bundle(configured())), "--yes")[0] == 0
    found = host.run("remove", "lan-chat", "--yes")[1]
    stays = {each["name"] for each in found["removal"]["stays"]}
    assert stays >= {f"{HOST}/values.yaml", f"{HOST}/environments", f"{HOST}/clusters"}
    assert (host.host / HOST[1:] / "clusters/plant-3.yaml").is_file()


ASKED = {
    "plan": ("plan", "BUNDLE"),
    "apply": ("BUNDLE", "--yes"),
    "config show": ("config", "show"),
    "config validate": ("config", "validate", "BUNDLE"),
    "config diff": ("config", "diff", "BUNDLE"),
    "secrets check": ("secrets", "check"),
}


@pytest.mark.parametrize("command", ASKED)
def test_no_command_goes_by_values_that_another_user_could_have_changed(host: Bench, command: str) -> None:
    path = str(host.bundle(configured()))
    assert host.run(path, "--yes")[0] == 0
    place = layer(host, "values.yaml", "log: debug\n", mode=0o666)
    code, _, said = host.run(*(path if word == "BUNDLE" else word for word in ASKED[command]))
    assert code == 15
    assert f"{place}: can be written by everybody (mode 0666): values that root renders could have" in said
    assert "log info" in conf(host)


@pytest.mark.parametrize("command", ASKED)
def test_no_command_takes_a_broken_link_for_a_host_without_values(host: Bench, command: str) -> None:
    path = str(host.bundle(configured()))
    assert host.run(path, "--yes")[0] == 0
    (host.host / "etc/waybill/lan-chat").mkdir(exist_ok=True)
    (host.host / "etc/waybill/lan-chat/values.yaml").symlink_to("gone.yaml")
    code, _, said = host.run(*(path if word == "BUNDLE" else word for word in ASKED[command]))
    assert code == 15
    assert "values.yaml: is a link to gone.yaml, which does not exist" in said
