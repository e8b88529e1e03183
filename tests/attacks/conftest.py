"""The stage of every attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.box import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A host, a stick, and the two commands."""
    return Box(tmp_path)
