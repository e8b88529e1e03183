"""Counts whose containers stay the same when one of three services of a Compose project changes.

    python -m tests.bench.services [KIND…]                (KIND of tests/rig/engine.py; default 20)

A release is upgraded by one that changes `web`, by one that changes it and is not healthy, and rolled back.
Also counted: how often Compose is asked for its version in each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from installer.core.errors import RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from tests.rig.composed import Parts, composed, project, same, services
from tests.rig.engine import Engine
from tests.rig.livedir import LiveDir
from tests.rig.releases import install, roll_back

SICK = (HealthCheck("command", "", command=("/bin/false",), within=0),)


def fail(host: Context) -> None:
    """Install a release that is not healthy."""
    with suppress(RolledBackError):
        install(host, project(3, Parts(page="worse", health=SICK)))


STORIES: dict[str, Callable[[Context], object]] = {
    "upgrade": lambda host: install(host, project(2, Parts(page="new"))),
    "failed upgrade": fail,
    "rollback": roll_back,
}


def measure(kind: str) -> None:
    """Print what stays, for one kind of engine."""
    engine = Engine.launch(kind)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder,
            composed(engine, Path(folder)) as host,
        ):
            install(host, project(1))
            print(f"engine {kind} ({engine.version}), 3 services, of which `web` changes:")
            for name, story in STORIES.items():
                before, system = services(engine), host.system
                assert isinstance(system, LiveDir)
                asked = len(system.ran)
                story(host)
                versions = sum("version" in words and "--short" in words for words in system.ran[asked:])
                kept = sorted(same(before, services(engine)))
                print(f"  {name:<15} same containers: {', '.join(kept)} (bar: db, migrate)", end="")
                print(f"; Compose asked for its version {versions} times")
    finally:
        engine.stop()


def main() -> None:
    """Measure each kind that was asked for."""
    for kind in sys.argv[1:] or ["20"]:
        measure(kind)


if __name__ == "__main__":
    main()
