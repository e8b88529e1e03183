"""The two operations on units, which enclose the change of files.

`systemd.before` comes first and is undone last, when the old files are back; it restores the state of every
unit. `systemd.up` comes last and is undone first, while the new unit files, which say what `disable` has to
remove, are still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from installer.deploy.operation import Handler, Json
from installer.deploy.systemctl import RUNNING, has_new_job, require, show_all, systemctl
from installer.deploy.systemd.linger import HANDLERS as LINGER
from installer.deploy.systemd.linger import wake
from installer.deploy.systemd.units import in_order, kind_of, stop_order
from installer.deploy.user_manager import as_user, links
from installer.host.context import Context

_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "InvocationID", "Type", "Job")
_TEMPLATE = {"LoadState": "template", "ActiveState": "inactive", "UnitFileState": "", "InvocationID": ""}


def _set(context: Context, word: str, unit: str) -> None:
    """Enable or disable a unit, durably."""
    require(context, word, unit)
    # systemctl does not sync: a power cut could lose the link although the journal says that it was made.
    context.system.sync_all([links(context)])


def states(context: Context, units: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the states of units. A template (`name@.service`) has no state: it is there, or it is not.

    Raises:
        StepError: systemd does not answer.
    """
    every = list(units)
    # `systemctl show` of a template would describe an instance with an empty name.
    asked = [unit for unit in every if "@." not in unit]
    found = show_all(context, asked, *_PROPERTIES)
    return {unit: found.get(unit) or dict(_TEMPLATE) for unit in every}


def _active(found: Mapping[str, Mapping[str, str]], units: Iterable[str]) -> list[str]:
    return [unit for unit in units if found.get(unit, {}).get("ActiveState") in RUNNING]


def _start_anew(context: Context, units: Iterable[str]) -> None:
    """Restart units, or start them, all with one call: systemd orders what waits for each other."""
    jobs = in_order(units)
    if not jobs:
        return
    if sockets := [unit for unit in jobs if kind_of(unit) == "socket"]:
        # A socket cannot begin to listen while its service runs.
        shown = show_all(context, sockets, "Triggers")
        served = [unit for each in shown.values() for unit in each["Triggers"].split()]
        if running := _active(states(context, dict.fromkeys(served)), dict.fromkeys(served)):
            require(context, "stop", *running)
    # A unit that failed too often in the past would not be started again otherwise.
    systemctl(context, "reset-failed", *jobs)
    require(context, "restart", *jobs)


def _manager(context: Context, args: Json) -> Context:
    """Return the context of the manager that an operation acts on, which runs then."""
    user = args.get("user", "")
    # It may be down: after a boot of a host on which nobody lingers any more, or since somebody stopped it.
    # To start it is no effect of an operation: every login does it, and nobody notices it.
    wake(context, user)
    return as_user(context, user)


class _LinkingHandler(Handler):
    """A handler that enables and disables units: of the system, or of the user in its arguments."""

    def places(self, args: Json) -> list[str]:
        """Return where `systemctl enable` makes links."""
        return [args.get("links", "/etc/systemd/system")]


class Before(_LinkingHandler):
    """`systemd.before`: stops the units that go; undone, restores the state of every unit."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the state of every unit of the old and of the new release."""
        context = _manager(context, args)
        return {"states": states(context, args["units"])}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop and disable the units that the new release does not have."""
        context, before = _manager(context, args), preimage["states"]
        if going := [unit for unit in args["stop"] if before[unit]["LoadState"] == "loaded"]:
            require(context, "stop", *going)
            # A failed unit stays listed after its file is gone; with no failure this does nothing.
            systemctl(context, "reset-failed", *going)
        for unit in going:
            if before[unit]["UnitFileState"] == "enabled":
                _set(context, "disable", unit)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Enable and run every unit as before. A unit that never stopped is left alone."""
        context = _manager(context, args)
        require(context, "daemon-reload")
        now = states(context, args["units"])
        # What was not there before, `systemd.up` has stopped, and its file is gone again.
        there = {
            unit: state
            for unit, state in reversed(preimage["states"].items())
            if state["LoadState"] == "loaded"
        }
        for unit, before in there.items():
            # Only these two states are ours to change: `static`, `masked` and others come from files.
            if before["UnitFileState"] != now[unit]["UnitFileState"]:
                if before["UnitFileState"] == "enabled":
                    _set(context, "enable", unit)
                elif now[unit]["UnitFileState"] == "enabled":
                    _set(context, "disable", unit)
        active = set(_active(now, there))
        # What waits to be stopped runs as before, until its turn comes. The jobs of an undo take the place of
        # such jobs.
        queued = {unit for unit in there if has_new_job(there[unit], now[unit])}
        came = [unit for unit in there if unit in active | queued]
        if come := [unit for unit in came if there[unit]["ActiveState"] not in RUNNING]:
            require(context, "stop", *stop_order(come))
        ran = [unit for unit in _active(there, there) if not _ended(unit, there[unit], args["stop"])]
        # Another invocation runs the new release's program: it has to go even if it is active.
        _start_anew(
            context,
            [
                unit
                for unit in ran
                if unit not in active
                or unit in queued
                or now[unit]["InvocationID"] != there[unit]["InvocationID"]
            ],
        )


def _ended(unit: str, before: Mapping[str, str], stopped: Sequence[str]) -> bool:
    """Return whether a job was running and may have come to its end since: it is not run once more."""
    return before.get("Type") == "oneshot" and before["ActiveState"] == "activating" and unit not in stopped


class Up(_LinkingHandler):
    """`systemd.up`: enables and restarts the units of the new release."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return which units are enabled now, by the files of the old release."""
        context = _manager(context, args)
        found = states(context, args["enable"])
        return {"enabled": {unit: state["UnitFileState"] for unit, state in found.items()}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Enable all units, then restart or start them, sockets before services."""
        context = _manager(context, args)
        require(context, "daemon-reload")
        for unit in args["enable"]:
            _set(context, "enable", unit)
        # Journals of earlier versions have neither of these two.
        start, running = args.get("start", []), args.get("running", [])
        # Looked at now: since the plan was made one may have ended, or begun.
        asked = list(dict.fromkeys([*start, *running, *args.get("spared", ())]))
        active = set(_active(states(context, asked), asked))
        spared = active.intersection(args.get("spared", ()))
        wanted = [unit for unit in args["restart"] if unit not in spared]
        wanted += [unit for unit in running if unit in active]
        missing = [unit for unit in start if unit not in active]
        # A target stops nothing, and brings what it wants: after that was restarted.
        groups = [unit for unit in missing if kind_of(unit) in ("slice", "target")]
        _start_anew(context, [*wanted, *(unit for unit in missing if unit not in groups)])
        if groups:
            require(context, "start", *groups)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop and disable the units that are new. `systemd.before` restores the others."""
        context = _manager(context, args)
        # Before the old files come back: then systemd would not know these units any more.
        now = states(context, dict.fromkeys([*args["new"], *args["enable"]]))
        if there := [unit for unit in reversed(args["new"]) if now[unit]["LoadState"] == "loaded"]:
            require(context, "stop", *stop_order(there))
            systemctl(context, "reset-failed", *there)
        for unit in reversed(args["enable"]):
            is_enabled = now[unit]["UnitFileState"] == "enabled"
            if unit in args["new"] and is_enabled and preimage["enabled"][unit] != "enabled":
                _set(context, "disable", unit)
        require(context, "daemon-reload")


HANDLERS: dict[str, Handler] = {"systemd.before": Before(), "systemd.up": Up(), **LINGER}
