"""The programs by which systemd sets up a host."""

from __future__ import annotations

from collections.abc import Sequence

from installer.deploy.operation import StepError
from installer.host.context import Context

NAMES = {
    "systemd-sysusers": "part of systemd; some distributions have it as a package of its own",
    "systemd-tmpfiles": "part of systemd",
    "systemd-sysctl": "part of systemd",
    "modprobe": "package kmod",
    "udevadm": "package udev",
}
"""The programs, each with where it comes from."""
_DIRECTORIES = ("/usr/lib/systemd", "/lib/systemd")
_SECONDS = 120.0


def find(context: Context, name: str) -> str | None:
    """Return the path of a program; some of systemd's are not on the PATH."""
    for path in (name, *(f"{directory}/{name}" for directory in _DIRECTORIES)):
        if found := context.system.which(path):
            return found
    return None


def run(
    context: Context, name: str, *words: str, where: Sequence[str] = (), shown: Sequence[str] = ()
) -> None:
    """Run a program.

    Args:
        context: The host.
        name: Its name, one of NAMES.
        words: Its options.
        where: The files that it reads.
        shown: What a message calls these files; empty for their paths.

    Raises:
        StepError: It is not there, or failed.
    """
    program = find(context, name)
    if program is None:
        raise StepError(f"{name} is not on this host", hint=f"install it ({NAMES[name]})")
    # Without this it may write to the journal only.
    ended = context.system.run(
        [program, *words, *where], timeout=_SECONDS, env={"SYSTEMD_LOG_TARGET": "console"}
    )
    if not ended.ok:
        what = f"{' '.join([name, *words, *(shown or where)])}: {ended.reason(context.secrets)}"
        raise StepError(what).of(ended, context.secrets)
