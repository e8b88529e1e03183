"""Large pieces pass by the page cache where they can: the same bytes on every file system."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.archive.output_file import PAGE, OutputFile
from bundler.archive.writer import Input, end_of, write_files
from bundler.image_sources.lane import DEPTH
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import FileEntry
from installer.core.format.tar_header import BLOCK, extent
from installer.core.limits import CHUNK, MIB
from tests.rig.loop import Loop
from tests.rig.needs import lacks

SIZES = [3, (DEPTH + 2) * CHUNK + 4097, CHUNK, 70_000, CHUNK - 1, 3 * CHUNK + 511, 2 * CHUNK, 9 * CHUNK + 1]
Pwrite = Callable[[int, bytes | memoryview, int], int]


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Loop]:
    """A real file system that has all of it: nameless files, holes and O_DIRECT."""
    loop = Loop.make(request.param, tmp_path / "image", tmp_path / "disk", 320 * MIB)
    yield loop
    loop.detach()


class Watch:
    """Looks at what is written through which kind of descriptor, and may answer in the kernel's place."""

    def __init__(self, answer: Callable[[Pwrite, int, memoryview, int], int] | None = None) -> None:
        self.direct: list[tuple[int, int]] = []
        self.buffered: list[tuple[int, int]] = []
        self._answer, self._real = answer, os.pwrite

    def __call__(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        passes_by = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT
        (self.direct if passes_by else self.buffered).append((offset, len(data)))
        if passes_by and self._answer:
            return self._answer(self._real, fd, memoryview(data), offset)
        return self._real(fd, data, offset)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(os, "pwrite", made)
    return made


def pages(pieces: list[tuple[int, int]]) -> set[int]:
    return {
        page for begin, length in pieces for page in range(begin // PAGE, (begin + length - 1) // PAGE + 1)
    }


def inputs(directory: Path) -> list[Input]:
    directory.mkdir()
    found = []
    for number, size in enumerate(SIZES):
        path = directory / f"in{number}"
        path.write_bytes(os.urandom(size))
        found.append(Input(FileEntry(f"docs/{number}", size, "", 0o644, "doc"), str(path)))
    return found


def write(target: Path, start: int, items: list[Input]) -> None:
    with OutputFile(target) as output:
        write_files(output, start, items, 0, lambda _count: None)
        output.write_at(0, b"h" * start)
        output.publish()


def check(target: Path, start: int, items: list[Input]) -> None:
    with target.open("rb") as file:
        assert file.read(start) == b"h" * start
        for item in items:
            size = item.entry.size
            assert file.read(extent(size))[BLOCK : BLOCK + size] == Path(item.source).read_bytes()
        assert not file.read(1)


def test_what_was_published_is_on_the_disk_when_the_power_goes(
    disk: Loop, tmp_path: Path, watch: Watch
) -> None:
    items = inputs(tmp_path / "in")
    write(disk.mount / "b.tar", PAGE, items)
    if disk.kind != "btrfs":
        disk.cut()
    disk.detach()
    assert disk.attach() is None
    check(disk.mount / "b.tar", PAGE, items)
    assert sum(length for _, length in watch.direct) > sum(SIZES) / 2


@pytest.mark.parametrize("start", [0, BLOCK, PAGE - BLOCK, PAGE, 3 * PAGE + BLOCK])
def test_no_page_is_written_in_both_ways(start: int, tmp_path: Path, watch: Watch) -> None:
    items = inputs(tmp_path / "in")
    with OutputFile(tmp_path / "b.tar") as output:
        if output._direct is None:
            lacks("direct-io", "TMPDIR is on a file system without O_DIRECT")
        write_files(output, start, items, 0, lambda _count: None)
        assert watch.direct
        assert all(begin % PAGE == 0 and length % PAGE == 0 for begin, length in watch.direct)
        assert not pages(watch.direct) & pages(watch.buffered)
        assert os.fstat(output.fd).st_size == end_of(start, items)


def refuse(number: int) -> Callable[[Pwrite, int, memoryview, int], int]:
    def answer(_real: Pwrite, _fd: int, _data: memoryview, _offset: int) -> int:
        raise OSError(number, os.strerror(number))

    return answer


def shortly(length: int) -> Callable[[Pwrite, int, memoryview, int], int]:
    """As a disk that takes fewer bytes than it was given."""

    def answer(real: Pwrite, fd: int, data: memoryview, offset: int) -> int:
        whole = length // PAGE * PAGE
        if whole:
            real(fd, data[:whole], offset)
        return min(length, len(data))

    return answer


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSPC, errno.EIO, errno.EAGAIN], ids=os.strerror
)
def test_what_cannot_pass_by_the_cache_goes_through_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = inputs(tmp_path / "in")
    monkeypatch.setattr(os, "pwrite", Watch(refuse(number)))
    write(tmp_path / "b.tar", PAGE, items)
    check(tmp_path / "b.tar", PAGE, items)


