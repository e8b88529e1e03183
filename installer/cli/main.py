"""The command `install`, for the air-gapped host.

Each command imports what it needs itself, so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import sys

from installer import __version__
from installer.shared.child.environment import forget_loaders
from installer.shared.terminal import interrupts, streams
from installer.shared.terminal.version import version_asked_for


def main() -> None:
    """Run `install` and exit with its code."""
    # Before any library is imported that obeys them: it would load code of whoever set the variable, as root.
    forget_loaders()
    # First of all: from here on no output that cannot be written, and no signal, ends it half way.
    streams.protect()
    interrupts.install()
    words = sys.argv[1:]
    asked = version_asked_for(words)
    if asked == "text":
        print(f"install {__version__}")
        return
    if asked:
        from installer.shared.standalone.self_report import version_document

        print(version_document("install", __version__))
        return
    try:
        from installer.cli.app import app
        from installer.cli.defaults import take_defaults
        from installer.cli.options import console
        from installer.cli.words import with_command
        from installer.shared.command.command_line import run_app

        sys.exit(run_app(console, app, words, with_command, take_defaults))
    except KeyboardInterrupt:
        # While the program was loaded.
        if "--json" in words:
            from installer.shared.command.run_record import stopped_document

            print(stopped_document("install"))
        sys.exit(130)
    finally:
        interrupts.ignore()
