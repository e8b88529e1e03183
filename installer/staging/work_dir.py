"""The directory of `--work-dir`: blobs of images are there until the engine has loaded them.

Each bundle has an area of its own there, 0700. A link in the staging area names it before it is created: the
next command finds it after a crash, whatever its options are.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from installer.core.errors import HostNotReadyError, UsageError
from installer.host.directories import make_directory, parent
from installer.host.layout import Layout
from installer.host.ownership import unsafe_part
from installer.host.system import System
from installer.shared.progress import Progress

_BLOB = re.compile(r"/images(/blobs(/sha256(/[0-9a-f]{64})?)?)?")


def work_dir(system: System, layout: Layout, typed: Path) -> str:
    """Return the host path of a `--work-dir`, after checking that it is safe.

    Args:
        system: The host.
        layout: Of any product.
        typed: What the operator typed: a path of this machine, below `--root` where there is one.

    Raises:
        UsageError: It is not a directory, is outside of `--root`, or in the state of Waybill.
        HostNotReadyError: Other users could change what is in it, or this user cannot write to it.
    """
    # Links are followed once, here: what is checked is what is used.
    real = typed.resolve()
    if not real.is_dir():
        raise UsageError("is not a directory", where=str(typed), hint="create it first: `mkdir -m 700 DIR`")
    if not real.is_relative_to(system.root):
        hint = f"with --root, Waybill changes nothing outside {system.root}: choose a directory inside it"
        raise UsageError("is outside the directory of --root", where=str(typed), hint=hint)
    path = "/" + str(real.relative_to(system.root)).removeprefix(".")
    if f"{path}/".startswith(f"{layout.state}/"):
        raise UsageError(
            "contains the state of Waybill", where=path, hint="choose a directory on another disk"
        )
    _refuse_unsafe(system, path)
    return path


def _refuse_unsafe(system: System, path: str) -> None:
    if (found := unsafe_part(system, path)) is not None:
        raise HostNotReadyError(found.what, where=found.where, hint=found.hint)
    if system.space(path).readonly:
        raise HostNotReadyError(
            "is mounted read-only", where=path, hint="remount it read-write: `mount -o remount,rw MOUNTPOINT`"
        )
    if not system.writable(path):
        raise HostNotReadyError("is not writable by this user", where=path, hint="run as root")


def area_of(system: System, layout: Layout, identity: str) -> str:
    """Return the area of a bundle that its link names; empty where there is none."""
    seen = system.observe(layout.work_link(identity))
    return seen.target if seen.kind == "link" and _is_area(layout, identity[:12], seen.target) else ""


def make_area(system: System, layout: Layout, identity: str, directory: str) -> str:
    """Return the area of a bundle in a work directory: the one it has, or a new one.

    Raises:
        OSError: It cannot be created.
    """
    link = layout.work_link(identity)
    found = area_of(system, layout, identity)
    if found and parent(found) == directory and _is_ours(system, found):
        return found
    if system.observe(link).kind != "absent":
        system.unlink(link)
    area = f"{directory.rstrip('/')}/waybill-{layout.product}-{identity[:12]}-{secrets.token_hex(4)}"
    make_directory(system, layout.staging)
    # The link is on the disk before the area exists: no crash leaves gigabytes that nobody knows of.
    system.symlink(area, link)
    system.sync_dir(layout.staging)
    system.mkdir(area, 0o700)
    return area


def remove_area(system: System, layout: Layout, link: str, progress: Progress) -> None:
    """Remove the area that a link names, and the link; report and leave what is not ours.

    Raises:
        OSError: It cannot be removed.
    """
    area = system.observe(link).target
    identity = link.rpartition("/")[2].partition(".")[0]
    # A link that somebody planted must not make us remove a directory of theirs.
    ours = _is_area(layout, identity, area)
    gone = ours and system.observe(area, digest=False).kind == "absent"
    if gone or not ours or not _is_ours(system, area):
        what = "does not exist" if gone else "was not created by Waybill"
        progress.note(
            f"{area}, the work directory of a bundle, {what}: it is not removed; if its disk is "
            "connected again, remove it by hand"
        )
    elif strange := [path for path in system.tree(area) if not _BLOB.fullmatch(path.removeprefix(area))]:
        progress.warn(f"{strange[0]} was not created by Waybill: {area} is not removed")
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
