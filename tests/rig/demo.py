"""A run of the quickstart's demo, with a TMPDIR of its own to look into afterwards."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from tests.rig.bundleprogram import put_bundle
from tests.rig.engine import Engine
from tests.rig.needs import needs

TOP = Path(__file__).parents[2]
SCRIPT = TOP / "examples" / "quickstart" / "demo.sh"
NO_ENGINE = "unix:///nowhere"


class Demo:
    """A demo that runs.

    Args:
        directory: Holds its TMPDIR and a `bundle` that runs from source.
        engine: The engine in whose network it runs; without one, no engine answers it.
    """

    def __init__(self, directory: Path, engine: Engine | None = None) -> None:
        for component in ("installer", "nats"):
            needs(component)
        self.tmp, programs, self.engine = directory / "tmp", directory / "bin", engine
        self.tmp.mkdir()
        put_bundle(programs)
        environment = engine.env if engine else {**os.environ, "DOCKER_HOST": NO_ENGINE}
        path = os.pathsep.join([str(programs), sysconfig.get_path("scripts"), environment["PATH"]])
        self.process = subprocess.Popen(
            engine.inside(str(SCRIPT)) if engine else [str(SCRIPT)],
            env={**environment, "PATH": path, "TMPDIR": str(self.tmp)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read_until(self, line: str) -> str:
        """Read on until a line that starts like this, and return what was printed."""
        assert self.process.stdout
        said = ""
        for text in self.process.stdout:
            said += text
            if text.startswith(line):
                break
        return said

    def stop(self, number: int) -> None:
        """Send a signal to the demo and all that it started, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return the exit code and the rest of what it printed."""
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said

    def left(self) -> list[str]:
        """Name what it left: files, processes, and anything in its engine but Docker's own networks."""
        processes = [
            f"process {path.parent.name}"
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if str(self.tmp).encode() in _words(path)
        ]
        return [*map(str, self.tmp.iterdir()), *processes, *self._left_in_engine()]

    def _left_in_engine(self) -> list[str]:
        listed = [
            ("ps", "-aq"),
            ("image", "ls", "-aq"),
            ("network", "ls", "-q", "--filter", "type=custom"),
            ("volume", "ls", "-q"),
        ]
        return [line for words in listed if self.engine for line in self.engine.text(*words).splitlines()]


def _words(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # it has ended since the directory was listed
