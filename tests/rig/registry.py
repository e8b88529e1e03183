"""A real registry on loopback, on a port the kernel chooses; its storage is open to tests that spoil it."""

from __future__ import annotations

import re
import shutil
import tempfile
import urllib.error
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
  delete: {{enabled: {deletes}}}
http:
  addr: 127.0.0.1:0
"""
AUTH = "auth:\n  htpasswd: {{realm: waybill, path: {file}}}\n"
USER, PASSWORD = "waybill", "correct-horse"
HASHED = "$2y$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS"
"""The password as bcrypt has it, with few rounds."""


class Registry:
    """A running docker-registry: `name` is what stands before an image's path, as in `name/app:1`."""

    def __init__(self, home: Path, daemon: Daemon, port: int) -> None:
        self.home, self._daemon = home, daemon
        self.name = f"127.0.0.1:{port}"
        self.url = f"http://{self.name}"

    @classmethod
    def launch(cls, *, login: bool = False, deletes: bool = True) -> Self:
        """Starts a registry with empty storage.

        Args:
            login: Whether it wants one: `USER` and `PASSWORD`.
            deletes: Whether it removes what it is asked to.
        """
        program = needs("registry")
        home = Path(tempfile.mkdtemp(prefix="waybill-registry-"))
        config = home / "config.yml"
        text = CONFIG.format(root=home / "storage", deletes=str(deletes).lower())
        (home / "htpasswd").write_text(f"{USER}:{HASHED}\n")
        config.write_text(text + (AUTH.format(file=home / "htpasswd") if login else ""))
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
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False

    def tags(self, repository: str) -> dict[str, str]:
        """Returns the digest that each tag of a repository leads to, as it is in the storage."""
        base = self.home / "storage/docker/registry/v2/repositories" / repository / "_manifests/tags"
        links = base.glob("*/current/link")
        return {link.parts[-3]: link.read_text() for link in links}

    def blob(self, digest: str) -> Path:
        """Returns the file in which the registry keeps a blob."""
        algorithm, _, value = digest.partition(":")
        return self.home / "storage/docker/registry/v2/blobs" / algorithm / value[:2] / value / "data"

    def stop(self) -> None:
        self._daemon.stop()
        shutil.rmtree(self.home, ignore_errors=True)
