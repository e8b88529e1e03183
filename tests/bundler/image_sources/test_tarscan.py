"""Archives of images are read in one way: names are keys, and what could be read in two ways is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from bundler.image_sources import tarscan
from bundler.image_sources.tarscan import scan
from installer.core.errors import UnfitInputError
from tests.rig.imagebuild import tar


def names(data: bytes) -> list[str]:
    return [member.name for member, _ in scan(io.BytesIO(data), "a.tar")]


def one(name: str = "file", **fields: object) -> bytes:
    buffer = io.BytesIO()
    kind = fields.pop("format", tarfile.USTAR_FORMAT)
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:  # type: ignore[arg-type]
        member = tarfile.TarInfo(name)
        for key, value in fields.items():
            setattr(member, key, value)
        archive.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return buffer.getvalue()


def resigned(data: bytes, place: slice, field: bytes) -> bytes:
    """Changes a field of the first header and makes its checksum anew."""
    header = bytearray(data[:512])
    header[place] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


def test_files_and_links_are_found_with_their_bytes() -> None:
    data = tar({"a/x": b"one", "b/y": Path("../a/x"), "c": b""})
    found = [
        (member.name, member.kind, member.target, body.read()) for member, body in scan(io.BytesIO(data), "t")
    ]
    assert found == [("a/x", "file", "", b"one"), ("b/y", "link", "a/x", b""), ("c", "file", "", b"")]


def test_what_is_not_read_of_a_member_is_passed_over() -> None:
    assert names(tar({"a": b"x" * 5000, "b": b"y"})) == ["a", "b"]


def test_offsets_lead_to_the_bytes() -> None:
    data = tar({"a": b"x" * 700, "b": b"found"})
    member = [member for member, _ in scan(io.BytesIO(data), "t")][1]
    assert data[member.offset : member.offset + 5] == b"found"


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_the_formats_of_go_and_gnu_are_read(kind: int) -> None:
    assert names(one("./blobs/sha256/" + "a" * 64, size=3, mtime=1_700_000_000, format=kind)) == [
        "blobs/sha256/" + "a" * 64
    ]


def test_sizes_and_names_of_extended_headers_count() -> None:
    name = "d/" + "n" * 120
    assert names(one(name, size=4, format=tarfile.PAX_FORMAT)) == [name]


def test_directories_are_no_members() -> None:
    assert names(one("blobs", type=tarfile.DIRTYPE)) == []
    assert names(resigned(one("blobs/", type=tarfile.AREGTYPE), slice(257, 265), bytes(8))) == []


def extended(kind: str, **fields: str) -> bytes:
    """Makes a PAX header for one member (`x`) or for all that follow (`g`)."""
    data = b""
    for key, value in fields.items():
        record = f" {key}={value}\n".encode()
        length = len(record) + 2
        data += str(length + (length > 99)).encode() + record
    header = tarfile.TarInfo("pax")
    header.size, header.type = len(data), kind.encode()
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (one("/etc/passwd"), "etc/passwd"),
        (one("./a//b/./c"), "a/b/c"),
        (one("a/../b"), "b"),
        (one("a\\b"), "a\\b"),
        (one("a\x1b[2J \u00e4"), "a\x1b[2J \u00e4"),
        (one("sha256:" + "a" * 64), "sha256:" + "a" * 64),
        (one("n" * 150, format=tarfile.GNU_FORMAT), "n" * 150),
        (one("n" * 4000, format=tarfile.PAX_FORMAT), "n" * 4000),
        (extended("g", comment="0123") + one("a", size=3), "a"),
        (extended("x", path="b") + one("a", size=3), "b"),
        (resigned(one("old", size=3), slice(257, 265), bytes(8)), "old"),
        (resigned(one("b"), slice(0, 1), b"\xff"), "\\xff"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_names_are_keys_of_any_characters(data: bytes, name: str) -> None:
    assert names(data) == [name]


def test_hard_links_name_a_member_and_symbolic_links_a_path() -> None:
    for kind, link, target in (
        (tarfile.LNKTYPE, "a/x", "a/x"),
        (tarfile.LNKTYPE, "./a/x", "a/x"),
        (tarfile.SYMTYPE, "../a/x", "a/x"),
        (tarfile.SYMTYPE, "x", "b/x"),
        (tarfile.LNKTYPE, "n" * 150, "n" * 150),
    ):
        data = one("b/y", type=kind, linkname=link, format=tarfile.GNU_FORMAT)
        assert [member.target for member, _ in scan(io.BytesIO(data), "t")] == [target]


def test_names_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarscan, "MAX_NAMES", 250)
    data = tar({"a" * 90: b"", "b" * 90: Path("c" * 60)})
    assert len(names(data)) == 2
    with pytest.raises(UnfitInputError, match="names of more than 250 characters"):
        names(data[:1024] + tar({"d" * 20: b""}))


def test_a_message_never_has_the_characters_of_a_name() -> None:
    data = one("a\x1b[2J", size=700)[:900]
    with pytest.raises(UnfitInputError) as raised:
        names(data)
    assert raised.value.where == "a.tar: a\\x1b[2J"


PLAIN = one(size=700)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a name that climbs": (one("../../etc/passwd"), "a member with an invalid name"),
    "a name that climbs inside": (one("a/../../b"), "a member with an invalid name"),
    "a name that is only a slash": (one("/"), "a member with an invalid name"),
    "a name beyond all measure": (
        one("n" * 5000, format=tarfile.PAX_FORMAT),
        "a member with an invalid name",
    ),
    "a prefix in a header of GNU's": (
        resigned(one(format=tarfile.GNU_FORMAT), slice(345, 349), b"evil"),
        "readers interpret",
    ),
    "an extended name that climbs": (
        one("../" + "n" * 120, format=tarfile.PAX_FORMAT),
        "a member with an invalid name",
    ),
    "a link that leads out": (tar({"a": Path("../../etc/shadow")}), "points outside the archive"),
    "an absolute link": (tar({"a": Path("/etc/shadow")}), "points outside the archive"),
    "a hard link that leads out": (
        one(type=tarfile.LNKTYPE, linkname="a/../../x"),
        "points outside the archive",
    ),
    "a link to nothing": (one(type=tarfile.SYMTYPE, linkname="."), "points outside the archive"),
    "a device": (one(type=tarfile.CHRTYPE), "neither a file nor"),
    "a pipe": (one(type=tarfile.FIFOTYPE), "neither a file nor"),
    "a sparse member": (resigned(PLAIN, slice(156, 157), b"S"), "is a sparse file"),
    "a global header with a name": (extended("g", path="evil") + PLAIN, "readers interpret differently"),
    "a global header with a size": (extended("g", size="1") + PLAIN, "readers interpret differently"),
    "a global header after another": (
        extended("x", path="a") + extended("g", comment="b") + PLAIN,
        "readers interpret differently",
    ),
    "two extended headers for one member": (
        extended("x", path="a") + extended("x", mtime="1") + PLAIN,
        "readers interpret differently",
    ),
    "two long names": (
        extended("x", path="a") + one("n" * 150, format=tarfile.GNU_FORMAT),
        "readers interpret differently",
    ),
    "a long name of a megabyte": (
        one("n" * 2**20, format=tarfile.GNU_FORMAT),
        "extended header of",
    ),
    "a name with a zero byte": (extended("x", path="a\0b") + PLAIN, "a member with an invalid name"),
    "a sparse member by extended header": (
        one(format=tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.major": "1"}),
        "sparse",
    ),
    "a size beyond all measure": (
        resigned(PLAIN, slice(124, 136), b"\x80" + b"\x7f" * 11),
        "has an invalid size",
    ),
    "an extended size that is none": (
        one(format=tarfile.PAX_FORMAT, pax_headers={"size": "9" * 4000}),
        "an invalid extended header",
    ),
    "an extended header of a megabyte": (
        one(format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 2**20}),
        "extended header of",
    ),
    "a negative size": (resigned(PLAIN, slice(124, 136), b"\xff" * 12), "number"),
    "a wrong checksum": (b"x" + PLAIN[1:], "is not a tar archive"),
    "no tar at all": (b"#!/bin/sh\n" * 100, "is not a tar archive"),
    "a header of another format": (resigned(PLAIN, slice(257, 263), b"USTAR\0"), "is not a tar archive"),
    "a second header that is none": (PLAIN[:1536] + b"x" * 512, "no tar header at byte 1536"),
    "cut in a header": (PLAIN[:300], "without an end-of-archive marker"),
    "cut in a member": (PLAIN[:900], "the archive is truncated"),
    "cut before the end": (PLAIN[:1536], "without an end-of-archive marker"),
    "nothing": (b"", "without an end-of-archive marker"),
    "dirt after the end": (PLAIN + b"dirt", "data after its end-of-archive marker"),
    "a second archive after the end": (PLAIN + one("b"), "data after its end-of-archive marker"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_or_damaged_archive_is_refused(fault: str) -> None:
    data, words = HOSTILE[fault]
    with pytest.raises(UnfitInputError, match=words) as raised:
        names(data)
    assert raised.value.where.startswith("a.tar")
    assert raised.value.hint


def test_an_archive_cut_anywhere_is_refused() -> None:
    data = tar({"a": b"x" * 600, "b": Path("a"), "c": b"y"})
    end = data.rindex(b"y") + 512
    for length in range(0, end, 7):
        with pytest.raises(UnfitInputError):
            names(data[:length])
