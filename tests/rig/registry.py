"""A real registry on loopback, on a port the kernel chooses; its storage is open to tests that spoil it."""

from __future__ import annotations

import re
import shutil
import tempfile
import urllib.request
from pathlib import Path
from typing import Self

from tests.rig.needs import needs
from tests.rig.process import Daemon

CONFIG = """\
version: 0.1
log: {{level: info, formatter: text}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:0
"""


class Registry:
    """A running docker-registry: `name` is what stands before an image's path, as in `name/app:1`."""

    def __init__(self, home: Path, daemon: Daemon, port: int) -> None:
        self.home, self._daemon = home, daemon
        self.name = f"127.0.0.1:{port}"
        self.url = f"http://{self.name}"

    @classmethod
    def launch(cls) -> Self:
        """Starts a registry with empty storage."""
        program = needs("registry")
        home = Path(tempfile.mkdtemp(prefix="waybill-registry-"))
        config = home / "config.yml"
        config.write_text(CONFIG.format(root=home / "storage"))
        daemon = Daemon([program, "serve", str(config)], home / "log")
        listening = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
        daemon.wait_until(lambda: listening.search(daemon.tail()) is not None)
        port = listening.search(daemon.tail())
        assert port is not None
        registry = cls(home, daemon, int(port[1]))
        daemon.wait_until(registry.answers)
        return registry

    def answers(self) -> bool:
        """Tells whether the registry answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/", timeout=60) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def blob(self, digest: str) -> Path:
        """Returns the file in which the registry keeps a blob."""
        algorithm, _, value = digest.partition(":")
        return self.home / "storage/docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"

    def stop(self) -> None:
        self._daemon.stop()
        shutil.rmtree(self.home, ignore_errors=True)
