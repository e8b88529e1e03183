"""The operations that set up a host for units.

`systemd.users` comes before the change of files, which may belong to the users, and is never undone: files
of the users may be anywhere. `systemd.settings` does nothing, and is undone once the old files are back: it
restores what `systemd.apply`, the first of the operations that activate, has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from installer.deploy.operation import Handler, Json, StepError, WithoutPreimage
from installer.deploy.release_files import checked_directory
from installer.deploy.systemctl import systemctl
from installer.deploy.systemd.programs import run
from installer.deploy.systemd.settings import value_of
from installer.host.context import Context
from installer.host.directories import make_directory, parent


class Users(WithoutPreimage):
    """`systemd.users`: creates the users and groups of the new release that are not there."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Create them. The files lie in the directory of the release: checked right before, each time."""
        with checked_directory(context, args["release"], args["files"], "sysusers", alone=True) as place:
            read = [context.system.real(f"{place}/{path}") for path in args["files"]]
            run(context, "systemd-sysusers", where=read, shown=list(args["files"]))
        # systemd takes another number where that one is taken; files would belong to somebody else.
        for name, number in args["users"].items():
            _require_number("user", name, number, context.system.user_id(name))
        for name, number in args["groups"].items():
            _require_number("group", name, number, context.system.group_id(name))

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Keep them: a user who is created again may get the number of another one's files."""

    def undo_label(self, op: object) -> str:
        """Return nothing: nothing is done."""
        return ""


class Restore(Handler):
    """`systemd.settings`: does nothing; undone, restores settings of the kernel, paths and rules."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the values of the kernel, and what is at the paths that may be created."""
        return {
            "values": {path: value_of(context, path) for path in args["sysctl"]},
            "paths": _with_parents(context, args["paths"]),
            "file": f"{context.layout.backup(context.transaction)}/sysctl.conf",
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Restore all that has changed."""
        self._values(context, preimage)
        for path, before in sorted(preimage["paths"].items(), reverse=True):
            _restore(context, path, before)
        if args["udev"]:
            _reload_rules(context)

    def undo_label(self, op: object) -> str:
        """Return what is restored."""
        return "undo: set up the host"

    def _values(self, context: Context, preimage: Json) -> None:
        before = {path: value for path, value in preimage["values"].items() if value}
        changed = {path: value for path, value in before.items() if value_of(context, path) != value}
        if not changed:
            return
        # The program that set them; the kernel's files cannot be replaced as others are.
        lines = "".join(f"{path.removeprefix('/proc/sys/')}={value}\n" for path, value in changed.items())
        file = preimage["file"]
        make_directory(context.system, file.rpartition("/")[0])
        context.system.remove_tree(file)
        context.system.write_new(file, lines.encode(), 0o600)
        run(context, "systemd-sysctl", where=[file])
        _require_values(context, changed)


class Apply(WithoutPreimage):
    """`systemd.apply`: creates paths, loads modules, sets the kernel, and reloads rules, in this order."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do what the files say that are in place now."""
        if args["tmpfiles"]:
            run(context, "systemd-tmpfiles", "--create", where=args["tmpfiles"])
        for name in args["modules"]:
            if not context.system.is_dir(f"/sys/module/{name.replace('-', '_')}"):
                run(context, "modprobe", "--", name)
        if args["sysctl"]:
            run(context, "systemd-sysctl", where=args["sysctl"])
            # The program warns and goes on where the kernel refuses a value.
            _require_values(context, args["values"])
        if args["udev"]:
            _reload_rules(context)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing: undoing `systemd.settings` restores everything, once the old files are back."""

    def undo_label(self, op: object) -> str:
        """Return nothing: nothing is done."""
        return ""


def _require_number(what: str, name: str, wanted: int, number: int | None) -> None:
    if number != wanted:
        hint = f"remove the {what} {name}, and ask the team that built the bundle for another number"
        raise StepError(f"the {what} {name} has the number {number}, not {wanted}, which is taken", hint=hint)


def _require_values(context: Context, wanted: Mapping[str, str]) -> None:
    for path, value in wanted.items():
        if (now := value_of(context, path)) != value:
            key = path.removeprefix("/proc/sys/").replace("/", ".")
            raise StepError(f"the kernel does not take {key}={value}; it is {now or 'not there'}")


def _reload_rules(context: Context) -> None:
    # Where it does not run, as in a container, it reads them when it starts.
    if systemctl(context, "is-active", "systemd-udevd.service").ok:
        run(context, "udevadm", "control", "--reload")


def _with_parents(context: Context, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is at paths, and that directories above them are absent: these are created as well."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        found[path] = _seen(context, path)
        above = parent(path)
        while found.get(path, {})["kind"] == "absent" and above not in found:
            seen = _seen(context, above)
            if seen["kind"] != "absent":
                break
            found[above] = seen
            above = parent(above)
    return found


def _seen(context: Context, path: str) -> dict[str, Any]:
    seen = context.system.observe(path, digest=False)
    return {"kind": seen.kind, "mode": seen.mode, "uid": seen.uid, "gid": seen.gid}


def _restore(context: Context, path: str, before: Mapping[str, Any]) -> None:
    """Remove what was created and is empty, or restore mode and owner. Data that came into it stays."""
    system, now = context.system, _seen(context, path)
    if before["kind"] != "absent":
        if now != before and now["kind"] == before["kind"] and now["kind"] in ("file", "dir"):
            system.set_owner_mode(path, before["mode"], before["uid"], before["gid"])
        return
    # Not empty: a program has written to it since, and nobody knows what it is worth.
    with suppress(OSError):
        if now["kind"] == "dir":
            system.rmdir(path)
        elif now["kind"] == "link" or (now["kind"] == "file" and not system.observe(path).size):
            system.unlink(path)


HANDLERS: dict[str, Handler] = {
    "systemd.users": Users(),
    "systemd.settings": Restore(),
    "systemd.apply": Apply(),
}
