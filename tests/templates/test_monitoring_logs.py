"""JSON lines on stdout reach the log server by journald, Docker's drivers, rsyslog and syslog-ng."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.init import init_project
from tests.rig.cache import CACHE
from tests.rig.engine import Engine, wait_for
from tests.rig.host import Host
from tests.rig.needs import needs
from tests.rig.process import Daemon
from tests.rig.services import launched

PRODUCT = "door-bell"
LINE = {"time": "2026-11-30T12:00:00.5Z", "level": "info", "message": 'rang "twice"', "door": {"number": 7}}
UNIT = """[Service]
Type=oneshot
SyslogIdentifier=door-bell
ExecStart=/bin/cat /root/lines
"""
TEXT = "panic: no bell"


SERVER = """
import socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with open(sys.argv[2], "ab", 0) as file:
            while data := self.request.recv(65536):
                file.write(data)
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
"""
UNPACK = """
import json, msgpack, sys
found = msgpack.Unpacker(open(sys.argv[1], "rb"))
print(json.dumps([[each[0], each[2]] for each in found]))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files") / PRODUCT
    init_project(directory, "monitoring")
    return directory / "monitoring/logs"


@pytest.fixture(scope="module")
def machine(docker_engine: Engine) -> Iterator[Host]:
    """A host with a service that writes a line of JSON and a line of text, and the address of the server."""
    needs("host-docker")
    busybox = Path(needs("busybox"))
    with launched(docker_engine, "bookworm-docker") as made:
        made.check(
            "ip link set lo up && ip addr add 192.0.2.30/32 dev lo && mkdir -p /root/image/bin /etc/docker"
        )
        made.run("cat > /root/lines", stdin=f"{json.dumps(LINE)}\n{TEXT}\n".encode())
        made.run("cat > /etc/systemd/system/door-bell.service", stdin=UNIT.encode())
        made.push(busybox, "/root/image/bin/busybox")
        made.push(busybox, "/usr/local/bin/busybox")
        made.check("cp /root/lines /root/image/lines")
        yield made


def unpack(machine: Host, name: str) -> None:
    """Installs what the rig has of a Debian package: its files, over those of the host."""
    needs(name)
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(CACHE / name, ".")
        packed.seek(0)
        done = machine.run("tar --keep-directory-symlink --no-same-owner -xf - -C /", stdin=packed)
    assert done.rc == 0, done.err
    machine.check("ldconfig && systemctl daemon-reload")


@contextmanager
def server(machine: Host, path: Path, port: int = 6514) -> Iterator[None]:
    """Runs a log server in the network of the host, which writes what it gets into a file here."""
    pid = (
        machine.engine.docker("inspect", "--format", "{{.State.Pid}}", machine.container)
        .stdout.decode()
        .strip()
    )
    command = ["nsenter", "--net", "--target", pid, sys.executable, "-c", SERVER, str(port), str(path)]
    daemon = Daemon(command, path.with_suffix(".log"))
    try:
        daemon.wait_until(lambda: "listening" in daemon.tail(), 60)
        yield
    finally:
        daemon.stop()


def received(path: Path, number: int) -> list[Any]:
    """Waits for lines at the log server."""
    wait_for(f"{number} lines", lambda: path.exists() and path.read_bytes().count(b"\n") >= number, 60)
    return [json.loads(line) for line in path.read_text().splitlines()]


def expect(found: list[Any]) -> None:
    """Checks that the object arrived as an object, and the text as a text."""
    assert [each["service"] for each in found] == [PRODUCT, PRODUCT]
    assert [each["host"] for each in found] == ["airgap", "airgap"]
    assert [each.get("log") for each in found] == [LINE, None]
    assert [each.get("text") for each in found] == [None, TEXT]


def test_journald_keeps_the_lines_as_they_are(machine: Host, files: Path) -> None:
    machine.push(files / "journald.conf", "/etc/systemd/journald.conf.d/door-bell.conf")
    machine.check(
        "systemctl restart systemd-journald && systemctl daemon-reload && systemctl start door-bell"
    )
    said = machine.check("journalctl -q -u door-bell -t door-bell -o json").splitlines()
    messages = [json.loads(line)["MESSAGE"] for line in said]
    assert json.loads(messages[0]) == LINE
    assert messages[1] == TEXT
    assert machine.check("ls /var/log/journal") != ""
    assert machine.run("journalctl -q -u systemd-journald").out.count("Unknown key") == 0


