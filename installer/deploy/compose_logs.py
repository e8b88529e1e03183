"""The last lines that the containers of a project logged: bounded, and without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from installer.core.errors import Problem
from installer.core.limits import LIMITS
from installer.deploy.docker_cli import docker
from installer.deploy.health import container_fault
from installer.host.context import Context
from installer.shared.secrecy.notations import secrets_of

LINES = 20
"""Of each container."""
WIDTH = 300
"""Characters of a line."""
CONTAINERS = 8


def last_lines(context: Context, project: str, config: Iterable[str], engine: str = "") -> list[Problem]:
    """Return the last lines of each container that fails; of all containers where none fails.

    Args:
        context: The host.
        project: The Compose project.
        config: Paths of rendered configuration; its secrets are redacted.
        engine: Address that an operation recorded; empty for the engine of this host.

    Returns:
        A line each, with the container as `where`; nothing where the engine does not answer.
    """
    label = f"label=com.docker.compose.project={project}"
    ended = docker(context, "ps", "-aq", "--no-trunc", "--filter", label, engine=engine)
    ids = ended.stdout.decode().split()
    if not ended.ok or not ids:
        return []
    ended = docker(context, "inspect", *ids, engine=engine)
    rows: list[Mapping[str, Any]] = json.loads(ended.stdout) if ended.ok else []
    # A healthy container's log would push the lines that matter out of the bounded report.
    failing = [row for row in rows if _fails(row)]
    secrets = _secrets(context, rows, config)
    return [
        problem
        for row in sorted(failing or rows, key=lambda row: str(row.get("Name")))[:CONTAINERS]
        for problem in _lines(context, row, secrets, engine)
    ]


def _fails(row: Mapping[str, Any]) -> bool:
    """Return whether a container fails. One that has exited with 0, after preparing something, does not."""
    state = row.get("State", {})
    ended_well = state.get("Status") == "exited" and state.get("ExitCode") == 0
    return bool(container_fault(row)) and not ended_well


def _lines(context: Context, row: Mapping[str, Any], secrets: frozenset[str], engine: str) -> list[Problem]:
    name = str(row.get("Name", "")).lstrip("/")
    where = f"container {name}"
    state = row.get("State", {})
    lines = [fault] if (fault := container_fault(row)) else []
    lines += [str(state["Error"])] if state.get("Error") else []
    # The timestamps put the lines of stdout and stderr into one order; they are cut off again below.
    ended = docker(context, "logs", "--timestamps", "--tail", str(LINES), name, engine=engine)
    logged = sorted((ended.stdout + b"\n" + ended.stderr).decode("utf-8", "replace").splitlines())
    lines += [line.partition(" ")[2] for line in logged if line.strip()][-LINES:]
    context.secrets.add(secrets)
    return [Problem(where, line[:WIDTH]) for line in context.secrets.hide_all(lines)]


def _secrets(context: Context, rows: Iterable[Mapping[str, Any]], config: Iterable[str]) -> frozenset[str]:
    # Secrets reach containers by environment or by rendered files, and come back in their logs.
    lines = [str(each) for row in rows for each in row.get("Config", {}).get("Env") or ()]
    for path in config:
        try:
            data = context.system.read(path, LIMITS.document_bytes)
        except OSError:
            continue
        lines += data.decode("utf-8", "replace").splitlines()
    return secrets_of(lines)
