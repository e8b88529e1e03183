"""Watches whether a release is healthy: every probe passes in time, keeps passing, and nothing restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.manifest import HealthCheck
from installer.deploy.method import Target, method
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.state.release import Release

PAUSE = 0.5
ONE_PROBE = 10.0
"""Seconds that one attempt may take."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How one probe ended.

    Attributes:
        name: The probe in words.
        passed: Whether it is healthy.
        attempts: How often it was asked.
        error: What was wrong the last time; empty where nothing was.
    """

    name: str
    passed: bool
    attempts: int
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        return asdict(self)


def probe_name(check: HealthCheck) -> str:
    """Gives a probe in words."""
    return f"{check.kind} {' '.join(check.command) if check.kind == 'command' else check.target}"


def selected(probes: Iterable[HealthCheck], driven: Iterable[str], *, live: bool) -> list[HealthCheck]:
    """Gives the probes that mean something here: those of methods that are driven.

    Args:
        probes: Of the release.
        driven: Methods that are driven.
        live: Whether this is a running host; else nothing runs unless a method was asked for by name.
    """
    names = set(driven)
    running = live or bool(names - {"files", "images"})
    return [check for check in probes if (check.when in names if check.when else running)]


def missing(context: Context, checks: Iterable[HealthCheck]) -> list[Problem]:
    """Says what probes need and this host lacks; looked for before anything is changed."""
    asked = [check.target for check in checks if check.kind == "container"]
    if not asked or context.system.which("docker") is not None:
        return []
    what = f"is not installed, and the probes of {', '.join(asked)} ask it for the container's state"
    return [Problem("docker", what, "install Docker's command line; the engine alone does not do")]


def watch(context: Context, checks: Iterable[HealthCheck], units: Iterable[str]) -> list[ProbeResult]:
    """Waits until every probe has passed and kept passing.

    Args:
        context: The host.
        checks: The probes; all are watched at the same time.
        units: systemd units whose restarts count against the release.

    Returns:
        How each ended.

    Raises:
        StepError: One did not pass in time, failed again, or something was restarted; all in `problems`.
    """
    watched = [_Watched(context, check) for check in checks]
    if not watched:
        return []
    context.progress.note(f"health: watching {', '.join(probe_name(each.check) for each in watched)}")
    counts = _restarts(context, units, watched)
    start = context.system.monotonic()
    while any(each.open for each in watched):
        now = context.system.monotonic() - start
        for each in watched:
            if each.open:
                each.step(now)
        if any(each.failed for each in watched):
            break
        if any(each.open for each in watched):
            context.system.sleep(PAUSE)
    problems = [Problem(probe_name(w.check), w.verdict()) for w in watched if w.failed]
    if not problems:
        problems = _restarted(counts, _restarts(context, units, watched))
    if problems:
        raise StepError("the release is not healthy", problems=problems)
    context.progress.note("health: good")
    return [ProbeResult(probe_name(w.check), True, w.attempts) for w in watched]


def watch_release(context: Context, release: Release, methods: Sequence[str]) -> list[ProbeResult]:
    """Watches a release that was just brought up: its probes, and the restarts of its units.

    Args:
        context: The host.
        release: The release.
        methods: By which methods it was brought up.

    Raises:
        StepError: It is not healthy; what its services said last is in `problems` too.
    """
    deployed = [each for each in release.manifest.deploy if each.method in methods]
    targets = [(method(each.method), Target(release, each.options)) for each in deployed]
    units = [
        unit
        for found, target in targets
        if (watched := getattr(found, "watched", None))
        for unit in watched(context, target)
    ]
    try:
        return watch(context, selected(release.health, methods, live=context.live), units)
    except StepError as error:
        # undoing takes away whatever could still be asked
        said = [
            problem
            for found, target in targets
            if (ask := getattr(found, "last_words", None))
            for problem in ask(context, target)
        ]
        raise StepError(
            error.what, where=error.where, hint=error.hint, problems=[*error.problems, *said]
        ) from error


class _Watched:
    """One probe while it is watched."""

    def __init__(self, context: Context, check: HealthCheck) -> None:
        self.check = check
        self.attempts = 0
        self.error = ""
        self.open = True
        self.failed = False
        self._context = context
        self._since: float | None = None

    def step(self, now: float) -> None:
        self.attempts += 1
        self.error = _ask(self._context, self.check)
        if not self.error:
            if self._since is None:
                self._since = now
                stable = f", has to stay so for {self.check.stable} s" if self.check.stable else ""
                self._context.progress.note(f"health: {probe_name(self.check)} passes{stable}")
            self.open = now - self._since < self.check.stable
            return
        if self._since is not None or now >= self.check.within:
            self.open, self.failed = False, True

    def verdict(self) -> str:
        if self._since is not None:
            return f"passed, but failed again within {self.check.stable} s: {self.error}"
        return f"did not pass within {self.check.within} s ({self.attempts} attempts): {self.error}"


def _ask(context: Context, check: HealthCheck) -> str:
    """Asks once; gives what is wrong, or nothing."""
    system = context.system
    try:
        if check.kind == "http":
            answer = system.http_get(check.target, ONE_PROBE)
            if answer.status != check.status:
                return f"answered {answer.status}, expected {check.status}"
        elif check.kind == "tcp":
            host, _, port = check.target.rpartition(":")
            system.tcp_connect(host.strip("[]"), int(port), ONE_PROBE)
        elif check.kind == "command":
            ended = system.run(check.command, timeout=ONE_PROBE)
            return "" if ended.ok else ended.reason()
        else:
            return container_fault(inspect(context, check.target))
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def container_fault(found: Mapping[str, Any] | str) -> str:
    """Says what is wrong with a container, from what `docker inspect` says; nothing where it is healthy."""
    if isinstance(found, str):
        return found
    state = found.get("State", {})
    if state.get("Restarting"):
        return "restarts again and again"
    if not state.get("Running"):
        return f"is {state.get('Status', 'not running')}, exit status {state.get('ExitCode', 'unknown')}"
    health = state.get("Health", {}).get("Status", "none")
    return "" if health in ("healthy", "none") else f"is {health}"


def inspect(context: Context, container: str) -> Mapping[str, Any] | str:
    """Asks the engine for a container; gives what it says, or why it says nothing, in words."""
    import json

    ended = context.system.run(["docker", "container", "inspect", container], timeout=ONE_PROBE)
    if not ended.ok:
        return ended.reason()
    try:
        rows: list[Mapping[str, Any]] = json.loads(ended.stdout)
    except ValueError:
        return "the engine's answer is no JSON"
    return rows[0] if rows else "there is no such container"


def _restarts(context: Context, units: Iterable[str], watched: Iterable[_Watched]) -> dict[str, int]:
    counts = {}
    for unit in units:
        ended = context.system.run(
            ["systemctl", "show", "-p", "NRestarts", "--value", unit], timeout=ONE_PROBE
        )
        if ended.ok and ended.stdout.strip().isdigit():
            counts[f"unit {unit}"] = int(ended.stdout)
    for each in watched:
        if each.check.kind == "container":
            found = inspect(context, each.check.target)
            if not isinstance(found, str):
                counts[f"container {each.check.target}"] = int(found.get("RestartCount", 0))
    return counts


def _restarted(before: dict[str, int], after: dict[str, int]) -> list[Problem]:
    return [
        Problem(name, f"was restarted {count - before.get(name, 0)} times while it was watched")
        for name, count in after.items()
        if count > before.get(name, 0)
    ]
