"""Reaching the socket of a Docker engine on this host, and the errors of talking to it."""

from __future__ import annotations

import socket

from installer.core.errors import HostNotReadyError


class EngineError(HostNotReadyError):
    """The engine is not there, cannot be used, failed, or did not answer in time."""

    code = "engine"


class InUseError(EngineError):
    """An image cannot be removed because a container uses it."""

    code = "engine-in-use"


START = (
    "start it: `systemctl start docker`; to start it at every boot: `systemctl enable docker`; to use "
    "another engine: set DOCKER_HOST=unix://…"
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
    if not address.startswith("unix://"):
        hint = (
            "images can only be loaded into the engine of this host: set "
            "DOCKER_HOST=unix:///path/of/its/socket"
        )
        raise EngineError("is not an engine of this host", where=address, hint=hint)
    path = address.removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
    except PermissionError as error:
        hint = "run as root, or as a member of the group that owns the socket"
        raise EngineError(
            "cannot connect to the Docker engine: permission denied", where=path, hint=hint
        ) from error
    except FileNotFoundError as error:
        raise EngineError(
            "the Docker engine is not installed or not running: there is no socket", where=path, hint=START
        ) from error
    except ConnectionRefusedError as error:
        raise EngineError("the Docker engine is not running", where=path, hint=START) from error
    except OSError as error:
        raise EngineError(f"cannot reach the Docker engine: {error}", where=path, hint=START) from error


def silent_error(what: str, where: str) -> EngineError:
    """Return the error of an engine that does not answer in time."""
    hint = "the engine or its disk may hang: see `journalctl -u docker`, then run the command again"
    return EngineError(f"the engine did not answer in time when asked to {what}", where=where, hint=hint)
