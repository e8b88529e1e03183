"""The running release as an ordinary user sees it: from its verified manifest, where the record is root's.

The manifest says which files a release puts where. It does not say how configuration was rendered here, and
what an operator decided to keep. That is not guessed: such a file counts as unedited, and the view says that
only root sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from installer.core.errors import NotUndoneError, Problem
from installer.core.format import manifest_json
from installer.core.format.manifest import MANIFEST, FileEntry, Manifest
from installer.core.format.methods import SPECS
from installer.host.context import Context
from installer.host.system import System
from installer.planning.desired_state import destination
from installer.planning.drift import difference
from installer.state.release import Installed, Release, open_release, read_exact
from installer.state.state import Entry

HIDDEN = "whether configuration was edited, what was kept, images and services"
"""What an ordinary user is not shown of an installed release."""


@dataclass(frozen=True, slots=True)
class Visible:
    """A release, as far as this user may see it.

    Attributes:
        release: The release.
        partial: Whether its record could not be read.
    """

    release: Release
    partial: bool = False


def visible_release(context: Context, entry: Entry, hint: str = "") -> Visible:
    """Return a release with what it has on the host, as far as this user may see it.

    Raises:
        DamagedReleaseError: Its manifest or record is missing or was changed; `hint` says what to do.
        HostNotReadyError: This user may not read the manifest either.
    """
    system, layout = context.system, context.layout
    try:
        return Visible(open_release(system, layout, entry, hint))
    except NotUndoneError as error:
        if system.privileged or not isinstance(error.__cause__, PermissionError):
            raise
    directory = layout.release(entry.name)
    data = read_exact(system, f"{directory}/{MANIFEST}", entry.manifest, hint)
    manifest = manifest_json.parse(data, retained=True)
    installed = tuple(_installed(system, manifest, entry))
    return Visible(Release(manifest, entry.identity, directory, directory, installed), partial=True)


def _installed(system: System, manifest: Manifest, entry: Entry) -> Iterator[Installed]:
    for file in manifest.for_platform(system.platform()):
        path = destination(file)
        if path and (file.install or _is_used(file, entry)):
            uid, gid = _owner(system, file)
            item = Installed(path, "file", file.sha256, file.size, file.mode, uid, gid, origin=file.path)
            yield _unedited(system, item) if is_hidden(item, file) else item
    for link in manifest.links:
        if link.install:
            yield Installed(link.install, "link", target=link.target, origin=link.path)


def is_hidden(item: Installed, file: FileEntry) -> bool:
    """Return whether an operator may have kept another version, or values decided the content."""
    return file.kind == "template" or item.path.startswith("/etc/")


def _unedited(system: System, item: Installed) -> Installed:
    """Return a file of configuration as it is on the host: what it should hold is not known."""
    try:
        seen = system.observe(item.path)
    # Who plans is told by the comparison; `visible_drift` does not need the content.
    except OSError:
        return replace(item, sha256="")
    return replace(item, sha256=seen.sha256, size=seen.size) if seen.kind == "file" else item


def _is_used(file: FileEntry, entry: Entry) -> bool:
    specs = [SPECS[name] for name in entry.methods if name in SPECS]
    return any(file.kind == option.kind for spec in specs for option in spec.every_option if option.directory)


def _owner(system: System, file: FileEntry) -> tuple[int, int]:
    if not file.owner:
        return 0, 0
    user, _, group = file.owner.partition(":")
    uid, gid = system.user_id(user), system.group_id(group or user)
    return (-1 if uid is None else uid), (-1 if gid is None else gid)


def visible_drift(system: System, installed: Iterable[Installed]) -> tuple[list[Problem], int]:
    """Return where the host differs from a release, as far as an ordinary user can see that.

    Returns:
        Drift, and how many files this user may not read.
    """
    found, unread = list[Problem](), 0
    with system.hold_directories():
        for item in installed:
            try:
                hidden = item.path.startswith("/etc/") or not item.sha256
                seen = system.observe(item.path, digest=not hidden)
            except PermissionError:
                unread += 1
                continue
            except OSError as error:
                found.append(Problem(item.path, f"cannot be read: {error.strerror}"))
                continue
            if hidden and seen.kind == "file":
                seen = replace(seen, sha256=item.sha256)
            if what := difference(seen, item):
                found.append(Problem(item.path, what))
    return found, unread
