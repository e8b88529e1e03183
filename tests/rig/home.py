"""A home directory for tests where the user has none: a container that runs as any user id, or `nobody`."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def provide() -> None:
    """Set HOME to a new directory, until the tests end, unless the user has one to write to."""
    home = Path("~").expanduser() if "HOME" in os.environ else _of_passwd()
    if home and home.is_absolute() and home.is_dir() and os.access(home, os.W_OK):
        return
    # In the directory for temporary files: the executables trust no other that everybody can write to.
    made = tempfile.mkdtemp(prefix="waybill-home-")
    os.environ["HOME"] = made
    owner = os.getpid()
    # A child that was forked ends too, but it is not the one that made it.
    atexit.register(lambda: shutil.rmtree(made, ignore_errors=True) if os.getpid() == owner else None)


def _of_passwd() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None
