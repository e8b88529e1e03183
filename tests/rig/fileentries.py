"""What `files.change` is given in tests of it: entries, what was there before, and a host in a directory."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from installer.core.digest import sha256_hex
from installer.deploy.file_operations import ChangeFiles
from installer.deploy.operation import Json
from installer.host.context import Context
from installer.host.system import System
from tests.rig.faulty import FaultySystem, snapshot
from tests.rig.releases import context
from tests.rig.tap import Tap

NEW, OLD = b"the new one\n", b"the old one\n"
PATH = "/srv/a/x"
CHANGE = ChangeFiles()
OUTSIDE = ("var", "stage")


def on(root: Path, system: System | None = None) -> Context:
    return replace(context(system or System(root)), transaction="000001")


def there(root: Path) -> dict[str, tuple[Any, ...]]:
    """What is on the host besides our own files."""
    return snapshot(root, besides=OUTSIDE)


def gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put(root: Path, kind: str, path: str = PATH) -> None:
    """Puts something at a path: one of `BEFORE`."""
    place = root / path[1:]
    gone(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("new", "old", "third"):
        place.write_bytes({"new": NEW, "old": OLD, "third": b"somebody's work\n"}[kind])
        place.chmod(0o640 if kind == "new" else 0o600)
    elif kind == "mode":
        place.write_bytes(NEW)
        place.chmod(0o600)
    elif kind in ("link", "other link"):
        place.symlink_to("target" if kind == "link" else "elsewhere")
    elif kind in ("dir", "closed"):
        place.mkdir(mode=0o755)
        place.chmod(0o755 if kind == "dir" else 0o700)
    elif kind == "pipe":
        os.mkfifo(place)


def entry(kind: str, path: str = PATH, **fields: Any) -> Json:
    """What is wanted at a path: one of `WANTED`."""
    owner = {"uid": 0 if os.geteuid() == 0 else -1, "gid": 0 if os.geteuid() == 0 else -1}
    made: dict[str, Json] = {
        "new": {"kind": "file", "mode": 0o640, "sha256": sha256_hex(NEW), "source": "/stage/new", **owner},
        "link": {"kind": "link", "target": "target"},
        "dir": {"kind": "dir", "mode": 0o755, **owner},
        "absent": {"kind": "absent"},
    }
    return {"path": path, **made[kind], **fields}


BEFORE = ("absent", "new", "old", "mode", "link", "other link", "dir", "closed")
WANTED = ("new", "link", "dir", "absent")
IS_DIR = ("dir", "closed")


def is_possible(before: str, want: str) -> bool:
    return "absent" in (before, want) or (before in IS_DIR) == (want == "dir")


ALL = [(before, want) for before in BEFORE for want in WANTED]
PAIRS = [pair for pair in ALL if is_possible(*pair)]


def args(*entries: Json) -> Json:
    return {"batch": "test-0", "entries": list(entries)}


def wanted(before: str, want: str, path: str = PATH) -> Json:
    """An entry as the planner makes it: a directory that goes names what is in it."""
    tree = {"tree": []} if before in IS_DIR and want == "absent" else {}
    return entry(want, path, **tree)


def make(root: Path) -> Path:
    (root / "stage").mkdir(parents=True)
    (root / "stage/new").write_bytes(NEW)
    (root / "srv/a").mkdir(parents=True)
    return root


def after_a_power_cut(tap: Tap, cut: Path) -> list[dict[str, tuple[Any, ...]]]:
    """What can be on the host if the power goes now."""
    found = []
    for _, state in tap.disk.cuts(0, len(tap.disk.log)):
        state.write(cut)
        if there(cut) not in found:
            found.append(there(cut))
        shutil.rmtree(cut)
    return found


class Split(FaultySystem):
    """A host whose state is on a file system of its own: backups are next to the files."""

    def link(self, source: str, target: str) -> None:
        if target.startswith("/var/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), target)
        super().link(source, target)
