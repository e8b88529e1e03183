"""Whether anybody but root, or the user who runs this, can change a file that decides about trust.

The rule is that of the unpacking cache of the executables: every part of the path counts, from the top, and
so does every part of where a link leads.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installer.core.errors import Problem, UntrustedError
from installer.host.host import Host

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a path: as it is reached on this machine, and what it is."""

    place: str
    status: os.stat_result
    target: str = ""

    def fault(self) -> tuple[str, str] | None:
        """Return who else can change what is behind it, and the command that ends that, in backticks."""
        found, mode, name = self.status, stat.S_IMODE(self.status.st_mode), shlex.quote(self.place)
        # Our own files count as safe: below --root, a user is the root of that host.
        if found.st_uid not in (0, os.geteuid()):
            if stat.S_ISLNK(found.st_mode):
                return f"is a symbolic link that belongs to user {found.st_uid}", f"`rm {name}`"
            return f"belongs to user {found.st_uid}, who can change it", f"`chown root {name}`"
        # The mode of a link means nothing.
        if stat.S_ISLNK(found.st_mode) or not mode & _OTHERS:
            return None
        # In a sticky directory of root, such as /tmp, nobody can replace what belongs to somebody else; the
        # owner of the next part is looked at like every other.
        if stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX and found.st_uid == 0:
            return None
        who = "everybody" if mode & stat.S_IWOTH else f"the group {found.st_gid}"
        return f"can be written by {who} (mode {mode:04o})", f"`chmod go-w {name}`"


def require_protected(host: Host, path: str) -> None:
    """Refuse a file if somebody else could have changed it, or what leads to it. What is absent is no fault.

    Look before reading: nobody can change a file between the two who could not change it before.

    Args:
        host: The host. Its root directory itself is looked at only where it is `/`: another one was named by
            whoever typed the command.
        path: The file, as a host path.

    Raises:
        UntrustedError: Another user owns a part of the path, or can write to it.
    """
    faults = _faults(host, path)
    if not faults:
        return
    commands = " && ".join(dict.fromkeys(command.strip("`") for _, _, command in faults))
    first, *others = _problems(faults)
    raise UntrustedError(
        f"{first.what}: what this host trusts could have been changed",
        where=first.where,
        hint=f"run `{commands}`. Then check what could have been changed: compare the fingerprint that "
        "`install trust show` prints with the trust sheet, and read /etc/waybill/environment",
        problems=others,
    )


def unprotected(host: Host, path: str) -> list[Problem]:
    """Return who else could change a file, or what leads to it; empty for nobody."""
    return _problems(_faults(host, path))


def _problems(faults: list[tuple[str, str, str]]) -> list[Problem]:
    return [Problem(where, what, f"run {command}") for where, what, command in faults]


def _faults(host: Host, path: str) -> list[tuple[str, str, str]]:
    return [(part.place, *found) for part in _parts(host, path) if (found := part.fault())]


def _parts(host: Host, path: str) -> list[_Part]:
    """Return all parts of a path and of where its links lead, each once, as far as they exist."""
    found: dict[str, _Part] = {}
    pending = [path]
    while pending:
        names = [name for name in pending.pop(0).split("/") if name not in ("", ".")]
        first = 0 if host.live else 1
        for end in range(first, len(names) + 1):
            part = _look(host, "/" + "/".join(names[:end]))
            if part is None or part.place in found:
                continue
            found[part.place] = part
            if part.target:
                # Where it leads is a path of its own, whose parts are not those of the text. Each link is
                # followed once, so that this ends.
                below = part.place.removeprefix(host.root.rstrip("/")).rpartition("/")[0]
                pending.append(part.target if part.target.startswith("/") else f"{below}/{part.target}")
    return list(found.values())


def _look(host: Host, path: str) -> _Part | None:
    # What cannot be reached is reported by whoever reads it, with the reason.
    with suppress(OSError), host.open_parent(path) as at:
        status = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
        target = os.readlink(at.name, dir_fd=at.fd) if stat.S_ISLNK(status.st_mode) else ""
        return _Part(f"{host.root.rstrip('/')}/{'/'.join(at.parts)}", status, target)
    return None


def unsafe_part(host: Host, path: str) -> Problem | None:
    """Return the directory of a path that other users could change, itself or what is in it; None for none.

    Args:
        host: The host.
        path: A host path of an existing directory, without links.

    Raises:
        OSError: It cannot be examined.
    """
    parts = [*reversed([str(above) for above in Path(path).parents]), path]
    # Whoever can rename a directory above can put another one in its place between two steps.
    for part in dict.fromkeys(parts):
        status = Path(host.real(part)).stat()
        if status.st_uid not in (0, os.geteuid()):
            what = f"{part} belongs to user {status.st_uid}, who could change the files in it"
            return Problem(path, what, "choose a directory that belongs to root: `mkdir -m 700 DIR`")
        group_is_ours = status.st_gid == 0 and not status.st_mode & 0o002
        if status.st_mode & _OTHERS and not status.st_mode & stat.S_ISVTX and not group_is_ours:
            what = f"{part} is writable by other users (mode {stat.S_IMODE(status.st_mode):04o})"
            return Problem(path, what, f"run `chmod go-w {shlex.quote(part)}`, or choose another directory")
    return None
