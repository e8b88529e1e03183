"""The method `systemd`: enables and restarts the units of a release, takes down those it has no more.

Two operations embrace the change of files. `systemd.before` comes first, so it is undone last, when the old
files are back: then it brings every unit to the state it had. `systemd.up` comes last and is undone first,
while the new unit files are still there to be disabled by.
"""

# ruff: noqa: ARG002 - a method takes what the protocol gives it

from __future__ import annotations

from typing import Any

from installer.core.errors import Problem
from installer.core.limits import LIMITS
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op, StepError
from installer.host.context import Context
from installer.host.system import Completed
from installer.state.release import Release

TIMEOUT = 120.0
LOG_LINES = 5
_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "InvocationID")
_LINKS = "/etc/systemd/system"
"""Where `systemctl enable` makes its links."""
_RUNNING = ("active", "activating", "reloading")


def names(target: Target | None) -> list[str]:
    """Gives the names of a target's units."""
    return [path.rpartition("/")[2] for path in target.options.get("units", [])] if target else []


def _systemctl(context: Context, *words: str) -> Completed:
    return context.system.run(["systemctl", "--no-ask-password", *words], timeout=TIMEOUT)


def _require(context: Context, *words: str) -> None:
    ended = _systemctl(context, *words)
    if ended.ok:
        return
    unit = words[-1] if len(words) > 1 else ""
    raise StepError(
        f"systemctl {' '.join(words)}: {ended.reason()}",
        hint=f"see journalctl -u {unit}" if unit else "",
        problems=[Problem(unit, line) for line in _last_words(context, unit)] if unit else (),
    )


def _set(context: Context, word: str, unit: str) -> None:
    """Enables or disables a unit. systemctl does not wait for the disk, which may lose a link made last."""
    _require(context, word, unit)
    context.system.sync_all([_LINKS])


def _last_words(context: Context, unit: str) -> list[str]:
    argv = ["journalctl", "--no-pager", "-q", "-o", "cat", "-n", str(LOG_LINES), "-u", unit]
    ended = context.system.run(argv, timeout=10.0)
    return [line[:300] for line in ended.stdout.decode("utf-8", "replace").splitlines()] if ended.ok else []


def unit_state(context: Context, unit: str) -> Json:
    """Says how systemd sees a unit; a template (`name@.service`) has no state but being there.

    Raises:
        StepError: systemd does not answer.
    """
    if "@." in unit:
        return {"LoadState": "template", "ActiveState": "inactive", "UnitFileState": "", "InvocationID": ""}
    ended = _systemctl(context, "show", "-p", ",".join(_PROPERTIES), unit)
    if not ended.ok:
        raise StepError(f"systemd does not say how {unit} is: {ended.reason()}")
    found = dict(line.partition("=")[::2] for line in ended.stdout.decode("utf-8", "replace").splitlines())
    return {key: found.get(key, "") for key in _PROPERTIES}


class _Linking:
    """Enables and disables units."""

    def places(self, args: Json) -> list[str]:
        """Gives where that makes links."""
        return [_LINKS]


