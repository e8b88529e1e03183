"""lan-chat, the example: three releases that differ as its README says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.shared.rendering.template import render
from installer.shared.values import BuiltIns, Layer, resolve
from tests.rig.needs import needs

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "examples" / "quickstart"
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])


def prepare(version: str, directory: Path) -> Path:
    subprocess.run([EXAMPLE / "prepare.sh", version, directory], env={**os.environ, "PATH": PATH}, check=True)
    return directory


def free_ports() -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return dict(zip(("client", "monitor", "cluster"), ports, strict=True))


class Site:
    """A host's directory where releases are laid out by hand, as `install` would."""

    def __init__(self, root: Path) -> None:
        self.root, self.ports = root, free_ports()
        self.values = f"listen: 127.0.0.1\nports: {self.ports}".replace("'", "").encode()

    def install(self, version: str) -> None:
        release = prepare(version, self.root / version)
        layers = [
            Layer("values.yaml", (release / "config/values.yaml").read_bytes(), kind="defaults"),
            Layer("site.yaml", self.values),
        ]
        schema = Layer("values.schema.json", (release / "config/values.schema.json").read_bytes())
        values = resolve(layers, schema, BuiltIns(version, "lan-chat"))
        config = render((release / "config/nats.conf.j2").read_bytes(), "nats.conf.j2", values)
        (self.root / "opt/lan-chat/bin").mkdir(parents=True, exist_ok=True)
        (self.root / "etc/lan-chat").mkdir(parents=True, exist_ok=True)
        (self.root / "etc/lan-chat/nats.conf").write_bytes(config)
        (release / "build").rename(self.root / f"build-{version}")
        (self.root / "opt/lan-chat/bin/nats-server").unlink(missing_ok=True)
        (binary,) = (self.root / f"build-{version}").glob("linux-*/nats-server")
        binary.rename(self.root / "opt/lan-chat/bin/nats-server")
        self.script(version, "apply.sh")

    def script(self, version: str, name: str) -> str:
        return subprocess.run(
            ["sh", self.root / version / "deploy" / name],
            env={**os.environ, "WAYBILL_ROOT": str(self.root)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    def healthy(self, within: float) -> bool:
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['monitor']}/healthz", timeout=2):
                    return True
            except OSError:
                time.sleep(0.1)
        return False

    def chat(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, EXAMPLE / "chat.py", str(self.ports["client"]), "workshop", *words],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    needs("nats")
    site = Site(tmp_path)
    yield site
    subprocess.run(
        ["sh", EXAMPLE / "product/deploy/undo.sh"],
        env={**os.environ, "WAYBILL_ROOT": str(tmp_path)},
        check=True,
    )


def test_v1_4_carries_messages_but_not_large_ones(site: Site) -> None:
    site.install("1.4.0")
    assert site.healthy(within=120)
    assert site.chat("hello") == (0, "workshop on chat-1@1.4.0, messages up to 64 KiB: hello")
    code, said = site.chat("--size", "200")
    assert code == 1
    assert "Maximum Payload Violation" in said


def test_v1_5_replaces_v1_4_and_carries_large_messages(site: Site) -> None:
    site.install("1.4.0")
    site.install("1.5.0")
    assert site.healthy(within=120)
    assert site.chat("--size", "200") == (
        0,
        "workshop on chat-1@1.5.0, messages up to 1024 KiB: 204800 bytes",
    )


def test_v1_6_starts_and_works_and_only_its_health_check_fails(site: Site) -> None:
    site.install("1.6.0")
    assert site.chat("hello")[0] == 0
    assert not site.healthy(within=1)
    config = site.root / "etc/lan-chat/nats.conf"
    checked = subprocess.run([needs("nats"), "-t", "-c", config], capture_output=True, text=True, check=True)
    assert "is valid" in checked.stdout + checked.stderr


def test_the_script_stops_its_own_server_and_nothing_else(site: Site) -> None:
    site.install("1.4.0")
    pid_file = site.root / "var/lib/lan-chat/server.pid"
    assert f"stopped nats-server, pid {pid_file.read_text().strip()}" in site.script("1.4.0", "undo.sh")
    assert not pid_file.exists()
    assert site.script("1.4.0", "undo.sh") == ""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text(f"{stranger.pid}\n")
        assert site.script("1.4.0", "undo.sh") == ""
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_cannot_start_is_reported_with_its_last_words(site: Site) -> None:
    site.install("1.4.0")
    site.script("1.4.0", "undo.sh")
    (site.root / "etc/lan-chat/nats.conf").write_text("listen: nowhere\n")
    with pytest.raises(subprocess.CalledProcessError):
        site.script("1.4.0", "apply.sh")
    assert not (site.root / "var/lib/lan-chat/server.pid").exists()


def test_the_image_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    needs("nats")
    first, second = (prepare("1.4.0", tmp_path / name) / "build/image" for name in "ab")
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(second)) for path in second.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
