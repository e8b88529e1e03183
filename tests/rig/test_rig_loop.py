"""A disk that was taken away is not given again while somebody else still has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.loop import Loop
from tests.rig.process import Daemon

pytestmark = pytest.mark.needs("loop", "ext4", "unshare")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Loop]:
    """A disk that is unmounted here and is still mounted where another process lives."""
    loop = Loop.make("ext4", tmp_path / "disk.img", tmp_path / "mount")
    (loop.mount / "kept").write_text("1")
    loop.sync()
    started = tmp_path / "started"
    script = f"touch {started}; exec sleep 1000"
    elsewhere = Daemon(["unshare", "--mount", "sh", "-c", script], tmp_path / "log")
    elsewhere.wait_until(started.exists)
    loop.detach()
    yield loop
    elsewhere.stop()


def test_a_copy_under_its_name_is_another_disk(held: Loop, tmp_path: Path) -> None:
    with_more = Loop.make("ext4", tmp_path / "other.img", tmp_path / "other")
    (with_more.mount / "new").write_text("2")
    with_more.detach()
    given = with_more.copy(held.file)
    assert given.attach() is None
    try:
        assert sorted(path.name for path in given.mount.iterdir()) == ["lost+found", "new"]
    finally:
        given.detach()


def test_the_same_disk_is_read_again_from_its_bytes(held: Loop) -> None:
    before = held.file.stat().st_ino
    assert held.attach() is None
    try:
        assert (held.mount / "kept").read_text() == "1"
        assert held.file.stat().st_ino != before
    finally:
        held.detach()
