"""What several tests of `bundle` start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.trustworld import APPROVALS, World


@pytest.fixture
def world() -> World:
    """A good world, but for one approval."""
    return replace(World(), approvals=APPROVALS[:2])


@pytest.fixture
def path(world: World, tmp_path: Path) -> Path:
    """Its bundle."""
    file = tmp_path / "b.tar"
    file.write_bytes(world.tar())
    return file
