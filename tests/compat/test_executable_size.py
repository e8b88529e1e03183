"""The executables stay as large as they were."""

from __future__ import annotations

import pytest

from tests.rig.executables import Executables

SHARE = 0.03


@pytest.mark.parametrize("program", ["install", "bundle"])
def test_the_size_stays_within_three_percent(program: str, old: Executables, new: Executables) -> None:
    before, now = (getattr(programs, program).stat().st_size for programs in (old, new))
    assert abs(now - before) <= before * SHARE, f"{program}: {before} → {now} bytes"
