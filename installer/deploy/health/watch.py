"""Watches whether a release is healthy: every probe passes in time, stays OK, and nothing is restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.manifest import HealthCheck
from installer.deploy.health import probes
from installer.deploy.health.needs import selected
from installer.deploy.health.probes import ask, probe_name
from installer.deploy.method import Target
from installer.deploy.method_registry import method
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.state.release import Release

PAUSE = 0.5
"""Seconds between two rounds of probes."""
Restarts = Callable[[], Mapping[str, int]]
"""Returns how often each service has been restarted until now, by its name for people."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How one probe ended.

    Attributes:
        name: The probe in words.
        passed: Whether it is OK.
        attempts: How often it was run.
    """

    name: str
    passed: bool
    attempts: int

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"name": self.name, "ok": self.passed, "attempts": self.attempts}


def watch(context: Context, checks: Iterable[HealthCheck], restarts: Restarts = dict) -> list[ProbeResult]:
    """Wait until every probe has passed and has stayed OK for its time.

    Args:
        context: The host.
        checks: The probes; all are watched at the same time.
        restarts: Counts restarts. One that happens meanwhile, after the start period, makes the release
            unhealthy.

    Returns:
        The result of each.

    Raises:
        StepError: A probe did not pass in time or failed again, or something was restarted.
    """
    watched = [_Watched(context, check) for check in checks]
    if not watched:
        return []
    context.progress.note(f"health: watching {', '.join(probe_name(each.check) for each in watched)}")

    def counted() -> dict[str, int]:
        return {**restarts(), **probes.restarts(context, [each.check for each in watched])}

    before, start = counted(), context.system.monotonic()
    starting = max(each.check.start_period for each in watched)
    while any(each.open for each in watched):
        now = context.system.monotonic() - start
        # A service that waits for another one may be started several times: that is what the period is for.
        if starting and (now >= starting or all(each.passed for each in watched)):
            before, starting = counted(), 0
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
        problems = _restarted(before, counted())
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
        self.error = ask(self._context, self.check).fault
        if not self.error:
            if self._since is None:
                self._since = now
                stable = f"; must stay OK for {self.check.stable} s" if self.check.stable else ""
                self._context.progress.note(f"health: {probe_name(self.check)} OK{stable}")
            self.open = now - self._since < self.check.stable
            return
        # Before its first success a probe has time; after it, one failure is one too many.
        if self._since is not None or now >= self.check.start_period + self.check.within:
            self.open, self.failed = False, True

    @property
    def passed(self) -> bool:
        return self._since is not None and not self.failed

    def verdict(self) -> str:
        if self._since is not None:
            return f"passed, but failed again within {self.check.stable} s: {self.error}"
        period = f" after the start period of {self.check.start_period} s" if self.check.start_period else ""
        return f"did not pass within {self.check.within} s{period} ({self.attempts} attempts): {self.error}"


def _restarted(before: Mapping[str, int], after: Mapping[str, int]) -> list[Problem]:
    return [
        Problem(name, f"was restarted {count - before.get(name, 0)} times while the release was watched")
        for name, count in after.items()
        if count > before.get(name, 0)
    ]
