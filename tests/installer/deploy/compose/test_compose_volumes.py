"""Plans tell what becomes of the volumes of a project, and offer none for deletion that a release uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.host.context import Context
from installer.planning.plan import Options, Plan
from installer.planning.planner import plan_remove
from installer.state.state import load
from tests.rig.composed import Parts, composed, project
from tests.rig.engine import Engine
from tests.rig.releases import PRODUCT, ReleaseSpec, install, plan_for

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
STORE = f"{PRODUCT}_store"


@pytest.fixture
def live(docker_engine: Engine, tmp_path: Path) -> Iterator[Context]:
    with composed(docker_engine, tmp_path) as host:
        yield host


def storing(number: int, declared: str) -> ReleaseSpec:
    """Return a release with one more service and its volume."""
    service = '  store: {image: "rig/box:1", network_mode: none, volumes: ["store:/x"]}\n'
    return project(number, Parts(more=service, volumes=f", store: {{{declared}}}"))


def said_of(plan: Plan, name: str) -> list[str]:
    return [line for each in plan.methods for line in each.lines if f"volume {name} " in line]


def test_a_volume_that_a_release_turned_into_an_external_one_is_offered_for_deletion_by_no_plan(
    live: Context, docker_engine: Engine
) -> None:
    install(live, storing(1, ""))
    external = storing(2, f"external: true, name: {STORE}")
    assert said_of(plan_for(live, external), STORE) == []
    install(live, external)
    label = f"label=com.docker.compose.project={PRODUCT}"
    assert STORE in docker_engine.text("volume", "ls", "-q", "--filter", label).split()
    for options in (Options(), Options(purge=True)):
        assert said_of(plan_remove(live, load(live.system, live.layout), options), STORE) == []
