"""Plans what happens because configuration files change: looks at the host, and returns operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from installer.core.errors import Problem
from installer.core.format.methods import place_name
from installer.core.limits import LIMITS
from installer.deploy.configuration import validation
from installer.deploy.configuration.reactions import (
    NO_REACTIONS,
    FileChanges,
    Reaction,
    Reactions,
    Side,
    reactions,
)
from installer.deploy.configuration.validation import Check
from installer.deploy.method import SPARED, Target
from installer.deploy.operation import Json, Op, StepError
from installer.deploy.systemctl import runs, show
from installer.host.context import Context
from installer.state.release import Release

Part = tuple[Release, Iterable[str]]
"""A release, and the methods that are, or were, used."""
_CORRECT = "ask the team that built the bundle to correct `on_change` in bundle.yaml and to send a new bundle"


@dataclass(frozen=True, slots=True)
class Effects:
    """What a change of configuration files brings with it.

    Attributes:
        acts: What happens once the files have changed.
        checks: What is checked before.
        problems: Why that cannot be done here.
        notes: What is not done, and why.
    """

    acts: Reactions = NO_REACTIONS
    checks: tuple[Check, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield for people what will be checked, then what will happen."""
        if self.checks:
            yield "checked before anything is changed:"
            yield from (f"  {line}" for line in validation.lines(self.checks))
        if self.acts.acts or self.acts.spared:
            yield "once the configuration has changed:"
            yield from (f"  ~ {act.text()} ({_because(act)} changed)" for act in self.acts.acts)
            told = {act.unit for act in self.acts.acts}
            calm = [unit for unit in self.acts.spared if unit not in told]
            yield from (f"    {unit} is not restarted: nothing that it uses changes" for unit in calm)

    def as_json(self) -> Json:
        """Return it as fields of the plan."""
        return {
            "checks": [check.as_json() for check in self.checks],
            "on_change": [act.as_json() for act in self.acts.acts],
            "spared": list(self.acts.spared),
        }


NO_EFFECTS = Effects()


def effects(context: Context, old: Part | None, new: Part | None, changes: FileChanges) -> Effects:
    """Return what a change of files brings with it; the host is looked at, and not changed.

    Args:
        context: The host.
        old: The running release.
        new: The release that is to run, with what it installs.
        changes: Which files on the host change.
    """
    before, after = _side(context, old, read=False), _side(context, new, read=True)
    checks = validation.checks(context, new[0], changes.written) if new else []
    found, notes = NO_REACTIONS, list[str]()
    # Most releases have none: then nothing is compared.
    if any(side.reacting() for side in (before, after) if side):
        found, notes = _without_lost(context, reactions(before, after, changes), changes.gone)
    installed = {item.path for item in new[0].installed} if new else set[str]()
    return Effects(
        _possible(context, found),
        tuple(checks) if context.live else (),
        (*validation.problems(context, checks), *_problems(context, found, installed)),
        (*notes, *validation.notes(context, checks), *_notes(context, found)),
    )


def _side(context: Context, part: Part | None, *, read: bool) -> Side | None:
    if part is None:
        return None
    release, methods = part
    # The texts of units matter only where the release says something of its units.
    is_read = read and any(entry.on_change for entry in release.manifest.files)
    units: dict[str, str] = {}
    for entry in release.manifest.of_kind("unit") if is_read else ():
        folder, sign, name = place_name(entry.kind, entry.path).rpartition("/")
        unit = folder.removesuffix(".d") if sign else name
        units[unit] = f"{units.get(unit, '')}\n\n{_text(context, release.now(entry.path))}"
    platform = context.system.platform()
    return Side(release.manifest, platform, frozenset(methods), context.layout.current, units)


def _text(context: Context, path: str) -> str:
    try:
        return context.system.read(path, LIMITS.document_bytes).decode("utf-8", "replace")
    except OSError:
        # Of a unit that cannot be read nothing is known: no file counts as named by it.
        return ""


def sparing(target: Target, units: Sequence[str]) -> Target:
    """Return a step that leaves these units alone if they run; as it is, where there are none."""
    return replace(target, options={**target.options, SPARED: list(units)}) if units else target


