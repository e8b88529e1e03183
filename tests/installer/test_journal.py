"""The journal: chained, checked, written ahead, readable whatever became of its end."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from installer import journal as journals
from installer.core.digest import sha256_hex
from installer.core.errors import NotUndoneError
from installer.journal import Journal
from installer.system import SyncError, System
from tests.faults.faulty import FaultySystem

PATH = "/txn/000001.log"


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "txn").mkdir()
    return System(tmp_path)


def write(system: System, count: int = 3) -> Journal:
    journal = Journal.create(system, PATH, 1000)
    for number in range(count):
        journal.append("INTENT", op={"kind": "x", "number": number})
    return journal


def content(system: System) -> bytes:
    return Path(system.root, PATH[1:]).read_bytes()


def test_what_was_written_is_read_back(system: System) -> None:
    written = write(system)
    found = Journal.open(system, PATH)
    assert found.records == written.records
    found.append("COMMIT", at=1)
    assert [record.type for record in Journal.open(system, PATH).records][-1] == "COMMIT"


def test_it_is_allocated_before_it_is_used(system: System) -> None:
    write(system, 0)
    assert set(content(system)) == {0}
    assert len(content(system)) >= journals.ROOM


def test_a_last_record_torn_at_any_byte_is_ignored(system: System) -> None:
    write(system)
    data = content(system)
    whole = journals.read(data, PATH)
    end = data.rstrip(b"\0")
    start = end[:-1].rfind(b"\n") + 1
    for cut in range(start, len(end)):
        tail = journals.read(data[:cut] + bytes(len(data) - cut), PATH)
        assert len(tail.records) == len(whole.records) - 1
        assert tail.offset == start


def test_a_torn_record_whose_first_block_is_lost_is_ignored_and_overwritten(system: System) -> None:
    write(system)
    path = Path(system.root, PATH[1:])
    data = content(system)
    end = data.rstrip(b"\0")
    start = end[:-1].rfind(b"\n") + 1
    path.write_bytes(data[:start] + bytes(20) + data[start + 20 :])
    journal = Journal.open(system, PATH)
    assert len(journal.records) == 2
    journal.append("ABORT", why="x")
    assert content(system)[start:].count(b"\n") == 1
    assert [record.type for record in Journal.open(system, PATH).records] == ["INTENT", "INTENT", "ABORT"]


def test_a_bad_record_in_the_middle_stops_with_a_guide(system: System) -> None:
    write(system)
    data = bytearray(content(system))
    for position in (5, 70, data.index(b"\n") + 80):
        bad = bytearray(data)
        bad[position] ^= 1
        with pytest.raises(NotUndoneError, match="is damaged") as caught:
            journals.read(bytes(bad), PATH)
        assert "recover" in caught.value.hint
        assert caught.value.where.startswith(PATH)


def test_records_cannot_be_left_out_or_swapped(system: System) -> None:
    write(system)
    lines = content(system).rstrip(b"\0").splitlines(keepends=True)
    for mixed in ([lines[0], lines[2]], [lines[1], lines[0], lines[2]], lines[1:]):
        with pytest.raises(NotUndoneError):
            journals.read(b"".join(mixed), PATH)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1",
        b"null",
        b'"' + b"x" * 9 + b'"',
        b"{}",
        b'{"n":1,"type":"END"}',
        b"[" * 9000,
        b"\xff",
        b'{"n":"1","type":1,"prev":""}',
        b'{"n":1,"type":1,"prev":"%s"}' % (b"0" * 64),
        b'{"n":"1","type":"END","prev":"%s"}' % (b"0" * 64),
    ],
    ids=[
        *("list", "number", "null", "text", "empty", "no hash before", "deep", "no text", "other types"),
        *("a number for the type", "a text for the number"),
    ],
)
def test_a_whole_record_of_an_unknown_form_stops_with_a_guide(body: bytes) -> None:
    with pytest.raises(NotUndoneError, match="form that this program does not know") as caught:
        journals.read(sha256_hex(body).encode() + b" " + body + b"\n" + bytes(512), PATH)
    assert caught.value.where == f"{PATH}@0"
    assert "install recover --help" in caught.value.hint


def test_a_record_whose_writing_failed_is_overwritten_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "txn").mkdir()
    counting = FaultySystem(tmp_path)
    journal = write(counting)
    # The bytes of COMMIT are there, but the disk did not say so: nobody may find it later.
    counting.at, counting.fault = len(counting.trace) + 3, "EIO"
    with pytest.raises(OSError, match="Input/output"):
        journal.append("COMMIT", at=1, filler="x" * 500)
    assert counting.trace[-1] == "fsync"
    assert [record.type for record in Journal.open(System(tmp_path), PATH).records][-1] == "COMMIT"
    journal.append("ABORT", why="short")
    assert [record.type for record in Journal.open(System(tmp_path), PATH).records][3:] == ["ABORT"]


def test_the_way_back_needs_no_room_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "txn").mkdir()
    system = System(tmp_path)
    journal = Journal.create(system, PATH, 0)
    for number in range(200):
        journal.append("INTENT", op={"kind": "x" * 3000, "number": number})
    size = len(content(system))
    for number in range(200):
        journal.append("UNDOING", of=number)
        journal.append("UNDONE", of=number)
    journal.append("ABORT", why="y" * 2000)
    assert len(content(system)) == size


def test_a_failed_sync_is_written_down_where_that_can_be_done(tmp_path: Path) -> None:
    (tmp_path / "txn").mkdir()
    counting = FaultySystem(tmp_path)
    journal = write(counting)
    journal.distrust(OSError(errno.EIO, "x"))
    assert not journal.has("DISTRUST")
    counting.at, counting.fault = len(counting.trace) + 1, "EIO"
    journal.distrust(SyncError(errno.EIO, "x"))
    assert not journal.has("DISTRUST")
    journal.distrust(SyncError(errno.EIO, "x"))
    assert journal.has("DISTRUST")
    assert Journal.open(System(tmp_path), PATH).records[-1].fields["boot"] == counting.boot_id()


def test_what_an_older_record_has_left_behind_the_last_one_is_ignored(system: System) -> None:
    write(system)
    lines = content(system).rstrip(b"\0").splitlines(keepends=True)
    for old in lines:
        tail = journals.read(b"".join(lines) + old, PATH)
        assert [record.number for record in tail.records] == [1, 2, 3]
        assert tail.offset == len(b"".join(lines))


def test_a_first_record_of_which_only_the_line_end_is_left_stops_with_a_guide(system: System) -> None:
    write(system)
    lines = content(system).rstrip(b"\0").splitlines(keepends=True)
    with pytest.raises(NotUndoneError, match="record 1 of the journal is damaged"):
        journals.read(b"\n" + lines[1], PATH)


@pytest.mark.parametrize(
    "line",
    [
        sha256_hex(b"{}").encode() + b"-{}\n",
        sha256_hex(b"").encode() + b" \n",
        sha256_hex(b"").encode() + b"\n",
        sha256_hex(b"{}").encode()[:-1] + b" {}\n",
    ],
    ids=["no space", "no record", "a hash alone", "a hash that is short"],
)
def test_a_line_that_is_no_record_counts_as_torn(line: bytes) -> None:
    assert journals.read(line + bytes(512), PATH) == journals.Tail([], 0, "0" * 64)


def test_a_record_with_a_number_that_is_not_due_stops_with_a_guide() -> None:
    body = b'{"n":2,"type":"END","prev":"%s"}' % (b"0" * 64)
    with pytest.raises(NotUndoneError, match="record 1 of the journal is damaged"):
        journals.read(sha256_hex(body).encode() + b" " + body + b"\n", PATH)
