"""A directory that stands for a host, and the commands of `install` run on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.bench import Bench, environment
from tests.rig.hosts import host, machine, system  # noqa: F401
from tests.rig.imagesite import site  # noqa: F401
from tests.rig.trustworld import NOW, root


@pytest.fixture
def host_dir(tmp_path: Path) -> Path:
    place = tmp_path / "host"
    (place / "etc/waybill/trust").mkdir(parents=True)
    return place


@pytest.fixture
def bench(
    host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A host of the environment `production`, which trusts the team; its clock stands still."""
    monkeypatch.setattr("installer.commands.common.session.utc_now", lambda: NOW)
    made = Bench(host_dir, tmp_path, capsys)
    made.trust(root())
    environment(host_dir, "production\n")
    return made
