"""A host of the generation before, with an old glibc: the same executable starts, verifies and installs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.site import Site
from tests.rig.desk import BETTER, GOOD, Desk
from tests.rig.engine import Engine
from tests.rig.host import Host


@pytest.fixture(scope="module")
def old(docker_engine: Engine, desk: Desk) -> Iterator[Site]:
    host = Host.launch(docker_engine, "bullseye")
    site = Site(host, desk, "--root /srv/host")
    host.check("mkdir /srv/host")
    site.trust()
    yield site
    host.close()


def test_executable_starts_and_imports_all_its_modules(old):
    assert "2.31" in old.host.check("ldd --version | head -1")
    assert old.install("--version").startswith("install ")
    assert "modules can be imported" in old.install("selftest")


def test_release_is_verified_and_installed_into_a_directory(old, desk):
    old.install(f"trust init root.json --fingerprint {desk.fingerprint} --root /srv/host")
    old.apply(desk.release(GOOD))
    old.apply(desk.release(BETTER))
    assert old.host.check("/srv/host/opt/lan-chat/bin/nats-server --version").startswith("nats-server: v")
    old.install("rollback --yes --root /srv/host")
    (found,) = old.document("status --root /srv/host")["products"]
    assert found["installed"]["version"] == GOOD
    assert found["drift"] == []
