"""What containers get of the host: every row of the rules for Compose files, and the opposites."""

from __future__ import annotations

from typing import Any

import pytest

from installer.core.risk.compose_files import examine_services
from installer.core.risk.compose_services import OPEN_NOTHING, RULES
from installer.core.risk.compose_values import PERHAPS, SET, filled
from installer.core.risk.risk import Risk
from installer.shared.child.engine_address import engine_environment
from installer.shared.child.environment import KEPT, built_environment
from tests.rig.hang import ends

KEYS = """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus
    cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search
    domainname entrypoint env_file environment expose extends external_links extra_hosts gpus group_add
    healthcheck hostname image init ipc isolation label_file labels links logging mac_address mem_limit
    mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable
    oom_score_adj pid pids_limit platform ports post_start pre_stop privileged profiles provider
    pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt shm_size
    stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user
    userns_mode uts volumes volumes_from working_dir
"""
"""The properties of a service in schema/compose-spec.json."""
SERVICES: dict[str, tuple[dict[str, Any], str]] = {
    "privileged": ({"privileged": True}, "privileged: true: the container is root on this host"),
    "network": ({"network_mode": "host"}, "network_mode: host"),
    "processes": ({"pid": "host"}, "pid: host"),
    "memory": ({"ipc": "host"}, "ipc: host"),
    "name": ({"uts": "host"}, "uts: host"),
    "control groups": ({"cgroup": "host"}, "cgroup: host"),
    "users": ({"userns_mode": "host"}, "userns_mode: host"),
    "engine, by a switch": (
        {"use_api_socket": True},
        "gets the socket of the container engine: root on this",
    ),
    "processes of others": (
        {"pid": "container:db"},
        "pid: container:db: shares it with a container of others",
    ),
    "parent": (
        {"cgroup_parent": "/system.slice"},
        "cgroup_parent: /system.slice: is in a control group that",
    ),
    "runtime": ({"runtime": "own"}, "runtime: own: runs under another runtime"),
    "graphics": ({"gpus": "all"}, "gpus: all: uses devices of the host"),
    "reserved devices": (
        {"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}},
        "uses devices of the host: capabilities=gpu",
    ),
    "volumes of others": ({"volumes_from": ["container:db"]}, "volumes_from: container:db"),
    "environment": ({"env_file": "/etc/shadow"}, "reads /etc/shadow: configuration of the host"),
    "environment, long": ({"env_file": [{"path": "~/.ssh/key"}]}, "reads ~/.ssh/key: home directories"),
    "labels": ({"label_file": ["../../x"]}, "reads ../../x: it may be outside of the directory"),
    "annotations": ({"annotations": {"a": "b"}}, "annotations: a=b: a runtime of the engine may obey them"),
    "models": ({"models": ["llm"]}, "models: llm: runs language models"),
    "build": ({"build": "."}, "build: an image is built on this host"),
    "hook": (
        {"post_start": [{"command": ["sh", "-c", "x"], "privileged": True}]},
        "post_start: privileged: true: the command is root on this host: sh, -c, x",
    ),
    "hook, at the end": ({"pre_stop": [{"command": "x", "privileged": "${P-true}"}]}, "pre_stop: privileged"),
    "a default": ({"privileged": "${P:-true}"}, "privileged: true: the container is root on this host"),
    "a default in a default": ({"pid": "${P:-${Q-ho}${R:-st}}"}, "pid: host"),
    "a value if a variable is set": ({"pid": "${WAYBILL_VERSION:+host}"}, "pid: host"),
    "capabilities": ({"cap_add": ["SYS_ADMIN"]}, "cap_add: SYS_ADMIN"),
    "device": ({"devices": ["/dev/sda:/dev/sda"]}, "uses the device /dev/sda:/dev/sda"),
    "device, long": ({"devices": [{"source": "/dev/kvm"}]}, "uses the device /dev/kvm"),
    "device rules": ({"device_cgroup_rules": ["c 1:3 mr"]}, "device_cgroup_rules: c 1:3 mr"),
    "seccomp": (
        {"security_opt": ["seccomp:unconfined"]},
        "seccomp:unconfined: a protection of the engine is off",
    ),
    "own profile": (
        {"security_opt": ["seccomp:/x.json"]},
        "seccomp:/x.json: a protection of the engine is changed",
    ),
    "apparmor": ({"security_opt": ["apparmor=unconfined"]}, "apparmor=unconfined"),
    "whole disk": ({"volumes": ["/:/host"]}, "mounts /: the whole file system of the host"),
    "whole disk, disguised": ({"volumes": ["/opt/../.:/host"]}, "the whole file system of the host"),
    "read-only": ({"volumes": ["/etc:/x:ro"]}, "mounts /etc, read-only: configuration of the host"),
    "engine": (
        {"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]},
        "the socket of the container engine: root",
    ),
    "long mount": ({"volumes": [{"type": "bind", "source": "/root", "target": "/r"}]}, "home directories"),
    "whole disk, after a long way": (
        {"volumes": ["/" + "x/../" * 200 + ":/host"]},
        ": the whole file system of the host",
    ),
    "whole disk, by a default": ({"volumes": ["${DIR:-/}:/host"]}, "mounts /: the whole file system"),
    "below --root": ({"volumes": ["${WAYBILL_ROOT:-}/etc:/x"]}, "mounts /etc: configuration of the host"),
    "home": ({"volumes": ["~/.ssh:/x"]}, "mounts ~/.ssh: home directories"),
    "out of the release": ({"volumes": ["./../../etc:/x"]}, "mounts ./../../etc: it may be outside of the"),
    "shared": (
        {"volumes": [{"type": "bind", "source": "/srv/x", "bind": {"propagation": "rshared"}}]},
        "mounts /srv/x, rshared: what it mounts appears on the host",
    ),
    "shared, short": ({"volumes": ["/srv/x:/x:rw,rshared"]}, "mounts /srv/x, rshared: what it mounts"),
    "kind by a variable": ({"volumes": [{"type": "${TZ}", "source": "/etc"}]}, "mounts /etc: configuration"),
    "all by a variable": ({"volumes": ["${TZ}"]}, "mounts ${TZ}: a variable decides"),
    "variable": ({"volumes": ["${DATA}:/data"]}, "a variable decides which directory of the host"),
    "own directory": ({"volumes": ["/srv/chat:/data"]}, "mounts /srv/chat"),
    "sysctl": ({"sysctls": {"net.ipv4.ip_forward": 1}}, "sysctls: net.ipv4.ip_forward=1"),
}


@pytest.mark.parametrize("row", SERVICES)
def test_what_a_service_gets_of_the_host_is_told(row: str) -> None:
    service, words = SERVICES[row]
    (found,) = examine_services("deploy/compose.yaml", {"services": {"web": service}})
    assert isinstance(found, Risk)
    assert (found.kind, found.where) == ("host", "deploy/compose.yaml: service web")
    assert words in found.what


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ("8080:80", "port 8080:80 on all addresses"),
        ("127.0.0.1:8080:80", "port 8080:80 on 127.0.0.1 (this host only)"),
        ("[::1]:8080:80", "port 8080:80 on [::1] (this host only)"),
        ("80", "port 80 on all addresses"),
        ({"target": 80, "published": 8080, "host_ip": "10.0.0.1"}, "port 8080:80 on 10.0.0.1"),
    ],
)
def test_ports_are_told_with_who_reaches_them(port: Any, words: str) -> None:
    (found,) = examine_services("c.yaml", {"services": {"web": {"ports": [port]}}})
    assert isinstance(found, Risk)
    assert (found.kind, found.what) == ("port", words)