def test_rsyslog_sends_objects_and_texts(machine: Host, files: Path, tmp_path: Path) -> None:
    unpack(machine, "rsyslog")
    machine.push(files / "rsyslog.conf", "/etc/rsyslog.d/60-door-bell.conf")
    checked = machine.run("rsyslogd -N1")
    assert (checked.rc, "error" in checked.err) == (0, False), checked.err
    # As the package does when it is installed: journald's messages go to the service of this name.
    with server(machine, tmp_path / "lines"):
        machine.check("systemctl -q enable rsyslog && systemctl restart syslog.socket rsyslog")
        machine.check("systemctl start door-bell")
        found = received(tmp_path / "lines", 2)
    machine.check("systemctl stop syslog.socket rsyslog && systemctl -q disable rsyslog")
    expect(found[:2])


def test_syslog_ng_sends_objects_and_texts(machine: Host, files: Path, tmp_path: Path) -> None:
    unpack(machine, "syslog-ng")
    machine.push(files / "syslog-ng.conf", "/etc/syslog-ng/conf.d/60-door-bell.conf")
    checked = machine.run("mkdir -p /var/lib/syslog-ng && syslog-ng --syntax-only")
    assert (checked.rc, "rror" in checked.err) == (0, False), checked.err
    with server(machine, tmp_path / "lines"):
        machine.check("systemctl start syslog-ng && systemctl start door-bell")
        # It may read the journal from its beginning: earlier lines, too.
        found = received(tmp_path / "lines", 2)
    machine.check("systemctl stop syslog-ng")
    expect(found[:2])


@pytest.mark.parametrize("driver", ["json-file", "journald", "fluentd"])
def test_docker_hands_the_lines_on(machine: Host, files: Path, tmp_path: Path, driver: str) -> None:
    machine.push(files / f"docker/{driver}.json", "/etc/docker/daemon.json")
    machine.check("systemctl restart docker")
    assert machine.check("docker info --format '{{.LoggingDriver}}'").strip() == driver
    machine.check(
        "docker image inspect bell >/dev/null 2>&1 || tar -C /root/image -c . | docker import - bell"
    )
    with server(machine, tmp_path / "stream", 24224):
        run = "docker run --network none --name door-bell-1 bell /bin/busybox cat /lines"
        try:
            assert machine.check(run).splitlines()[1] == TEXT
            lines = taken(machine, tmp_path / "stream", driver)
        finally:
            machine.run("docker rm -f door-bell-1")
    assert json.loads(lines[0]) == LINE
    assert lines[1].strip() == TEXT


def taken(machine: Host, stream: Path, driver: str) -> list[str]:
    """Returns the lines as they arrive where the driver hands them to, with the name of the container."""
    if driver == "json-file":
        path = machine.check("docker inspect --format '{{.LogPath}}' door-bell-1").strip()
        rows = [json.loads(line) for line in machine.check(f"cat {path}").splitlines()]
        assert [row["attrs"] for row in rows] == [{"tag": "door-bell-1"}] * 2
        return [row["log"] for row in rows]
    if driver == "journald":
        said = machine.check("journalctl -q -o json CONTAINER_NAME=door-bell-1").splitlines()
        found = [json.loads(line) for line in said]
        assert {each["SYSLOG_IDENTIFIER"] for each in found} == {"door-bell-1"}
        return [each["MESSAGE"] for each in found]
    wait_for("lines", lambda: stream.exists() and TEXT.encode() in stream.read_bytes(), 60)
    # Fluentd's forward protocol: [tag, time, {log: line, …}] in MessagePack.
    command = [needs("buildbot"), "-c", UNPACK, str(stream)]
    records = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert {each[0] for each in records} == {"door-bell-1"}
    return [each[1]["log"] for each in records]
