"""`install setup`: the executable gets its place, and on request a unit that recovers at boot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from installer.core.errors import UsageError
from installer.setup import NAME, PLACE, UNIT, UNITS, setup
from installer.system import System


@pytest.fixture
def executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "install"
    path.write_bytes(b"\x7fELF")
    monkeypatch.setenv("WAYBILL_EXE", str(path))
    return path


@pytest.fixture
def host(tmp_path: Path) -> System:
    (tmp_path / "host").mkdir()
    return System(tmp_path / "host")


def test_it_is_copied_and_linked_and_nothing_else_is_there(executable: Path, host: System) -> None:
    done = setup(host)
    root = Path(host.root)
    assert (root / PLACE[1:]).read_bytes() == executable.read_bytes()
    assert (root / PLACE[1:]).stat().st_mode & 0o777 == 0o755
    assert os.readlink(root / NAME[1:]) == PLACE
    assert done.unit == ""
    assert not (root / "etc").exists()


def test_the_unit_comes_only_on_request_and_twice_is_once(executable: Path, host: System) -> None:
    for _ in range(2):
        done = setup(host, recover_at_boot=True)
        assert "at boot" in done.text()
    unit = Path(host.root, UNITS[1:], UNIT)
    assert f"ExecStart={PLACE} recover" in unit.read_text()
    assert unit.stat().st_mode & 0o777 == 0o644
    wants = unit.parent / "multi-user.target.wants" / UNIT
    assert wants.resolve() == unit
    assert sorted(path.name for path in unit.parent.iterdir()) == ["multi-user.target.wants", UNIT]


def test_a_run_from_source_has_nothing_to_copy(host: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_EXE", raising=False)
    with pytest.raises(UsageError, match="from source"):
        setup(host, recover_at_boot=True)
    assert list(Path(host.root).iterdir()) == []
