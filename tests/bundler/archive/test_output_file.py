"""Output files: whole under their name, or not there; nothing beside them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.archive.output_file import OutputFile
from installer.core.errors import UnfitInputError
from tests.rig.needs import lacks, needs

TOP = Path(__file__).parents[3]


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
        lacks("mount", done.stderr.strip())
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_is_said_with_a_way_out_and_leaves_nothing(way: str, small_disk: Path) -> None:
    with OutputFile(small_disk / "b.tar") as output, pytest.raises(UnfitInputError) as caught:
        output.write_at(0, b"x" * (1 << 20))
    assert caught.value.what == "cannot be written: No space left on device"
    assert caught.value.hint == "free some space, or choose another place with -o"
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


WRITER = """
import errno, os, sys
from pathlib import Path
real = os.open
def without_tmpfile(path, flags, *rest, **more):
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")
    return real(path, flags, *rest, **more)
if sys.argv[2] == "sibling":
    os.open = without_tmpfile
from bundler.archive.output_file import OutputFile
with OutputFile(Path(sys.argv[1])) as output:
    output.write_at(0, b"x" * 1000)
    print("writing", flush=True)
    sys.stdin.read()
    output.publish()
"""


@contextmanager
def writing(target: Path, way: str = "sibling") -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the midst of writing; it ends well when its standard input is closed."""
    command = [sys.executable, "-c", WRITER, str(target), way]
    with subprocess.Popen(
        command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        yield process


def parts(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.endswith(".part"))


def check_left(directory: Path, way: str) -> None:
    """Kills one writer, lets another live, and has a third one write into the same directory."""
    with writing(directory / "killed.tar", way) as process:
        process.kill()
    with writing(directory / "living.tar", way) as process:
        alive = [name for name in parts(directory) if name.startswith(".living")]
        with OutputFile(directory / "b.tar") as output:
            output.publish()
        assert parts(directory) == alive
        _, _ = process.communicate()
        assert process.returncode == 0
    assert (directory / "living.tar").read_bytes() == b"x" * 1000
    assert sorted(path.name for path in directory.iterdir()) == ["b.tar", "living.tar"]


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_is_left_alone(
    way: str, tmp_path: Path
) -> None:
    with writing(tmp_path / "killed.tar") as process:
        process.kill()
    assert len(parts(tmp_path)) == 1
    check_left(tmp_path, "sibling")


def test_what_only_looks_alike_is_left_alone(tmp_path: Path) -> None:
    names = [".notes.part", "b.tar.1.part", ".b.tar.12.part.bak", ".b.tar.x.part"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".b.tar.7.part").mkdir()
    with OutputFile(tmp_path / "b.tar") as output:
        output.publish()
    assert {path.name for path in tmp_path.iterdir()} == {*names, ".b.tar.7.part", "b.tar"}


def test_on_a_real_fat_stick_nothing_of_a_killed_writer_stays(tmp_path: Path) -> None:
    for component in ("root", "loop", "mtools"):
        needs(component)
    image, stick = tmp_path / "stick.img", tmp_path / "stick"
    stick.mkdir()
    subprocess.run(["mformat", "-C", "-i", image, "-T", "40000", "::"], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", "loop", "-t", "vfat", image, stick], check=False, capture_output=True, text=True
    )
    if done.returncode:
        lacks("vfat", done.stderr.strip())
    try:
        with pytest.raises(OSError, match="not supported"):
            os.open(stick, os.O_TMPFILE | os.O_RDWR)
        check_left(stick, "nameless")
    finally:
        subprocess.run(["umount", stick], check=True)
