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


def test_it_agrees_with_pyelftools_on_real_files() -> None:
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
