"""A bundle that is cut: put together again it is the same, and versions share what did not change."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.archive.pieces import Cut, PieceFile, cut
from bundler.archive.reading import unverified_bundle
from installer.shared.published.document import pieces
from tests.rig import bundlebuild as build


def made(path: Path, files: dict[str, bytes], created: int = build.CREATED) -> Cut:
    path.write_bytes(build.signed(build.plan(files, created=created)).tar())
    with unverified_bundle(path) as bundle:
        return cut(path, bundle, path.stat().st_size, lambda _count: None)


def together(path: Path, found: Cut) -> bytes:
    """Put a bundle together as a reader does: two streams, and the lengths of their runs."""
    streams = []
    for several in (found.pieces[:1], found.pieces[1:]):
        data = b""
        for piece in several:
            with PieceFile(path, piece.ranges) as file:
                data += file.read(piece.blob.size)
        streams.append(data)
    result, at = b"", [0, 0]
    for of_frame, length in pieces(found.published.runs):
        which = 0 if of_frame else 1
        result += streams[which][at[which] : at[which] + length]
        at[which] += length
    return result


def files(sizes: list[int]) -> dict[str, bytes]:
    return {f"docs/f{n:03}": random.Random(n).randbytes(size) for n, size in enumerate(sizes)}


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0, 1, 511, 512, 513, 4095, 4096, 70_000]), min_size=1, max_size=40))
def test_any_bundle_is_put_together_again(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.tar"
    found = made(path, files(sizes))
    assert together(path, found) == path.read_bytes()
    assert found.published.size == path.stat().st_size


def test_a_later_version_shares_every_member_that_did_not_change(tmp_path: Path) -> None:
    old = files([5000] * 40)
    first = made(tmp_path / "a.tar", old)
    second = made(tmp_path / "b.tar", {**old, "docs/f007": b"changed" * 1000}, build.CREATED + 3600)
    new = {each.blob for each in second.pieces} - {each.blob for each in first.pieces}
    # The frame, the member, and the parts of the two lists that name it, or the time.
    assert sum(each.size for each in new) < 7000 + 12_000
    assert first.pieces[0].blob in {each.blob for each in first.pieces} - {
        each.blob for each in second.pieces
    }


def test_a_member_that_comes_moves_no_border_but_its_own(tmp_path: Path) -> None:
    old = files([300] * 400)
    first = made(tmp_path / "a.tar", old)
    second = made(tmp_path / "b.tar", dict(sorted({**old, "docs/f100a": b"new"}.items())))
    same = {each.blob for each in first.pieces} & {each.blob for each in second.pieces}
    assert len(same) > 0.8 * len(first.pieces)


def test_a_piece_is_read_from_any_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    with PieceFile(path, ((10, 5), (100, 0), (50, 10), (190, 10))) as file:
        whole = file.read(25)
        assert whole == bytes([*range(10, 15), *range(50, 60), *range(190, 200)])
        for start in range(26):
            file.seek(start)
            assert file.read(7) == whole[start : start + 7]
        file.seek(25)
        assert file.read(1) == b""


def test_a_file_that_shrank_since_is_not_read_beyond_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(50))
    with PieceFile(path, ((10, 100),)) as file:
        assert len(file.read(100)) == 40
