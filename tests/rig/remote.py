"""The air-gapped host as the installer's facade sees it, driven from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from installer.host.system import Completed
from installer.shared.child.process import Told
from tests.rig.faulty import FaultySystem
from tests.rig.host import Host


class Remote(FaultySystem):
    """The container as a live host: its files through the kernel, its programs through the engine."""

    def __init__(self, host: Host) -> None:
        super().__init__(Path("/"))
        pid = host.engine.text("inspect", "--format", "{{.State.Pid}}", host.container)
        self.fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
        self.root = f"/proc/self/fd/{self.fd}"
        self.host = host
        self.die_at = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes = b"",
        cwd: str | None = None,
        memory: int = 0,
        told: Told | None = None,
    ) -> Completed:
        words = ["env", *(f"{key}={value}" for key, value in (env or {}).items() if value is not None), *argv]
        ended = self.around("run", tuple(argv), lambda: self.host.run(words, stdin=stdin, timeout=timeout))
        if told is not None:
            told(f"{ended.out}\n{ended.err}".encode().splitlines())
        if self.die_at and self.die_at in " ".join(argv):
            self._die()
        return Completed(tuple(argv), ended.rc, ended.out.encode(), ended.err.encode())

    def read(self, path: str, limit: int, *, follow: bool = False) -> bytes:
        # These files answer for the namespaces of whoever reads them: this side has others.
        if path.startswith("/proc/sys/"):
            rc, out, err = self.host.run(["cat", path])
            if rc != 0:
                raise FileNotFoundError(err)
            return out.encode()
        return super().read(path, limit, follow=follow)

    def _id(self, name: str, table: str, lookup: object) -> int | None:
        # The names of this side mean nothing there.
        found = self.host.run(["getent", table.rpartition("/")[2], name]).out.split(":")
        return int(found[2]) if len(found) > 2 else None

    def real(self, path: str, *, follow: bool = True) -> str:
        return super().real(path, follow=follow).removeprefix(self.root)

    def which(self, tool: str) -> str | None:
        return self.host.run(f"command -v {tool}").out.strip() or None
