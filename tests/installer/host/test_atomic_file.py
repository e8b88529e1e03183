"""Atomic replacement of files: order of the effects, and what an interruption leaves."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from installer.host.atomic_file import remove_partial, replace_file
from installer.host.system import System
from tests.rig.faulty import FaultySystem, Killed


def test_content_reaches_the_disk_before_the_name(tmp_path: Path) -> None:
    traced = FaultySystem(tmp_path)
    replace_file(traced, "/f", b"data")
    did = [step.split()[0] for step in traced.trace]
    assert did == ["write_new", "write", "fsync", "rename", "sync_dir", "fsync"]
    assert (tmp_path / "f").read_bytes() == b"data"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_nothing_is_synced_where_the_content_need_not_survive_a_power_cut(tmp_path: Path) -> None:
    traced = FaultySystem(tmp_path)
    replace_file(traced, "/f", iter((b"da", b"ta")), 0o644, durable=False)
    assert not [step for step in traced.trace if "sync" in step]
    assert (tmp_path / "f").read_bytes() == b"data"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("fault", ["kill before", "kill after"])
def test_an_interruption_leaves_the_old_content_or_the_new(tmp_path: Path, at: int, fault: str) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with suppress(Killed):
        replace_file(FaultySystem(tmp_path, at=at, fault=fault), "/f", b"new")
    assert (tmp_path / "f").read_bytes() in (b"old", b"new")
    replace_file(System(tmp_path), "/f", b"newer")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"newer"}


def test_a_partial_file_is_removed_and_the_file_is_not(tmp_path: Path) -> None:
    system = System(tmp_path)
    (tmp_path / "f").write_bytes(b"data")
    remove_partial(system, "/f")
    (tmp_path / "f.new").write_bytes(b"da")
    remove_partial(system, "/f")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
