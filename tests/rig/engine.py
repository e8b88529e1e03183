"""Docker engines: several versions beside each other, each with its own socket, data and (if asked) network.

By default an engine shares the tests' network namespace and has no bridge: containers run with `network_mode`
none or host, and it reaches a registry on loopback. With `network=True` it has a namespace of its own,
with bridge and published ports in it and no way out; `Engine.inside` makes a command run in there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.rig.cache import CACHE
from tests.rig.needs import needs
from tests.rig.process import Daemon

SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Kind:
    """A version of the engine, and how it stores images."""

    component: str
    containerd_store: bool = False


KINDS = {
    "20": Kind("docker20"),
    "26": Kind("docker26"),
    "28": Kind("docker28"),
    "28-containerd": Kind("docker28", containerd_store=True),
}


class Engine:
    """A running Docker engine: ours, or one that somebody gave us."""

    def __init__(self, host: str, programs: str = "", home: Path | None = None) -> None:
        self.host, self.home = host, home
        self.path = ":".join(filter(None, [programs, SBIN, os.environ.get("PATH", "")]))
        self._command: list[str] = []
        self._root = self._data = Path()
        self._daemon: Daemon | None = None
        self._client: Any = None

    # -- the daemon -------------------------------------------------------------------------------

    @classmethod
    def given(cls, host: str) -> Self:
        """Takes an engine that runs already; it is never stopped."""
        engine = cls(host)
        if engine.docker("version", check=False).returncode != 0:
            raise RuntimeError(f"the engine given as {host} does not answer")
        return engine

    @classmethod
    def launch(
        cls,
        name: str = "20",
        *,
        network: bool = False,
        home: Path | None = None,
        data: Path | None = None,
        args: tuple[str, ...] = (),
    ) -> Self:
        """Starts an engine of one kind of KINDS.

        Args:
            name: the kind.
            network: give it a network namespace of its own, with Docker's bridge.
            home: where data, sockets and log lie; by default a temporary folder that `stop` removes.
            data: where the data lies instead.
            args: more arguments for dockerd.
        """
        kind = KINDS[name]
        dockerd = needs(kind.component)
        programs = (
            ""
            if kind.component == "docker20"
            else f"{CACHE / kind.component}/usr/bin:{CACHE / kind.component}/usr/sbin"
        )
        temporary = Path(tempfile.mkdtemp(prefix=f"waybill-docker{name}-")) if home is None else None
        root = home or temporary
        assert root is not None
        engine = cls(f"unix://{root}/docker.sock", programs, temporary)
        engine._root, engine._data = root, data or root / "data"
        config = {"features": {"containerd-snapshotter": True}} if kind.containerd_store else {}
        (root / "daemon.json").write_text(json.dumps(config))
        command = [
            dockerd,
            "--host",
            engine.host,
            "--config-file",
            f"{root}/daemon.json",
            "--data-root",
            str(engine._data),
        ]
        command += ["--exec-root", f"{root}/exec", "--pidfile", f"{root}/docker.pid", *args]
        if network:
            command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        else:
            command += ["--bridge=none", "--iptables=false"]
        engine._command = command
        engine.start()
        return engine

    def start(self) -> None:
        """Starts the daemon (again, after `kill` or `stop_daemon`)."""
        env = {**os.environ, "PATH": self.path, "TMPDIR": tempfile.gettempdir()}
        env.pop("DOCKER_HOST", None)
        # Where PID 1 buries nobody, a killed containerd looks alive and dockerd waits for it in vain.
        for pidfile in ("docker.pid", "exec/containerd/containerd.pid"):
            (self._root / pidfile).unlink(missing_ok=True)
        self._daemon = Daemon(self._command, self._root / "dockerd.log", env)
        self._daemon.wait_until(self.answers)

    def answers(self) -> bool:
        """Tells whether the daemon answers."""
        return self.docker("version", "--format", "{{.Server.Version}}", check=False).returncode == 0

    def kill(self) -> None:
        """Kills dockerd, as a fault; its containerd dies with it, containers go on."""
        assert self._daemon is not None
        self._daemon.kill()

    def stop_daemon(self) -> None:
        """Stops the daemon and keeps its data."""
        assert self._daemon is not None
        self._daemon.stop()

    def close(self) -> None:
        """Closes the SDK's client."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def stop(self) -> None:
        """Ends what `launch` started and removes its temporary home; a given engine is left alone."""
        self.close()
        if self._daemon is None:
            return
        running = self.docker("ps", "-q", check=False).stdout.split()
        if running:
            self.docker("rm", "-f", "-v", *running, check=False)
        self._daemon.stop()
        self.unmount_below(self._root)
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)

    @staticmethod
    def unmount_below(folder: Path) -> None:
        """Takes away what is mounted below a folder."""
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)

    # -- its use ----------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def data_root(self) -> Path:
        return self._data

    @property
    def env(self) -> dict[str, str]:
        """An environment in which `docker`, `compose` and our own programs use this engine."""
        return {**os.environ, "DOCKER_HOST": self.host, "PATH": self.path, "DOCKER_BUILDKIT": "0"}

    def inside(self, *command: str) -> list[str]:
        """Makes a command run in this engine's network namespace."""
        return ["nsenter", "--net", "--target", str(self.pid), "--", *command]

    def docker(
        self, *args: str, check: bool = True, stdin: Any = None, stdout: Any = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs Docker's own command line against this engine."""
        done = subprocess.run(
            ["docker", *args], env=self.env, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(
                f"docker {' '.join(args)}: {done.returncode}: {done.stderr.decode(errors='replace')}"
            )
        return done

    def text(self, *args: str) -> str:
        """Runs `docker` and returns what it printed."""
        return self.docker(*args).stdout.decode().strip()

    @property
    def client(self) -> Any:
        """The Docker SDK's client for this engine."""
        if self._client is None:
            import docker

            self._client = docker.DockerClient(base_url=self.host, timeout=120)
        return self._client

    @property
    def version(self) -> str:
        return self.text("version", "--format", "{{.Server.Version}}")


class Engines:
    """The engines of one test session, started when first asked for."""

    def __init__(self) -> None:
        self._running: dict[str, Engine] = {}

    def get(self, name: str, *, network: bool = False) -> Engine:
        key = f"{name}+network" if network else name
        if key not in self._running:
            self._running[key] = Engine.launch(name, network=network)
        return self._running[key]

    def default(self) -> Engine:
        """Returns the engine given by the environment, else our own Docker 20.10."""
        host = os.environ.get("WAYBILL_DOCKER_HOST") or os.environ.get("DOCKER_HOST")
        if not host:
            needs("docker")
            return self.get("20")
        if "given" not in self._running:
            self._running["given"] = Engine.given(host)
        return self._running["given"]

    def stop(self) -> None:
        if self._running:
            # All at once: each waits for its daemon, and for the disk to let go of some 10,000 files.
            with ThreadPoolExecutor(len(self._running)) as pool:
                list(pool.map(Engine.stop, self._running.values()))
        self._running.clear()


def wait_for(what: str, ready: Any, seconds: float = 300) -> None:
    """Polls until a condition holds; raises TimeoutError that names it."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {seconds} s")
        time.sleep(0.1)
