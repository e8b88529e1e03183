"""The command `bundle` from the source tree, as a program for a PATH: the executable need not be built."""

from __future__ import annotations

import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def put_bundle(programs: Path) -> None:
    """Make a directory with it."""
    programs.mkdir()
    program = programs / "bundle"
    call = "import sys; from bundler.cli.main import main; sys.exit(main())"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{TOP}" exec "{sys.executable}" -c "{call}" "$@"\n')
    program.chmod(0o755)
