"""Hosts without /proc, and file systems that cannot sync or write: the true reason, and no more than that."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from installer.commands.status import product_status
from installer.core.errors import WaybillError
from installer.core.remedies import remedy
from installer.host import kernel
from installer.host.context import Context
from installer.host.system import SyncError, System
from tests.rig.chatd import ONE, TWO
from tests.rig.releases import context, install, recovered, remove, roll_back, root, state_file

pytestmark = pytest.mark.host(ONE, TWO)


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chroot in which nobody mounted /proc."""

    def elsewhere(self: Path) -> bool:
        return str(self).startswith("/proc")

    for name in ("read_bytes", "read_text", "readlink", "iterdir", "glob"):
        real = getattr(Path, name)

        def call(self: Path, *words: Any, real: Any = real, **more: Any) -> Any:
            if elsewhere(self):
                if real.__name__ == "glob":
                    return iter(())
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
            return real(self, *words, **more)

        monkeypatch.setattr(Path, name, call)


@pytest.mark.usefixtures("without_proc")
def test_without_proc_every_command_works(host: Context) -> None:
    assert host.system.boot_id() == kernel.UNKNOWN_BOOT
    assert install(host, TWO).changed is False
    assert roll_back(host).changed
    assert recovered(host) == []
    assert product_status(host).drift == ()
    assert remove(host).changed


@pytest.mark.needs("root")
@pytest.mark.usefixtures("without_proc")
def test_without_proc_another_file_system_inside_of_a_release_is_still_found(host: Context) -> None:
    place = next(state_file(host, "releases").iterdir()) / "data"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        assert host.system.mounts(f"/{place.relative_to(root(host))}") == [
            f"/{place.relative_to(root(host))}"
        ]
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_fsync_is_the_reason_and_no_reboot_is_asked_for(
    host: Context, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises((WaybillError, OSError), match="fsync is not supported here") as raised:
        roll_back(host)
    assert not isinstance(raised.value, SyncError)
    assert "free some space" not in str(raised.value)
    monkeypatch.undo()
    assert recovered(host) == []
    assert roll_back(host).changed


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.ENOLCK, "cannot lock files"),
        (errno.EINVAL, "does not support this operation"),
        (errno.EROFS, "remount its file system read-write"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EXDEV, "different file systems"),
        (errno.EBUSY, "something uses it"),
        (errno.ETIME, "check this path, and the kernel log"),
    ],
)
def test_each_reason_has_its_own_remedy(number: int, said: str) -> None:
    assert said in remedy(OSError(number, os.strerror(number)))


def test_root_is_not_told_to_run_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "run as root" not in remedy(denied)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "run as root" in remedy(denied)


class ReadOnlyEtc(System):
    """A host of an image: /etc cannot be written, and unlink(2) says so before it looks what is there."""

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name in ("unlink", "write_new", "rename", "mkdir", "symlink", "link", "rmdir"):
            paths = [each for each in args if isinstance(each, str)]
            if any(path.startswith("/etc") for path in paths):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), args[0])
        return super().around(name, args, call)


def test_a_read_only_etc_stops_no_product_that_has_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "etc/waybill/trust").mkdir(parents=True)
    host = context(ReadOnlyEtc(tmp_path))
    steps: list[Callable[[], Any]] = [
        lambda: install(host, ONE),
        lambda: install(host, TWO),
        lambda: roll_back(host),
        lambda: recovered(host),
        lambda: remove(host),
    ]
    for step in steps:
        step()
    assert product_status(host).current is None


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """A host whose /etc is a file system of its own, mounted read-only."""
    (tmp_path / "etc").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "etc"], check=True)
    (tmp_path / "etc/waybill/trust").mkdir(parents=True)
    subprocess.run(["mount", "-o", "remount,ro", tmp_path / "etc"], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path / "etc"], check=True)


@pytest.mark.needs("root")
def test_a_host_with_a_real_read_only_file_system_is_driven_too(image: Path) -> None:
    host = context(System(image))
    assert install(host, ONE).changed
    assert install(host, TWO).changed
    assert roll_back(host).changed
    assert recovered(host) == []
    assert remove(host).changed
