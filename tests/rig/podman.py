"""Podman with an image store of its own: loads and saves images, and runs nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.rig.cache import CACHE
from tests.rig.needs import ADMIN_PATH, needs


class Podman:
    """Podman whose store lies below a directory; no daemon, nothing that stays."""

    def __init__(self, home: Path) -> None:
        self._program = needs("podman")
        # vfs copies, and needs nothing of the kernel.
        lines = ["[storage]", 'driver = "vfs"', f'graphroot = "{home}/root"', f'runroot = "{home}/run"']
        settings = home / "storage.conf"
        settings.write_text("\n".join(lines))
        # Podman asks for it before it takes an image; a machine may have none.
        policy = home / ".config/containers/policy.json"
        policy.parent.mkdir(parents=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        libraries = ":".join(str(path) for path in (CACHE / "podman/usr/lib").glob("*-linux-gnu*"))
        self._env = {
            **os.environ,
            "HOME": str(home),
            "PATH": f"{CACHE / 'podman/usr/bin'}:{ADMIN_PATH}",
            "LD_LIBRARY_PATH": libraries,
            "CONTAINERS_STORAGE_CONF": str(settings),
        }

    def run(self, *words: str | Path) -> str:
        """Runs a command of Podman; gives what it prints."""
        command = [self._program, *map(str, words)]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
