"""The executables do not grow."""

from __future__ import annotations

import pytest

from tests.rig.executables import Executables

SHARE = 0.03
"""Of the size at the baseline."""


@pytest.mark.parametrize("program", ["install", "bundle"])
def test_the_size_grows_by_three_percent_at_most(program: str, old: Executables, new: Executables) -> None:
    before, now = (getattr(programs, program).stat().st_size for programs in (old, new))
    assert now - before <= before * SHARE, f"{program}: {before} → {now} bytes"
