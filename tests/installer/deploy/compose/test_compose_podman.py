"""Compose in Podman: `tests/e2e/test_e2e_podman_host.py` runs a project there; here is what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.deploy.compose.method import METHOD
from installer.deploy.method import Target
from installer.state.release import Release
from tests.rig.composed import composed
from tests.rig.engine import Engine
from tests.rig.services import with_project


@pytest.mark.needs("docker", "compose")
def test_a_podman_without_systemd_would_never_find_a_container_healthy(
    docker_engine: Engine, tmp_path: Path
) -> None:
    manifest = with_project("1.0.0", 1).manifest()
    target = Target(Release(manifest, "0" * 64, "/x", "/x"), manifest.deploy[0].options)
    with composed(docker_engine, tmp_path) as host, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///run/podman/podman.sock")
        (problem,) = METHOD.check(host, None, target)
    assert problem.where == "unix:///run/podman/podman.sock"
    assert problem.what.startswith("is Podman, which checks the health of containers by systemd")
