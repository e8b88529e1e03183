"""Locks of a product: only root can hold one, who holds it is named, and older versions are excluded."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from installer.commands.common.recovery import exclusive
from installer.core.errors import BusyError, HostNotReadyError
from installer.host.context import Context
from installer.host.lock import Lock
from tests.rig.chatd import ONE
from tests.rig.releases import recovered, state_file

pytestmark = pytest.mark.host(ONE)
HOLD = (
    "import fcntl, os, sys\n"
    "if sys.argv[3] != '0': os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))\n"
    "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
    "fcntl.flock(fd, int(sys.argv[2]))\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@contextmanager
def held(path: Path, how: int = fcntl.LOCK_EX, user: int = 0) -> Iterator[int]:
    """Holds a lock in another process, as some user; yields the process's id."""
    words = [sys.executable, "-c", HOLD, path, str(how), str(user)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        yield other.pid
        other.stdin.close()


def opened_up(host: Context) -> Path:
    """Lets every user reach the product's directory, as on a real host."""
    base = state_file(host, "")
    for each in (base, *base.parents):
        if each.stat().st_uid == os.getuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
        if each.name.startswith("pytest-of"):
            break
    return base


@pytest.mark.needs("root")
@pytest.mark.parametrize("how", [fcntl.LOCK_SH, fcntl.LOCK_EX], ids=["shared", "exclusive"])
def test_an_ordinary_user_who_locks_the_directory_of_the_product_stops_nothing(
    host: Context, how: int
) -> None:
    with held(opened_up(host), how, 65534):
        assert recovered(host) == []


@pytest.mark.needs("root")
@pytest.mark.parametrize("name", ["lock", "txn"])
def test_what_is_locked_can_be_opened_by_root_alone_whatever_its_mode_was(host: Context, name: str) -> None:
    opened_up(host)
    path = state_file(host, name)
    path.chmod(0o755)
    assert recovered(host) == []
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(AssertionError), held(path, fcntl.LOCK_SH, 65534):
        pass


@pytest.mark.parametrize("name", ["lock", "txn", ""])
def test_the_process_that_holds_the_lock_is_named_and_not_the_one_before(host: Context, name: str) -> None:
    state_file(host, "lock").write_text("4194303\n")
    with held(state_file(host, name)) as pid, pytest.raises(BusyError) as raised:
        recovered(host)
    assert f"process {pid}, python" in raised.value.what
    assert f"of user {os.getuid()}" in raised.value.what
    assert raised.value.exit_code == 16


def older(path: Path) -> list[int]:
    """Takes the lock as versions before this one did: the file, then its directory; returns what it holds."""
    fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600), os.open(path.parent, os.O_RDONLY)]
    for fd in fds:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fds


@pytest.mark.parametrize("removed", [False, True], ids=["", "its lock file was removed"])
def test_an_older_version_finds_this_one_busy(host: Context, *, removed: bool) -> None:
    path = state_file(host, "lock")
    with exclusive(host):
        if removed:
            path.unlink()
        with pytest.raises(BlockingIOError):
            older(path)


@pytest.mark.parametrize("name", ["lock", ""], ids=["", "its lock file was removed"])
def test_this_version_finds_an_older_one_busy(host: Context, name: str) -> None:
    with held(state_file(host, name)), pytest.raises(BusyError):
        recovered(host)


def test_a_lock_file_that_is_removed_while_we_wait_is_not_taken_for_the_lock(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, took = state_file(host, "lock"), 0

    def flock(fd: int, how: int) -> None:
        # Somebody removes it between our open(2) and our flock(2).
        nonlocal took
        took += 1
        if took == 1:
            path.unlink()
        real(fd, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(host), path.open("rb") as file, pytest.raises(BlockingIOError):
        real(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert took > 3


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOLCK, "the file system cannot lock files"),
        (errno.EINVAL, "the file system does not support this operation"),
        (errno.EOPNOTSUPP, "the file system does not support this operation"),
    ],
)
def test_a_file_system_that_cannot_lock_is_named_as_the_reason(
    host: Context, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def flock(_fd: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(HostNotReadyError, match="cannot lock") as raised:
        recovered(host)
    assert hint in raised.value.hint
    assert os.strerror(number) in raised.value.what


def test_directories_that_cannot_be_locked_leave_the_lock_of_the_file(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(fd: int, how: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(fd, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(host), pytest.raises(BusyError):
        Lock.take(host.system.root, host.layout.lock, private="txn")


def test_a_lock_is_waited_for(host: Context) -> None:
    with held(state_file(host, "lock")) as pid, exclusive_soon(host, pid):
        pass


@contextmanager
def exclusive_soon(host: Context, pid: int) -> Iterator[None]:
    """Ends the holder once we wait."""
    with subprocess.Popen(["sh", "-c", f"sleep 0.3; kill {pid}"]), exclusive(host, 60):
        yield


def test_a_shared_lock_is_held_until_the_programs_that_were_started_meanwhile_have_ended(
    host: Context,
) -> None:
    path, go = f"{host.layout.base}/shared.lock", state_file(host, "go")
    work = f"(until [ -e {go} ]; do sleep 0.05; done) </dev/null >/dev/null 2>&1 &"
    with host.system.lock(path) as lock, lock.shared(host.system):
        assert host.system.run(["sh", "-c", work], timeout=60).ok
    assert host.system.inherited == ()
    with pytest.raises(BusyError):
        host.system.lock(path)
    go.touch()
    host.system.lock(path, 60).release()


def test_who_holds_a_lock_is_seen_without_taking_it(host: Context) -> None:
    path = f"{host.layout.base}/lock"
    with held(state_file(host, "lock")) as pid:
        assert [each.pid for each in host.system.lock_holders(["/absent/lock", path, path])] == [pid]
        before = len(os.listdir("/proc/self/fd"))
        host.system.lock_holders([path] * 50)
        assert len(os.listdir("/proc/self/fd")) == before
    assert host.system.lock_holders([path]) == []
