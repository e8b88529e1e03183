"""The method `systemd`: starts the units of a release, and sets up the host for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from installer.core.errors import Problem
from installer.core.format.entries.unit_names import drop_ins, is_template, step_units, template_of
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import SPARED, Method, Target
from installer.deploy.operation import Op, StepError
from installer.deploy.systemctl import is_masked, last_words, restart_counts, runs, show
from installer.deploy.systemd import drift, verify
from installer.deploy.systemd.instances import host_instances
from installer.deploy.systemd.operations import UNITS
from installer.deploy.systemd.residue import residue
from installer.deploy.systemd.settings import Settings
from installer.deploy.systemd.units import Actions, StepUnit, actions, kind_of, units_of
from installer.host.context import Context


class Systemd(Method):
    """The method `systemd`."""

    name = "systemd"
    item_kinds: ClassVar = ("unit",)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that systemd runs here, that it accepts the units, and that the host can be set up."""
        if not context.live:
            what = "needs a running system, but --root is a directory"
            return [Problem("systemd", what, "omit --root, or omit systemd from --only")]
        if not runs(context):
            return [Problem("systemd", "does not run on this host", "omit it with --skip systemd")]
        try:
            _instances(context, old, new)
        except StepError as error:
            return [Problem("systemd", error.what, error.hint)]
        if new is None:
            return []
        return self.absent_files(new) or [
            *verify.refused(context, old, new),
            *Settings.of(context, new).problems(context),
        ]

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which units are stopped, started and restarted, and what changes on the host."""
        if not context.live or not runs(context):
            return []
        before, after = units_of(context, old), units_of(context, new)
        todo, spared = _actions(context, old, new, before, after), _spared(new)
        lines = [*Settings.of(context, new).lines(context, Settings.of(context, old))]
        lines += [f"stop and disable {unit}" for unit in todo.stop]
        lines += [_started(after[unit], before) for unit in todo.restart if unit not in spared]
        lines += [_started(after[unit], before) for unit in todo.start if unit not in before]
        lines += [f"restart {unit} if it runs" for unit in todo.running if unit not in todo.fresh]
        lines += [
            f"leave {unit.name} to its {' and '.join(sorted(unit.triggers))}: a run that has begun goes on"
            for unit in after.values()
            if unit.role == "job" and unit.name in before and before[unit.name].digest != unit.digest
        ]
        lines += [
            f"leave {unit} alone: it is masked on this host; `systemctl unmask {unit}` allows it"
            for unit in _masked(context, after)
        ]
        lines += _others_changed(context, old, new)
        return [*lines, *(verify.warnings(context, old, new) if new else ())]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the operations that enclose the change of files: users, units that go; settings, units."""
        before, after = units_of(context, old), units_of(context, new)
        todo = _actions(context, old, new, before, after)
        every = list(dict.fromkeys([*before, *after, *todo.stop, *todo.running]))
        label = f"stop {', '.join(todo.stop)}" if todo.stop else ""
        settings, gone = Settings.of(context, new), Settings.of(context, old)
        ops = [*settings.first(context)]
        ops.append(Op("systemd.before", {"units": every, "stop": list(todo.stop)}, "switch", label))
        # Undone before the old units start again: they may need what it restores.
        ops += settings.preimage(gone)
        ops += settings.last(gone)
        if new is not None:
            args = {"enable": todo.enable, "restart": todo.restart, "new": todo.fresh}
            # Without any the arguments are those of every earlier version.
            more = {"spared": _spared(new), "start": todo.start, "running": todo.running}
            args |= {key: list(value) for key, value in more.items() if value}
            named = [unit for unit in todo.restart if unit not in _spared(new)]
            named += [unit for unit in todo.start if unit in todo.fresh]
            label = f"start {', '.join(named)}" if named else "load units"
            ops.append(Op("systemd.up", args, "activate", label))
        return ops

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which units do not run as they should, or would not after a boot; and lost settings."""
        masked = _masked(context, units_of(context, target))
        units = [unit for unit in units_of(context, target).values() if unit.name not in masked]
        return [*drift.units(context, units), *Settings.of(context, target).drift(context)]

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often systemd has restarted each service; a count that cannot be read is left out."""
        units = units_of(context, target).values()
        watched = (unit for unit in units if unit.role in ("run", "demand"))
        return restart_counts(context, [unit.name for unit in watched if kind_of(unit.name) == "service"])

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return how the units that do not run as they should ended, and their last lines."""
        units = units_of(context, target).values()
        found = drift.units(context, [unit for unit in units if unit.role in ("run", "keep", "start")])
        # One that ends again and again may run at this moment.
        again = [
            name.removeprefix("unit ") for name, count in self.restarts(context, target).items() if count
        ]
        return last_words(context, dict.fromkeys([*(problem.where for problem in found), *again]))

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the units of the running release."""
        names = dict.fromkeys([*step_units(target.options), *target.options.get("instances", [])])
        return [InventoryItem("unit", unit) for unit in names] if running else []

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Ask systemd for the units, and look for what would start them at boot."""
        for item in items:
            rows = list(residue(context, item.name))
            yield from rows
            if all(row.name != item.name for row in rows):
                yield Residue("gone", "unit", item.name)


def _spared(target: Target | None) -> list[str]:
    """Return the units that the plan leaves alone if they run; it is no option of a manifest."""
    return target.options.get(SPARED, []) if target else []


def _started(unit: StepUnit, before: Mapping[str, StepUnit]) -> str:
    if unit.ends:
        return f"run {unit.name}, which ends by itself"
    if unit.name in before:
        return f"restart {unit.name}"
    return f"{'enable and start' if unit.is_enabled else 'start'} {unit.name}"


def _masked(context: Context, units: Iterable[str]) -> list[str]:
    """Return the units that the administrator has masked: they said no, and no release overrules that."""
    return [unit for unit in units if is_masked(context.system, f"{UNITS}/{unit}")]


def _instances(context: Context, old: Target | None, new: Target | None) -> list[str]:
    """Return the instances of templates of both releases that run or are enabled on the host.

    Raises:
        StepError: systemd does not answer.
    """
    names = [unit for target in (old, new) if target for unit in step_units(target.options)]
    return host_instances(context, [unit for unit in dict.fromkeys(names) if is_template(unit)])


def _actions(
    context: Context,
    old: Target | None,
    new: Target | None,
    before: Mapping[str, StepUnit],
    after: Mapping[str, StepUnit],
) -> Actions:
    try:
        found = _instances(context, old, new)
    except StepError:
        found = []  # `check` has said so, and nothing is carried out
    masked = _masked(context, dict.fromkeys([*before, *after, *found]))
    return actions(before, after, found, masked)


def _others_changed(context: Context, old: Target | None, new: Target | None) -> Iterator[str]:
    """Yield the units of others that get or lose a drop-in: those of the host are not restarted."""
    steps = [step.options for each in (old, new) if each for step in each.release.manifest.deploy]
    own = {unit for each in steps for unit in (*step_units(each), *each.get("instances", []))}

    def foreign(target: Target | None) -> dict[tuple[str, str], str]:
        digests = {each.path: each.sha256 for each in target.release.manifest.files} if target else {}
        found = drop_ins(target.options) if target else ()
        return {(unit, path.rpartition("/")[2]): digests.get(path, "") for unit, path in found}

    before, after = foreign(old), foreign(new)
    changed = {
        unit
        for unit, name in before.keys() | after.keys()
        if before.get((unit, name)) != after.get((unit, name))
    }
    for unit in sorted(changed - own):
        if template_of(unit) in own:
            continue
        if any(each == unit for each, _ in after) and _is_absent(context, unit):
            yield (
                f"the drop-in of {unit} has no effect: neither this release nor this host has such a unit; "
                "check the name of its directory"
            )
        else:
            yield (
                f"the settings of {unit}, a unit of this host, change: they take effect when it is restarted "
                f"next, for example with `systemctl try-restart {unit}`"
            )


def _is_absent(context: Context, unit: str) -> bool:
    # systemd knows instances, and no templates.
    with suppress(StepError):
        return not is_template(unit) and show(context, unit, "LoadState")["LoadState"] == "not-found"
    return False


METHOD = Systemd()
