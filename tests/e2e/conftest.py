"""What the end-to-end tests share: the executables, the desk, and hosts with trust set up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.site import Site
from tests.rig.desk import Desk
from tests.rig.engine import Engine
from tests.rig.executables import Executables
from tests.rig.executables import executables as found
from tests.rig.host import Host
from tests.rig.lanchat import Releases


@pytest.fixture(scope="session")
def programs() -> Executables:
    """The standalone executables."""
    return found()


@pytest.fixture(scope="session")
def desk(programs: Executables, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The connected side."""
    return Desk(tmp_path_factory.mktemp("desk"), programs).set_up()


@pytest.fixture(scope="session")
def lan_chat(programs: Executables, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Where releases of the product that is built from source are built, signed and approved."""
    return Releases.set_up(Desk(tmp_path_factory.mktemp("lan-chat"), programs))


@pytest.fixture(scope="module")
def site(docker_engine: Engine, desk: Desk) -> Iterator[Site]:
    """An air-gapped host with systemd, without Python and Docker, that trusts the desk."""
    host = Host.launch(docker_engine)
    site = Site(host, desk)
    site.trust()
    yield site
    host.close()


@pytest.fixture
def clean(site: Site) -> Iterator[Site]:
    """The host of this module, on which the product was never installed."""
    yield site
    site.reset()
