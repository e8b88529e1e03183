"""Media: a file and a pipe mean the same, and whatever they do wrong has a clear error."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, MediaError, TamperedError, UsageError
from installer.core.format.bundle_source import FileSource, StreamSource, open_source
from tests.rig import bundlebuild as build
from tests.rig.needs import lacks, needs


def test_a_file_and_a_pipe_give_the_same_bundle(tmp_path: Path) -> None:
    tar = build.plan(build.FILES | {"trees/web/large": os.urandom(300_000)}).tar()
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb", 0) as file:
            # in pieces of odd sizes, as pipes give them
            for begin in range(0, len(tar), 7777):
                file.write(tar[begin : begin + 7777])

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        from_pipe = build.read(StreamSource(stream, "-"))
    thread.join()
    medium = build.on_disk(tmp_path, tar)
    from_file = build.read(medium)
    medium.close()
    assert from_pipe.manifest == from_file.manifest
    assert from_pipe.identity == from_file.identity


def test_reading_does_not_change_the_file_nor_need_the_right_to(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(build.plan().tar())
    path.chmod(0o400)
    before = path.stat()
    medium = FileSource(path)
    build.read(medium)
    medium.close()
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_size,
    )


@pytest.mark.parametrize("name", ["none.tar", "file/none.tar"])
def test_a_bundle_that_is_not_there_is_a_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="no such bundle"):
        FileSource(tmp_path / name)


@pytest.mark.parametrize("name", ["none.tar", "", "fifo"])
def test_standard_input_is_offered_only_where_it_is_taken(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError) as caught:
        open_source(str(tmp_path / name))
    assert caught.value.hint == "give the path of a bundle file, or -"
    with pytest.raises(UsageError) as caught:
        FileSource(tmp_path / name)
    assert caught.value.hint == "give the path of a bundle file"


def test_a_directory_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory, not a bundle"):
        FileSource(tmp_path)


def test_a_named_pipe_does_not_hang_and_is_not_a_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="is not a regular file"):
        FileSource(tmp_path / "fifo")


def test_a_file_that_this_user_may_not_read_is_no_fault_of_the_media(tmp_path: Path) -> None:
    (tmp_path / "b.tar").touch(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(HostNotReadyError, match=r"Permission denied(.|\n)*make the file readable"):
            FileSource(tmp_path / "b.tar")
    finally:
        os.seteuid(user)


def test_an_offset_that_no_file_can_have_is_an_end_not_a_crash(tmp_path: Path) -> None:
    medium = build.on_disk(tmp_path, b"x")
    with pytest.raises(TamperedError, match="ends at byte 1"):
        medium.read_into(2**70, memoryview(bytearray(1)))
    medium.close()


def test_a_file_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    plan = build.plan({"docs/a": b"x" * 5_000_000, "docs/b": b"y" * 5_000_000})
    medium = build.on_disk(tmp_path, plan.tar())
    with (tmp_path / "b.tar").open("r+b") as file:
        file.truncate(6_000_000)
    with pytest.raises(TamperedError, match="but the bundle is longer"):
        build.read(medium)
    medium.close()


def test_a_bundle_swapped_under_its_name_is_still_the_one_that_was_opened(tmp_path: Path) -> None:
    medium = build.on_disk(tmp_path, build.plan().tar())
    (tmp_path / "evil").write_bytes(build.plan(version="6.6.6").tar())
    (tmp_path / "evil").rename(tmp_path / "b.tar")
    assert build.read(medium).manifest.version == "1.4.0"
    medium.close()


class Failing(io.RawIOBase):
    """A pipe whose other end fails after some bytes."""

    def __init__(self, data: bytes, good: int) -> None:
        self._data, self._good, self._done = data, good, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._good - self._done)
        if count == 0:
            raise OSError(5, "Input/output error")
        buffer[:count] = self._data[self._done : self._done + count]
        self._done += count
        return count


def test_a_pipe_that_fails_at_any_block_is_a_fault_of_the_medium() -> None:
    tar = build.plan().tar()
    for good in range(0, len(tar) + 1, 256):
        with pytest.raises(MediaError) as caught:
            build.read(StreamSource(io.BufferedReader(Failing(tar, good), 256), "-"))
        assert caught.value.what == "cannot be read: Input/output error"
        assert caught.value.where.startswith("-@")


def test_a_pipe_that_ends_early_says_where() -> None:
    tar = build.plan().tar()
    with pytest.raises(TamperedError) as caught:
        build.read(build.stream(tar[:3000]))
    assert caught.value.what == "ends at byte 3000, but the bundle is longer"


EXT4_IOC_SHUTDOWN = 0x8004587D


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that can be pulled out."""
    needs("root")
    needs("loop")
    image, mount = tmp_path / "stick.img", tmp_path / "stick"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(48 << 20)
    for command in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(mount)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lacks("ext4", done.stderr.strip())
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_medium_that_is_pulled_out_is_a_fault_of_the_medium(stick: Path) -> None:
    tar = build.plan({"docs/a": os.urandom(20 << 20)}).tar()
    medium = build.on_disk(stick, tar)
    os.sync()
    directory = os.open(stick, os.O_RDONLY)
    os.posix_fadvise(medium._fd, 0, 0, os.POSIX_FADV_DONTNEED)
    fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, (2).to_bytes(4, "little"))
    os.close(directory)
    with pytest.raises(MediaError) as caught:
        build.read(medium)
    medium.close()
    assert "Input/output error" in caught.value.what
    assert caught.value.where.startswith(f"{stick}/b.tar@")
    assert "insert it again" in caught.value.hint
