"""Which files of a host are layers of its values, and what is said of those that look like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, UntrustedError
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared import strict_yaml
from installer.state.known_secrets import known_secrets
from installer.state.site_layers import SiteLayers, site_layers

LAYOUT = Layout("lan-chat")
CONFIG = "etc/waybill/lan-chat"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / CONFIG).mkdir(parents=True)
    return tmp_path


def put(host: Path, name: str, text: str = "log: info\n") -> Path:
    path = host / CONFIG / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def cluster(host: Path, text: str) -> Path:
    path = host / "etc/waybill/cluster"
    path.write_text(text)
    return path


def read(host: Path, environment: str = "production") -> SiteLayers:
    return site_layers(System(host), LAYOUT, environment)


def test_the_layers_of_a_host_are_those_of_its_environment_its_cluster_and_itself(host: Path) -> None:
    cluster(host, "plant-3\n")
    for name in ("environments/production.yaml", "clusters/plant-3.yaml", "values.yaml"):
        put(host, name)
    found = read(host)
    assert [(each.kind, each.name) for each in found.layers] == [
        ("environment", "/etc/waybill/lan-chat/environments/production.yaml"),
        ("cluster", "/etc/waybill/lan-chat/clusters/plant-3.yaml"),
        ("host", "/etc/waybill/lan-chat/values.yaml"),
    ]
    assert (found.problems, found.notes) == ([], [])


def test_a_host_of_today_has_its_own_file_or_none(host: Path) -> None:
    assert read(host) == SiteLayers()
    put(host, "values.yaml")
    assert [each.kind for each in read(host, "").layers] == ["host"]
    assert read(host, "").notes == []


def test_files_of_other_environments_and_clusters_are_nobodys_business(host: Path) -> None:
    cluster(host, "plant-3\n")
    for name in ("environments/test.yaml", "environments/production.yaml", "clusters/other.yaml"):
        put(host, name)
    found = read(host)
    assert [each.kind for each in found.layers] == ["environment"]
    assert found.notes == []


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("environment/production.yaml", "/etc/waybill/lan-chat/environment; did you mean environments?"),
        ("cluster/plant-3.yaml", "/etc/waybill/lan-chat/cluster; did you mean clusters?"),
        ("values.yml", "/etc/waybill/lan-chat/values.yml; did you mean values.yaml?"),
        ("environments/production.yml", "production.yml in /etc/waybill/lan-chat/environments; values files"),
        ("environments/production", "production in /etc/waybill/lan-chat/environments; values files"),
        (
            "environments/Production.yaml",
            "Production.yaml in /etc/waybill/lan-chat/environments; values files",
        ),
        (
            "environments/prodcution.yaml",
            "prodcution.yaml; did you mean production.yaml, which is not there?",
        ),
        ("clusters/plant-3.yaml", "this host belongs to no cluster: write its name to /etc/waybill/cluster"),
        ("environments", "/etc/waybill/lan-chat/environments is not a directory"),
    ],
)
def test_what_looks_like_a_layer_and_is_none_is_told(host: Path, name: str, note: str) -> None:
    put(host, name)
    (found,) = read(host).notes
    assert found.startswith("not read: ")
    assert note in found


@pytest.mark.parametrize("name", ["values.yaml~", "values.yaml.bak", "environments/production.yaml.rpmsave"])
def test_copies_that_editors_and_package_managers_leave_are_not_told(host: Path, name: str) -> None:
    put(host, name)
    assert read(host).notes == []


def test_many_odd_files_are_one_warning(host: Path) -> None:
    for number in range(40):
        put(host, f"clusters/{number}.txt")
    (note,) = read(host).notes
    assert "… 35 more" in note


def test_a_layer_that_is_too_large_is_not_read_into_memory(host: Path) -> None:
    put(host, "environments/production.yaml", "# " + "x" * strict_yaml.MAX_BYTES)
    found = read(host)
    assert found.layers == []
    assert [each.what for each in found.problems] == ["is larger than 1024 KiB"]


@pytest.mark.parametrize("text", ["", "two words\n", "../x\n", "UPPER\n", "a\nb\n"])
def test_the_name_of_a_cluster_is_one_word_as_that_of_an_environment(host: Path, text: str) -> None:
    cluster(host, text)
    with pytest.raises(HostNotReadyError) as caught:
        read(host)
    assert caught.value.where == "/etc/waybill/cluster"
    assert caught.value.hint == "write one word, for example: plant-3"


def test_a_cluster_that_others_could_have_set_is_not_believed(host: Path) -> None:
    cluster(host, "plant-3\n").chmod(0o666)
    with pytest.raises(UntrustedError, match="can be written by everybody"):
        read(host)


def test_secrets_of_all_layer_files_are_known_those_of_other_environments_too(host: Path) -> None:
    put(host, "values.yaml", "password: secret-of-the-host\n")
    put(host, "environments/test.yaml", "db: {password: secret-of-test}\n")
    put(host, "clusters/plant-3.yaml", "token: secret-of-plant\n")
    assert {"secret-of-the-host", "secret-of-test", "secret-of-plant"} <= known_secrets(System(host), LAYOUT)


def test_the_files_of_this_host_are_looked_through_before_all_others(host: Path) -> None:
    (host / "etc/waybill/environment").write_text("production\n")
    cluster(host, "plant-3\n")
    for number in range(5):
        put(host, f"clusters/a{number}.yaml", "# " + "x" * (strict_yaml.MAX_BYTES - 2))
    put(host, "environments/production.yaml", "db: {password: secret-of-production}\n")
    put(host, "clusters/plant-3.yaml", "db: {password: secret-of-plant}\n")
    assert {"secret-of-production", "secret-of-plant"} <= known_secrets(System(host), LAYOUT)
