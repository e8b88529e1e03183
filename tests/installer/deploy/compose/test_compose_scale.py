"""Services with several containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.composed import Parts, composed, drift, project
from tests.rig.engine import Engine
from tests.rig.releases import PRODUCT, install

pytestmark = pytest.mark.needs("docker", "compose", "busybox")


def test_every_container_of_a_service_that_is_scaled_is_compared(
    docker_engine: Engine, tmp_path: Path
) -> None:
    with composed(docker_engine, tmp_path) as host:
        install(host, project(1, Parts(keys={"web": "scale: 2"})))
        assert drift(host) == []
        docker_engine.docker("stop", "-t", "0", f"{PRODUCT}-web-2")
        assert ["web" in each for each in drift(host)] == [True]
        install(host, project(1, Parts(keys={"web": "scale: 2"})))
        assert drift(host) == []
