"""Archives that others made to break readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.core.errors import WaybillError
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.hang import ends
from tests.rig.needs import needs


def corpus() -> list[Path]:
    """Archives of Python's own tests, at least one; Go's are in `test_public_corpora`."""
    top = Path(needs("python-archives"))
    found = sorted(top.rglob("*.tar"))
    assert found
    return found


def refused(data: bytes) -> None:
    for medium in (BytesMedium(data), build.stream(data)):
        with ends(), pytest.raises(WaybillError) as caught:
            build.read(medium)
        assert caught.value.exit_code == 11
