"""A host with a retained release."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.sharedblobs import retained


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a host, with a directory `data` for further media."""
    (tmp_path / "host/data").mkdir(parents=True, mode=0o755)
    return tmp_path / "host"


@pytest.fixture
def old(root: Path) -> Path:
    """The directory of a retained release."""
    return retained(root)
