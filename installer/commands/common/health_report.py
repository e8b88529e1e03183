"""The health checks of an installed release, asked once: for `status --health` and `metrics --health`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.deploy.health.needs import SkippedProbe, selected, skipped
from installer.deploy.health.probes import AskedProbe, ask_once
from installer.host.context import Context
from installer.state.release import open_release
from installer.state.state import Entry

_HINT = "run the same command as root, for example with sudo"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What the health checks of a release say now.

    Attributes:
        checks: Each check with its answer; empty where the release has none that applies to this host.
        not_asked: Why none was asked; empty where they were.
        skipped: The others, which are not asked on this host.
    """

    checks: tuple[AskedProbe, ...] = ()
    not_asked: str = ""
    skipped: tuple[SkippedProbe, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether all checks were asked and passed; a release without checks is not called unhealthy."""
        return not self.not_asked and all(each.healthy for each in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        # Of what was not asked nothing is known; without any check there is nothing to know.
        is_unknown = self.not_asked or (self.skipped and not self.checks)
        return {
            "healthy": None if is_unknown else self.is_healthy,
            "not_asked": self.not_asked or None,
            "checks": [asdict(each) for each in self.checks],
            "skipped": [each.as_json() for each in self.skipped],
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        if self.not_asked:
            yield f"  health     not asked: {self.not_asked}"
            return
        failed = sum(not each.healthy for each in self.checks)
        if failed:
            yield f"  UNHEALTHY  {failed} of {len(self.checks)} health checks failed:"
        elif self.checks:
            passed = "the health check" if len(self.checks) == 1 else f"all {len(self.checks)} health checks"
            yield f"  health     {passed} passed:"
        elif self.skipped:
            yield "  health     not known: none of the health checks is asked on this host"
        else:
            yield "  health     the release has no health checks for this host"
        for each in self.checks:
            yield f"    {'ok    ' if each.healthy else 'FAILED'} {each.name}: {each.said}"
        for left in self.skipped:
            yield f"    skipped {left.why}: {left.name}"


def ask_health(context: Context, current: Entry | None, *, is_changing: bool) -> HealthReport | None:
    """Ask the health checks of the running release once.

    Args:
        context: The product.
        current: Its running release; None where there is none.
        is_changing: Whether a command changes the host at this moment.

    Returns:
        What they say; None where nothing is installed.

    Raises:
        HostNotReadyError: This user may not read what is asked.
        NotUndoneError: The record of the release is damaged.
    """
    if current is None:
        return None
    if is_changing:
        return HealthReport(not_asked="the host is being changed")
    try:
        release = open_release(context.system, context.layout, current)
    except NotUndoneError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        # The record has the rendered addresses, perhaps with secrets in them.
        what = f"the health checks of {current.version} cannot be read by this user"
        raise HostNotReadyError(what, where=context.layout.product, hint=_HINT) from error
    checks, used = release.health, current.methods
    return HealthReport(
        tuple(ask_once(context, selected(checks, used, live=context.live))),
        skipped=tuple(
            replace(each, name=context.secrets.hide(each.name))
            for each in skipped(checks, used, live=context.live)
        ),
    )
