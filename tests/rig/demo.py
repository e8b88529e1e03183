"""A run of the quickstart's demo, with a TMPDIR of its own to look into afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TOP = Path(__file__).parents[2]
SCRIPT = TOP / "examples" / "quickstart" / "demo.sh"


class Demo:
    """A demo that runs.

    Args:
        command: Runs the script.
        directory: Holds its TMPDIR and a `bundle` that runs from source.
        env: Its environment, with a PATH.
    """

    def __init__(self, command: Sequence[str], directory: Path, env: Mapping[str, str]) -> None:
        self.tmp, programs = directory / "tmp", directory / "bin"
        self.tmp.mkdir()
        programs.mkdir()
        program = programs / "bundle"
        call = "import sys; from bundler.cli.main import main; sys.exit(main())"
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{TOP}" exec "{sys.executable}" -c "{call}" "$@"\n')
        program.chmod(0o755)
        path = os.pathsep.join([str(programs), env["PATH"]])
        self.process = subprocess.Popen(
            command,
            env={**env, "PATH": path, "TMPDIR": str(self.tmp)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read_until(self, line: str) -> str:
        """Reads on until a line that starts like this; gives what was said."""
        assert self.process.stdout
        said = ""
        for text in self.process.stdout:
            said += text
            if text.startswith(line):
                break
        return said

    def end(self) -> tuple[int, str]:
        """Waits for its end; gives the exit code and the rest of what it said."""
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said
