"""Output files: whole under their name, or not there; nothing beside them."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.output import OutputFile
from installer.core.errors import UnfitInputError
from tests.rig.needs import needs


@pytest.fixture(params=["nameless", "sibling"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: with O_TMPFILE, and as on a file system that does not know it."""
    if request.param == "sibling":
        real = os.open

        def without_tmpfile(path: object, flags: int, *rest: object, **more: object) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            return real(path, flags, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", without_tmpfile)
    return str(request.param)


def test_the_name_appears_only_when_it_is_published(way: str, tmp_path: Path) -> None:
    target = tmp_path / "made" / "b.tar"
    with OutputFile(target) as output:
        output.write_at(5, b"world")
        output.write_at(0, b"hello")
        assert not target.exists()
        output.publish()
    assert target.read_bytes() == b"helloworld"
    assert [each.name for each in target.parent.iterdir()] == ["b.tar"]


def test_without_publish_nothing_is_left(way: str, tmp_path: Path) -> None:
    def interrupted() -> None:
        with OutputFile(tmp_path / "b.tar") as output:
            output.write_at(0, b"x" * 100_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_had_the_name_before_is_replaced_whole(way: str, tmp_path: Path) -> None:
    target = tmp_path / "b.tar"
    target.write_bytes(b"old")
    with target.open("rb") as before, OutputFile(target) as output:
        output.write_at(0, b"new!")
        output.publish()
        assert before.read() == b"old"
    assert target.read_bytes() == b"new!"
    assert [each.name for each in tmp_path.iterdir()] == ["b.tar"]


def test_a_name_as_long_as_a_name_may_be_is_fine(way: str, tmp_path: Path) -> None:
    target = tmp_path / ("b" * 255)
    target.write_bytes(b"old")
    with OutputFile(target) as output:
        output.publish()
    assert target.read_bytes() == b""


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnfitInputError, match="cannot be written") as caught:
        OutputFile(tmp_path / "file" / "b.tar")
    assert caught.value.where == str(tmp_path / "file" / "b.tar")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    needs("root")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs mounts: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_is_said_with_a_way_out_and_leaves_nothing(way: str, small_disk: Path) -> None:
    with OutputFile(small_disk / "b.tar") as output, pytest.raises(UnfitInputError) as caught:
        output.write_at(0, b"x" * (1 << 20))
    assert caught.value.what == "cannot be written: No space left on device"
    assert caught.value.hint == "free some space, or name another place with -o"
    assert list(small_disk.iterdir()) == []
    space = os.statvfs(small_disk)
    assert space.f_bfree == space.f_blocks


def test_a_failed_fsync_publishes_nothing(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with OutputFile(tmp_path / "b.tar") as output:
        output.write_at(0, b"x")
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(UnfitInputError, match="Input/output error"):
            output.publish()
    assert list(tmp_path.iterdir()) == []
