"""The staging area, and what becomes of the files of an interrupted run.

The next run of the same bundle continues with them; every other command that changes something removes them.
Files that Waybill did not put there are moved to `kept`, never removed, and reported.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Set
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import PurePosixPath

from installer.core.errors import TamperedError
from installer.core.format.manifest import MANIFEST, SUMS, Manifest
from installer.core.format.methods import rendered_files
from installer.host.directories import make_directory, parent
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress
from installer.staging import work_dir
from installer.state.retained import read_manifest

GOING = ".gone"
"""Suffix of what is being removed: once its manifest is gone, nobody can tell which files are ours."""
_OURS = re.compile(rf"[0-9a-f]{{12}}(\.work|\.replaced(\.part)?|{re.escape(GOING)})?")
_STAGED = re.compile(r"[0-9a-f]{12}(\.work)?")
_HEAD = re.compile(rf"{re.escape(SUMS)}(\.[0-9a-f]{{8}}\.(sig|sigstore\.json|asc))?|{re.escape(MANIFEST)}")


def is_staged(name: str) -> bool:
    """Return whether this is the name of a staged bundle, or of the link to its work directory."""
    return _STAGED.fullmatch(name) is not None


def staged_releases(system: System, layout: Layout) -> dict[str, str]:
    """Return what is staged, in words for people, by the name of its directory.

    Raises:
        OSError: It cannot be listed.
    """
    found = dict[str, str]()
    for name in system.names(layout.staging):
        if _STAGED.fullmatch(name) and not name.endswith(".work"):
            try:
                version = read_manifest(system, f"{layout.staging}/{name}")[0].version
            # An interruption may have come before it was written.
            except (OSError, TamperedError):
                version = f"{name}, whose version is not known"
            found[name] = f"{layout.product} {version}"
    return found


def clear(
    system: System,
    layout: Layout,
    progress: Progress,
    keep: str = "",
    collect: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Remove what is staged.

    Args:
        system: The host.
        layout: Of the product.
        progress: Told what was moved away.
        keep: Identity of a bundle whose staged files stay; empty for none.
        collect: Returns the context in which one path is removed, and so decides about errors.

    Raises:
        OSError: Something cannot be removed.
    """
    # What an interrupted removal left goes first: the next one needs its name.
    for name in sorted(system.names(layout.staging), key=lambda name: not name.endswith(GOING)):
        # The next run of the same bundle continues with these.
        if keep and name in (keep[:12], f"{keep[:12]}.work"):
            continue
        path = f"{layout.staging}/{name}"
        with collect(path):
            _clear_one(system, layout, progress, path)


def _clear_one(system: System, layout: Layout, progress: Progress, path: str) -> None:
    name, kind = path.rpartition("/")[2], system.observe(path, digest=False).kind
    if not _OURS.fullmatch(name) or kind != ("link" if name.endswith(".work") else "dir"):
        rescue(system, layout, progress, [path])
    elif kind == "link":
        work_dir.remove_area(system, layout, path, progress)
    elif name.endswith((".replaced", ".part", GOING)):
        system.remove_tree(path)
    else:
        remove(system, layout, progress, path)


def discard(system: System, layout: Layout, progress: Progress, identity: str) -> None:
    """Remove what is staged of one bundle; what fails is done by the next command."""
    with suppress(OSError):
        link, directory = layout.work_link(identity), layout.stage(identity)
        if system.observe(link).kind == "link":
            work_dir.remove_area(system, layout, link, progress)
        if system.observe(directory, digest=False).kind == "dir":
            remove(system, layout, progress, directory)


def remove(system: System, layout: Layout, progress: Progress, directory: str) -> None:
    """Remove a release after moving away what is not ours; interrupted, it continues where it was.

    Raises:
        OSError: It cannot be removed.
    """
    rescue(system, layout, progress, strangers(system, directory))
    system.remove_tree(f"{directory}{GOING}")
    # Renamed first: a directory that is half removed must not be taken for a staged release.
    try:
        system.rename(directory, f"{directory}{GOING}")
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _remove_in_place(system, directory)
        return
    system.sync_dir(parent(directory))
    system.remove_tree(f"{directory}{GOING}")


def _remove_in_place(system: System, directory: str) -> None:
    """Remove a release that cannot be renamed: overlayfs renames no directory of its lower layer."""
    names = system.names(directory)
    # Its manifest last: what an interruption leaves can still be told from the files of others.
    for name in sorted(names, key=lambda name: (name == MANIFEST, _HEAD.fullmatch(name) is not None)):
        if name == MANIFEST:
            system.sync_dir(directory)
        system.remove_tree(f"{directory}/{name}")
    system.remove_tree(directory)
    system.sync_dir(parent(directory))


def strangers(system: System, directory: str, wanted: Set[str] | None = None) -> list[str]:
    """Return paths in a staged release that are not part of it, without those below them.

    Args:
        system: The host.
        directory: Of the staged release.
        wanted: What is part of it; None: as its manifest says, which is on the disk before anything else.
    """
    if wanted is None:
        try:
            manifest = read_manifest(system, directory)[0]
            # A release that was installed also has what its steps render.
            wanted = parts(manifest, system.platform()) | rendered_files(manifest.deploy).keys()
        # Without a readable manifest nothing counts as ours, so everything is moved away, not removed.
        except (OSError, TamperedError):
            wanted = frozenset()
    names = [path.removeprefix(f"{directory}/") for path in system.tree(directory)]
    strange = {name for name in names if name not in wanted and not _HEAD.fullmatch(name)}
    above = {name: {str(each) for each in PurePosixPath(name).parents} for name in strange}
    return [f"{directory}/{name}" for name in sorted(strange) if not above[name] & strange]


def parts(manifest: Manifest, platform: str) -> frozenset[str]:
    """Return every path of a release in its directory on a host of `platform`, except its head."""
    paths = {entry.path for entry in manifest.for_platform(platform)}
    paths |= {link.path for link in manifest.links} | {entry.path for entry in manifest.directories}
    above = {str(each) for path in paths for each in PurePosixPath(path).parents}
    return frozenset(paths | above) - {"."}


def rescue(system: System, layout: Layout, progress: Progress, paths: Iterable[str]) -> None:
    """Move files that are not ours out of a directory of ours, to `kept`.

    Raises:
        OSError: It cannot be moved; it is where it was.
    """
    for path in paths:
        number = 1
        place, _, rest = path.removeprefix(f"{layout.base}/").partition("/")
        while system.observe(f"{layout.preserved}/{place}-{number}", digest=False).kind != "absent":
            number += 1
        to = f"{layout.preserved}/{place}-{number}/{rest}"
        make_directory(system, parent(to))
        _move(system, path, to)
        # The new name first: after a power cut the file has both names or one, never none.
        system.sync_dir(parent(to))
        system.sync_dir(parent(path))
        progress.warn(f"{path} was not created by Waybill; moved to {to}")


def _move(system: System, path: str, to: str) -> None:
    """Rename a path; a directory in the lower layer of an overlay is made again, and its content renamed."""
    try:
        system.rename(path, to)
    except OSError as error:
        seen = system.observe(path, digest=False)
        if error.errno != errno.EXDEV or seen.kind != "dir":
            raise
        if system.observe(to, digest=False).kind == "absent":
            system.mkdir(to, 0o700)
        for name in system.names(path):
            _move(system, f"{path}/{name}", f"{to}/{name}")
        system.set_owner_mode(to, seen.mode, seen.uid, seen.gid)
        system.sync_dir(to)
        system.rmdir(path)
