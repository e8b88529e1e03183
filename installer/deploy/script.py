"""The method `script`: a release's own `apply` script, with an `undo` script as its inverse.

Both have to be fit to run twice. On an upgrade only the new `apply` runs; where that fails, the new `undo`
runs, the old files come back, and the old `apply` runs again.
"""

# ruff: noqa: ARG002 - a method takes what the protocol gives it

from __future__ import annotations

from contextlib import suppress
from typing import Any

from installer.core.errors import Problem
from installer.deploy.base import Target
from installer.deploy.files import make_directory
from installer.operations import Context, Json, Op, StepError

TIMEOUT = 600


def _run(context: Context, step: Json, which: str) -> None:
    system = context.system
    path = system.real(step[which])
    ended = system.run([path], timeout=step["timeout"], env=step["env"], cwd=system.real(step["directory"]))
    if ended.ok:
        return
    said = (ended.stderr.strip() or ended.stdout.strip()).decode("utf-8", "replace").splitlines()
    raise StepError(
        ended.reason(),
        where=step[which],
        problems=[Problem(which, line[:300]) for line in said[-6:-1]],
    )


class Before:
    """`script.before`: does nothing; undone, runs the old `apply` again if the new one was begun."""

    def observe(self, context: Context, args: Json) -> Json:
        """Chooses the mark that says that the new script was begun."""
        return {"mark": _mark(context, args)}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Does nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Runs the old `apply`, now that the old files are back."""
        if args["old"] and context.system.observe(preimage["mark"]).kind == "file":
            _run(context, args["old"], "apply")


class Apply:
    """`script.apply`: runs the new `apply`; its inverse is the new `undo`."""

    def observe(self, context: Context, args: Json) -> Json:
        """Chooses the mark that says that the script was begun."""
        return {"mark": _mark(context, args)}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Marks that it was begun, then runs it."""
        directory = preimage["mark"].rpartition("/")[0]
        make_directory(context.system, directory)
        with suppress(FileExistsError):
            context.system.write_new(preimage["mark"], b"", 0o600)
        context.system.sync_dir(directory)
        _run(context, args["new"], "apply")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Runs the new `undo`, if `apply` was begun."""
        if context.system.observe(preimage["mark"]).kind == "file":
            _run(context, args["new"], "undo")


class Remove:
    """`script.remove`: runs the old `undo`; its inverse is the old `apply`."""

    def observe(self, context: Context, args: Json) -> Json:
        """Has nothing to look at."""
        return {}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Runs the old `undo`."""
        _run(context, args["old"], "undo")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Runs the old `apply`."""
        _run(context, args["old"], "apply")


class Script:
    """The method `script`."""

    name = "script"

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Looks whether the scripts are in the bundle and can be run."""
        if new is None:
            return []
        problems = []
        modes = {entry.path: entry.mode for entry in new.release.manifest.files}
        for which in ("apply", "undo"):
            path = str(new.options.get(which, ""))
            if path not in modes:
                problems.append(Problem(path or which, "is not in the bundle", "list it in bundle.yaml"))
            elif not modes[path] & 0o100:
                problems.append(Problem(path, "is not executable", "set its mode in bundle.yaml"))
        if context.system.space(context.layout.base).noexec:
            hint = "mount it with exec, or use --skip script"
            problems.append(
                Problem(context.layout.base, "is mounted noexec, and scripts run from there", hint)
            )
        return problems

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says which script runs."""
        if new is not None:
            return [f"run {new.options['apply']}"]
        return [f"run {old.options['undo']}"] if old else []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives the scripts in an order whose reverse fits the files that are there."""
        before = _step(context, old, None) if old else None
        if new is None:
            label = f"run {old.options['undo']}" if old else ""
            return [Op("script.remove", {"old": before}, "switch", label)] if before else []
        after = _step(context, new, old)
        tag = str(new.options["apply"]).replace("/", "-")
        return [
            Op("script.before", {"old": before, "tag": tag}, "switch"),
            Op("script.apply", {"new": after, "tag": tag}, "activate", f"run {new.options['apply']}"),
        ]


def _mark(context: Context, args: Json) -> str:
    return f"{context.layout.backup(context.transaction)}/begun-{args['tag']}"


def _step(context: Context, target: Target, old: Target | None) -> Json:
    root = context.system.root
    manifest = target.release.manifest

    def real(path: str) -> str:
        return root.rstrip("/") + path

    return {
        "apply": target.release.then(str(target.options["apply"])),
        "undo": target.release.then(str(target.options["undo"])),
        "directory": target.release.directory,
        "timeout": int(target.options.get("timeout", TIMEOUT)),
        "env": {
            "WAYBILL_ROOT": root,
            "WAYBILL_RELEASE": real(target.release.directory),
            "WAYBILL_PRODUCT": manifest.product,
            "WAYBILL_VERSION": manifest.version,
            "WAYBILL_OLD_RELEASE": real(old.release.directory) if old else "",
        },
    }


HANDLERS: dict[str, Any] = {"script.before": Before(), "script.apply": Apply(), "script.remove": Remove()}
METHOD = Script()
