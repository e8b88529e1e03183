"""A real exFAT file system on a loop device: it keeps neither modes nor owners, and has no links."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.cache import CACHE
from tests.rig.needs import ADMIN_PATH, needs

_SIZE = 16 * 1024 * 1024


def _run(*words: str | Path) -> str:
    libraries = ":".join(str(path) for path in (CACHE / "exfat/lib").glob("*-linux-gnu*"))
    env = {**os.environ, "PATH": ADMIN_PATH, "LD_LIBRARY_PATH": libraries}
    done = subprocess.run(list(map(str, words)), env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextmanager
def exfat(image: Path, mount: Path) -> Iterator[Path]:
    """Make and mount one; unmount it in the end."""
    program = needs("exfat")
    needs("loop")
    with image.open("wb") as made:
        made.truncate(_SIZE)
    _run(CACHE / "exfat/usr/sbin/mkfs.exfat", image)
    mount.mkdir(parents=True, exist_ok=True)
    device = _run("losetup", "--find", "--show", image)
    try:
        _run(program, device, mount)
        try:
            yield mount
        finally:
            _run("umount", mount)
    finally:
        _run("losetup", "--detach", device)
