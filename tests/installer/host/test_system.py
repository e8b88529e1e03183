"""The facade: found below a root as in a chroot, exclusive, exact, bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import BusyError
from installer.host import syscalls
from installer.host.system import System
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal import interrupts
from tests.rig.faulty import Mounted
from tests.rig.hang import ends


@pytest.fixture
def system(tmp_path: Path) -> System:
    root = tmp_path / "root"
    root.mkdir()
    return System(root)


def test_an_absolute_link_leads_below_the_root(system: System) -> None:
    root = Path(system.root)
    (root / "srv").mkdir()
    (root / "opt").symlink_to("/srv")
    system.write_new("/opt/file", b"x", 0o644)
    assert (root / "srv/file").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["../../../..", "/../../..", "a/../../.."])
def test_no_link_leads_out_of_the_root(system: System, target: str) -> None:
    root = Path(system.root)
    (root / "a").mkdir()
    (root / "out").symlink_to(target)
    system.write_new("/out/file", b"x", 0o644)
    assert (root / "file").read_bytes() == b"x"
    assert system.real("/out/file") == str(root / "file")


def test_a_loop_of_links_is_an_error_not_a_hang(system: System) -> None:
    (Path(system.root) / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        system.read("/loop/x", 10)


@pytest.mark.needs("root")
def test_a_link_that_a_service_account_made_is_not_followed(system: System) -> None:
    link = Path(system.root) / "opt"
    link.symlink_to("/etc")
    os.lchown(link, 1000, 1000)
    with pytest.raises(PermissionError, match="belongs to user 1000"):
        system.write_new("/opt/passwd", b"x", 0o644)


def test_the_last_link_is_never_written_through(system: System) -> None:
    link = Path(system.root) / "link"
    link.symlink_to("/victim")
    with pytest.raises(FileExistsError):
        system.write_new("/link", b"x", 0o644)
    with pytest.raises(OSError, match="symbolic links"):
        system.write_at("/link", 0, b"x")
    assert not (Path(system.root) / "victim").exists()


def test_modes_are_exact_whatever_the_umask(system: System) -> None:
    before = os.umask(0o077)
    try:
        system.write_new("/file", b"x", 0o664)
        system.mkdir("/dir", 0o775)
    finally:
        os.umask(before)
    assert system.observe("/file").mode == 0o664
    assert system.observe("/dir").mode == 0o775


def test_a_write_that_fails_leaves_nothing(system: System) -> None:
    def pieces() -> object:
        yield b"half"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input"):
        system.write_new("/file", pieces(), 0o644)  # type: ignore[arg-type]
    assert system.observe("/file").kind == "absent"


def test_observe_tells_every_kind(system: System) -> None:
    root = Path(system.root)
    (root / "file").write_bytes(b"abc")
    (root / "link").symlink_to("file")
    (root / "dir").mkdir()
    os.mkfifo(root / "pipe")
    assert system.observe("/file").sha256.startswith("ba7816bf")
    assert system.observe("/link").target == "file"
    kinds = [
        system.observe(path).kind for path in ("/file", "/link", "/dir", "/pipe", "/none", "/file/below")
    ]
    assert kinds == ["file", "link", "dir", "other", "absent", "absent"]


def test_reading_stops_at_the_limit(system: System) -> None:
    system.write_new("/big", b"x" * 100, 0o644)
    with pytest.raises(OSError, match="larger than the 99"):
        system.read("/big", 99)


@pytest.mark.parametrize(("kernel", "one_by_one"), [((5, 8), 0), ((5, 7), 40)])
def test_many_files_are_synced_by_one_call_for_each_file_system_few_by_one_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: tuple[int, int], one_by_one: int
) -> None:
    """Before Linux 5.8 syncfs(2) says nothing of writes that failed; fsync(2) of each file does."""
    monkeypatch.setattr(syscalls, "version", lambda: kernel)
    system = Mounted(tmp_path)
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
    paths = [f"/{where}/f{number}" for number in range(20) for where in ("one", "two")]
    for path in paths:
        system.write_new(path, b"x", 0o644, sync=False)
    system.sync_files(paths)
    assert sorted(system.synced[:2]) == ["sync_fs /one", "sync_fs /two"]
    assert [each.partition(" ")[0] for each in system.synced[2:]] == ["fsync"] * one_by_one
    system.synced.clear()
    system.sync_files(paths[:3])
    assert [each.partition(" ")[0] for each in system.synced] == ["fsync"] * 3


def test_what_is_not_there_is_synced_with_the_file_system_that_would_hold_it(tmp_path: Path) -> None:
    system = Mounted(tmp_path)
    for directory in ("one", "two/deep"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "two/file").touch()
    system.sync_all({"/one/none/at/all", "/one", "/two/file"})
    assert sorted(system.synced) == ["sync_fs /one", "sync_fs /two"]


def test_a_second_process_finds_the_lock_busy_and_a_killed_one_gives_it_back(system: System) -> None:
    code = (
        "import sys, time; from installer.host.system import System; "
        f"lock = System({system.root!r}).lock('/lock'); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {other.pid}"):
            system.lock("/lock")
        other.send_signal(signal.SIGKILL)
    system.lock("/lock").release()


def test_a_child_is_bounded_in_output_and_keeps_the_end(system: System) -> None:
    ended = system.run(["sh", "-c", "yes | head -c 3000000; echo the end"], timeout=20)
    assert ended.ok
    assert len(ended.stdout) <= 1024 * 1024
    assert ended.stdout.endswith(b"the end\n")


def test_a_child_that_hangs_is_killed_with_its_children(system: System) -> None:
    with ends(within=120):
        ended = system.run(["sh", "-c", "sleep 600 & sleep 600"], timeout=0.3)
    assert ended.timed_out
    assert not ended.ok
    assert "timed out" in ended.reason(Secrets())


def test_a_child_that_closes_its_output_is_still_bounded_in_time(system: System) -> None:
    assert system.run(["sh", "-c", "exec >&- 2>&-; sleep 600"], timeout=0.3).timed_out


def test_a_daemon_that_a_child_leaves_behind_is_not_waited_for(system: System) -> None:
    with ends(within=120):
        ended = system.run(["sh", "-c", "sleep 600 & echo $!"], timeout=50)
    assert ended.ok
    os.kill(int(ended.stdout), signal.SIGKILL)


def test_a_signal_while_a_child_starts_ends_the_child_too(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def with_a_signal(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        child = start(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        (tmp_path / "pid").write_text(str(child.pid))
        return child

    monkeypatch.setattr(subprocess, "Popen", with_a_signal)
    with interrupts.handled(), pytest.raises(KeyboardInterrupt):
        system.run(["sleep", "600"], timeout=50)
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_that_is_not_there_gives_a_reason(system: System) -> None:
    ended = system.run(["/no/such/program"], timeout=1)
    assert (ended.status, ended.ok) == (127, False)
    assert "No such file" in ended.reason(Secrets())


def test_what_a_child_reads_is_what_was_given(system: System) -> None:
    data = os.urandom(300_000)
    assert system.run(["cat"], timeout=20, stdin=data).stdout == data


def test_users_below_a_root_are_those_of_the_root(system: System) -> None:
    etc = Path(system.root) / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("chat:x:4711:4712::/:/bin/false\n")
    (etc / "group").write_text("chat:x:4712:\n")
    assert (system.user_id("chat"), system.group_id("chat")) == (4711, 4712)
    assert (system.user_id("root"), system.user_id("123"), system.user_id("nobody-here")) == (0, 123, None)


@pytest.mark.parametrize("steady", [False, True])
def test_an_error_names_the_whole_path_and_not_its_last_component(tmp_path: Path, *, steady: bool) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("")
    host = System(tmp_path)
    with host.hold_directories() if steady else nullcontext():
        with pytest.raises(OSError, match=r"'/a/file'"):
            host.names("/a/file")
        with pytest.raises(OSError, match=r"'/a/gone'"):
            host.read("/a/gone", 10)
        with pytest.raises(OSError, match=r"'/a/file'"):
            host.mkdir("/a/file", 0o700)
