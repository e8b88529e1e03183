"""The writer: every input read once, at its own place, whatever the order of threads."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bundler.archive.output_file import OutputFile
from bundler.archive.writer import Input, end_of, write_files
from bundler.image_sources.lane import DEPTH
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import FileEntry
from installer.core.format.tar_header import BLOCK, decode, extent, padding
from installer.core.limits import CHUNK

SIZES = [0, 1, 511, 512, 513, 70_000, (DEPTH + 2) * CHUNK + 4097, 0, 3]
MTIME = 1_790_000_000


def inputs(directory: Path) -> list[Input]:
    found = []
    for number, size in enumerate(SIZES):
        path = directory / f"in{number}"
        path.write_bytes(os.urandom(size))
        found.append(Input(FileEntry(f"docs/{number}", size, "", 0o666, "doc"), str(path)))
    return [*found, Input(FileEntry("docs/x", 4, "", 0o644, "doc"), data=b"made")]


def test_each_file_stands_at_its_place_with_header_and_padding(output: OutputFile, tmp_path: Path) -> None:
    items = inputs(tmp_path)
    counted: list[int] = []
    entries = write_files(output, 4096, items, MTIME, counted.append)
    assert sum(counted) == sum(item.entry.size for item in items)
    offset = 4096
    for item, entry in zip(items, entries, strict=True):
        data = Path(item.source).read_bytes() if item.source else item.data
        header = decode(os.pread(output.fd, BLOCK, offset), "x")
        assert (header.name, header.mode, header.size, header.mtime) == (entry.path, 0o644, len(data), MTIME)
        body = os.pread(output.fd, extent(entry.size) - BLOCK, offset + BLOCK)
        assert body == data + bytes(padding(len(data)))
        assert entry.sha256 == hashlib.sha256(data).hexdigest()
        offset += extent(entry.size)
    assert offset == end_of(4096, items)


def test_each_input_is_opened_once(
    output: OutputFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = inputs(tmp_path)
    opened: list[str] = []
    real = os.open

    def counting(path: object, *rest: object, **more: object) -> int:
        opened.append(str(path))
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", counting)
    write_files(output, 0, items, MTIME, lambda _count: None)
    assert sorted(opened) == sorted(item.source for item in items if item.source)


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing", "device"])
def test_what_is_not_a_file_any_more_is_named_and_does_not_hang(
    output: OutputFile, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "in"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    item = Input(FileEntry("docs/a", 10, "", 0o644, "doc"), str(path))
    with pytest.raises(UnfitInputError, match=r"changed while it was read|cannot be read") as caught:
        write_files(output, 0, [item], MTIME, lambda _count: None)
    assert caught.value.where == str(path)


def test_one_bad_input_among_many_ends_the_writing(output: OutputFile, tmp_path: Path) -> None:
    items = inputs(tmp_path)
    Path(items[3].source).unlink()
    with pytest.raises(UnfitInputError, match="No such file"):
        write_files(output, 0, items, MTIME, lambda _count: None)


def test_an_unreadable_input_is_named(output: OutputFile, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(UnfitInputError, match="cannot be read: Permission denied"):
            write_files(
                output,
                0,
                [Input(FileEntry("docs/a", 1, "", 0o644, "doc"), str(path))],
                MTIME,
                lambda _count: None,
            )
    finally:
        os.seteuid(user)
