"""The head is written last, into exactly the space that was kept for it."""

from __future__ import annotations

import pytest

from bundler.archive.head import ALIGNMENT, SPARE, make_head, make_sums, size_for
from installer.core.format.archive import RESERVED_SPACE, read_head
from installer.core.format.checksums import parse_sums
from installer.core.format.manifest import MANIFEST, SUMS
from installer.core.format.tar_header import BLOCK, END, extent
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium


@pytest.mark.parametrize(("sums", "manifest"), [(1, 1), (511, 513), (5000, 90_000), (512, 512)])
def test_the_head_reserves_space_for_signatures_whatever_the_sizes(sums: int, manifest: int) -> None:
    size = size_for(sums, manifest)
    assert size % ALIGNMENT == 0
    head = read_head(BytesMedium(b"".join(make_head(b"s" * sums, {}, b"m" * manifest, 1, size))))
    assert SPARE <= head.reserved < SPARE + ALIGNMENT + BLOCK
    assert (head.manifest_offset + extent(manifest), head.manifest_size) == (size, manifest)


def test_signatures_take_their_place_from_the_reserved_space() -> None:
    size = size_for(100, 100)
    bare = read_head(BytesMedium(b"".join(make_head(b"s" * 100, {}, b"m" * 100, 1, size))))
    files = {f"{SUMS}.00000000.sig": b"x" * 600}
    signed = read_head(BytesMedium(b"".join(make_head(b"s" * 100, files, b"m" * 100, 1, size))))
    assert signed.signatures == files
    assert bare.reserved - signed.reserved == extent(600)
    assert bare.manifest_offset == signed.manifest_offset


def test_what_does_not_fit_is_not_written() -> None:
    with pytest.raises(ValueError, match="bytes larger than"):
        make_head(b"s" * 100, {}, b"m" * 100_000, 1, size_for(100, 100))


def test_the_last_block_of_room_may_be_its_header_alone() -> None:
    size = extent(10) + extent(10) + BLOCK
    head = read_head(BytesMedium(b"".join([*make_head(b"s" * 10, {}, b"m" * 10, 1, size), END])))
    assert head.reserved == 0
    assert f"{SUMS}.room" == RESERVED_SPACE


def test_the_list_is_sorted_by_bytes_and_names_the_manifest() -> None:
    files = tuple(build.entry_for(path, b"x") for path in ("docs/b", "docs/B", "bin/a", "images/x"))
    sums = make_sums(files, b"{}")
    assert list(parse_sums(sums)) == ["bin/a", MANIFEST, "docs/B", "docs/b", "images/x"]
