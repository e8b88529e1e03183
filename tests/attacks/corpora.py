"""Archives that others made to break readers."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from installer.core.errors import WaybillError
from tests.hang import ends
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium


def corpus() -> list[Path]:
    """Archives of Python's own tests, where those are installed; Go's are in `test_public_corpora`."""
    here = Path(sysconfig.get_path("stdlib")) / "test"
    found = {path for top in (here, here / "archivetestdata") if top.is_dir() for path in top.glob("*.tar")}
    return sorted(found)


def refused(data: bytes) -> None:
    for medium in (BytesMedium(data), build.stream(data)):
        with ends(), pytest.raises(WaybillError) as caught:
            build.read(medium)
        assert caught.value.exit_code == 11
