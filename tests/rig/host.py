"""The air-gapped host: a Debian with systemd as PID 1 in a container without network and Python."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

from tests.rig import images
from tests.rig.cache import CACHE
from tests.rig.engine import Engine, wait_for
from tests.rig.namespaces import Namespaces
from tests.rig.needs import needs

VARIANTS = {
    "bookworm": "host",
    "bookworm-docker": "host-docker",
    "bullseye": "host-old",
    "trixie-podman": "host-podman",
}
MEDIA = "/media/usb"
# A container shares the kernel's boot id; a new one at each start makes `reboot` look like one. The control
# groups, which Docker mounts read-only, are made writable for systemd.
BOOT = """
for m in /sys/fs/cgroup /sys/fs/cgroup/*; do mountpoint -q $m && mount -o remount,bind,rw $m; done
cat /proc/sys/kernel/random/uuid > /run/boot_id && mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
exec /sbin/init {words}
"""
# As on the command line of a kernel: systemd of Debian 13 starts on old control groups only if told.
WORDS = {"trixie-podman": "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"}


def _words(command: str | Sequence[str]) -> list[str]:
    return ["sh", "-c", command] if isinstance(command, str) else list(command)


class Result(NamedTuple):
    """What a command on the host did."""

    rc: int
    out: str
    err: str


class Host:
    """One air-gapped machine.

    `media` is a folder on this side that the host sees read-only as /media/usb: the stick.
    """

    def __init__(self, engine: Engine, container: str, media: Path) -> None:
        self.engine, self.container, self.media = engine, container, media
        self._namespaces: Namespaces | None = None

    @classmethod
    def launch(cls, engine: Engine, variant: str = "bookworm") -> Self:
        """Boots a host.

        Args:
            engine: the outer engine; the host has no access to it.
            variant: bookworm, bookworm-docker (Docker 20.10 and compose nested), bullseye (glibc 2.31) or
                trixie-podman (Podman 5.4).
        """
        needs(VARIANTS[variant])
        tag = f"waybill-rig/{variant}"
        if engine.docker("image", "inspect", tag, check=False).returncode != 0:
            images.import_rootfs(engine, tag, CACHE / f"hosts/{variant}.tar")
        media = Path(tempfile.mkdtemp(prefix="waybill-media-"))
        host = cls(engine, f"waybill-{variant}-{uuid.uuid4().hex[:8]}", media)
        # Whether a new network namespace forwards is up to the machine, and an engine in it cannot change it.
        forwarding = ("--sysctl", "net.ipv4.ip_forward=1") if variant == "bookworm-docker" else ()
        engine.docker(
            *("create", "--name", host.container, "--hostname", "airgap", "--network", "none", *forwarding),
            *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cgroupns", "private"),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
            *("--stop-signal", "SIGRTMIN+3", "--env", "container=docker"),
            *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),
            *("-v", "/var/lib/docker", "-v", "/var/lib/containers"),
            *("-v", f"{media}:{MEDIA}:ro", tag, "sh", "-c", BOOT.format(words=WORDS.get(variant, ""))),
        )
        if variant == "bookworm-docker":
            engine.docker("cp", needs("compose"), f"{host.container}:/usr/local/bin/docker-compose")
        try:
            host.start()
        except BaseException:
            host.close()
            raise
        return host

    # -- power ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Boots and waits until systemd has started what it starts."""
        self.engine.docker("start", self.container)
        wait_for(f"boot of {self.container}", self._booted, 120)

    def _booted(self) -> bool:
        return self.run("systemctl is-system-running").out.strip() in ("running", "degraded")

    def reboot(self) -> None:
        """Shuts down in order and boots again."""
        self.engine.docker("stop", "--time", "60", self.container)
        self.start()

    def kill(self) -> None:
        """Stops everything at once, without a goodbye (the page cache survives: no power cut of a disk)."""
        self.engine.docker("kill", self.container)

    def close(self) -> None:
        """Removes the host and the stick."""
        self._leave()
        self.engine.docker("rm", "-f", "-v", self.container, check=False)
        shutil.rmtree(self.media, ignore_errors=True)

    # -- commands and files -----------------------------------------------------------------------

    def command(self, command: str | Sequence[str], *, tty: bool = False) -> list[str]:
        """Makes the command line that runs a command on the host, for tests that start it themselves."""
        return [
            "docker",
            "--host",
            self.engine.host,
            "exec",
            "-i",
            *(["-t"] if tty else []),
            self.container,
            *_words(command),
        ]

    def run(
        self, command: str | Sequence[str], *, stdin: bytes | IO[bytes] = b"", timeout: float = 300
    ) -> Result:
        """Runs a command (a string goes through sh) as root and waits for it."""
        source = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        entered = self._entered()
        done = subprocess.run(
            entered.command(_words(command)) if entered else self.command(command),
            env=self.engine.env,
            capture_output=True,
            timeout=timeout,
            check=False,
            # As `docker exec` does: no terminal of ours, and no umask.
            start_new_session=True,
            umask=0o022,
            **source,
        )
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Result(code, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def _entered(self) -> Namespaces | None:
        """Return the namespaces of the container, if it runs on this machine."""
        if self._namespaces and not self._namespaces.running():
            self._leave()
        if not self._namespaces:
            said = self.engine.docker("inspect", "--format", "{{.State.Pid}}", self.container, check=False)
            self._namespaces = Namespaces.of(int(said.stdout or 0))
        return self._namespaces

    def _leave(self) -> None:
        if self._namespaces:
            self._namespaces.close()
            self._namespaces = None

    def check(self, command: str | Sequence[str]) -> str:
        """Runs a command that must succeed and returns what it printed."""
        rc, out, err = self.run(command)
        assert rc == 0, f"{command}: exit {rc}\n{out}{err}{self._why(err)}"
        return out

    def _why(self, err: str) -> str:
        """What the journal has to say, where systemctl only names it."""
        return self.run("journalctl --no-pager -q -n 40 -o cat").out if "journalctl" in err else ""

    def push(self, source: Path, target: str) -> None:
        """Copies a file or a folder to exactly this path on the host, mode kept."""
        if source.is_dir():
            with tempfile.TemporaryFile() as packed:
                with tarfile.open(fileobj=packed, mode="w") as archive:
                    archive.add(source, ".")
                packed.seek(0)
                done = self.run(
                    f"mkdir -p {shlex.quote(target)} && tar --no-same-owner -xf - -C {shlex.quote(target)}",
                    stdin=packed,
                )
        else:
            name, mode = shlex.quote(target), source.stat().st_mode & 0o7777
            with source.open("rb") as stream:
                done = self.run(
                    f'mkdir -p "$(dirname {name})" && cat > {name} && chmod {mode:o} {name}', stdin=stream
                )
        assert done.rc == 0, f"push {source} to {target}: {done.err}"

    def pull(self, source: str, target: Path) -> None:
        """Copies a file from the host."""
        with target.open("wb") as stream:
            done = subprocess.run(
                self.command(["cat", source]),
                env=self.engine.env,
                stdout=stream,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert done.returncode == 0, f"pull {source}: {done.stderr.decode(errors='replace')}"