def test_root_in_a_container_and_a_volume_that_is_a_directory_of_the_host_are_told() -> None:
    volumes = {"data": {"driver_opts": {"type": "none", "o": "bind", "device": "/"}}, "own": None}
    document = {"services": {"web": {"user": "0:0"}}, "volumes": volumes}
    assert [(each.kind, each.what) for each in examine_services("c", document) if isinstance(each, Risk)] == [
        ("root", "runs as root in its container: user: 0:0"),
        ("host", "mounts /: the whole file system of the host"),
    ]


@pytest.mark.parametrize(
    "document",
    [
        {
            "services": {
                "web": {"image": "x", "volumes": ["data:/data", "/data"], "user": "app", "privileged": False}
            }
        },
        {"services": {"web": {"network_mode": "bridge", "cap_drop": ["ALL"]}}, "volumes": {"data": {}}},
        None,
        [],
        {"services": []},
        {"services": {"web": None}},
        {"services": {"web": {"ports": None, "volumes": {}, "cap_add": None}}},
    ],
)
def test_a_file_that_opens_nothing_has_no_findings(document: Any) -> None:
    assert list(examine_services("c", document)) == []


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"privileged": "${TZ:-false}"}, "privileged: ${TZ}: a variable decides, which only the host knows"),
        ({"user": "$USER"}, "user: ${USER}: a variable decides"),
        ({"pid": "ho${X}st"}, "pid: ho${X}st: a variable decides"),
        ({"pid": "${X:-host"}, "pid: ${X:-host: a variable decides"),
        ({"post_start": [{"command": "x", "user": "${X}"}]}, "post_start: a variable decides"),
        ({"privileged": "x" * 5000}, "privileged: what follows after 4096 characters was not examined"),
        ({"use_host": True}, "use_host: a key that this version does not know"),
    ],
)
def test_what_was_not_examined_of_a_service_is_told(service: dict[str, Any], words: str) -> None:
    (found,) = examine_services("c.yaml", {"services": {"web": service}})
    assert isinstance(found, Risk)
    assert (found.kind, found.where) == ("unread", "c.yaml: service web")
    assert words in found.what


