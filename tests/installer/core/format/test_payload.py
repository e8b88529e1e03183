"""The pass over the payload: every byte read once, and nothing kept that was not signed."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import MediaError, TamperedError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.manifest import MANIFEST, FileEntry
from installer.core.format.payload import GROUP, check_payload
from installer.core.format.tar_header import BLOCK, Header, encode, extent
from installer.core.limits import MIB
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Digests

LARGE = bytes(range(256)) * 20_000
FILES = {
    "docs/a": b"small",
    "docs/b": LARGE,
    "docs/c": b"",
    "docs/d": b"x" * 511,
    "docs/e": LARGE + b"!",
    "trees/web/f": b"f",
}


@pytest.fixture(scope="module")
def tar() -> bytes:
    assert len(LARGE) > GROUP
    return build.plan(FILES).tar()


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_sink_is_given_every_file_whole(tar: bytes, workers: int) -> None:
    sink = Digests()
    check_payload(open_bundle(BytesMedium(tar), unsafe_trust_anyone), sink, workers=workers)
    assert sink.found == {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}


def test_a_pipe_gives_the_same_as_a_file(tar: bytes) -> None:
    sink = Digests()
    check_payload(open_bundle(build.stream(tar), unsafe_trust_anyone), sink)
    assert list(sink.found) == list(FILES)
    assert sink.found == {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}


@pytest.mark.parametrize("as_stream", [False, True])
def test_what_stands_behind_the_payload_is_given_back(as_stream: bool) -> None:
    names = [f"approvals/security-0a1b2c3d.{ending}" for ending in ("json", "json.sig")]
    tar = build.plan(FILES, approvals=[build.Part(name, name.encode()) for name in names]).tar()
    medium = build.stream(tar) if as_stream else BytesMedium(tar)
    tail = check_payload(open_bundle(medium, unsafe_trust_anyone))
    assert tail == {name: name.encode() for name in names}


def test_every_byte_of_the_medium_is_read_exactly_once(tar: bytes) -> None:
    reads: list[tuple[int, int]] = []
    lock = threading.Lock()

    def note(offset: int, size: int) -> None:
        with lock:
            reads.append((offset, size))

    plan = build.plan(FILES)
    check_payload(open_bundle(BytesMedium(tar, note), unsafe_trust_anyone), workers=2)
    room = plan.offset("SHA256SUMS.room") + BLOCK
    place = 0
    for offset, size in sorted(item for item in reads if item[1]):
        if place == room:
            place += 1024  # what is in the room is passed over
        assert offset == place
        place = offset + size
    assert place == len(tar)


def test_progress_adds_up_to_the_payload_and_never_overshoots(tar: bytes) -> None:
    bundle = open_bundle(BytesMedium(tar), unsafe_trust_anyone)
    counts: list[int] = []
    check_payload(bundle, advance=counts.append, workers=2)
    assert 0 < sum(counts) <= bundle.end - bundle.head.manifest_offset


@pytest.mark.parametrize("path", list(FILES))
@pytest.mark.parametrize("as_stream", [False, True])
def test_a_changed_file_is_named_and_its_sink_is_told(path: str, as_stream: bool) -> None:
    plan = build.plan(FILES)
    data = FILES[path]
    if not data:
        return
    tar = plan.changed(path, data=data[:-1] + bytes([data[-1] ^ 1])).tar()
    kept: list[str] = []

    def sink(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        for _ in chunks:
            pass
        kept.append(entry.path)

    bundle = open_bundle(build.stream(tar) if as_stream else BytesMedium(tar), unsafe_trust_anyone)
    with pytest.raises(TamperedError, match=f"{path} does not match the signed list") as caught:
        check_payload(bundle, sink, workers=1)
    assert caught.value.where.endswith(f"@{plan.offset(path) + BLOCK}")
    assert path not in kept


@pytest.mark.parametrize("path", ["docs/a", "docs/e"], ids=["small", "large"])
@pytest.mark.parametrize("as_stream", [False, True])
def test_a_header_or_a_padding_that_is_not_what_it_has_to_be_is_refused(path: str, as_stream: bool) -> None:
    plan = build.plan(FILES)
    part = next(part for part in plan.parts if part.name == path)
    wrong = encode(Header(path, 0o600, len(part.data), part.mtime))
    for tar, what in (
        (plan.changed(path, header=wrong).tar(), "header"),
        (plan.changed(path, data=FILES[path] + b"!", header=encode(header_of(part))).tar(), "padding"),
    ):
        bundle = open_bundle(build.stream(tar) if as_stream else BytesMedium(tar), unsafe_trust_anyone)
        with pytest.raises(TamperedError, match=what) as caught:
            check_payload(bundle, workers=1)
        assert caught.value.where.endswith(f"@{plan.offset(path)}")


def header_of(part: build.Part) -> Header:
    return Header(part.name, part.mode, len(part.data), part.mtime)


def test_files_that_are_there_already_are_neither_read_nor_kept(tar: bytes) -> None:
    reads: list[int] = []
    sink, plan = Digests(), build.plan(FILES)
    bundle = open_bundle(BytesMedium(tar, lambda offset, _size: reads.append(offset)), unsafe_trust_anyone)
    reads.clear()
    check_payload(bundle, sink, workers=1, have=frozenset({"docs/b", "trees/web/f"}))
    assert sorted(sink.found) == ["docs/a", "docs/c", "docs/d", "docs/e"]
    begin, end = plan.offset("docs/b"), plan.offset("docs/c")
    assert not [offset for offset in reads if begin <= offset < end]
    assert [offset for offset in reads if offset >= plan.offset("docs/e")]


def test_files_that_are_there_already_are_checked_in_a_pipe_and_not_kept() -> None:
    sink, have = Digests(), frozenset({"docs/b", "trees/web/f"})
    plan = build.plan(FILES)
    check_payload(open_bundle(build.stream(plan.tar()), unsafe_trust_anyone), sink, have=have)
    assert sorted(sink.found) == ["docs/a", "docs/c", "docs/d", "docs/e"]
    tar = plan.changed("docs/b", data=LARGE[:-1] + b"?").tar()
    with pytest.raises(TamperedError, match="docs/b does not match the signed list"):
        check_payload(open_bundle(build.stream(tar), unsafe_trust_anyone), have=have)


def test_progress_is_told_of_every_small_member_and_of_every_chunk_of_a_large_one(tar: bytes) -> None:
    counts: list[int] = []
    bundle = open_bundle(BytesMedium(tar), unsafe_trust_anyone)
    check_payload(bundle, advance=counts.append, workers=1)
    large = {"docs/b", "docs/e"}
    small = sum(extent(member.entry.size) for member in bundle.members if member.entry.path not in large)
    assert sum(counts) == small + sum(len(FILES[path]) for path in large)
    assert len(counts) > len(FILES)


def test_a_large_file_is_never_held_whole(tar: bytes) -> None:
    sizes: list[int] = []
    bundle = open_bundle(BytesMedium(tar, lambda _offset, size: sizes.append(size)), unsafe_trust_anyone)
    check_payload(bundle, workers=1)
    assert max(sizes) < len(LARGE)


def test_a_small_file_that_is_wrong_never_reaches_the_sink() -> None:
    tar = build.plan(FILES).changed("docs/a", data=b"smell").tar()
    seen: list[str] = []

    def sink(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        seen.append(entry.path)
        list(chunks)

    with pytest.raises(TamperedError):
        check_payload(open_bundle(BytesMedium(tar), unsafe_trust_anyone), sink, workers=1)
    assert "docs/a" not in seen


@pytest.mark.parametrize("as_stream", [False, True])
def test_a_sink_that_does_not_look_at_a_file_does_not_keep_it_from_being_checked(as_stream: bool) -> None:
    plan = build.plan(FILES)
    for path, good in (("", True), ("docs/b", False)):
        tar = (plan.changed(path, data=LARGE[:-1] + b"?") if path else plan).tar()
        bundle = open_bundle(build.stream(tar) if as_stream else BytesMedium(tar), unsafe_trust_anyone)
        if good:
            check_payload(bundle, lambda _entry, _chunks: None)
        else:
            with pytest.raises(TamperedError, match="docs/b does not match the signed list"):
                check_payload(bundle, lambda _entry, _chunks: None)


def test_an_error_of_the_sink_ends_the_pass_and_is_the_one_that_is_seen(tar: bytes) -> None:
    calls: Counter[str] = Counter()

    def sink(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        calls[entry.path] += 1
        if entry.path == "docs/a":
            raise OSError(28, "No space left on device")
        list(chunks)

    with pytest.raises(OSError, match="No space left"):
        check_payload(open_bundle(BytesMedium(tar), unsafe_trust_anyone), sink, workers=2)
    assert max(calls.values()) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_medium_that_fails_at_any_read_gives_its_own_error(tar: bytes, workers: int) -> None:
    total = Counter[str]()
    check_payload(
        open_bundle(BytesMedium(tar, lambda _o, _s: total.update(["reads"])), unsafe_trust_anyone), workers=1
    )
    for at in range(1, total["reads"] + 1):
        count = Counter[str]()

        def fault(offset: int, _size: int, at: int = at, count: Counter[str] = count) -> None:
            count["reads"] += 1
            if count["reads"] >= at:
                raise MediaError("cannot be read: Input/output error", where=f"b.tar@{offset}")

        with pytest.raises(MediaError) as caught:
            check_payload(open_bundle(BytesMedium(tar, fault), unsafe_trust_anyone), workers=workers)
        assert caught.value.exit_code == 18


def test_an_unexpected_fault_of_a_sink_is_not_swallowed(tar: bytes) -> None:
    def sink(_entry: FileEntry, _chunks: Iterator[memoryview]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_payload(open_bundle(BytesMedium(tar), unsafe_trust_anyone), sink)


def test_a_bundle_without_files_is_read(tmp_path: Path) -> None:
    bundle = build.read(build.on_disk(tmp_path, build.plan({}).tar()))
    assert bundle.members == ()
    assert MANIFEST not in bundle.manifest_bytes.decode()


def test_a_group_never_holds_more_than_it_may(tar: bytes) -> None:
    largest = 0

    def note(_offset: int, size: int) -> None:
        nonlocal largest
        largest = max(largest, size)

    files = {f"docs/{number:03d}": b"x" * (MIB // 2) for number in range(20)}
    check_payload(open_bundle(BytesMedium(build.plan(files).tar(), note), unsafe_trust_anyone), workers=1)
    assert MIB < largest <= GROUP
