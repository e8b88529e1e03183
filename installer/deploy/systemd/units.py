"""What is to happen with each unit of a step: pure decisions, from the texts of the units.

Administrators know them from packages: a service is restarted by an upgrade, a socket that did not change
goes on listening, a job of a timer is left to its timer, and a template never runs itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from installer.core.format.entries.unit_names import drop_ins, is_template, step_units, template_of
from installer.core.format.methods import directory_of, place_name
from installer.core.limits import LIMITS
from installer.core.risk.unit_lines import directives
from installer.deploy.method import Target
from installer.host.context import Context

Role = Literal["run", "keep", "start", "demand", "job", "none"]
"""What an upgrade does with a unit.

`run`: restarts it. `keep`: restarts it if its own files changed, and starts it if it does not run. `start`:
starts it, never restarts it, since that would stop all that belongs to it. `demand`: restarts it if it runs;
its socket starts it. `job`: leaves it to what starts it. `none`: a template, or what comes with others.
"""
_TRIGGERS = {"timer": "Unit", "path": "Unit", "socket": "Service"}
_YES = ("1", "yes", "y", "true", "t", "on")
# What others wait for comes first: a socket cannot listen once its service runs without it.
_RANKS = ("slice", "swap", "mount", "automount", "socket", "path", "service", "timer", "target")
_STOPPED_FIRST = ("timer", "path", "socket", "automount")


def kind_of(unit: str) -> str:
    """Return the type of a unit, such as `service`."""
    return unit.rpartition(".")[2]


def in_order(units: Iterable[str]) -> list[str]:
    """Return units in the order in which systemd is told to start them, else as they are."""
    return sorted(units, key=lambda unit: _RANKS.index(kind_of(unit)))


def stop_order(units: Iterable[str]) -> list[str]:
    """Return units in the order in which they are stopped: what starts others again comes first."""
    return sorted(units, key=lambda unit: kind_of(unit) not in _STOPPED_FIRST)


@dataclass(frozen=True)
class StepUnit:
    """A unit of a step.

    Attributes:
        name: Its name.
        text: The text of its file and of its drop-ins in the release.
        triggers: The types of units of the step that start it.
    """

    name: str
    text: str
    triggers: frozenset[str] = frozenset()

    @cached_property
    def _directives(self) -> dict[tuple[str, str], str]:
        return {(section, key): value for _, section, key, value in directives(self.text)}

    def says(self, section: str, key: str) -> str:
        """Return the last value of a directive; empty where there is none."""
        return self._directives.get((section, key), "")

    @property
    def digest(self) -> str:
        """What differs where the unit or one of its drop-ins does."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_enabled(self) -> bool:
        """Whether `systemctl enable` has something to do; without `[Install]` a unit is static."""
        return not is_template(self.name) and any(section == "Install" for section, _ in self._directives)

    @property
    def ends(self) -> bool:
        """Whether it is a oneshot service that is done, and not active, once it has run."""
        return (
            self.says("Service", "Type") == "oneshot"
            and self.says("Service", "RemainAfterExit").lower() not in _YES
        )

    @property
    def role(self) -> Role:
        """What an upgrade does with it."""
        kind = kind_of(self.name)
        if is_template(self.name):
            return "none"
        if self.triggers and not self.is_enabled and kind in ("service", "mount"):
            # A daemon on demand runs the old program; a job, which a timer starts, comes to its end.
            is_daemon = kind == "service" and not self.ends and self.triggers != {"timer"}
            return "demand" if is_daemon else "job"
        if kind == "service":
            return "run"
        if kind == "slice" and not self.is_enabled:
            return "none"
        return "start" if kind in ("slice", "target") else "keep"


def user_of(target: Target | None) -> str:
    """Return the user whose units a step has; empty for units of the system."""
    return str(target.options.get("user", "")) if target else ""


