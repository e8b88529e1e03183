"""The method `systemd`: enables and restarts the units of a release, and stops those that it no longer has.

Two operations enclose the change of files. `systemd.before` comes first and is undone last, when the old
files are back; it restores the state of every unit. `systemd.up` comes last and is undone first, while the
new unit files, which say what `disable` has to remove, are still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from installer.core.errors import Problem
from installer.core.limits import LIMITS
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import Method, Target
from installer.deploy.operation import Handler, Json, Op, StepError
from installer.host.context import Context
from installer.host.system import Completed
from installer.state.release import Release

TIMEOUT = 120.0
LOG_LINES = 5
_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "InvocationID")
_UNITS = "/etc/systemd/system"
"""Where `systemctl enable` makes its links."""
_RUNNING = ("active", "activating", "reloading")


def _names(target: Target | None) -> list[str]:
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
        problems=[Problem(unit, line) for line in _last_lines(context, unit)] if unit else (),
    ).of(ended)


def _set(context: Context, word: str, unit: str) -> None:
    """Enable or disable a unit, durably."""
    _require(context, word, unit)
    # systemctl does not sync: a power cut could lose the link although the journal says that it was made.
    context.system.sync_all([_UNITS])


def _last_lines(context: Context, unit: str) -> list[str]:
    argv = ["journalctl", "--no-pager", "-q", "-o", "cat", "-n", str(LOG_LINES), "-u", unit]
    ended = context.system.run(argv, timeout=10.0)
    lines = ended.stdout.decode("utf-8", "replace").splitlines() if ended.ok else []
    return [line[:300] for line in context.secrets.hide_all(lines)]


def _show(context: Context, unit: str, *properties: str) -> dict[str, str]:
    """Return properties of a unit.

    Raises:
        StepError: systemd does not answer.
    """
    ended = _systemctl(context, "show", "-p", ",".join(properties), unit)
    if not ended.ok:
        raise StepError(f"cannot read the state of {unit}: {ended.reason()}").of(ended)
    found = dict(line.partition("=")[::2] for line in ended.stdout.decode("utf-8", "replace").splitlines())
    return {key: found.get(key, "") for key in properties}


def _unit_state(context: Context, unit: str) -> Json:
    """Return the state of a unit. A template (`name@.service`) has no state: it is there, or it is not.

    Raises:
        StepError: systemd does not answer.
    """
    # `systemctl show` of a template would describe an instance with an empty name.
    if "@." in unit:
        return {"LoadState": "template", "ActiveState": "inactive", "UnitFileState": "", "InvocationID": ""}
    return _show(context, unit, *_PROPERTIES)


class _LinkingHandler(Handler):
    """A handler that enables and disables units."""

    def places(self, args: Json) -> list[str]:
        """Return where `systemctl enable` makes links."""
        return [_UNITS]


class Before(_LinkingHandler):
    """`systemd.before`: stops the units that go; undone, restores the state of every unit."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the state of every unit of the old and of the new release."""
        return {"states": {unit: _unit_state(context, unit) for unit in args["units"]}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop and disable the units that the new release does not have."""
        for unit in args["stop"]:
            if preimage["states"][unit]["LoadState"] == "loaded":
                _require(context, "stop", unit)
                # A failed unit stays listed after its file is gone; with no failure this does nothing.
                _systemctl(context, "reset-failed", unit)
                if preimage["states"][unit]["UnitFileState"] == "enabled":
                    _set(context, "disable", unit)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Enable and run every unit as before. A unit that never stopped is left alone."""
        _require(context, "daemon-reload")
        for unit in reversed(args["units"]):
            before, now = preimage["states"][unit], _unit_state(context, unit)
            # It was not there before: `systemd.up` has stopped it, and its file is gone again.
            if before["LoadState"] != "loaded":
                continue
            # Only these two states are ours to change: `static`, `masked` and others come from files.
            if before["UnitFileState"] != now["UnitFileState"]:
                if before["UnitFileState"] == "enabled":
                    _set(context, "enable", unit)
                elif now["UnitFileState"] == "enabled":
                    _set(context, "disable", unit)
            if before["ActiveState"] in _RUNNING:
                # Another invocation runs the new release's program: it has to go even if it is active.
                if now["ActiveState"] not in _RUNNING or now["InvocationID"] != before["InvocationID"]:
                    _systemctl(context, "reset-failed", unit)
                    _require(context, "restart", unit)
            elif now["ActiveState"] in _RUNNING:
                _require(context, "stop", unit)


class Up(_LinkingHandler):
    """`systemd.up`: enables and restarts the units of the new release."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return which units are enabled now, by the files of the old release."""
        return {"enabled": {unit: _unit_state(context, unit)["UnitFileState"] for unit in args["enable"]}}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Enable all units, then restart them, in the order of the manifest."""
        _require(context, "daemon-reload")
        for unit in args["enable"]:
            _set(context, "enable", unit)
        for unit in args["restart"]:
            # A unit that failed too often in the past would not be started again otherwise.
            _systemctl(context, "reset-failed", unit)
            _require(context, "restart", unit)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Stop and disable the units that are new. `systemd.before` restores the others."""
        # Before the old files come back: then systemd would not know these units any more.
        for unit in reversed(args["new"]):
            if _unit_state(context, unit)["LoadState"] == "loaded":
                _require(context, "stop", unit)
                _systemctl(context, "reset-failed", unit)
        for unit in reversed(args["enable"]):
            now = _unit_state(context, unit)["UnitFileState"]
            if unit in args["new"] and now == "enabled" and preimage["enabled"][unit] != "enabled":
                _set(context, "disable", unit)
        _require(context, "daemon-reload")


class Systemd(Method):
    """The method `systemd`."""

    name = "systemd"
    item_kinds: ClassVar = ("unit",)

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check that systemd runs here, and that the units are in the bundle."""
        if not context.live:
            what = "needs a running system, but --root is a directory"
            return [Problem("systemd", what, "omit --root, or omit systemd from --only")]
        if context.system.which("systemctl") is None or not context.system.is_dir("/run/systemd/system"):
            # The directory exists only while systemd is PID 1; having `systemctl` is not enough.
            return [Problem("systemd", "does not run on this host", "omit it with --skip systemd")]
        return self.absent_files(new) if new else []

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return which units are stopped, started and restarted."""
        before, after = _names(old), _names(new)
        _, restart = _actions(context, new)
        stop = [unit for unit in before if unit not in after]
        lines = [f"stop and disable {unit}" for unit in stop]
        return lines + [f"{'restart' if unit in before else 'enable and start'} {unit}" for unit in restart]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the two operations that enclose the change of files."""
        before, after = _names(old), _names(new)
        # A template is never started by itself; its instances belong to whoever started them.
        stop = [unit for unit in before if unit not in after and "@." not in unit]
        every = list(dict.fromkeys([*before, *after]))
        label = f"stop {', '.join(stop)}" if stop else ""
        ops = [Op("systemd.before", {"units": every, "stop": stop}, "switch", label)]
        if new is not None:
            enable, restart = _actions(context, new)
            fresh = [unit for unit in after if unit not in before and "@." not in unit]
            args = {"enable": enable, "restart": restart, "new": fresh}
            label = f"start {', '.join(restart)}" if restart else "load units"
            ops.append(Op("systemd.up", args, "activate", label))
        return ops

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which units do not run as they should, or would not after a boot."""
        problems = []
        enable, start = _actions(context, target)
        for unit in dict.fromkeys([*start, *enable]):
            try:
                state = _unit_state(context, unit)
            except StepError as error:
                problems.append(Problem(unit, error.what))
                continue
            if unit in enable and state["UnitFileState"] in ("disabled", "masked"):
                problems.append(Problem(unit, f"is {state['UnitFileState']}", f"systemctl enable {unit}"))
            if unit in start and state["ActiveState"] not in _RUNNING:
                problems.append(Problem(unit, f"is {state['ActiveState']}", f"see journalctl -u {unit}"))
        return problems

    def restarts(self, context: Context, target: Target) -> Mapping[str, int]:
        """Return how often systemd has restarted each service; a count that cannot be read is left out."""
        counts = {}
        for unit in _actions(context, target)[1]:
            if unit.endswith(".service"):
                ended = context.system.run(
                    ["systemctl", "show", "-p", "NRestarts", "--value", unit], timeout=10.0
                )
                # Watching goes on without a count: probes still decide.
                if ended.ok and ended.stdout.strip().isdigit():
                    counts[f"unit {unit}"] = int(ended.stdout)
        return counts

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the units of the running release."""
        return [InventoryItem("unit", unit) for unit in _names(target)] if running else []

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Ask systemd for the units, and look for what would start them at boot."""
        for item in items:
            rows = list(_residue(context, item.name))
            yield from rows
            if all(row.name != item.name for row in rows):
                yield Residue("gone", "unit", item.name)


def _residue(context: Context, unit: str) -> Iterator[Residue]:
    state = {"ActiveState": "", "FragmentPath": ""}
    if "@." not in unit:
        try:
            state = _show(context, unit, *state)
        except StepError as error:
            yield Residue("left", "unit", unit, error.what, f"systemctl status {unit}")
            return
    if state["ActiveState"] in _RUNNING:
        yield Residue("left", "unit", unit, "is still running", f"systemctl stop {unit}")
    elif state["FragmentPath"]:
        yield Residue("stays", "unit", unit, f"another unit has the same name: {state['FragmentPath']}")
    # A link of `systemctl enable` can outlive the file of the unit.
    for name in context.system.names(_UNITS):
        link = f"{_UNITS}/{name}/{unit}"
        if (
            name.endswith((".wants", ".requires"))
            and context.system.observe(link, digest=False).kind == "link"
        ):
            yield Residue("left", "unit", unit, f"{link} is still there", f"systemctl disable {unit}")
    if names := context.system.names(f"{_UNITS}/{unit}.d"):
        yield Residue("stays", "unit", f"{_UNITS}/{unit}.d", f"contains {names[0]}, not installed by Waybill")


def _actions(context: Context, target: Target | None) -> tuple[list[str], list[str]]:
    """Return the units that are enabled, which their files decide, and the units that are started.

    A service without `[Install]` that has a timer, socket or path of its name is started by that.
    """
    units = _names(target)
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
    # While planning the release is still staged; later it is in its final directory.
    for place in (release.now(path), release.then(path)):
        try:
            return bytes(context.system.read(place, LIMITS.document_bytes))
        except FileNotFoundError:
            continue
    return b""


HANDLERS: dict[str, Handler] = {"systemd.before": Before(), "systemd.up": Up()}
METHOD = Systemd()
