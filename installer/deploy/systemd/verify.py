"""What the systemd of this host says of the units of a release, before they are installed."""

from __future__ import annotations

from collections.abc import Iterator

from installer.core.errors import Problem
from installer.core.format.entries.unit_names import step_units
from installer.deploy.method import Target
from installer.deploy.systemd.units import units_of
from installer.host.context import Context
from installer.shared.child.unit_check import ENVIRONMENT, WORDS, UnitFinding, findings, search_path

_SECONDS = 30.0
_MOST = 10


def refused(context: Context, old: Target | None, new: Target) -> Iterator[Problem]:
    """Yield the units that systemd would not start."""
    for each in _findings(context, old, new):
        if each.is_refusal:
            hint = "ask the team that built the bundle to correct the unit and to send a new bundle"
            yield Problem(each.where, f"systemd of this host refuses it: {each.what}", hint)


def warnings(context: Context, old: Target | None, new: Target) -> Iterator[str]:
    """Yield the lines of units that systemd would leave out, mostly since it is older than they are."""
    found = [each for each in _findings(context, old, new) if not each.is_refusal]
    yield from (f"systemd of this host says of {each.where}: {each.what}" for each in found[:_MOST])
    if len(found) > _MOST:
        yield f"… {len(found) - _MOST} more such lines: see `systemd-analyze verify`"


def _findings(context: Context, old: Target | None, new: Target) -> list[UnitFinding]:
    before, after = units_of(context, old), units_of(context, new)
    changed = {name for name, unit in after.items() if name not in before or before[name] != unit}
    program = context.system.which("systemd-analyze")
    # What runs was asked when it came. Not every host has the program.
    if not changed or program is None:
        return []
    files = {new.release.now(path): path for name, path in step_units(new.options).items() if name in changed}
    every = [new.release.now(path) for path in new.options.get("units", [])]
    # The units of the host follow: those of the release may refer to them.
    env = {"SYSTEMD_UNIT_PATH": f"{search_path(every)}:", **ENVIRONMENT}
    ended = context.system.run([program, *WORDS, *files], timeout=_SECONDS, env=env)
    names = {**files, **dict(zip(every, new.options.get("units", []), strict=True))}
    return list(findings(ended.stderr.decode("utf-8", "replace"), names))
