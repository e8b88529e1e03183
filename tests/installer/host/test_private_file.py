"""A private file for a program: 0600, removed afterwards, and not removed by another copy of this process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from installer.host import syscalls
from installer.host.host import Host
from installer.host.private_copy import PREFIX, memory_file, private_copy, private_file, remove_copies
from installer.host.system import System


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


def test_the_file_is_private_and_gone_afterwards(base: Path) -> None:
    with private_file(Host(base.parent), b"A=1\n", "/base") as place:
        file = base.parent / place[1:]
        assert file.read_bytes() == b"A=1\n"
        assert file.stat().st_mode & 0o777 == 0o600
    assert list(base.iterdir()) == []


def test_what_a_kill_left_goes_with_the_next_one_and_what_is_in_use_stays(base: Path) -> None:
    (base / f"{PREFIX}left").write_text("PASSWORD=x")
    host = Host(base.parent)
    with private_file(host, b"A=1\n", "/base") as first:
        assert not (base / f"{PREFIX}left").exists()
        with private_file(host, b"B=1\n", "/base"), private_copy(host, "/base", {}, "/base"):
            remove_copies(host, "/base")
            assert (base.parent / first[1:]).exists()
    assert list(base.iterdir()) == []


def test_what_another_running_process_uses_stays_and_goes_with_the_next_one_after_it(base: Path) -> None:
    other = subprocess.Popen(["sleep", "1000"])
    used = base / f"{PREFIX}{other.pid}-0123456789abcdef"
    used.mkdir()
    remove_copies(Host(base.parent), "/base")
    assert used.exists()
    other.kill()
    other.wait()
    remove_copies(Host(base.parent), "/base")
    assert not used.exists()


def test_a_place_that_is_not_there_is_an_error_and_leaves_nothing(base: Path) -> None:
    with pytest.raises(OSError, match="No such file"), private_file(Host(base.parent), b"x", "/nowhere"):
        pass


def test_a_file_in_memory_is_inherited_by_the_programs_that_are_run_meanwhile_only(tmp_path: Path) -> None:
    system = System(tmp_path)
    with memory_file(system, b"A=1\n") as place:
        assert system.run(["cat", place], timeout=20).stdout == b"A=1\n"
        # Other children of this process do not get it.
        assert subprocess.run(["cat", place], capture_output=True, check=False).returncode != 0
    assert not Path(place).exists()
    assert system.inherited == ()


def test_a_machine_without_files_in_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "_MEMFD_CREATE", {})
    with pytest.raises(OSError, match="not implemented"):
        syscalls.memory_file("x")