class Before(_Linking):
    """`systemd.before`: stops what goes; undone, brings every unit back to what it was."""

    def observe(self, context: Context, args: Json) -> Json:
        """Looks at every unit of the old and of the new release."""
        return {"states": {unit: unit_state(context, unit) for unit in args["units"]}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Stops and disables the units that the new release lacks."""
        for unit in args["stop"]:
            if preimage["states"][unit]["LoadState"] == "loaded":
                _require(context, "stop", unit)
                _systemctl(context, "reset-failed", unit)
                if preimage["states"][unit]["UnitFileState"] == "enabled":
                    _set(context, "disable", unit)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Brings every unit back: enabled as before, running as before; what never stopped is left alone."""
        _require(context, "daemon-reload")
        for unit in reversed(args["units"]):
            before, now = preimage["states"][unit], unit_state(context, unit)
            if before["LoadState"] != "loaded":
                continue
            if before["UnitFileState"] != now["UnitFileState"]:
                if before["UnitFileState"] == "enabled":
                    _set(context, "enable", unit)
                elif now["UnitFileState"] == "enabled":
                    _set(context, "disable", unit)
            if before["ActiveState"] in _RUNNING:
                if now["ActiveState"] not in _RUNNING or now["InvocationID"] != before["InvocationID"]:
                    _systemctl(context, "reset-failed", unit)
                    _require(context, "restart", unit)
            elif now["ActiveState"] in _RUNNING:
                _require(context, "stop", unit)


class Up(_Linking):
    """`systemd.up`: brings the units of the new release up."""

    def observe(self, context: Context, args: Json) -> Json:
        """Looks which units are there already, by the files of the old release."""
        return {"enabled": {unit: unit_state(context, unit)["UnitFileState"] for unit in args["enable"]}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Enables, then restarts, in the order of the manifest."""
        _require(context, "daemon-reload")
        for unit in args["enable"]:
            _set(context, "enable", unit)
        for unit in args["restart"]:
            _systemctl(context, "reset-failed", unit)
            _require(context, "restart", unit)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Stops and disables what the old release had not; the rest comes back with the old files."""
        for unit in reversed(args["new"]):
            if unit_state(context, unit)["LoadState"] == "loaded":
                _require(context, "stop", unit)
                _systemctl(context, "reset-failed", unit)
        for unit in reversed(args["enable"]):
            now = unit_state(context, unit)["UnitFileState"]
            if unit in args["new"] and now == "enabled" and preimage["enabled"][unit] != "enabled":
                _set(context, "disable", unit)
        _require(context, "daemon-reload")


class Systemd:
    """The method `systemd`."""

    name = "systemd"

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Looks for systemd, and whether the units are in the bundle."""
        if not context.live:
            return [
                Problem("systemd", "is driven on a live host only", "leave out --root, or --only systemd")
            ]
        if context.system.which("systemctl") is None or not context.system.is_dir("/run/systemd/system"):
            return [Problem("systemd", "does not run on this host", "leave it out with --skip systemd")]
        carried = {entry.path for entry in new.release.manifest.files} if new else set()
        units = [unit for unit in (new.options.get("units", []) if new else []) if unit not in carried]
        return [Problem(unit, "is not in the bundle", "list it in bundle.yaml") for unit in units]

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says which units are stopped, started and restarted."""
        before, after = names(old), names(new)
        _, restart = self._actions(context, new)
        stop = [unit for unit in before if unit not in after]
        lines = [f"stop and disable {unit}" for unit in stop]
        return lines + [f"{'restart' if unit in before else 'enable and start'} {unit}" for unit in restart]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives what embraces the change of files."""
        before, after = names(old), names(new)
        stop = [unit for unit in before if unit not in after and "@." not in unit]
        every = list(dict.fromkeys([*before, *after]))
        label = f"stop {', '.join(stop)}" if stop else ""
        ops = [Op("systemd.before", {"units": every, "stop": stop}, "switch", label)]
        if new is not None:
            enable, restart = self._actions(context, new)
            fresh = [unit for unit in after if unit not in before and "@." not in unit]
            args = {"enable": enable, "restart": restart, "new": fresh}
            label = f"start {', '.join(restart)}" if restart else "load units"
            ops.append(Op("systemd.up", args, "activate", label))
        return ops

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Says which units do not run as they should, or would not after a boot."""
        problems = []
        enable, start = self._actions(context, target)
        for unit in dict.fromkeys([*start, *enable]):
            try:
                state = unit_state(context, unit)
            except StepError as error:
                problems.append(Problem(unit, error.what))
                continue
            if unit in enable and state["UnitFileState"] in ("disabled", "masked"):
                problems.append(Problem(unit, f"is {state['UnitFileState']}", f"systemctl enable {unit}"))
            if unit in start and state["ActiveState"] not in _RUNNING:
                problems.append(Problem(unit, f"is {state['ActiveState']}", f"see journalctl -u {unit}"))
        return problems

    def watched(self, context: Context, target: Target) -> list[str]:
        """Gives the units that run once the release is up."""
        return [unit for unit in self._actions(context, target)[1] if unit.endswith(".service")]

    def _actions(self, context: Context, target: Target | None) -> tuple[list[str], list[str]]:
        """Decides which units are enabled (they say how) and which are started.

        A service without `[Install]` that has a timer, socket or path of its name is started by that.
        """
        units = names(target)
        enable, start = [], []
        for path, unit in zip(target.options.get("units", []) if target else [], units, strict=True):
            if "@." in unit or target is None:
                continue
            installs = b"[Install]" in _read(context, target.release, path).splitlines()
            stem = unit.rpartition(".")[0]
            triggered = any(f"{stem}.{kind}" in units for kind in ("timer", "socket", "path"))
            if installs:
                enable.append(unit)
            if installs or not (triggered and unit.endswith(".service")):
                start.append(unit)
        return enable, start


def _read(context: Context, release: Release, path: str) -> bytes:
    for place in (release.now(path), release.then(path)):
        try:
            return bytes(context.system.read(place, LIMITS.document_bytes))
        except FileNotFoundError:
            continue
    return b""


HANDLERS: dict[str, Any] = {"systemd.before": Before(), "systemd.up": Up()}
METHOD = Systemd()
