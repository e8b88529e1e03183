"""A real containerd without Docker, with directories of its own, and with the kubelet's interface."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.rig.needs import needs
from tests.rig.process import Daemon

CONFIG = """\
version = 2
root = "{home}/root"
state = "{home}/state"
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  disable_cgroup = true
  disable_apparmor = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{home}/cni"
    conf_dir = "{home}/cni"
"""
NAMESPACE = "k8s.io"


class Containerd:
    """A running containerd: `host` is its address as DOCKER_HOST has it."""

    def __init__(self, home: Path, command: list[str]) -> None:
        self.home, self._command = home, command
        self.socket = home / "containerd.sock"
        self.host = f"containerd://{self.socket}"

    @classmethod
    def launch(cls) -> Self:
        """Starts it."""
        home = Path(tempfile.mkdtemp(prefix="waybill-containerd-"))
        (home / "config.toml").write_text(CONFIG.format(home=home))
        (home / "cni").mkdir()
        made = cls(home, [needs("containerd"), "--config", str(home / "config.toml")])
        made.start()
        return made

    def start(self) -> None:
        """Starts the daemon, again after `stop_daemon`."""
        self._daemon = Daemon(self._command, self.home / "log")
        self._daemon.wait_until(lambda: self.ctr("version", check=False).returncode == 0)

    def stop_daemon(self) -> None:
        """Stops the daemon and keeps its data."""
        self._daemon.stop()

    def stop(self) -> None:
        """Stops it and removes its data."""
        self._daemon.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def ctr(
        self, *words: str, check: bool = True, namespace: str = NAMESPACE
    ) -> subprocess.CompletedProcess[str]:
        """Runs its own command line."""
        command = ["ctr", "--address", str(self.socket), "--namespace", namespace, *words]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=120)

    def images(self) -> dict[str, str]:
        """Gives the digest of every image by its name in full."""
        lines = self.ctr("images", "ls").stdout.splitlines()[1:]
        return {line.split()[0]: line.split()[2] for line in lines}

    def blob(self, digest: str) -> Path:
        """Gives the file of a blob."""
        return self.home / "root/io.containerd.content.v1.content/blobs/sha256" / digest[7:]