def units_of(context: Context, target: Target | None) -> dict[str, StepUnit]:
    """Return the units of a step and the instances that it names, by name."""
    if target is None:
        return {}
    kind = "user-unit" if user_of(target) else "unit"
    found = step_units(target.options)
    texts = {name: read_text(context, target, path, kind) for name, path in found.items()}
    named = target.options.get("instances", [])
    for unit, path in drop_ins(target.options):
        if unit in texts or unit in named:
            # A line of its own keeps a continued line apart from what follows.
            texts[unit] = f"{texts.get(unit, '')}\n\n{read_text(context, target, path, kind)}"
    for unit in named:
        # Its own drop-ins come after those of its template.
        texts[unit] = f"{texts.get(template_of(unit), '')}\n\n{texts.get(unit, '')}"
    triggers: dict[str, set[str]] = {}
    for name, text in texts.items():
        for started in _started_by(name, text):
            triggers.setdefault(started, set()).add(kind_of(name))
    return {name: StepUnit(name, text, frozenset(triggers.get(name, ()))) for name, text in texts.items()}


def _started_by(name: str, text: str) -> Iterator[str]:
    stem, _, kind = name.rpartition(".")
    if kind == "automount":
        yield f"{stem}.mount"
    elif kind in _TRIGGERS:
        unit = StepUnit(name, text)
        section = kind.capitalize()
        yield unit.says(section, _TRIGGERS[kind]) or f"{stem}.service"


def read_text(context: Context, target: Target, path: str, kind: str = "unit") -> str:
    """Return the text of a file of a step; empty where it cannot be had."""
    # While planning the release is still staged; later it is in its final directory. An ordinary user who
    # asks for the plan may read neither of the running release, but what it has installed.
    installed = f"{directory_of(kind)}/{place_name(kind, path)}"
    for place in (target.release.now(path), target.release.then(path), installed):
        try:
            return context.system.read(place, LIMITS.document_bytes).decode("utf-8", "replace")
        except (FileNotFoundError, PermissionError):
            continue
    return ""


@dataclass(frozen=True, slots=True)
class Actions:
    """What is done with the units of two releases.

    Attributes:
        stop: Those that go.
        enable: Those that are started at boot.
        restart: Those that are restarted, or started.
        start: Those that are started if they do not run.
        running: Those that are restarted if they run.
        fresh: Those that were not there before.
    """

    stop: Sequence[str] = ()
    enable: Sequence[str] = ()
    restart: Sequence[str] = ()
    start: Sequence[str] = ()
    running: Sequence[str] = ()
    fresh: Sequence[str] = ()


def actions(
    before: Mapping[str, StepUnit],
    after: Mapping[str, StepUnit],
    instances: Iterable[str],
    masked: Iterable[str],
) -> Actions:
    """Return what is done to get from the units of one release to those of another.

    Args:
        before: The units of the running release.
        after: The units of the release that is to run.
        instances: Instances of templates of both that run or are enabled, without the step naming them.
        masked: Units that the administrator has masked: nothing is done with them.
    """
    no = set(masked)
    own = [unit for unit in after.values() if unit.name not in no]
    others = [unit for unit in instances if not {unit} & {*before, *after, *no}]

    def changed(unit: StepUnit) -> bool:
        return unit.name not in before or before[unit.name].digest != unit.digest

    named = {role: [unit for unit in own if unit.role == role] for role in ("run", "keep", "start", "demand")}
    return Actions(
        stop=stop_order(
            [
                *(unit for unit in before if not {unit} & {*after, *no} and not is_template(unit)),
                *(unit for unit in others if template_of(unit) not in after),
            ]
        ),
        enable=[unit.name for unit in own if unit.is_enabled],
        restart=in_order(
            unit.name for unit in (*named["run"], *named["keep"]) if unit.role == "run" or changed(unit)
        ),
        start=in_order(
            unit.name
            for unit in (*named["keep"], *named["start"])
            if unit.role == "start" or not changed(unit)
        ),
        running=in_order(
            [
                *(unit.name for unit in named["demand"]),
                *(unit for unit in others if template_of(unit) in after and kind_of(unit) == "service"),
            ]
        ),
        fresh=[unit.name for unit in own if unit.name not in before and not is_template(unit.name)],
    )
