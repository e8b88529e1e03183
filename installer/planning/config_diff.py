"""The differences of configuration files that a plan shows."""

from __future__ import annotations

from installer.host.system import System
from installer.planning.desired_state import Desired
from installer.planning.file_changes import Changes
from installer.shared.redaction import LIMIT, Diff, diff
from installer.state.release import Release


def config_diffs(
    system: System, changes: Changes, wanted: Desired, release: Release | None
) -> tuple[Diff, ...]:
    """Return the differences between host and release: of rendered files, and of edited ones.

    Args:
        system: The host.
        changes: What will be done to files.
        wanted: What the release wants.
        release: The release; None where none comes.
    """
    files = {item.path for item in wanted.items if item.kind == "file"}
    new = dict(wanted.rendered)
    for each in changes.drifted:
        # A kept file is compared with the version of the release that is not installed.
        if release is not None and each.path in files - new.keys():
            new[each.path] = _content(system, release.now(each.origin))
    written = {each.path for each in changes.changes if each.verb in ("add", "replace", "restore")}
    shown = written | {each.path for each in changes.drifted}
    return tuple(diff(path, _content(system, path), data) for path, data in new.items() if path in shown)


def _content(system: System, path: str) -> bytes:
    try:
        return system.read(path, LIMIT * 16, follow=True)
    except OSError:
        return b""