@pytest.mark.parametrize("length", [0, PAGE, 3 * PAGE, CHUNK - PAGE])
def test_the_rest_of_a_short_write_follows(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = inputs(tmp_path / "in")
    monkeypatch.setattr(os, "pwrite", Watch(shortly(length)))
    write(tmp_path / "b.tar", PAGE, items)
    check(tmp_path / "b.tar", PAGE, items)


def test_a_short_write_may_end_within_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_real: Pwrite, fd: int, data: memoryview, offset: int) -> int:
        buffered = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        try:
            return os.pwritev(buffered, [data[:1000]], offset)
        finally:
            os.close(buffered)

    items = inputs(tmp_path / "in")
    monkeypatch.setattr(os, "pwrite", Watch(answer))
    write(tmp_path / "b.tar", PAGE, items)
    check(tmp_path / "b.tar", PAGE, items)


def test_everything_goes_through_the_cache_where_no_file_can_be_opened_for_direct_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    real = os.open

    def without_direct(path: object, flags: int, *rest: object, **more: object) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]

    items = inputs(tmp_path / "in")
    monkeypatch.setattr(os, "open", without_direct)
    write(tmp_path / "b.tar", PAGE, items)
    check(tmp_path / "b.tar", PAGE, items)
    assert not watch.direct


def test_a_full_disk_is_said_and_nothing_is_left(disk: Loop, tmp_path: Path) -> None:
    items = inputs(tmp_path / "in")
    space = os.statvfs(disk.mount)
    blocks = space.f_bavail if disk.kind == "btrfs" else space.f_bfree
    with (disk.mount / "much").open("wb") as much:
        os.posix_fallocate(much.fileno(), 0, blocks * space.f_frsize - 12 * MIB)
    with OutputFile(disk.mount / "b.tar") as output, pytest.raises(UnfitInputError) as caught:
        write_files(output, PAGE, items, 0, lambda _count: None)
    assert caught.value.what == "cannot be written: No space left on device"
    assert caught.value.hint == "free some space, or choose another place with -o"
    assert [path.name for path in disk.mount.iterdir() if path.name.endswith((".tar", ".part"))] == []


def test_only_a_file_without_a_name_is_given_its_length_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OutputFile(tmp_path / "b.tar") as output:
        output.extend(100 * MIB)
        assert os.fstat(output.fd).st_size == 100 * MIB
    real = os.open

    def without_nameless(path: object, flags: int, *rest: object, **more: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", without_nameless)
    with OutputFile(tmp_path / "b.tar") as output:
        output.extend(100 * MIB)
        assert os.fstat(output.fd).st_size == 0
        assert output._direct is None


def test_a_length_that_no_file_can_have_is_said(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "b.tar") as output, pytest.raises(UnfitInputError, match="cannot be written"):
        output.extend(2**63 - 1)
