"""The loader and the libraries of ELF files, as pyelftools reads them."""

from __future__ import annotations

import os
import random
import struct
import sys
import sysconfig
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from bundler.config.elf import loader_and_libraries
from tests.rig.hang import ends

PYTHON = Path(os.path.realpath(sys.executable))
LIBRARIES = sorted(Path(sysconfig.get_path("platlib")).rglob("*.so"))
SYSTEM = [Path("/usr/bin/env"), Path("/bin/sh"), Path("/bin/tar"), PYTHON]


def by_pyelftools(path: Path) -> tuple[str, tuple[str, ...]]:
    loader, libraries = "", ()
    with path.open("rb") as file:
        for segment in ELFFile(file).iter_segments():
            if isinstance(segment, InterpSegment):
                loader = segment.get_interp_name()
            elif isinstance(segment, DynamicSegment):
                libraries = tuple(tag.needed for tag in segment.iter_tags("DT_NEEDED"))
    return loader, libraries


def test_the_reader_agrees_with_pyelftools_on_real_files() -> None:
    files = [path for path in (*LIBRARIES[:60], *SYSTEM) if path.exists()]
    assert len(files) > 20
    for path in files:
        assert loader_and_libraries(path) == by_pyelftools(path), path
    assert loader_and_libraries(PYTHON)[0].startswith("/lib")


@pytest.mark.parametrize(("bits", "order"), [(32, "<"), (32, ">"), (64, ">"), (64, "<")])
def test_every_class_and_byte_order_is_read(bits: int, order: str, tmp_path: Path) -> None:
    """A file with two segments, put together here: there is no big-endian compiler on every machine."""
    names = b"\0libx.so.1\0"
    wide = bits == 64
    ident = bytes([*b"\x7fELF", 2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    head, entry = (64, 56) if wide else (52, 32)
    dynamic = struct.pack(order + ("qQqQqQ" if wide else "iIiIiI"), 1, 1, 5, 0x1000, 0, 0)
    at = head + 2 * entry
    rest = struct.pack(order + "HHI", 3, 21, 1)
    rest += struct.pack(order + ("QQQ" if wide else "III"), 0, head, 0)
    rest += struct.pack(order + "I6H", 0, head, entry, 2, 0, 0, 0)

    def segment(kind: int, offset: int, address: int, size: int) -> bytes:
        if wide:
            return struct.pack(order + "2I6Q", kind, 0, offset, address, address, size, size, 1)
        return struct.pack(order + "8I", kind, offset, address, address, size, size, 0, 1)

    data = ident + rest + segment(1, at, 0x1000, len(names)) + segment(2, at + len(names), 0, len(dynamic))
    (tmp_path / "x").write_bytes(data + names + dynamic)
    assert loader_and_libraries(tmp_path / "x") == ("", ("libx.so.1",)) == by_pyelftools(tmp_path / "x")


def elf(segments: list[tuple[int, int, int, int]], rest: bytes, entry: int = 56) -> bytes:
    """A 64-bit file: kind, offset, address and size of each segment, and what follows the table."""
    head = bytes([*b"\x7fELF", 2, 1, 1]) + bytes(9)
    head += struct.pack("<HHIQQQI6H", 3, 62, 1, 0, 64, 0, 0, 64, entry, len(segments), 0, 0, 0)
    rows = (
        struct.pack("<2I6Q", kind, 0, at, place, place, size, size, 1) for kind, at, place, size in segments
    )
    return head + b"".join(rows) + rest


class TestBounds:
    """A file says how much of it is to be read; it is not believed."""

    def reads(self, path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
        """Gives the number of libraries that are found, and that of the reads of the file."""
        path.write_bytes(data)
        count = 0
        pread = os.pread

        def counted(fd: int, size: int, offset: int) -> bytes:
            nonlocal count
            count += 1
            return pread(fd, size, offset)

        monkeypatch.setattr(os, "pread", counted)
        found = loader_and_libraries(path)[1]
        return len(found), count

    def test_one_of_many_dynamic_segments_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at = 64 + 1001 * 56
        dynamic = struct.pack("<qQqQqQ", 5, 0x1000, 1, 1, 0, 0)
        segments = [(1, at, 0x1000, 16), *[(2, at + 16, 0, len(dynamic))] * 1000]
        found = self.reads(tmp_path / "x", elf(segments, b"\0libx.so.1\0     " + dynamic), monkeypatch)
        assert found == (1, 4)

    def test_at_most_1024_libraries_are_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        at = 64 + 2 * 56
        dynamic = struct.pack("<qQ", 5, 0x1000) + struct.pack("<qQ", 1, 1) * 60_000
        segments = [(1, at, 0x1000, 16), (2, at + 16, 0, len(dynamic))]
        found = self.reads(tmp_path / "x", elf(segments, b"\0libx.so.1\0     " + dynamic), monkeypatch)
        assert found == (1024, 1024 + 3)

    def test_program_headers_of_another_size_are_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for entry in (0, 1, 55, 57, 65535):
            assert self.reads(tmp_path / "x", elf([(2, 0, 0, 0)] * 9, b"", entry), monkeypatch)[0] == 0


def test_a_damaged_file_is_passed_over_soon(tmp_path: Path) -> None:
    data = LIBRARIES[0].read_bytes()[: 1 << 20]
    chance = random.Random(7)
    path = tmp_path / "x"
    with ends():
        for size in (0, 4, 5, 6, 20, 63, 64, 100, 119, 1000):
            path.write_bytes(data[:size])
            loader_and_libraries(path)
        for _ in range(300):
            changed = bytearray(data[:8192])
            for _ in range(4):
                changed[chance.randrange(4, 700)] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
            path.write_bytes(changed)
            loader_and_libraries(path)
    assert loader_and_libraries(tmp_path / "absent") == ("", ())
