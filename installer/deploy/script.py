"""The method `script`: runs a release's own `apply` script, and what is declared as its inverse.

`undo`: a script that reverts it. An upgrade runs the new `apply` only; if that fails, the new `undo` runs,
the old files come back, and the old `apply` runs again.
`snapshot` and `restore`: save what `apply` changes before it runs, and restore that when it is undone.
`roll_forward_only`: there is no inverse, and why. It is a point of no return: the transaction cannot be
undone any more. Scripts have to be safe to run twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from installer.core.errors import Cause, Problem
from installer.core.format.manifest import Kind
from installer.deploy import release_files
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import Method, Target, full_path
from installer.deploy.operation import (
    LINE,
    Handler,
    Json,
    Op,
    StepError,
    ThirdStateError,
    WithoutPreimage,
)
from installer.deploy.site.rendered_values import recorded_values, value_problems
from installer.deploy.site.script_values import script_values, script_values_problems, variable_problems
from installer.host.context import Context
from installer.host.directories import write_mark
from installer.shared.secrecy.live import LiveLines

TIMEOUT = 600
KIND: Kind = "script"
"""Of the files that it executes."""
_LOGGED = 10_000
"""Lines of a script that a structured log gets at most."""
SNAPSHOT = "snapshot-"
"""Starts the name of a snapshot script's directory in the record of the transaction."""


def _run(context: Context, step: Json, which: str, **more: str) -> None:
    system, directory = context.system, step["directory"]
    # A retained script may run months after it was verified, as root: what is checked here is what runs.
    with (
        script_values(context, step.get("values")) as values,
        release_files.checked_directory(context, directory, step.get("files"), KIND) as checked,
    ):
        env = {**values, **step["env"], **more}
        path = system.real(checked + step[which].removeprefix(directory))
        # In the release's directory, so that scripts find their files by relative paths.
        # A script with `set -x` prints what it was given.
        log = partial(context.progress.output, step[which].removeprefix(directory + "/"))
        lines = LiveLines(context.secrets, LINE, _LOGGED, log)
        ended = system.run(
            [path], timeout=step["timeout"], env=env, cwd=system.real(directory), told=lines.take
        )
        lines.end()
    if ended.ok:
        return
    text = (ended.stderr.strip() or ended.stdout.strip()).decode("utf-8", "replace")
    raise StepError(
        ended.reason(context.secrets),
        where=step[which],
        # The last one is the reason.
        problems=[Problem(which, line) for line in context.secrets.last_lines(text, 6, 300)[:-1]],
    ).of(ended, context.secrets)


class Before(Handler):
    """`script.before`: does nothing; undone, runs the old `apply` again if the new one has begun."""

    cause: ClassVar[Cause] = "script"

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that marks that the new script has begun."""
        return {"mark": _mark(context, args)}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old `apply`, now that the old files are back."""
        # Without the mark the new script never ran, so the old one's effect is still there.
        if args["old"] and context.system.observe(preimage["mark"]).kind == "file":
            # Said here, not as the label of the undo: mostly there is nothing to do.
            context.progress.note(_again(args["old"]))
            _run(context, args["old"], "apply")


