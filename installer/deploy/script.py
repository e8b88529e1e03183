"""The method `script`: a release's own `apply` script, and what is declared as its inverse.

`undo`: a script that takes it back. On an upgrade only the new `apply` runs; where that fails, the new `undo`
runs, the old files come back, and the old `apply` runs again.
`snapshot` and `restore`: what `apply` changes is saved before it, and brought back where it is undone.
`roll_forward_only`: there is no inverse, and why; from there on the transaction is not undone any more.
Scripts have to be fit to run twice.
"""

# ruff: noqa: ARG002 - a method takes what the protocol gives it

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from installer.core.errors import Problem
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.directories import make_directory

TIMEOUT = 600
FORMS = (("apply", "undo"), ("apply", "snapshot", "restore"), ("apply", "roll_forward_only"))
"""What a step may say together: one form each."""
SCRIPTS = ("apply", "undo", "snapshot", "restore")
SNAPSHOT = "snapshot-"
"""Starts the name of the directory, in the record of a transaction, that a snapshot script has to itself."""


def _run(context: Context, step: Json, which: str, **more: str) -> None:
    system = context.system
    path = system.real(step[which])
    env = {**step["env"], **more}
    ended = system.run([path], timeout=step["timeout"], env=env, cwd=system.real(step["directory"]))
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
        """Runs the new `undo`, or the `restore` of what was saved, if `apply` was begun."""
        if context.system.observe(preimage["mark"]).kind != "file":
            return
        if "restore" in args["new"]:
            saved = context.system.real(_snapshot(context, args))
            _run(context, args["new"], "restore", WAYBILL_SNAPSHOT=saved)
        else:
            _run(context, args["new"], "undo")


class Snapshot:
    """`script.snapshot`: saves what `apply` is about to change; `script.apply` brings it back."""

    def observe(self, context: Context, args: Json) -> Json:
        """Has nothing to look at."""
        return {}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Gives the script an empty directory of its own, runs it, and has on the disk what it wrote."""
        directory = _snapshot(context, args)
        context.system.remove_tree(directory)
        context.system.mkdir(directory, 0o700)
        context.system.sync_dir(directory.rpartition("/")[0])
        context.progress.note(args["said"])  # not the label: undoing it is nothing to speak of
        _run(context, args["new"], "snapshot", WAYBILL_SNAPSHOT=context.system.real(directory))
        context.system.sync_fs(directory)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Leaves it: it goes with the record of the transaction."""


class Forward:
    """`script.forward`: runs an `apply` that cannot be undone; the journal has FORWARD before it."""

    def observe(self, context: Context, args: Json) -> Json:
        """Has nothing to look at."""
        return {}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Runs it."""
        _run(context, args["new"], "apply")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Is never asked for: what has FORWARD is not undone.

        Raises:
            ThirdStateError: It is all the same.
        """
        raise ThirdStateError("cannot be undone", where=args["new"]["apply"])


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
        """Looks whether the step says how it is undone, and its scripts are in the bundle and can be run."""
        if new is None:
            return []
        if not _inverse(new):
            what = "does not say how it is undone in a way that this installer knows"
            return [Problem(f"script {new.options.get('apply', '')}", what, "use a newer installer")]
        problems = []
        modes = {entry.path: entry.mode for entry in new.release.manifest.files}
        for path in _scripts(new):
            if path not in modes:
                problems.append(Problem(path, "is not in the bundle", "list it in bundle.yaml"))
            elif not modes[path] & 0o100:
                problems.append(Problem(path, "is not executable", "set its mode in bundle.yaml"))
        if context.system.space(context.layout.base).noexec:
            hint = "mount it with exec, or use --skip script"
            problems.append(
                Problem(context.layout.base, "is mounted noexec, and scripts run from there", hint)
            )
        return problems

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says which scripts run, and what there is no way back from."""
        if new is None:
            if old is None:
                return []
            undo = old.options.get("undo")
            return [f"run {undo}" if undo else f"leave what {old.options['apply']} did: it has no inverse"]
        run = f"run {new.options['apply']}"
        if _inverse(new) == "restore":
            saved = f"run {new.options['snapshot']}, which saves what comes next changes"
            return [saved, f"{run}; {new.options['restore']} brings back what was saved, if this fails"]
        return [f"{run}; it cannot be undone" if _inverse(new) == "roll_forward_only" else run]

    def irreversible(self, context: Context, new: Target) -> list[str]:
        """Says what a release that stands has done that going back to another one does not undo."""
        apply, inverse = new.options["apply"], _inverse(new)
        if inverse == "restore":
            saved = _snapshot(context, {"tag": _tag(new)})
            return [f"{apply} changes data, which as they were before lie in {saved}"]
        return [f"{apply} cannot be undone: {new.options[inverse]}"] if inverse == "roll_forward_only" else []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives the scripts in an order whose reverse fits the files that are there."""
        before = _step(context, old, None) if old else None
        if new is None:
            undo = old.options.get("undo") if old else None
            return [Op("script.remove", {"old": before}, "switch", f"run {undo}")] if undo else []
        args = {"new": _step(context, new, old), "tag": _tag(new)}
        run = Op("script.apply", args, "activate", f"run {new.options['apply']}")
        if _inverse(new) == "roll_forward_only":
            return [replace(run, kind="script.forward")]
        if _inverse(new) == "restore":
            return [
                Op("script.snapshot", {**args, "said": f"run {new.options['snapshot']}"}, "activate"),
                run,
            ]
        return [Op("script.before", {"old": before, "tag": args["tag"]}, "switch"), run]


def _inverse(target: Target) -> str:
    """Gives the word by which a step says how it is undone; empty where it says none, or several."""
    said = {word for word in target.options if any(word in form for form in FORMS)}
    return next((form[-1] for form in FORMS if said == set(form)), "")


def _tag(target: Target) -> str:
    return str(target.options["apply"]).replace("/", "-")


def _scripts(target: Target) -> list[str]:
    return [str(target.options[word]) for word in SCRIPTS if word in target.options]


def _snapshot(context: Context, args: Json) -> str:
    return f"{context.layout.record(context.transaction)}/{SNAPSHOT}{args['tag']}"


def _mark(context: Context, args: Json) -> str:
    return f"{context.layout.backup(context.transaction)}/begun-{args['tag']}"


def _step(context: Context, target: Target, old: Target | None) -> Json:
    root = context.system.root
    manifest = target.release.manifest

    def real(path: str) -> str:
        return root.rstrip("/") + path

    return {
        **{
            word: target.release.then(str(target.options[word])) for word in SCRIPTS if word in target.options
        },
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


HANDLERS: dict[str, Any] = {
    "script.before": Before(),
    "script.apply": Apply(),
    "script.snapshot": Snapshot(),
    "script.forward": Forward(),
    "script.remove": Remove(),
}
METHOD = Script()
