"""Podman: on the command line with an image store of its own, and as an engine with Docker's API."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.rig.cache import CACHE
from tests.rig.engine import SBIN, Engine
from tests.rig.needs import ADMIN_PATH, needs
from tests.rig.process import Daemon

HOME = CACHE / "podman"
CONTAINERS = """[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
conmon_path = ["{cache}/usr/bin/conmon"]
helper_binaries_dir = ["{cache}/usr/lib/podman"]
static_dir = "{home}/static"
tmp_dir = "{home}/tmp"
volume_path = "{home}/volumes"
[engine.runtimes]
runc = ["/usr/sbin/runc", "/usr/bin/runc"]
[network]
network_backend = "netavark"
network_config_dir = "{home}/networks"
[containers]
default_ulimits = []
pids_limit = 0
"""


def settings(home: Path, driver: str) -> dict[str, str]:
    """Write what Podman reads, with all of its data below a directory; give its environment."""
    (home / "containers.conf").write_text(CONTAINERS.format(cache=HOME, home=home))
    store = ["[storage]", f'driver = "{driver}"', f'graphroot = "{home}/root"', f'runroot = "{home}/run"']
    (home / "storage.conf").write_text("\n".join(store))
    (home / "registries.conf").write_text("unqualified-search-registries = []\n")
    # Podman asks for it before it takes an image; a machine may have none.
    policy = home / ".config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": f"{HOME / 'usr/bin'}:{SBIN}:{ADMIN_PATH}",
        "LD_LIBRARY_PATH": ":".join(str(path) for path in (HOME / "usr/lib").glob("*-linux-gnu*")),
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
    }


class Podman:
    """Podman whose store lies below a directory; no daemon, nothing that stays."""

    def __init__(self, home: Path) -> None:
        self._program = needs("podman")
        # vfs copies, and needs nothing of the kernel.
        self._env = settings(home, "vfs")

    def run(self, *words: str | Path) -> str:
        """Runs a command of Podman; gives what it prints."""
        command = [self._program, *map(str, words)]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class PodmanEngine(Engine):
    """Podman's service, which speaks Docker's API: Docker's command line and client library use it."""

    _settings: dict[str, str]

    @classmethod
    def open(cls) -> Self:
        """Start the service, with its data in a temporary directory that `stop` removes."""
        program, _ = needs("podman"), needs("docker20")
        home = Path(tempfile.mkdtemp(prefix="waybill-podman-"))
        engine = cls(f"unix://{home}/podman.sock", "", home)
        engine._root, engine._data = home, home / "root"
        engine._settings = settings(home, "overlay")
        engine._command = [program, "system", "service", "--time=0", engine.host]
        engine.start()
        return engine

    def start(self) -> None:
        """Starts the service (again, after `kill` or `stop_daemon`)."""
        # A killed service leaves it behind, and the next one would not start.
        (self._root / "podman.sock").unlink(missing_ok=True)
        self._daemon = Daemon(self._command, self._root / "podman.log", self._settings)
        self._daemon.wait_until(self.answers)

    def podman(self, *words: str) -> str:
        """Runs a command of Podman on the data of the engine; gives what it prints."""
        done = subprocess.run(
            [needs("podman"), *words], env=self._settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self) -> None:
        """Ends the containers and the service, and removes the data."""
        self.close()
        self.podman("rm", "--all", "--force", "--time", "0")
        self.stop_daemon()
        self.unmount_below(self._root)
        shutil.rmtree(self._root, ignore_errors=True)