@pytest.mark.parametrize(
    "service",
    [
        {"user": "${U:-0}"},
        {"user": "root:chat"},
        {"user": "00"},
        {"pre_stop": [{"command": "x", "user": "root"}]},
        {"provider": {"type": "own-tool"}},
    ],
)
def test_what_runs_as_root_is_told(service: dict[str, Any]) -> None:
    (found,) = examine_services("c.yaml", {"services": {"web": service}})
    assert isinstance(found, Risk)
    assert found.kind == "root"


@pytest.mark.parametrize(
    ("section", "entry", "words"),
    [
        ("volumes", {"driver_opts": {"o": "bind", "device": "${D:-/}"}}, "mounts /: the whole file system"),
        ("volumes", {"driver_opts": {"type": "nfs"}}, "mounts what its options say: type=nfs"),
        ("volumes", {"driver": "own", "driver_opts": {"mountpoint": "/"}}, "driver own: mountpoint=/"),
        ("volumes", {"external": True, "name": "db"}, "uses the volume db, which is not of this release"),
        ("volumes", {"external": {"name": "db"}}, "uses the volume db, which is not of this release"),
        ("networks", {"external": True, "name": "host"}, "is the network of the host, and every port of it"),
        ("networks", {"external": "${E:-yes}"}, "joins the network one, which is not of this release"),
        ("networks", {"driver": "macvlan", "driver_opts": {"parent": "e0"}}, "driver macvlan: parent=e0"),
        ("configs", {"file": "/etc/shadow"}, "reads /etc/shadow: configuration of the host"),
        ("secrets", {"file": "${F:-/etc/shadow}"}, "reads /etc/shadow: configuration of the host"),
    ],
)
def test_what_the_other_sections_get_of_the_host_is_told(
    section: str, entry: dict[str, Any], words: str
) -> None:
    (found,) = examine_services("c.yaml", {section: {"one": entry}})
    assert isinstance(found, Risk)
    assert (found.kind, found.where) == ("host", f"c.yaml: {section.removesuffix('s')} one")
    assert words in found.what


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"machines": {}}, "machines: a key that this version does not know"),
        ({"volumes": {"data": {"from": "/"}}}, "from: a key that this version does not know"),
    ],
)
def test_what_was_not_examined_of_a_file_is_told(document: dict[str, Any], words: str) -> None:
    (found,) = examine_services("c.yaml", document)
    assert isinstance(found, Risk)
    assert found.kind == "unread"
    assert words in found.what


def test_every_key_of_the_specification_has_a_rule_or_opens_nothing() -> None:
    assert sorted([*RULES, *OPEN_NOTHING]) == sorted(KEYS.split())


@pytest.mark.parametrize("key", RULES)
def test_a_value_of_any_shape_is_shown_in_a_few_words(key: str) -> None:
    long = "x" * 4000
    for value in (
        long,
        [long] * 500,
        {"a": [long] * 500, "b": {long: long}},
        [{long: [[long]]}],
        7,
        True,
        None,
    ):
        with ends():
            for found in examine_services("c.yaml", {"services": {"web": {key: value}}}):
                assert isinstance(found, Risk)
                assert len(found.what) < 5000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$$HOME", "$HOME"),
        ("$HOME/x", "${HOME}/x"),
        ("${A}", "${A}"),
        ("${A-x}${A:-y}", "xy"),
        ("${A:-}", ""),
        ("${A+x}${A:+y}", ""),
        ("${A:?unset}", "${A}"),
        ("${HOME-x}${HOME:+y}", "${HOME}y"),
        ("${TZ-x}${TZ:+y}", "${TZ}${TZ}"),
        ("${WAYBILL_ROOT:-}/a${WAYBILL_ROOT:-b}${WAYBILL_ROOT-c}$WAYBILL_ROOT", "/ab"),
        ("${A:-${B:-${C:-x}}}y", "xy"),
        ("${A:-{x}}y", "{x}y"),
        ("${A:-x", "${A:-x"),
        ("${A:-${B:-x}", "${A:-${B:-x}"),
        ("a}b{c", "a}b{c"),
        ("${1}", "${1}"),
    ],
)
def test_variables_are_filled_in_as_far_as_they_are_known(text: str, value: str) -> None:
    assert filled(text) == value


def test_every_variable_that_an_install_sets_is_known_to_be_set() -> None:
    names = {*built_environment({}), *engine_environment("x")}
    assert names <= SET
    assert all(map(PERHAPS.fullmatch, (*KEPT, "LC_ALL")))


def test_defaults_in_defaults_are_read_in_one_pass() -> None:
    with ends():
        assert filled("${A:-" * 100_000 + "x" + "}" * 100_000) == "x"
        assert filled("${A:-" * 100_000).startswith("${A")