def _problems(context: Context, found: Reactions, comes: Collection[str]) -> list[Problem]:
    """Return why something cannot happen here: a program or a unit that is not there, or cannot reload."""
    acts = [act for act in found.acts if not (act.command and act.command[0] in comes)]
    return [fault for act in acts if (fault := _fault(context, act))] if context.live else []


def _fault(context: Context, act: Reaction) -> Problem | None:
    if act.command:
        if context.system.which(act.command[0]) is not None:
            return None
        hint = f"install it first; the release runs it when {act.because[0]} changes"
        return Problem(act.command[0], "is not on this host, or cannot be executed", hint)
    # A unit of the release is checked by `bundle create`, and without systemd a note says all.
    return None if act.own or act.comes or not runs(context) else _unit_fault(context, act)


def _host_units(acts: Iterable[Reaction]) -> Iterator[Reaction]:
    yield from (act for act in acts if act.unit and not act.own)


def _unit_fault(context: Context, act: Reaction) -> Problem | None:
    why = f"the release has to {act.does} it, since {act.because[0]} changes"
    try:
        state = show(context, act.unit, "LoadState", "CanReload")
    except StepError as error:
        return Problem(act.unit, error.what, error.hint)
    if state["LoadState"] != "loaded":
        what = f"is not a unit of this host ({state['LoadState'] or 'unknown'}), but {why}"
        return Problem(act.unit, what, f"install what has it, or {_CORRECT}")
    if act.does == "reload" and state["CanReload"] == "no":
        return Problem(act.unit, f"cannot reload its configuration, but {why}", _CORRECT)
    return None


def _notes(context: Context, found: Reactions) -> list[str]:
    """Return what does not happen, and why."""
    acts = [act for act in found.acts if act.command or not act.own]
    lines = [
        f"not done, since the step that has {act.unit} is skipped: {act.text()}" for act in found.skipped
    ]
    if not context.live:
        return [*lines, *(f"not done with --root: {act.text()}" for act in acts)]
    if not runs(context):
        lines += [f"not done, since systemd does not run here: {act.text()}" for act in _host_units(acts)]
    return lines


def _possible(context: Context, found: Reactions) -> Reactions:
    """Return what is done here: nothing below `--root`, and nothing with units where systemd does not run."""
    if not context.live or found == NO_REACTIONS:
        return NO_REACTIONS
    if runs(context):
        return found
    return Reactions(tuple(act for act in found.acts if act.command))


def _without_lost(context: Context, found: Reactions, gone: Collection[str]) -> tuple[Reactions, list[str]]:
    """Return what is left where files go whose programs and units are not there, and a note for each of them.

    What a release wanted of the host is no reason that it cannot go.
    """
    lost: dict[Reaction, str] = {}
    for act in found.acts if context.live else ():
        if act.command and act.command[0] in gone:
            lost[act] = f"{act.command[0]} is removed, too"
        elif act.ended and (fault := _fault(context, act)):
            lost[act] = f"{fault.where} {fault.what.partition(', but ')[0]}"
    lines = [f"not done, since {why}: {act.text()}" for act, why in lost.items()]
    return replace(found, acts=tuple(act for act in found.acts if act not in lost)), lines


def operations(found: Reactions) -> tuple[list[Op], list[Op]]:
    """Return the operations before the change of files, and those after it."""
    commands = [act for act in found.acts if act.command]
    units = [act for act in found.acts if act.unit]
    if not commands and not units:
        return [], []
    words: list[Json] = [
        {"words": list(act.command), "seconds": act.seconds, **_facts(act)} for act in commands
    ]
    rows: list[Json] = [{"unit": act.unit, "does": act.does, "own": act.own, **_facts(act)} for act in units]
    after = []
    if commands:
        after.append(Op("on_change.commands", {"commands": words}, "activate", _label(commands)))
    if units:
        after.append(Op("on_change.units", {"units": rows}, "activate", _label(units)))
    return [Op("on_change.back", {"commands": words, "units": rows}, "switch")], after


def _facts(act: Reaction) -> Json:
    return {"fresh": act.fresh, "ended": act.ended}


def _label(acts: Iterable[Reaction]) -> str:
    return "; ".join(act.text() for act in acts)


def _because(act: Reaction) -> str:
    more = f" and {len(act.because) - 1} more" if len(act.because) > 1 else ""
    return f"{act.because[0]}{more}"
