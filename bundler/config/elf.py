"""What a loader reads of an ELF file: the program that starts it, and the libraries that it needs.

The format is in elf(5). Segments are read, not sections, which a stripped file may lack. Every size in the
file is bounded, and what does not fit together is passed over: a wrong warning helps nobody.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_END, _NEEDED, _STRINGS = 0, 1, 5
_MOST_SEGMENTS = 1024
_MOST_DYNAMIC = 1024 * 1024
"""The size in bytes up to which a dynamic segment is read."""
_MOST_LIBRARIES = 1024
"""More than that no program needs; each is one more read of the file."""
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class _Form:
    """The layout of one class of ELF files: 32 or 64 bits.

    Attributes:
        header: Program header offset, and size and number of program headers, behind the first 24 bytes.
        segment: One program header.
        order: Where kind, offset, address and size are in it.
        entry: One entry of the dynamic segment.
    """

    header: str
    segment: str
    order: tuple[int, int, int, int]
    entry: str


_FORMS = {
    1: _Form("4xI4x6x2H", "8I", (0, 1, 2, 4), "iI"),
    2: _Form("8xQ8x6x2H", "2I6Q", (0, 2, 3, 5), "qQ"),
}


def loader_and_libraries(path: Path | str) -> tuple[str, tuple[str, ...]]:
    """Return the path of the loader and the names of the needed libraries; empty for what is not there.

    Args:
        path: An ELF file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return "", ()
    try:
        return _read(fd)
    except (OSError, struct.error, OverflowError):
        # A damaged file: an offset outside of it, or a value that is cut off.
        return "", ()
    finally:
        os.close(fd)


def _read(fd: int) -> tuple[str, tuple[str, ...]]:
    head = os.pread(fd, 64, 0)
    form = _FORMS.get(head[4] if len(head) > 5 else 0)
    if form is None or not head.startswith(MAGIC):
        return "", ()
    # The sixth byte has the byte order of all that follows.
    sign = "<" if head[5] == 1 else ">"
    start, size, count = struct.unpack_from(sign + form.header, head, 24)
    # The kernel starts no program whose program headers have another size.
    if size != struct.calcsize(sign + form.segment):
        return "", ()
    table = os.pread(fd, min(count, _MOST_SEGMENTS) * size, start)
    segments = [
        _Segment(*(fields[number] for number in form.order))
        for fields in struct.iter_unpack(sign + form.segment, table[: len(table) // size * size])
    ]
    # A program has one of each. The loader of glibc takes the last, and a thousand are not read for nothing.
    chosen = {segment.kind: segment for segment in segments}
    interpreter, dynamic = chosen.get(_INTERPRETER), chosen.get(_DYNAMIC)
    loader = _text(fd, interpreter.offset) if interpreter else ""
    if dynamic is None:
        return loader, ()
    data = os.pread(fd, min(dynamic.size, _MOST_DYNAMIC), dynamic.offset)
    return loader, tuple(islice(_needed(fd, segments, data, sign + form.entry), _MOST_LIBRARIES))


def _needed(fd: int, segments: list[_Segment], data: bytes, form: str) -> Iterator[str]:
    size = struct.calcsize(form)
    entries = []
    for tag, value in struct.iter_unpack(form, data[: len(data) // size * size]):
        if tag == _END:
            break
        entries.append((tag, value))
    # The table of names is given by its address in memory; the segments say where in the file that is.
    address = next((value for tag, value in entries if tag == _STRINGS), -1)
    for each in segments:
        if each.kind == _LOAD and each.address <= address < each.address + each.size:
            start = each.offset + address - each.address
            yield from (_text(fd, start + value) for tag, value in entries if tag == _NEEDED)
            return


def _text(fd: int, offset: int) -> str:
    return os.pread(fd, _LONGEST, offset).partition(b"\0")[0].decode("utf-8", "replace")