class Apply(Handler):
    """`script.apply`: runs the new `apply`; its inverse is the new `undo`."""

    cause: ClassVar[Cause] = "script"

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that marks that the script has begun."""
        return {"mark": _mark(context, args)}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Mark that the script has begun, then run it."""
        write_mark(context.system, preimage["mark"])
        _run(context, args["new"], "apply")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the new `undo`, or `restore` with what was saved, if `apply` has begun."""
        if context.system.observe(preimage["mark"]).kind != "file":
            return
        if "restore" in args["new"]:
            saved = context.system.real(_snapshot(context, args))
            _run(context, args["new"], "restore", WAYBILL_SNAPSHOT=saved)
        else:
            _run(context, args["new"], "undo")

    def undo_label(self, op: Op) -> str:
        """Name the script that runs: the label of the operation names `apply`."""
        step = op.args["new"]
        script = step["restore" if "restore" in step else "undo"]
        return f"undo: running {script.removeprefix(step['directory'] + '/')}"


class Snapshot(WithoutPreimage):
    """`script.snapshot`: saves what `apply` is about to change; undoing `script.apply` restores it."""

    cause: ClassVar[Cause] = "script"

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the script with an empty directory of its own, and sync what it wrote."""
        directory = _snapshot(context, args)
        # Empty each time: a snapshot that was interrupted must not mix with the next.
        context.system.remove_tree(directory)
        context.system.mkdir(directory, 0o700)
        context.system.sync_dir(directory.rpartition("/")[0])
        context.progress.note(args["said"])  # not in the label, which would be shown for undoing, too
        _run(context, args["new"], "snapshot", WAYBILL_SNAPSHOT=context.system.real(directory))
        # On the disk before `apply` changes the data: the snapshot is the only way to restore them.
        context.system.sync_fs(directory)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Leave it: it is removed with the record of the transaction."""


class Forward(WithoutPreimage):
    """`script.forward`: runs an `apply` that cannot be undone; the journal has FORWARD before it."""

    cause: ClassVar[Cause] = "script"

    point_of_no_return = True

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the script."""
        _run(context, args["new"], "apply")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Refuse: a transaction with FORWARD in its journal is never undone.

        Raises:
            ThirdStateError: Always.
        """
        raise ThirdStateError("cannot be undone", where=args["new"]["apply"])


class Remove(WithoutPreimage):
    """`script.remove`: runs the old `undo`; its inverse is the old `apply`."""

    cause: ClassVar[Cause] = "script"

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old `undo`."""
        _run(context, args["old"], "undo")

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old `apply`."""
        _run(context, args["old"], "apply")

    def undo_label(self, op: Op) -> str:
        """Name the script that runs: the label of the operation names `undo`."""
        return _again(op.args["old"])


class Script(Method):
    """The method `script`."""

    name = "script"
    item_kinds: ClassVar = ("script",)

    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return the rendered values, and what is wrong with them."""
        return data, value_problems(data, template) or variable_problems(data, template)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that the step declares its inverse, and that its scripts are in the bundle and can be run."""
        # Undoing, and removing the product, run the old scripts. The new ones were just verified; installing
        # the same release again is what repairs the old ones.
        again = old and new and old.release.identity == new.release.identity
        problems = release_files.changed(context, old.release, KIND) if old and not again else []
        if new is None:
            return problems
        if not _inverse(new):
            what = "has no undo operation that this version of `install` knows"
            return [
                Problem(f"script {new.options.get('apply', '')}", what, "use a newer version of `install`")
            ]
        problems += self.absent_files(new)
        problems += script_values_problems(context, new, self.name)
        modes = {entry.path: entry.mode for entry in new.release.manifest.files}
        for option, path in self.spec.files(new.options):
            if option.is_program and not modes.get(path, 0o100) & 0o100:
                problems.append(Problem(path, "is not executable", "set its mode in bundle.yaml"))
        # Found before anything is changed; execve would fail in the middle of the transaction.
        if context.system.space(context.layout.base).noexec:
            hint = "mount it with the option exec, or use --skip script"
            problems.append(
                Problem(context.layout.base, "is mounted noexec, but scripts run from there", hint)
            )
        return problems

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which scripts run, and what cannot be undone."""
        if new is None:
            if old is None:
                return []
            undo = old.options.get("undo")
            return [
                f"run {undo}" if undo else (f"{old.options['apply']} has no undo script: its changes remain")
            ]
        run = f"run {new.options['apply']}"
        if _inverse(new) == "restore":
            saved = f"run {new.options['snapshot']} to save what the next script changes"
            return [saved, f"{run}; if it fails, {new.options['restore']} restores what was saved"]
        return [f"{run}; it cannot be undone" if _inverse(new) == "roll_forward_only" else run]

    def irreversible(self, context: Context, new: Target) -> list[str]:
        """Return what a committed step has done that a rollback does not undo."""
        apply, inverse = new.options["apply"], _inverse(new)
        if inverse == "restore":
            saved = _snapshot(context, {"tag": _tag(new)})
            return [f"{apply} changes data; the previous data is in {saved}"]
        return [f"{apply} cannot be undone: {new.options[inverse]}"] if inverse == "roll_forward_only" else []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the scripts, ordered so that undoing runs each while its own release's files are there."""
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
        # Undone after the files are back, and so the last: the old `apply` needs the old files.
        return [Op("script.before", {"old": before, "tag": args["tag"]}, "switch"), run]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which scripts are not those that were installed: undoing and removing run them."""
        return release_files.changed(context, target.release, KIND)

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the undo script of the running release: all that a removal knows of what `apply` did."""
        if not running or "undo" not in target.options:
            return []
        why = "the undo script ran; Waybill cannot check its result"
        return [InventoryItem("script", target.release.then(target.options["undo"]), why=why)]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Name the scripts that ran: they went with the release, and what they did is theirs alone."""
        for item in items:
            if context.system.observe(item.name, digest=False).kind == "absent":
                yield Residue("gone", "script", item.name, item.why)
            else:
                yield Residue("left", "script", item.name, "is still there", "run `install recover`")


def _again(step: Json) -> str:
    """Return the line for the old `apply`, with the version that it starts again."""
    version = step.get("env", {}).get("WAYBILL_VERSION", "")
    line = f"undo: running {step['apply'].removeprefix(step['directory'] + '/')}"
    return f"{line} ({version})" if version else line


def _inverse(target: Target) -> str:
    """Return the option that declares the inverse of a step; empty where none does, or several do."""
    forms = METHOD.spec.forms
    declared = {word for word in target.options if any(word in form for form in forms)}
    return next((form[-1] for form in forms if declared == set(form)), "")


def _tag(target: Target) -> str:
    return str(target.options["apply"]).replace("/", "-")


def _snapshot(context: Context, args: Json) -> str:
    return f"{context.layout.record(context.transaction)}/{SNAPSHOT}{args['tag']}"


def _mark(context: Context, args: Json) -> str:
    return f"{context.layout.backup(context.transaction)}/begun-{args['tag']}"


def _step(context: Context, target: Target, old: Target | None) -> Json:
    manifest = target.release.manifest
    scripts = METHOD.spec.files(target.options)
    return {
        **{option.key: target.release.then(path) for option, path in scripts if option.is_program},
        # Only where it has some: the bytes of other journals stay as they are.
        **({"values": recorded_values(target, METHOD.name)} if "values" in target.options else {}),
        "directory": target.release.directory,
        "files": release_files.listed(manifest, KIND),
        "timeout": int(target.options.get("timeout", TIMEOUT)),
        "env": {
            "WAYBILL_ROOT": context.system.root,
            "WAYBILL_RELEASE": full_path(context, target.release.directory),
            "WAYBILL_PRODUCT": manifest.product,
            "WAYBILL_VERSION": manifest.version,
            "WAYBILL_OLD_RELEASE": full_path(context, old.release.directory) if old else "",
        },
    }


HANDLERS: dict[str, Handler] = {
    "script.before": Before(),
    "script.apply": Apply(),
    "script.snapshot": Snapshot(),
    "script.forward": Forward(),
    "script.remove": Remove(),
}
METHOD = Script()
