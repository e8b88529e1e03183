"""What the containers of a project say of a failure: bounded, and without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from installer.core.errors import Problem
from installer.core.limits import LIMITS
from installer.deploy.compose.containers import Container, containers
from installer.deploy.docker_cli import docker
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.shared.secrecy.known import EARLIER, shortened
from installer.shared.secrecy.notations import secrets_of

LINES = 20
"""Of each container."""
WIDTH = 300
"""Characters of a line."""
CONTAINERS = 8


def last_lines(
    context: Context, project: str, config: Iterable[str], engine: str = "", *, only_failing: bool = False
) -> list[Problem]:
    """Return what is wrong with each container that fails, and its last lines.

    Args:
        context: The host.
        project: The Compose project.
        config: Paths of rendered configuration; its secrets are redacted.
        engine: Address that an operation recorded; empty for the engine of this host.
        only_failing: Whether nothing is returned where no container fails; otherwise the last lines of all.

    Returns:
        A line each, with the service as `where`; nothing where the engine does not answer.
    """
    try:
        there = containers(context, project, engine)
    except StepError:
        return []
    # The log of a container that works would push the lines that matter out of the bounded report.
    shown = _failing(there) or ([] if only_failing else there)
    context.secrets.add(_secrets(context, there, config))
    return [problem for each in shown[:CONTAINERS] for problem in _lines(context, each, there, engine)]


def _failing(there: Sequence[Container]) -> list[Container]:
    """Return the containers that fail; those that only wait for one of them are not among these."""
    failing = [each for each in there if each.fault and not each.ended_well]
    first = [each for each in failing if each.state.get("Status") != "created" or each.state.get("Error")]
    # A service that crashes and comes back may run at this moment.
    ended = [each for each in there if each.ended_well and each.has_probe]
    return first or [each for each in there if each.restarts] or failing or ended


def _lines(context: Context, container: Container, there: Sequence[Container], engine: str) -> list[Problem]:
    where = f"service {container.service}"
    if sum(each.service == container.service for each in there) > 1:
        where += f" ({container.name})"
    restarts = f"was restarted {container.restarts} times" if container.restarts else ""
    lines = [each for each in (container.fault, restarts, container.last_probe) if each]
    lines += str(container.state.get("Error") or "").splitlines()
    # The timestamps put the lines of stdout and stderr into one order; they are cut off again below.
    many = str(LINES + EARLIER)
    ended = docker(context, "logs", "--timestamps", "--tail", many, container.id, engine=engine)
    logged = sorted((ended.stdout + b"\n" + ended.stderr).decode("utf-8", "replace").splitlines())
    said = "\n".join(line.partition(" ")[2] for line in logged if line.strip())
    shown = [shortened(line, WIDTH) for line in context.secrets.hide_all(lines)]
    return [Problem(where, line) for line in (*shown, *context.secrets.last_lines(said, LINES, WIDTH))]


def _secrets(context: Context, there: Iterable[Container], config: Iterable[str]) -> frozenset[str]:
    # Secrets reach containers by environment or by rendered files, and come back in their logs.
    lines = [line for each in there for line in each.env]
    for path in config:
        try:
            data = context.system.read(path, LIMITS.document_bytes)
        except OSError:
            continue
        lines += data.decode("utf-8", "replace").splitlines()
    return secrets_of(lines)
