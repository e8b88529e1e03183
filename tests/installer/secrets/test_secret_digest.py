"""Keyed digests: a rotated value has another one, and nobody without the key of the host can guess."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError
from installer.host.system import System
from installer.secrets.digest import KEY_FILE, secret_digest
from installer.secrets.references import Reference
from installer.secrets.store import Secret
from tests.rig.faulty import FaultySystem, Killed

DB = Reference("file", "db")


def secret(value: str) -> Secret:
    return Secret(DB, value)


@pytest.fixture
def key(system: System) -> Path:
    return Path(system.root + KEY_FILE)


def test_the_same_value_has_the_same_digest_and_a_rotated_one_another(system: System) -> None:
    before = secret_digest(system, secret("hunter22"))
    assert secret_digest(System(system.root), secret("hunter22")) == before
    assert secret_digest(system, secret("hunter23")) != before


def test_the_same_value_on_another_host_has_another_digest(tmp_path: Path) -> None:
    hosts = [System(tmp_path / name) for name in ("one", "other")]
    for each in hosts:
        Path(each.root).mkdir()
    one, other = (secret_digest(each, secret("hunter22")) for each in hosts)
    assert one != other


def test_the_digest_is_none_that_can_be_made_without_the_key(system: System) -> None:
    digest = secret_digest(system, secret("hunter22"))
    assert len(digest) == 64
    assert digest != hashlib.sha256(b"hunter22").hexdigest()


def test_the_key_is_private_and_nothing_else_is_left(system: System, key: Path) -> None:
    before = os.umask(0)
    try:
        secret_digest(system, secret("x"))
    finally:
        os.umask(before)
    assert key.stat().st_mode & 0o7777 == 0o600
    assert key.stat().st_size == 32
    assert os.listdir(key.parent) == [key.name]


def test_several_processes_that_create_it_end_with_one_key(system: System) -> None:
    digests: list[str] = []

    def work() -> None:
        digests.append(secret_digest(System(system.root), secret("hunter22")))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 8
    assert len(set(digests)) == 1


def test_what_a_killed_run_left_is_removed(system: System, key: Path) -> None:
    key.parent.mkdir(parents=True)
    (key.parent / f"{key.name}.0123").write_bytes(b"half")
    secret_digest(system, secret("x"))
    assert os.listdir(key.parent) == [key.name]


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 33])
def test_a_damaged_key_is_refused_with_what_its_removal_means(system: System, key: Path, data: bytes) -> None:
    key.parent.mkdir(parents=True)
    key.write_bytes(data)
    key.chmod(0o600)
    with pytest.raises(HostNotReadyError) as error:
        secret_digest(system, secret("x"))
    assert error.value.where == KEY_FILE
    if len(data) < 32:
        assert error.value.hint == f"rm {KEY_FILE}: every secret then counts as changed once"
    assert key.read_bytes() == data


def test_a_key_that_others_can_read_is_refused(system: System, key: Path) -> None:
    secret_digest(system, secret("x"))
    key.chmod(0o640)
    with pytest.raises(HostNotReadyError, match="can be read or changed by others"):
        secret_digest(system, secret("x"))


@pytest.mark.parametrize("fault", ["kill before", "kill after", "kill half", "ENOSPC", "short"])
def test_whatever_fails_no_half_key_is_used(tmp_path: Path, fault: str) -> None:
    (tmp_path / "counted").mkdir()
    whole = FaultySystem(tmp_path / "counted")
    secret_digest(whole, secret("x"))
    for at in range(1, len(whole.trace) + 1):
        root = tmp_path / f"host-{at}"
        root.mkdir()
        with contextlib.suppress(Killed, HostNotReadyError):
            secret_digest(FaultySystem(root, at, fault), secret("x"))
        secret_digest(System(root), secret("x"))
        key = Path(f"{root}{KEY_FILE}")
        assert key.stat().st_size == 32
        assert key.stat().st_mode & 0o7777 == 0o600


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostNotReadyError) as error:
        secret_digest(FaultySystem(tmp_path, 1, "full"), secret("x"))
    assert error.value.what == "the key for digests of secrets cannot be created: No space left on device"
    assert error.value.where == KEY_FILE
