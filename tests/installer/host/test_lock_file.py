"""What a lock does with its file and its descriptors, also where it is not taken."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from installer.core.errors import BusyError
from installer.host import lock as module
from installer.host.lock import Lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "txn").mkdir(mode=0o700)
    return tmp_path / "lock"


def take(path: Path, private: str = "txn") -> Lock:
    return Lock.take(str(path.parent), f"/{path.name}", private=private)


@contextmanager
def taken(path: Path, content: bytes) -> Iterator[None]:
    path.write_bytes(content)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_the_lock_file_names_this_process_and_nothing_of_a_longer_number_before(path: Path) -> None:
    path.write_text("4194303000\n")
    with take(path) as held:
        assert isinstance(held, Lock)
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_full_disk_does_not_keep_it_from_being_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with take(path), pytest.raises(BusyError):
        take(path)


def test_a_mode_that_cannot_be_changed_does_not_keep_it_from_being_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    path.touch(mode=0o644)
    monkeypatch.setattr(os, "fchmod", refuse)
    with take(path):
        pass


def test_a_lock_that_is_released_twice_closes_nothing_of_others(path: Path) -> None:
    held = take(path)
    held.release()
    with path.open("rb") as file:  # gets one of the numbers that were free again
        held.release()
        assert file.read()


@pytest.mark.parametrize("private", ["", "txn"])
def test_what_is_not_taken_leaves_no_descriptor_open(path: Path, private: str) -> None:
    before = descriptors()
    with taken(path, b"1\n"), pytest.raises(BusyError):
        take(path, private)
    assert descriptors() == before


def test_a_directory_that_is_missing_is_told_and_leaves_no_descriptor_open(path: Path) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError) as caught:
        take(path, "none")
    assert caught.value.filename == "none"
    assert descriptors() == before


@pytest.mark.parametrize(
    ("content", "named"), [(b"123\n", "process 123"), (b"", "process unknown"), (b"\xff\n", "process \ufffd")]
)
def test_the_file_names_the_holder_where_the_kernel_names_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, named: str
) -> None:
    monkeypatch.setattr(module, "holders", lambda _fd: [])
    with taken(path, content), pytest.raises(BusyError) as caught:
        take(path)
    assert f"({named})" in caught.value.what


def test_a_link_to_the_file_is_not_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, how: int) -> None:
        # Somebody moves it away between our open(2) and our flock(2), and leaves a link.
        if not path.is_symlink():
            path.rename(path.with_name("moved"))
            path.symlink_to("moved")
        real(fd, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="symbolic") as caught:
        take(path)
    assert caught.value.errno == errno.ELOOP
