"""Connects to the engine of this host that takes the images: Docker's, or a containerd without Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from installer.images import containerd_engine, docker_engine
from installer.images.docker_engine import Engine
from installer.shared.child.engine_address import CONTAINERD, engine_address

if TYPE_CHECKING:
    from installer.host.system import System


def connect(system: System, address: str = "") -> Engine:
    """Connect to an engine of this host.

    Args:
        system: The facade for what changes the engine.
        address: `unix://…` of Docker, or `containerd://…`; empty for the engine of this host.

    Raises:
        EngineError: There is none, this user may not use it, it is not on this host, or it does not answer.
    """
    address = address or engine_address()
    if address.startswith(CONTAINERD):
        return containerd_engine.connect(system, address)
    return docker_engine.connect(system, address)
