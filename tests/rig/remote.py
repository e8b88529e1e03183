"""The air-gapped host as the installer's facade sees it, driven from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from installer.host.system import Completed
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
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        cwd: str | None = None,
    ) -> Completed:
        words = ["env", *(f"{key}={value}" for key, value in (env or {}).items()), *argv]
        ended = self.around("run", tuple(argv), lambda: self.host.run(words, stdin=stdin, timeout=timeout))
        if self.die_at and self.die_at in " ".join(argv):
            self._die()
        return Completed(tuple(argv), ended.rc, ended.out.encode(), ended.err.encode())

    def real(self, path: str, *, follow: bool = True) -> str:
        return super().real(path, follow=follow).removeprefix(self.root)

    def which(self, tool: str) -> str | None:
        return self.host.run(f"command -v {tool}").out.strip() or None
