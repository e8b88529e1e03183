"""A host that is this machine, but for /etc, /var/lib, /var/cache and /opt: changes to them stay in the box.

So the real installer can be driven at an engine of the rig, whose data it has to see, as on a live host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.rig.host import Result
from tests.rig.process import Daemon

COVERED = ("/etc", "/var/lib", "/var/cache", "/opt")


class Box:
    """A mount namespace with overlays."""

    def __init__(self, home: Path, daemon: Daemon) -> None:
        self.home, self._daemon = home, daemon

    @classmethod
    def open(cls) -> Self:
        """Makes one; `close` throws away what was changed in it."""
        home = Path(tempfile.mkdtemp(prefix="waybill-box-"))
        script = ["set -e", f"mount -t tmpfs box {home}"]
        for place in COVERED:
            own = home / place.strip("/").replace("/", "-")
            script.append(f"mkdir {own} {own}/upper {own}/work")
            options = f"lowerdir={place},upperdir={own}/upper,workdir={own}/work"
            script.append(f"mount -t overlay box -o {options} {place}")
        script += [f"touch {home}/ready", "exec sleep 1000000"]
        command = ["unshare", "--mount", "sh", "-c", "\n".join(script)]
        box = cls(home, Daemon(command, home.with_suffix(".log")))
        box._daemon.wait_until(lambda: box.run("test", "-e", f"{home}/ready").rc == 0, 20)
        return box

    def run(self, *words: str, **env: str) -> Result:
        """Runs a command in the box."""
        inside = ["nsenter", "--mount", "--target", str(self._daemon.pid), "--", *words]
        done = subprocess.run(inside, env={**os.environ, **env}, capture_output=True, check=False)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def close(self) -> None:
        """Ends it."""
        self._daemon.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.with_suffix(".log").unlink(missing_ok=True)
