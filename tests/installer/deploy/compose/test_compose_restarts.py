"""What changed is what is recreated: in an upgrade, a failed upgrade, a rollback and a repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from tests.rig.composed import IMAGES, Parts, composed, drift, project, read, same, services
from tests.rig.engine import Engine
from tests.rig.releases import install, plan_for, roll_back

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
SICK = (HealthCheck("command", "", command=("/bin/false",), within=0),)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def live(engine: Engine, tmp_path: Path) -> Iterator[Context]:
    with composed(engine, tmp_path) as host:
        yield host


def becomes(live: Context, number: int, parts: Parts) -> list[str]:
    """Return the lines of the plan about services."""
    lines = [line for each in plan_for(live, project(number, parts)).methods for line in each.lines]
    return [line for line in lines if " service " in line]


@pytest.mark.parametrize(
    ("engine", "parts", "changed", "why"),
    [
        ("docker_engine", Parts(page="new"), {"web"}, "/opt/web/index.html changed"),
        ("docker28", Parts(config="new"), {"web"}, "/etc/web.conf changed"),
        ("docker28", Parts(level="2"), {"db"}, "its environment changed"),
        ("docker_engine", Parts(image=IMAGES[1]), {"web", "migrate"}, "its image changed"),
    ],
    ids=["a file of a tree", "a rendered file", "the model", "the image"],
    indirect=["engine"],
)
def test_only_the_services_that_changed_are_recreated(
    live: Context, engine: Engine, parts: Parts, changed: set[str], why: str
) -> None:
    install(live, project(1))
    first = services(engine)
    lines = becomes(live, 2, parts)
    assert {line.split()[2] for line in lines if line.startswith("recreate")} == changed
    assert all(why in line for line in lines if line.startswith("recreate"))
    with pytest.raises(RolledBackError):
        install(live, project(2, Parts(**{**vars(parts), "health": SICK})))
    undone = services(engine)
    assert same(first, undone) == first.keys() - changed
    assert (read(engine, "/web.conf"), read(engine, "/web/index.html")) == ("same", "same")
    assert drift(live) == []
    install(live, project(3, parts))
    upgraded = services(engine)
    assert same(undone, upgraded) == first.keys() - changed
    now = (read(engine, "/web.conf"), read(engine, "/web/index.html"))
    assert now == (parts.config, parts.page)
    assert drift(live) == []
    roll_back(live)
    assert same(upgraded, services(engine)) == first.keys() - changed
    assert (read(engine, "/web.conf"), read(engine, "/web/index.html")) == ("same", "same")
    assert drift(live) == []
