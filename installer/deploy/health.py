"""Watches whether a release is healthy: every probe passes in time, stays OK, and nothing is restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.manifest import HealthCheck
from installer.core.format.methods import IMPLICIT
from installer.deploy.docker_cli import docker
from installer.deploy.method import Target
from installer.deploy.method_registry import method
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.state.release import Release

PAUSE = 0.5
"""Seconds between two rounds of probes."""
ONE_PROBE = 10.0
"""Seconds that one attempt may take."""
Restarts = Callable[[], Mapping[str, int]]
"""Returns how often each service has been restarted until now, by its name for people."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How one probe ended.

    Attributes:
        name: The probe in words.
        passed: Whether it is OK.
        attempts: How often it was run.
        error: What was wrong the last time; empty where nothing was.
    """

    name: str
    passed: bool
    attempts: int
    error: str = ""


def probe_name(check: HealthCheck) -> str:
    """Return a probe in words."""
    return f"{check.kind} {' '.join(check.command) if check.kind == 'command' else check.target}"


def selected(probes: Iterable[HealthCheck], used: Iterable[str], *, live: bool) -> list[HealthCheck]:
    """Return the probes that apply: those of methods that are in use.

    Args:
        probes: Of the release.
        used: Names of the methods that are in use.
        live: Whether this is a running host; else nothing runs unless a method was asked for by name.
    """
    names = set(used)
    running = live or not names <= IMPLICIT
    return [check for check in probes if (check.when in names if check.when else running)]


def missing(context: Context, checks: Iterable[HealthCheck]) -> list[Problem]:
    """Return what probes need and this host does not have; checked before anything is changed."""
    asked = [check.target for check in checks if check.kind == "container"]
    if not asked or context.system.which("docker") is not None:
        return []
    what = f"is not installed, but the health checks of {', '.join(asked)} need it"
    return [Problem("docker", what, "install Docker's command line; the engine alone is not enough")]


def watch(context: Context, checks: Iterable[HealthCheck], restarts: Restarts = dict) -> list[ProbeResult]:
    """Wait until every probe has passed and has stayed OK for its time.

    Args:
        context: The host.
        checks: The probes; all are watched at the same time.
        restarts: Counts restarts. One that happens meanwhile makes the release unhealthy.

    Returns:
        The result of each.

    Raises:
        StepError: A probe did not pass in time or failed again, or something was restarted.
    """
    watched = [_Watched(context, check) for check in checks]
    if not watched:
        return []
    context.progress.note(f"health: watching {', '.join(probe_name(each.check) for each in watched)}")
    before = {**restarts(), **_container_restarts(context, watched)}
    start = context.system.monotonic()
    while any(each.open for each in watched):
        now = context.system.monotonic() - start
        for each in watched:
            if each.open:
                each.step(now)
        # One failure decides: waiting for the others would only delay the undo.
        if any(each.failed for each in watched):
            break
        if any(each.open for each in watched):
            context.system.sleep(PAUSE)
    problems = [Problem(probe_name(w.check), w.verdict()) for w in watched if w.failed]
    # A service that crashes and comes back between two probes passes them all; its count shows it.
    if not problems:
        problems = _restarted(before, {**restarts(), **_container_restarts(context, watched)})
    if problems:
        raise StepError("the release is not healthy", problems=problems)
    context.progress.note("health: OK")
    return [ProbeResult(probe_name(w.check), True, w.attempts) for w in watched]


def watch_release(context: Context, release: Release, methods: Sequence[str]) -> list[ProbeResult]:
    """Watch a release that was just started: its probes, and the restarts of its services.

    Args:
        context: The host.
        release: The release.
        methods: Names of the methods that deployed it.

    Raises:
        StepError: It is not healthy; the last lines that its services logged are in `problems`, too.
    """
    steps = [
        (used, Target(release, step.options))
        for step in release.manifest.deploy
        if step.method in methods and (used := method(step.method)) is not None
    ]

    def restarts() -> dict[str, int]:
        return {name: count for used, step in steps for name, count in used.restarts(context, step).items()}

    try:
        return watch(context, selected(release.health, methods, live=context.live), restarts)
    except StepError as error:
        # Read now: undoing removes the services, and with containers their logs.
        logs = [problem for used, step in steps for problem in used.failure_logs(context, step)]
        error.problems = (*error.problems, *logs)
        raise


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
                stable = f"; must stay OK for {self.check.stable} s" if self.check.stable else ""
                self._context.progress.note(f"health: {probe_name(self.check)} OK{stable}")
            self.open = now - self._since < self.check.stable
            return
        # Before its first success a probe has time; after it, one failure is one too many.
        if self._since is not None or now >= self.check.within:
            self.open, self.failed = False, True

    def verdict(self) -> str:
        if self._since is not None:
            return f"passed, but failed again within {self.check.stable} s: {self.error}"
        return f"did not pass within {self.check.within} s ({self.attempts} attempts): {self.error}"


def _ask(context: Context, check: HealthCheck) -> str:
    """Run a probe once and return what is wrong; empty where nothing is."""
    system = context.system
    try:
        if check.kind == "http":
            answer = system.http_get(check.target, ONE_PROBE)
            if answer.status != check.status:
                return f"answered {answer.status}, expected {check.status}"
        # An IPv6 address has brackets; the port follows the last colon.
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
    # A target that an older version accepted: the release is unhealthy, and the transaction is undone.
    except ValueError as error:
        return f"cannot be probed: {error}"
    return ""


def container_fault(found: Mapping[str, Any] | str) -> str:
    """Return what is wrong with a container; empty where it is healthy.

    Args:
        found: A row of `docker inspect`, or why there is none.
    """
    if isinstance(found, str):
        return found
    state = found.get("State", {})
    # Between two attempts it also counts as running.
    if state.get("Restarting"):
        return "keeps restarting"
    if not state.get("Running"):
        return f"is {state.get('Status', 'not running')}, exit status {state.get('ExitCode', 'unknown')}"
    health = state.get("Health", {}).get("Status", "none")
    return "" if health in ("healthy", "none") else f"is {health}"


def inspect(context: Context, container: str) -> Mapping[str, Any] | str:
    """Return the row of `docker container inspect`, or why there is none, in words."""
    import json

    ended = docker(context, "container", "inspect", container, timeout=ONE_PROBE)
    if not ended.ok:
        return ended.reason()
    try:
        rows: list[Mapping[str, Any]] = json.loads(ended.stdout)
    except ValueError:
        return "the engine's answer is not JSON"
    return rows[0] if rows else "there is no such container"


def _container_restarts(context: Context, watched: Iterable[_Watched]) -> dict[str, int]:
    counts = {}
    for each in watched:
        if each.check.kind == "container":
            found = inspect(context, each.check.target)
            if not isinstance(found, str):
                counts[f"container {each.check.target}"] = int(found.get("RestartCount", 0))
    return counts


def _restarted(before: Mapping[str, int], after: Mapping[str, int]) -> list[Problem]:
    return [
        Problem(name, f"was restarted {count - before.get(name, 0)} times while the release was watched")
        for name, count in after.items()
        if count > before.get(name, 0)
    ]
