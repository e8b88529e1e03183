"""`install setup`: the executable on the host, its link, and which environment the host belongs to."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from installer.commands.setup import NAME, PLACE, UNIT, UNITS, setup
from installer.core.digest import sha256_hex
from installer.core.errors import RefusedError, UsageError
from installer.host.system import System
from installer.state.host_identity import ENVIRONMENT_FILE, environment
from tests.faults.faulty import FaultySystem, Killed, snapshot
from tests.rig.needs import needs


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A host, and a file that stands for the executable that runs."""
    (tmp_path / "exe").write_bytes(b"program")
    monkeypatch.setenv("WAYBILL_EXE", str(tmp_path / "exe"))
    (tmp_path / "host").mkdir()
    return System(tmp_path / "host")


def test_twice_is_once(system: System) -> None:
    assert setup(system) == setup(system)
    assert system.read(PLACE, 99) == b"program"
    assert system.observe(NAME).target == PLACE
    assert setup(system).sha256 == sha256_hex(b"program")
    assert system.observe(ENVIRONMENT_FILE).kind == "absent"


def test_the_environment_is_written_once_and_never_changed(system: System) -> None:
    done = setup(system, "production")
    assert "/etc/waybill/environment is set to production" in done.text()
    assert environment(system, "") == "production"
    setup(system, "production")
    with pytest.raises(RefusedError, match="belongs to the environment production, not test"):
        setup(system, "test")
    setup(system)
    assert system.read(ENVIRONMENT_FILE, 99) == b"production\n"


@pytest.mark.parametrize("fault", ["kill before", "kill half", "kill after"])
def test_killed_anywhere_it_is_done_again_and_no_half_name_binds_the_host(
    system: System, tmp_path: Path, fault: str
) -> None:
    counting = FaultySystem(Path(system.root))
    done = setup(counting, "production", recover_at_boot=True)
    for at in range(1, len(counting.trace) + 1):
        root = tmp_path / f"{at}"
        root.mkdir()
        with suppress(Killed):
            setup(FaultySystem(root, at, fault), "production", recover_at_boot=True)
        assert setup(System(root), "production", recover_at_boot=True) == done, at
        assert snapshot(root) == snapshot(Path(system.root)), at


@pytest.mark.parametrize("name", ["two words", "Production", "../x", "é", "a\n"])
def test_what_is_no_environment_is_refused_before_anything_is_written(system: System, name: str) -> None:
    with pytest.raises(UsageError):
        setup(system, name)
    assert system.names("/") == []


def test_a_run_from_source_has_nothing_to_copy(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_EXE")
    with pytest.raises(UsageError, match="needs the standalone executable"):
        setup(system, "production")
    assert system.names("/") == []


def test_the_real_executable_on_a_real_directory(tmp_path: Path) -> None:
    program = needs("installer")
    words = [program, "setup", "--env", "production", "--root", str(tmp_path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["environment"] == "production"
    assert (tmp_path / "etc/waybill/environment").read_text() == "production\n"
    assert (tmp_path / PLACE[1:]).read_bytes() == Path(program).read_bytes()


def test_the_unit_comes_only_on_request_and_twice_is_once(system: System) -> None:
    assert setup(system).unit == ""
    assert system.names("/etc") == []
    for _ in range(2):
        assert "at boot" in setup(system, recover_at_boot=True).text()
    unit = Path(system.root, UNITS[1:], UNIT)
    assert f"ExecStart={PLACE} recover" in unit.read_text()
    assert unit.stat().st_mode & 0o777 == 0o644
    assert (unit.parent / "multi-user.target.wants" / UNIT).resolve() == unit
    assert sorted(path.name for path in unit.parent.iterdir()) == ["multi-user.target.wants", UNIT]
