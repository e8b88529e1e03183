"""The executables of the baseline and of this checkout, and a desk that makes bundles with the former."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig import baseline
from tests.rig.desk import Desk
from tests.rig.executables import Executables, executables
from tests.rig.hostdir import HostDir
from tests.rig.needs import needs
from tests.rig.product import EPOCH


@pytest.fixture(scope="session")
def old() -> Executables:
    """The executables of the baseline; without them the test is skipped."""
    try:
        built = baseline.provide()
    except baseline.AbsentError:
        needs("baseline")
        raise
    return Executables(built.install, built.bundle)


@pytest.fixture(scope="session")
def new() -> Executables:
    """The executables of this checkout."""
    return executables()


@pytest.fixture(scope="session")
def desk(old: Executables, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The connected side, with the baseline's executables."""
    return Desk(tmp_path_factory.mktemp("desk"), old, {"SOURCE_DATE_EPOCH": EPOCH}).set_up()


@pytest.fixture(scope="session")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory, where there is one: many hosts are made and thrown away."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("hosts")
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="waybill-test-") as name:
        yield Path(name)


@pytest.fixture
def hosts(fast: Path) -> Iterator[Path]:
    """A directory there for the hosts of one test."""
    with tempfile.TemporaryDirectory(dir=fast) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def trusting(fast: Path, desk: Desk, old: Executables) -> Callable[[str], HostDir]:
    """Make a host on which the baseline has set up trust in the desk, and nothing else."""

    def make(name: str) -> HostDir:
        host = HostDir(fast / name, old.install)
        for folder in ("etc", "srv"):
            (host.root / folder).mkdir(parents=True)
        (host.root / "etc/data").write_text("data of nobody\n")
        host.check("trust", "init", desk.root, "--fingerprint", desk.fingerprint)
        return host

    return make


@pytest.fixture(scope="session")
def approving(old: Executables, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk whose root asks for approvals in the environment `production`, and for none in `test`."""
    made = Desk(tmp_path_factory.mktemp("approving"), old, desk.env).set_up()
    for role in ("security", "ops"):
        made.bundle("keygen", role)
        made.bundle("trust", "add-key", made.root, f"{role}.pub", "--role", role)
    asks = ("--require", "security=1", "--require", "ops=1", "--change-id", "--rollback-plan")
    made.bundle("trust", "set-policy", made.root, "production", *asks)
    made.bundle("trust", "set-policy", made.root, "test")
    return made
