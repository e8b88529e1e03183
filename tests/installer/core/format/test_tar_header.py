"""The one form of tar header: everything else that a tar may have is refused."""

from __future__ import annotations

import contextlib
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.errors import TamperedError
from installer.core.format.member_names import path_fault
from installer.core.format.tar_header import BLOCK, Header, decode, difference, encode, extent, padding
from tests.rig.bundlebuild import raw_header

GIB = 1 << 30
GOOD = Header("docs/CHANGELOG.md", 0o644, 1234, 1_790_000_000)
SIZES = [0, 1, 511, 512, 513]
SIZES += [edge + step for edge in (2 * GIB, 4 * GIB, 8 * GIB) for step in (-1, 0, 1)] + [2**53]
names = st.from_regex(
    r"[a-z._@+%=,][A-Za-z0-9._@+%=,~-]{0,40}(/[a-z._][A-Za-z0-9_~-]{0,60}){0,4}", fullmatch=True
)
headers = st.builds(
    Header,
    names.filter(lambda name: path_fault(name) is None),
    st.sampled_from([0o644, 0o755, 0o600, 0o700, 0o444, 0]),
    st.integers(0, 2**53) | st.sampled_from(SIZES),
    st.integers(0, 8**11 - 1),
)


def refusal(block: bytes) -> str:
    with pytest.raises(TamperedError) as caught:
        decode(block, "b.tar@512")
    assert caught.value.where == "b.tar@512"
    return caught.value.what


@given(headers)
def test_what_is_encoded_is_decoded_to_the_same(header: Header) -> None:
    block = encode(header)
    assert len(block) == BLOCK
    if header.mode & ~0o755 == 0:
        assert decode(block, "x") == header


@given(headers)
def test_tarfile_reads_the_same_header(header: Header) -> None:
    found = tarfile.TarInfo.frombuf(encode(header), "ascii", "strict")
    assert (found.name, found.size, found.mtime) == (header.name, header.size, header.mtime)
    assert found.mode == header.mode & 0o755
    assert (found.uid, found.gid, found.uname, found.gname, found.linkname) == (0, 0, "", "", "")
    assert found.isreg()


