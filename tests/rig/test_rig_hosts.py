"""The air-gapped host is what tests take it for: systemd, no way out, no Python, and it survives faults."""

from __future__ import annotations

import pytest

from tests.rig import images

UNIT = """[Service]
ExecStart=/bin/sleep infinity
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
"""


def test_host_has_neither_network_nor_python_nor_docker(airgap):
    assert airgap.check("ls /sys/class/net").split() == ["lo"]
    for name in ("python3", "docker", "containerd"):
        assert airgap.run(f"command -v {name}").rc != 0


def test_exit_code_and_both_outputs_are_told_apart(airgap):
    assert airgap.run("echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")


def test_files_go_over_and_come_back_with_their_mode(airgap, tmp_path):
    data = bytes(range(256)) * 4096
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/run").write_bytes(data)
    (tmp_path / "tree/run").chmod(0o750)
    airgap.push(tmp_path / "tree", "/tmp/over/tree")
    airgap.push(tmp_path / "tree/run", "/tmp/over/with space")
    assert airgap.check("stat -c %a /tmp/over/tree/run '/tmp/over/with space'").split() == ["750", "750"]
    airgap.pull("/tmp/over/with space", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


def test_stick_is_seen_and_cannot_be_written(airgap):
    (airgap.media / "note").write_text("hello")
    assert airgap.check("cat /media/usb/note") == "hello"
    assert airgap.run("touch /media/usb/other").rc != 0


def test_unit_restarts_when_killed_and_survives_reboot_and_power_loss(boot, tmp_path):
    host = boot("bookworm")
    (tmp_path / "unit").write_text(UNIT)
    host.push(tmp_path / "unit", "/etc/systemd/system/napper.service")
    host.check("systemctl daemon-reload && systemctl enable --now napper.service 2>/dev/null")
    pid = host.check("systemctl show -P MainPID napper.service")
    host.check(f"kill -9 {pid.strip()}")
    host.check("until systemctl show -P NRestarts napper.service | grep -qw 1; do sleep 0.1; done")
    host.check("until systemctl is-active napper.service; do sleep 0.1; done")
    first = host.check("cat /proc/sys/kernel/random/boot_id")
    host.reboot()
    assert host.check("systemctl is-active napper.service") == "active\n"
    assert host.check("cat /proc/sys/kernel/random/boot_id") != first
    host.kill()
    host.start()
    assert host.check("systemctl is-active napper.service") == "active\n"


@pytest.mark.needs("host-old")
def test_old_host_has_an_old_glibc(boot):
    assert "2.31" in boot("bullseye").check("ldd --version | head -1")


@pytest.mark.needs("host-docker", "compose")
def test_nested_docker_runs_a_compose_project_to_health(boot, docker_engine, tmp_path):
    host = boot("bookworm-docker")
    host.check("systemctl start docker")
    archive = tmp_path / "image.tar"
    images.build(docker_engine, "rig/nats:1", images.nats())
    with archive.open("wb") as stream:
        docker_engine.docker("save", "rig/nats:1", stdout=stream)
    with archive.open("rb") as stream:
        assert host.run("docker load", stdin=stream).rc == 0
    (tmp_path / "compose.yaml").write_text(
        "services: {nats: {image: 'rig/nats:1', ports: ['127.0.0.1:8222:8222']}}\n"
    )
    host.push(tmp_path / "compose.yaml", "/srv/compose.yaml")
    host.check("docker-compose -f /srv/compose.yaml up -d --wait 2>&1")
    assert "ok" in host.check("curl -sf http://127.0.0.1:8222/healthz")
