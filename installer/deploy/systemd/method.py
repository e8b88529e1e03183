"""The method `systemd`: starts the units of a release, and sets up the host for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem
from installer.core.format.entries.unit_names import drop_ins, is_template, step_units, template_of
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import SPARED, Method, Target
from installer.deploy.operation import Json, Op, StepError
from installer.deploy.systemctl import is_masked, last_words, restart_counts, runs, show
from installer.deploy.systemd import drift, linger, verify
from installer.deploy.systemd.instances import host_instances
from installer.deploy.systemd.residue import residue
from installer.deploy.systemd.settings import KEPT_KINDS, Settings, creates_user, is_there
from installer.deploy.systemd.units import Actions, StepUnit, actions, kind_of, units_of, user_of
from installer.deploy.user_manager import is_up, links, looking, problems
from installer.host.context import Context

_USER_UNIT = "user unit"
_LINGERING = "lingering user"


class Systemd(Method):
    """The method `systemd`."""

    name = "systemd"
    item_kinds: ClassVar = ("unit", _USER_UNIT, _LINGERING, *KEPT_KINDS)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that systemd runs here, that it accepts the units, and that the host can be set up."""
        if not context.live:
            what = "needs a running system, but --root is a directory"
            return [Problem("systemd", what, "omit --root, or omit systemd from --only")]
        if not runs(context):
            return [Problem("systemd", "does not run on this host", "omit it with --skip systemd")]
        try:
            context = _of_step(context, old, new)
            _instances(context, old, new)
        except StepError as error:
            return [Problem("systemd", error.what, error.hint)]
        if new is None:
            return []
        if context.user:
            created = creates_user(context, new, context.user.name)
            if unfit := list(problems(context, context.user.name, is_created=created)):
                return unfit
        return self.absent_files(new) or [
            *verify.refused(context, old, new),
            *Settings.of(context, new).problems(context),
        ]

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which units are stopped, started and restarted, and what changes on the host."""
        if not context.live or not runs(context):
            return []
        try:
            context = _of_step(context, old, new)
        except StepError:
            return []  # `check` says so, and nothing is carried out
        before, after = units_of(context, old), units_of(context, new)
        todo, spared = _actions(context, old, new, before, after), _spared(new)
        lines = [*Settings.of(context, new).lines(context, Settings.of(context, old))]
        done = [f"stop and disable {unit}" for unit in todo.stop]
        done += [_started(after[unit], before) for unit in todo.restart if unit not in spared]
        done += [_started(after[unit], before) for unit in todo.start if unit not in before]
        done += [f"restart {unit} if it runs" for unit in todo.running if unit not in todo.fresh]
        lines += _lines_of_user(context, new, done) if context.user else done
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
        """Return the operations that enclose the change of files: users, units that go; settings, units.

        Raises:
            HostNotReadyError: Since `check`, the host does not say any more who its users are.
        """
        try:
            context = _of_step(context, old, new)
        except StepError as error:
            raise HostNotReadyError(error.what, where="systemd", hint=error.hint) from error
        if context.user and new is None and context.user.uid < 0:
            return []  # somebody has removed the user, and everything of theirs
        before, after = units_of(context, old), units_of(context, new)
        todo = _actions(context, old, new, before, after)
        every = list(dict.fromkeys([*before, *after, *todo.stop, *todo.running]))
        label = f"stop {', '.join(todo.stop)}" if todo.stop else ""
        settings, gone = Settings.of(context, new), Settings.of(context, old)
        ops, user = [*settings.first(context)], _arguments(context)
        if user and new is not None:
            ops.append(_linger(context, on=True))
        ops.append(Op("systemd.before", {"units": every, "stop": list(todo.stop), **user}, "switch", label))
        if user and new is None:
            ops.append(_linger(context, on=False))
        # Undone before the old units start again: they may need what it restores.
        ops += settings.preimage(gone)
        ops += settings.last(gone)
        if new is not None:
            args: Json = {"enable": todo.enable, "restart": todo.restart, "new": todo.fresh}
            # Without any the arguments are those of every earlier version.
            more = {"spared": _spared(new), "start": todo.start, "running": todo.running}
            args |= {key: list(value) for key, value in more.items() if value} | user
            named = [unit for unit in todo.restart if unit not in _spared(new)]
            named += [unit for unit in todo.start if unit in todo.fresh]
            label = f"start {', '.join(named)}" if named else "load units"
            ops.append(Op("systemd.up", args, "activate", label))
        return ops

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which units do not run as they should, or would not after a boot; and lost settings."""
        try:
            context = _of_step(context, target)
        except StepError as error:
            return [Problem("systemd", error.what, error.hint)]
        user = context.user.name if context.user else ""
        if user and not is_up(context):
            return [_no_manager(context)]
        lost = []
        if user and not linger.lingers(context, user):
            what = "does not linger any more: its units end with its last session, and do not start at boot"
            lost = [Problem(f"user {user}", what, f"run `loginctl enable-linger {user}`")]
        masked = _masked(context, units_of(context, target))
        units = [unit for unit in units_of(context, target).values() if unit.name not in masked]
        found = drift.units(context, units)
        # It may have ended while it was asked.
        if user and found and not is_up(context):
            return [_no_manager(context)]
        return [*lost, *found, *Settings.of(context, target).drift(context)]

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often systemd has restarted each service; a count that cannot be read is left out."""
        try:
            context = _of_step(context, target)
        except StepError:
            return {}
        units = units_of(context, target).values()
        watched = (unit for unit in units if unit.role in ("run", "demand"))
        return restart_counts(context, [unit.name for unit in watched if kind_of(unit.name) == "service"])

    def failure_logs(self, context: Context, target: Target) -> list[Problem]:
        """Return how the units that do not run as they should ended, and their last lines."""
        try:
            context = _of_step(context, target)
        except StepError as error:
            return [Problem("systemd", error.what, error.hint)]
        units = units_of(context, target).values()
        found = drift.units(context, [unit for unit in units if unit.role in ("run", "keep", "start")])
        # One that ends again and again may run at this moment.
        again = [
            name.removeprefix("unit ") for name, count in self.restarts(context, target).items() if count
        ]
        return last_words(context, dict.fromkeys([*(problem.where for problem in found), *again]))

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the units of the running release, the user who lingers for them, and what stays."""
        if not running:
            return []
        stays = Settings.of(context, target).kept(Settings())
        names = dict.fromkeys([*step_units(target.options), *target.options.get("instances", [])])
        if user := user_of(target):
            # Several products may have units of one user.
            lingering = InventoryItem(_LINGERING, user, mark=user)
            return [*(InventoryItem(_USER_UNIT, unit, other=user) for unit in names), lingering, *stays]
        return [*(InventoryItem("unit", unit) for unit in names), *stays]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Ask systemd for the units, and look for what would start them at boot, and for what stays."""
        for item in items:
            if item.kind in KEPT_KINDS:
                # What is gone, somebody else has removed.
                if is_there(context, item):
                    yield Residue("stays", item.kind, item.name, item.why)
                continue
            if item.kind == _LINGERING:
                yield linger.residue(context, item.name)
                continue
            try:
                found = residue(looking(context, item.other), item.name)
                rows = [replace(row, kind=item.kind) for row in found]
            except StepError as error:
                rows = [Residue("left", item.kind, item.name, error.what, error.hint)]
            yield from rows
            if all(row.name != item.name for row in rows):
                yield Residue("gone", item.kind, item.name)


def _of_step(context: Context, *targets: Target | None) -> Context:
    """Return the context in which the manager of a step is looked at: that of its user, or of the system."""
    return looking(context, next((user_of(target) for target in targets if target), ""))


def _arguments(context: Context) -> dict[str, str]:
    """Return what operations on units of a user have besides; nothing for units of the system."""
    return {"user": context.user.name, "links": links(context)} if context.user else {}


def _linger(context: Context, *, on: bool) -> Op:
    user = context.user.name if context.user else ""
    label = f"let user {user} linger" if on and not linger.lingers(context, user) else ""
    return Op("systemd.linger", {"user": user, "on": on}, "switch", label)


def _lines_of_user(context: Context, new: Target | None, done: Sequence[str]) -> Iterator[str]:
    """Yield what is done with the units of a user, who has to linger for them."""
    user = context.user.name if context.user else ""
    if new is not None and not linger.lingers(context, user):
        yield f"let user {user} linger, so that their units run without a login"
    yield from (f"as user {user}: {line}" for line in done)
    if new is None and linger.ends(context, user):
        yield f"end the lingering of user {user}: no other product needs it"


def _spared(target: Target | None) -> list[str]:
    """Return the units that the plan leaves alone if they run; it is no option of a manifest."""
    # They are units of the system.
    return target.options.get(SPARED, []) if target and not user_of(target) else []


def _started(unit: StepUnit, before: Mapping[str, StepUnit]) -> str:
    if unit.ends:
        return f"run {unit.name}, which ends by itself"
    if unit.name in before:
        return f"restart {unit.name}"
    return f"{'enable and start' if unit.is_enabled else 'start'} {unit.name}"


def _no_manager(context: Context) -> Problem:
    name, uid = (context.user.name, context.user.uid) if context.user else ("", 0)
    what = "has no manager of services that runs: none of its units does"
    return Problem(f"user {name}", what, f"run `systemctl start user@{uid}.service`")


def _masked(context: Context, units: Iterable[str]) -> list[str]:
    """Return the units that the administrator has masked: they said no, and no release overrules that."""
    return [unit for unit in units if is_masked(context.system, f"{links(context)}/{unit}")]


def _instances(context: Context, old: Target | None, new: Target | None) -> list[str]:
    """Return the instances of templates of both releases that run or are enabled on the host.

    Raises:
        StepError: systemd does not answer.
    """
    if not is_up(context):
        return []
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
    user = context.user.name if context.user else None
    steps = [step.options for each in (old, new) if each for step in each.release.manifest.deploy]
    steps = [each for each in steps if each.get("user") == user]
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
