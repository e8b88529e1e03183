"""Private directories in memory: for one user, with the files, and gone when the program has ended."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from installer.host import private_copy
from installer.host.kernel import started
from installer.host.private_copy import clear_memory, forget, memory_directory, memory_place


def test_a_directory_has_its_files_for_one_user_and_goes() -> None:
    with memory_directory(lambda top: {"conf/where": top.encode()}) as top:
        assert Path(top).parent == Path(memory_place())
        assert Path(top, "conf/where").read_text() == top
        assert Path(top, "conf/where").stat().st_mode & 0o777 == 0o600
        assert Path(top, "conf").stat().st_mode & 0o777 == 0o700
        # Another run of this process must not remove it.
        clear_memory()
        assert Path(top, "conf/where").exists()
    assert not Path(top).exists()


def ours() -> set[str]:
    """Return the names of this process in memory: other processes use it, too."""
    return {path.name for path in Path(memory_place()).glob(f".waybill.run-{os.getpid()}-*")}


def test_a_file_can_be_removed_before_its_time() -> None:
    with memory_directory(lambda _: {"variables.json": b"{}", "hosts.json": b"{}"}) as top:
        forget(f"{top}/variables.json")
        forget(f"{top}/variables.json")
        assert not Path(top, "variables.json").exists()
        assert Path(top, "hosts.json").exists()


def test_what_a_killed_run_left_goes_with_the_next_and_that_of_others_stays() -> None:
    # A process that is gone, and the one of which all others come.
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, alive = (Path(memory_place(), f".waybill.run-{pid}-0123") for pid in (ended.pid, 1))
    for place in (dead, alive):
        place.mkdir()
        (place / "secret").write_text("x")
    try:
        with memory_directory(lambda _: {}):
            assert not dead.exists()
            assert (alive / "secret").exists()
    finally:
        (alive / "secret").unlink()
        alive.rmdir()


@pytest.mark.parametrize("fault", ["its number was given again", "nobody waits for it"])
def test_what_a_process_left_that_has_ended_goes_although_its_number_is_there(fault: str) -> None:
    with subprocess.Popen(["sleep", "1000"]) as other:
        time = started(other.pid)
        assert time
        if fault == "nobody waits for it":
            os.kill(other.pid, signal.SIGKILL)
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        before = time if fault == "nobody waits for it" else str(int(time) - 1)
        left = Path(memory_place(), f".waybill.run-{other.pid}-{before}-0123")
        left.mkdir()
        now = Path(memory_place(), f".waybill.run-{other.pid}-{time}-4567")
        now.mkdir()
        with memory_directory(lambda _: {}):
            assert not left.exists()
            assert now.exists() == (fault == "its number was given again")
        other.kill()
    with memory_directory(lambda _: {}):
        assert not now.exists()


def test_a_machine_without_a_file_system_in_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_copy, "_PLACES", ("/", "/nowhere"))
    assert memory_place() == ""
    with pytest.raises(FileNotFoundError, match="no file system in memory"), memory_directory(lambda _: {}):
        raise AssertionError


def test_a_failure_to_write_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ours()
    with pytest.raises(OSError, match="File name too long"), memory_directory(lambda _: {"a" * 300: b""}):
        raise AssertionError
    assert ours() == before
