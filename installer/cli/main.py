"""The command `install`, for the air-gapped host.

Each command imports what it needs itself, so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import sys

from installer import __version__
from installer.shared.child_env import forget_loaders
from installer.shared.terminal import interrupts, streams


def main() -> None:
    """Run `install` and exit with its code."""
    # Before any library is imported that obeys them: it would load code of whoever set the variable, as root.
    forget_loaders()
    # First of all: from here on no output that cannot be written, and no signal, ends it half way.
    streams.protect()
    interrupts.install()
    words = sys.argv[1:]
    # Before any other import: monitoring asks for the version often.
    if words == ["--version"]:
        print(f"install {__version__}")
        return
    if sorted(words) == ["--json", "--version"]:
        import json

        from installer.shared.self_report import versions

        print(json.dumps(versions("install", __version__).as_json(), indent=1))
        return
    try:
        from installer.cli.app import app
        from installer.cli.defaults import take_defaults
        from installer.cli.options import console
        from installer.cli.words import with_command
        from installer.shared.console import run_app

        sys.exit(run_app(console, app, words, with_command, take_defaults))
    except KeyboardInterrupt:
        sys.exit(130)  # while the program was loaded
    finally:
        interrupts.ignore()