@given(headers, st.integers(0, BLOCK * 8 - 1))
def test_no_bit_of_a_header_can_be_turned(header: Header, bit: int) -> None:
    block = bytearray(encode(header))
    block[bit // 8] ^= 1 << bit % 8
    refusal(bytes(block))


@given(headers, st.integers(0, BLOCK - 1), st.integers(0, 255))
def test_a_changed_byte_with_a_right_checksum_is_another_header_or_refused(
    header: Header, place: int, value: int
) -> None:
    block = bytearray(encode(header))
    block[place] = value
    changed = raw_header(bytes(block))
    try:
        found = decode(changed, "x")
    except TamperedError:
        return
    # nothing in a header goes unread: what was taken says exactly these bytes again
    assert encode(found) == changed
    assert (found == header) == (changed == encode(header))


@given(st.binary(min_size=BLOCK, max_size=BLOCK))
def test_any_block_is_refused_or_is_exactly_what_would_be_written(block: bytes) -> None:
    with contextlib.suppress(TamperedError):
        assert encode(decode(block, "x")) == block


@pytest.mark.parametrize("size", SIZES)
def test_sizes_around_2_4_and_8_gib_survive(size: int) -> None:
    block = encode(Header("a", 0o644, size, 0))
    assert decode(block, "x").size == size
    assert (block[124] == 0x80) == (size >= 8 * GIB)
    assert extent(size) % BLOCK == 0
    assert extent(size) == BLOCK + size + padding(size)


def base256(size: int, first: int = 0x80) -> bytes:
    return bytes([first]) + (size % 256**11).to_bytes(11, "big")


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("type", b"\0", "member type b'\\x00'"),
        ("type", b"1", "member type b'1'"),
        ("type", b"2", "member type b'2'"),
        ("type", b"3", "member type b'3'"),
        ("type", b"4", "member type b'4'"),
        ("type", b"5", "member type b'5'"),
        ("type", b"6", "member type b'6'"),
        ("type", b"7", "member type b'7'"),
        ("type", b"x", "member type b'x'"),
        ("type", b"g", "member type b'g'"),
        ("type", b"L", "member type b'L'"),
        ("type", b"K", "member type b'K'"),
        ("type", b"S", "member type b'S'"),
        ("magic", b"ustar  \0", "not a ustar header"),
        ("magic", b"", "not a ustar header"),
        ("magic", b"ustar\x0001", "not in the only form"),
        ("size", base256(8 * GIB - 1), "not in the only form"),
        ("size", base256(1234), "not in the only form"),
        ("size", base256(-1, 0xFF), "not octal"),
        ("size", base256(-1), "not in the only form"),
        ("size", base256(2**53 + 1), "not in the only form"),
        ("size", base256(2**80), "not in the only form"),
        ("size", b"-0000000001\0", "not octal"),
        ("size", b"00000002322 ", "not octal"),
        ("size", b"       2322\0", "not octal"),
        ("size", b"2322\0", "not octal"),
        ("size", b"777777777777", "not octal"),
        ("size", b"0o000002322\0", "not octal"),
        ("size", b"00000_02322\0", "not octal"),
        ("size", b"00000008888\0", "not octal"),
        ("size", "\u0661".encode().ljust(11, b"0") + b"\0", "not octal"),
        ("mode", b"0004755\0", "not in the only form"),
        ("mode", b"0002755\0", "not in the only form"),
        ("mode", b"0001755\0", "not in the only form"),
        ("mode", b"0000777\0", "not in the only form"),
        ("mode", b"0000664\0", "not in the only form"),
        ("mode", b"0100644\0", "not in the only form"),
        ("mode", b"000644 \0", "not octal"),
        ("uid", b"0001750\0", "not in the only form"),
        ("gid", b"0001750\0", "not in the only form"),
        ("mtime", base256(1), "not octal"),
        ("mtime", b"-0000000001\0", "not octal"),
        ("link", b"/etc/passwd", "not in the only form"),
        ("uname", b"root", "not in the only form"),
        ("gname", b"root", "not in the only form"),
        ("major", b"0000001\0", "not in the only form"),
        ("minor", b"0000001\0", "not in the only form"),
        ("rest", b"x", "not in the only form"),
        ("name", b"/etc/passwd", "empty, `.` or `..`"),
        ("name", b"../../etc/passwd", "empty, `.` or `..`"),
        ("name", b"docs/\x1b[2J", "characters"),
        ("name", b"docs/a\0b", "characters"),
        ("name", b"docs/a\0\0\0\0b", "characters"),
        ("name", b"docs/", "empty, `.` or `..`"),
        ("name", b"", "empty, `.` or `..`"),
        ("name", "docs/caf\u00e9".encode(), "not ASCII"),
        ("prefix", b"docs", "not in the only form"),
        ("prefix", b"..", "empty, `.` or `..`"),
        ("prefix", b"/", "empty, `.` or `..`"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_field_of_another_form_is_refused_even_with_a_right_checksum(
    field: str, value: bytes, why: str
) -> None:
    assert why in refusal(raw_header(encode(GOOD), **{field: value}))


def test_a_wrong_or_differently_written_checksum_is_refused() -> None:
    block = encode(GOOD)
    assert "not in the only form" in refusal(block[:148] + b"0000000\0" + block[156:])
    number = block[148:154]
    assert "not in the only form" in refusal(block[:148] + b"0" + number + b"\0" + block[156:])


def test_an_error_shows_a_hostile_name_escaped() -> None:
    what = refusal(raw_header(encode(GOOD), name=b"\x1b]0;pwned\x07"))
    assert "\x1b" not in what
    assert "\\x1b]0;pwned" in what


@pytest.mark.parametrize(
    "header",
    [
        Header("x" * 101, 0o644, 0, 0),
        Header("caf\u00e9", 0o644, 0, 0),
        Header("a", 0o644, -1, 0),
        Header("a", 0o644, 2**53 + 1, 0),
        Header("a", 0o644, 0, -1),
        Header("a", 0o644, 0, 8**11),
    ],
)
def test_the_writer_makes_no_header_that_the_reader_refuses(header: Header) -> None:
    with pytest.raises(ValueError, match=r"not a valid ustar name|out of range"):
        encode(header)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (bytes(BLOCK), "the archive is incomplete: it ends before docs/CHANGELOG.md"),
        (encode(Header("a", 0o644, 1, 1)), "expected member docs/CHANGELOG.md, found member a"),
        (
            encode(Header(GOOD.name, 0o755, 99, GOOD.mtime)),
            (
                "header of docs/CHANGELOG.md: size is 99, but the signed value is 1234; "
                "mode is 0755, but the signed value is 0644"
            ),
        ),
        (b"\xff" * BLOCK, "is not a ustar header"),
    ],
)
def test_a_difference_is_said_in_words(block: bytes, said: str) -> None:
    assert difference(block, GOOD, "x") == said


def test_a_damaged_name_is_not_shown_at_full_length() -> None:
    block = bytearray(encode(replace(GOOD, name="docs/a")))
    block[99] = 4
    said = refusal(bytes(block))
    assert said.startswith("member name 'docs/a")
    assert "has characters other than" in said
    assert len(said) < 200
