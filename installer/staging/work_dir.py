"""The directory of `--work-dir`: where the blobs of images wait for the engine when the main disk is small.

Each bundle has an area of its own there, 0700, whose place is written down as a link in the staging area
before it is made: whoever comes after a crash finds it, whatever options that command was given.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from installer.core.errors import HostNotReadyError, UsageError
from installer.host.directories import make_directory, parent
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress

_BLOB = re.compile(r"/images(/blobs(/sha256(/[0-9a-f]{64})?)?)?")
_OTHERS_WRITE, _STICKY = 0o022, 0o1000


def work_dir(system: System, layout: Layout, typed: Path) -> str:
    """Gives the host path of a `--work-dir`, once it is known to be fit.

    Args:
        system: The host.
        layout: Of any product.
        typed: What the operator typed: a path of this machine, below `--root` where there is one.

    Raises:
        UsageError: It is no directory, lies outside of `--root`, or in Waybill's own state.
        HostNotReadyError: Others could change what lies there, or we may not write to it.
    """
    real = typed.resolve()
    if not real.is_dir():
        raise UsageError("is not a directory", where=str(typed), hint="make it first: install -d -m 700 DIR")
    if not real.is_relative_to(system.root):
        hint = f"with --root nothing outside of {system.root} is touched: choose a directory in it"
        raise UsageError("lies outside of --root", where=str(typed), hint=hint)
    path = "/" + str(real.relative_to(system.root)).removeprefix(".")
    if f"{path}/".startswith(f"{layout.state}/"):
        raise UsageError(
            "is where Waybill keeps its own state", where=path, hint="choose a directory on another disk"
        )
    _refuse_unsafe(system, path)
    return path


def _refuse_unsafe(system: System, path: str) -> None:
    parts = [*reversed([str(above) for above in Path(path).parents]), path]
    for part in dict.fromkeys(parts):
        status = Path(system.real(part)).stat()
        if status.st_uid not in (0, os.geteuid()):
            raise HostNotReadyError(
                f"{part} belongs to user {status.st_uid}, who could change what lies there",
                where=path,
                hint="choose a directory that belongs to root: install -d -m 700 DIR",
            )
        group_is_ours = status.st_gid == 0 and not status.st_mode & 0o002
        if status.st_mode & _OTHERS_WRITE and not status.st_mode & _STICKY and not group_is_ours:
            raise HostNotReadyError(
                f"{part} can be written by others (mode {status.st_mode & 0o7777:04o})",
                where=path,
                hint=f"chmod go-w {part}, or choose another directory",
            )
    if system.space(path).readonly:
        raise HostNotReadyError("is mounted read-only", where=path, hint="mount it for writing")
    if not system.writable(path):
        raise HostNotReadyError("cannot be written by this user", where=path, hint="run as root")


def area_of(system: System, layout: Layout, identity: str) -> str:
    """Gives the area that a bundle has, as the link says; empty where there is none."""
    seen = system.observe(layout.work_link(identity))
    return seen.target if seen.kind == "link" and _is_area(layout, identity[:12], seen.target) else ""


def make_area(system: System, layout: Layout, identity: str, directory: str) -> str:
    """Gives the area of a bundle in a work directory: the one it has there already, or a new one.

    Raises:
        OSError: It cannot be made.
    """
    link = layout.work_link(identity)
    found = area_of(system, layout, identity)
    if found and parent(found) == directory and _is_ours(system, found):
        return found
    if system.observe(link).kind != "absent":
        system.unlink(link)
    area = f"{directory.rstrip('/')}/waybill-{layout.product}-{identity[:12]}-{secrets.token_hex(4)}"
    make_directory(system, layout.staging)
    system.symlink(area, link)
    system.sync_dir(layout.staging)
    system.mkdir(area, 0o700)
    return area


def remove_area(system: System, layout: Layout, link: str, progress: Progress) -> None:
    """Removes the area that a link names, and the link; what is not ours there is left and named.

    Raises:
        OSError: It cannot be removed.
    """
    area = system.observe(link).target
    identity = link.rpartition("/")[2].partition(".")[0]
    ours = _is_area(layout, identity, area)
    gone = ours and system.observe(area, digest=False).kind == "absent"
    if gone or not ours or not _is_ours(system, area):
        what = "is not there any more" if gone else "is not ours"
        progress.note(
            f"{area}, where images waited, {what}: left alone. If its disk is away, remove it there"
        )
    elif strange := [path for path in system.tree(area) if not _BLOB.fullmatch(path.removeprefix(area))]:
        progress.note(f"{strange[0]} is not ours: {area} is left as it is")
    else:
        system.remove_tree(area)
    system.unlink(link)
    system.sync_dir(parent(link))


def _is_area(layout: Layout, identity: str, path: str) -> bool:
    name = re.escape(f"waybill-{layout.product}-{identity}-") + "[0-9a-f]{8}"
    return path.startswith("/") and re.fullmatch(name, path.rpartition("/")[2]) is not None


def _is_ours(system: System, area: str) -> bool:
    seen = system.observe(area)
    return (seen.kind, seen.mode, seen.uid) == ("dir", 0o700, os.geteuid())
