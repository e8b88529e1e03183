"""Reaching the socket of a container engine on this host, and the errors of talking to it."""

from __future__ import annotations

import socket

from installer.core.errors import HostNotReadyError
from installer.shared.child.engine_address import (
    DEFAULT_ENGINE,
    engine_name,
    engine_start,
    engine_unit,
    has_program,
    is_podman,
    not_usable,
)


class EngineError(HostNotReadyError):
    """The engine is not there, cannot be used, failed, or did not answer in time."""

    code = "engine"


class InUseError(EngineError):
    """An image cannot be removed because a container uses it."""

    code = "engine-in-use"


_NONE = (
    "use Docker (`systemctl enable --now docker`), or Podman with its socket (`systemctl enable --now "
    "podman.socket`), and install one of them first; to use another engine: set DOCKER_HOST=unix://…"
)


def probe(address: str, timeout: float) -> None:
    """Connect to the socket of an engine and close it again.

    Args:
        address: `unix://` and a path.
        timeout: Seconds that it may take.

    Raises:
        EngineError: The socket cannot be reached.
    """
    # Before the client library: the errno tells "not installed" from "not running" from "not allowed".
    if problem := not_usable(address):
        raise EngineError(problem.what, where=problem.where, hint=problem.hint)
    path, name, start = address.removeprefix("unix://"), engine_name(address), engine_start(address)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
    except PermissionError as error:
        hint = "run as root, or as a member of the group that owns the socket"
        raise EngineError(f"cannot connect to {name}: permission denied", where=path, hint=hint) from error
    except FileNotFoundError as error:
        raise _absent_error(address, path) from error
    except ConnectionRefusedError as error:
        raise EngineError(f"{name} is not running", where=path, hint=start) from error
    except OSError as error:
        raise EngineError(f"cannot reach {name}: {error}", where=path, hint=start) from error


def _absent_error(address: str, path: str) -> EngineError:
    if address == DEFAULT_ENGINE and not has_program("dockerd"):
        what = "this host has no container engine: there is no socket of Docker or Podman"
        return EngineError(what, where=path, hint=_NONE)
    if is_podman(address):
        what = "Podman's socket is not there: its service does not run"
    else:
        what = "the Docker engine is not installed or not running: there is no socket"
    return EngineError(what, where=path, hint=engine_start(address))


def silent_error(what: str, where: str) -> EngineError:
    """Return the error of an engine that does not answer in time."""
    see = f"`journalctl -u {engine_unit(where)}`"
    hint = f"the engine or its disk may hang: see {see}, then run the command again"
    return EngineError(f"the engine did not answer in time when asked to {what}", where=where, hint=hint)
