"""The manager of services that systemd runs for a user: who the user is, and how their manager is reached.

It answers the user only, so `systemctl` runs as the user, with the directory in which the manager listens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from installer.core.errors import Problem
from installer.deploy.operation import StepError
from installer.host.context import Account, Context

LINGER = "/var/lib/systemd/linger"
"""Has a file for each user whose manager runs without a login."""
_SECONDS = 30.0
_NOT_FOUND = 2
"""How `getent` ends where there is no such user."""
_MODULE = "pam_systemd.so"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


def as_user(context: Context, name: str) -> Context:
    """Return the context in which `systemctl` acts on the units of a user.

    Args:
        context: The host.
        name: Of the user; empty for the units of the system.

    Raises:
        StepError: There is no such user.
    """
    if not name:
        return context
    user = account(context, name)
    if user is None:
        raise StepError(f"user {name} does not exist on this host", hint=f"create it: `useradd -rm {name}`")
    return replace(context, user=user)


def looking(context: Context, name: str) -> Context:
    """Return the same context for looking only: of a user who does not exist yet no manager is up.

    Raises:
        StepError: The host does not say who its users are.
    """
    if not name:
        return context
    user = account(context, name)
    # An ordinary user who asks for a plan may not ask the manager of another one, nor look into their home.
    seen = user if user and context.system.privileged else Account(name, -1, -1, "")
    return replace(context, user=seen)


def account(context: Context, name: str) -> Account | None:
    """Return a user of this host, from whatever the host has its users; None if there is none of the name.

    Raises:
        StepError: The host does not say who its users are.
    """
    # Not the table alone: sites have users in directories of their own.
    ended = context.system.run(["getent", "passwd", name], timeout=_SECONDS)
    if ended.status == _NOT_FOUND:
        return None
    fields = ended.stdout.decode("utf-8", "replace").strip().split(":")
    if not ended.ok or len(fields) < 6 or not (fields[2].isdigit() and fields[3].isdigit()):
        what = f"cannot look up user {name}: {ended.reason(context.secrets)}"
        raise StepError(what).of(ended, context.secrets)
    return Account(name, int(fields[2]), int(fields[3]), fields[5].rstrip("/"))


def command(context: Context) -> tuple[list[str], Mapping[str, str]]:
    """Return the words that begin each call of `systemctl`, and its environment."""
    user = context.user
    if user is None:
        return ["systemctl", "--no-ask-password"], {}
    # Not runuser: it opens a session of PAM, and forks, so that a time limit would not reach systemctl.
    rights = [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    return ["setpriv", *rights, "systemctl", "--user", "--no-ask-password"], {"XDG_RUNTIME_DIR": _run(user)}


def shown(context: Context, *words: str) -> str:
    """Return a call of `systemctl` as people type it, without backticks."""
    user, text = context.user, " ".join(words)
    if user is None:
        return f"systemctl {text}"
    return f"sudo -u {user.name} XDG_RUNTIME_DIR={_run(user)} systemctl --user {text}"


def journal_words(context: Context, unit: str, process: str = "") -> list[str]:
    """Return the words with which `journalctl` shows what a unit wrote and what its manager says of it.

    Args:
        context: The host.
        unit: The unit.
        process: Number of its main process, which may have ended.
    """
    if context.user is None:
        return ["-u", unit]
    mine = f"_UID={context.user.uid}"
    words = [f"_SYSTEMD_USER_UNIT={unit}", mine, "+", f"USER_UNIT={unit}", mine]
    if process in ("", "0"):
        return words
    # The journal looks up the unit of a user by the process. If that has ended first, the line names no unit.
    # Numbers of processes are used again, after a boot soon.
    try:
        boot = context.system.read(_BOOT_ID, 64).decode("ascii", "replace").strip().replace("-", "")
    except OSError:  # a report of a failure must not fail
        return words
    return [*words, "+", f"_PID={process}", mine, f"_BOOT_ID={boot}"]


def links(context: Context) -> str:
    """Return where the links are that `systemctl enable` makes."""
    return f"{context.user.home}/.config/systemd/user" if context.user else "/etc/systemd/system"


def is_up(context: Context) -> bool:
    """Return whether the manager of the user runs, or that of the system is asked."""
    user, system = context.user, context.system
    if user is None:
        return True
    if system.observe(f"{_run(user)}/systemd/private", digest=False).kind == "absent":
        return False
    # Its socket is there for a moment after it has ended, and while it ends.
    asked = ["systemctl", "show", "--property=ActiveState", f"user@{user.uid}.service"]
    ended = system.run(asked, timeout=_SECONDS)
    return not ended.ok or ended.stdout.strip() == b"ActiveState=active"


def problems(context: Context, name: str, *, is_created: bool) -> Iterator[Problem]:
    """Yield why units of a user cannot run on this host.

    Args:
        context: The host.
        name: Of the user.
        is_created: Whether the release creates the user.
    """
    system, user = context.system, account(context, name)
    for program, hint in (("setpriv", "install util-linux"), ("loginctl", "use a host with systemd-logind")):
        if system.which(program) is None:
            yield Problem(program, f"is not on this host, but the units of user {name} need it", hint)
            return
    ended = system.run(["loginctl", "list-users", "--no-legend"], timeout=_SECONDS)
    if not ended.ok:
        what = f"does not answer, but units of user {name} need it: {ended.reason(context.secrets)}"
        yield Problem("systemd-logind", what, "start D-Bus and systemd-logind")
    if not (user and is_up(looking(context, name))) and not any(_modules(context)):
        what = f"is not on this host: without it, systemd runs no manager of services for user {name}"
        yield Problem(_MODULE, what, "install it (Debian: package libpam-systemd)")
    if user is None:
        if not is_created:
            hint = f"create it first: `useradd -rm {name}`"
            yield Problem(
                f"user {name}", "does not exist on this host, but a step has units of this user", hint
            )
    elif not user.home or not _owns_home(context, user):
        what = f"has the home {user.home or '/'}, which does not belong to this user: no unit can be enabled"
        yield Problem(f"user {name}", what, f"give {name} a home: `usermod -d DIRECTORY {name}`")


def _owns_home(context: Context, user: Account) -> bool:
    try:
        return context.system.observe(user.home, digest=False).uid == user.uid
    except PermissionError:  # an ordinary user who asks for a plan
        return True


def _modules(context: Context) -> Iterator[str]:
    for library in _LIBRARIES:
        folders = [
            library,
            *(f"{library}/{name}" for name in context.system.names(library) if "-linux-" in name),
        ]
        for folder in folders:
            path = f"{folder}/security/{_MODULE}"
            if context.system.observe(path, digest=False).kind != "absent":
                yield path


def _run(user: Account) -> str:
    return f"/run/user/{user.uid}"
