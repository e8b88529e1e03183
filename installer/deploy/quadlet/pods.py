"""The containers of pods that Podman makes of manifests: it restarts them, and systemd does not see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from installer.core.errors import Problem
from installer.core.jsonio import loads_strict
from installer.core.limits import LIMITS
from installer.deploy.operation import StepError
from installer.host.context import Context

_SECONDS = 30.0
_LINES = 20
_UNIT = "PODMAN_SYSTEMD_UNIT"
"""The label of a container that names its service."""


@dataclass(frozen=True, slots=True)
class _Container:
    """A container: its name, service and state, how it ended, its health, and how often it was restarted."""

    name: str
    service: str
    state: str
    status: int
    is_unhealthy: bool
    restarts: int

    @property
    def fault(self) -> str:
        """What is wrong with it; empty where nothing is. One that has ended well need not run."""
        if self.state == "running":
            return "is unhealthy" if self.is_unhealthy else ""
        # Jobs of a pod end, and their service goes on.
        if self.state == "exited":
            return f"has ended: exit status {self.status}" if self.status else ""
        return f"is {self.state}"


def drift(context: Context, services: Sequence[str]) -> list[Problem]:
    """Return which containers of services do not run as they should."""
    try:
        return [
            Problem(f"container {each.name} of {each.service}", each.fault, f"see `podman logs {each.name}`")
            for each in _containers(context, services)
            if each.fault
        ]
    except StepError as error:
        return [Problem("podman", error.what, error.hint)]


def restarts(context: Context, services: Sequence[str]) -> dict[str, int]:
    """Return how often Podman has restarted each container; none where it does not say."""
    try:
        found = list(_containers(context, services))
    except StepError:
        return {}
    return {f"container {each.name} of {each.service}": each.restarts for each in found}


def last_words(context: Context, services: Sequence[str]) -> list[Problem]:
    """Return how the containers that do not run as they should ended, and their last lines."""
    try:
        sick = [each for each in _containers(context, services) if each.fault or each.restarts]
    except StepError:
        return []
    problems = []
    for each in sick:
        where = f"container {each.name}"
        problems.append(Problem(where, each.fault or f"was restarted {each.restarts} times"))
        ended = context.system.run(["podman", "logs", "--tail", str(_LINES), each.name], timeout=_SECONDS)
        text = (ended.stdout + ended.stderr).decode("utf-8", "replace") if ended.ok else ""
        problems += [Problem(where, line) for line in context.secrets.last_lines(text, _LINES, 300)]
    return problems


def _containers(context: Context, services: Sequence[str]) -> Iterator[_Container]:
    """Yield the containers of services, without those that Podman adds itself.

    Raises:
        StepError: Podman does not answer.
    """
    for service in services:
        words = ["podman", "ps", "--all", "--format", "json", "--filter", f"label={_UNIT}={service}"]
        ended = context.system.run(words, timeout=_SECONDS)
        if not ended.ok:
            what = f"cannot list the containers of {service}: {ended.reason(context.secrets)}"
            raise StepError(what).of(ended, context.secrets)
        rows = loads_strict(ended.stdout, "podman ps", LIMITS.document_bytes)
        for row in rows if isinstance(rows, list) else ():
            # The one that holds a pod together, and the one that the service waits for.
            if row.get("IsInfra") or not row.get("Pod"):
                continue
            yield _Container(
                str(row["Names"][0]),
                service,
                str(row["State"]),
                int(row.get("ExitCode") or 0),
                "(unhealthy)" in str(row.get("Status")),
                int(row.get("Restarts") or 0),
            )
