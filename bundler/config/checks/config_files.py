"""Configuration files: the commands that check them, and what happens when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.entries.config_file import MOST_SECONDS, program_fault, validator_fault
from installer.core.risk.unit_lines import directives

_EXAMPLE = 'write it as [nginx, -t, -c, "{file}"]'
_RELOADING = ("service", "mount")
"""Types of units that systemd can reload."""


def check(
    templates: Iterable[InputFile],
    places: Mapping[tuple[str, str], str],
    units: Mapping[str, Callable[[], bytes]],
) -> list[Problem]:
    """Return what is wrong with `validate`, `on_change` and `timeout` of configuration files.

    Args:
        templates: The configuration files.
        places: `bundle.yaml:LINE` of the three, by member and key.
        units: The units of the release by their names, each with what reads it.
    """
    problems = []
    for item in templates:
        if (where := places.get((item.member, "validate"))) and (fault := validator_fault(item.validate)):
            problems.append(Problem(where, f"validate {fault}", _EXAMPLE))
        where, change = places.get((item.member, "on_change"), ""), item.on_change
        if change.command and (fault := program_fault(change.command)):
            hint = "write it as [/usr/sbin/update-ca-certificates], or as [sh, -c, …] for a shell"
            problems.append(Problem(where, f"on_change.command {fault}", hint))
        if unfit := _timeout_fault(item):
            problems.append(Problem(places.get((item.member, "timeout"), ""), *unfit))
        if change.unit in units and "@." in change.unit:
            what = f"on_change names {change.unit}, a template that never runs itself"
            problems.append(Problem(where, what, "name an instance of it"))
        elif change.reload in units and not _can_reload(change.reload, units[change.reload]()):
            what = f"on_change reloads {change.reload}, which the release carries without `ExecReload=`"
            hint = "add ExecReload= to the unit, or use `restart` instead of `reload`"
            problems.append(Problem(where, what, hint))
    return problems


def _timeout_fault(item: InputFile) -> tuple[str, str] | None:
    if item.timeout and not (item.validate or item.on_change.command):
        return "timeout has no command that it could limit", "remove it, or add `validate`"
    if item.timeout > MOST_SECONDS:
        what = f"timeout is {item.timeout} s, at most {MOST_SECONDS // 60} minutes are allowed"
        return what, "do what takes longer in a script, as a step of `deploy`"
    return None


def _can_reload(unit: str, data: bytes) -> bool:
    kind = unit.rpartition(".")[2]
    if kind != "service":
        return kind in _RELOADING
    rows = [row[1:] for row in directives(data.decode("utf-8", "replace"))]
    # An empty value takes back what was said before it.
    reloads = [value for section, key, value in rows if (section, key) == ("Service", "ExecReload")]
    notifies = any(row == ("Service", "Type", "notify-reload") for row in rows)
    return notifies or (bool(reloads) and reloads[-1] != "")
