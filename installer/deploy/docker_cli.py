"""Docker's command line, always for the one engine of this host that images are loaded into.

Left to itself it follows the context of the operator, which may be another machine: then a project would run
there, of images that nobody verified.
"""

from __future__ import annotations

from installer.core.errors import Problem
from installer.host.context import Context
from installer.host.system import Completed
from installer.shared.child.engine_address import (
    CONTAINERD,
    engine_address,
    engine_environment,
    not_usable,
)

QUICK = 30.0
"""Seconds for a command that only asks."""


def docker(context: Context, *words: str, timeout: float = QUICK, engine: str = "") -> Completed:
    """Run `docker`.

    Args:
        context: The host.
        words: Its arguments.
        timeout: Seconds after which it is killed.
        engine: Address that an operation recorded; empty for the engine of this host.
    """
    return context.system.run(["docker", *words], timeout=timeout, env=engine_environment(engine))


def engine_problem() -> Problem | None:
    """Return why the engine that the environment names cannot be used."""
    address = engine_address()
    if address.startswith(CONTAINERD):
        what = "is containerd, which takes images and runs no Compose projects"
        return Problem(address, what, "install Docker, or use --skip compose")
    return not_usable(address)
