"""The journal: chained, checked, written ahead, readable whatever became of its end."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.core.errors import NotUndoneError
from installer.host.system import SyncError, System
from installer.transaction import journal as journals
from installer.transaction.journal import Journal
from tests.rig.faulty import FaultySystem

pytestmark = pytest.mark.host(directories=("txn",))
PATH = "/txn/000001.log"


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


def test_a_journal_is_allocated_before_it_is_used(system: System) -> None:
    write(system, 0)
    assert set(content(system)) == {0}
    assert len(content(system)) >= journals.RESERVED


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
    with pytest.raises(NotUndoneError, match="is not damaged, but its format is unknown") as caught:
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
    journal.require_reboot(OSError(errno.EIO, "x"))
    assert not journal.has("DISTRUST")
    counting.at, counting.fault = len(counting.trace) + 1, "EIO"
    journal.require_reboot(SyncError(errno.EIO, "x"))
    assert not journal.has("DISTRUST")
    journal.require_reboot(SyncError(errno.EIO, "x"))
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


def rest(system: System) -> bytes:
    """What lies behind the last record."""
    return content(system)[journals.read(content(system), PATH).offset :]


def fail(system: FaultySystem, journal: Journal, effects: int, filler: int) -> None:
    """Lets a record fail before anything of it is there (1 effect), or when it is there, not synced (3)."""
    system.at, system.fault = len(system.trace) + effects, "EIO"
    with pytest.raises(OSError, match="Input/output"):
        journal.append("COMMIT", at=1, filler="x" * filler)


@pytest.mark.parametrize(
    "failures",
    [[(3, 500)], [(3, 500), (1, 10)], [(3, 10), (3, 500)]],
    ids=["a long one", "a long one, then a short one", "a short one, then a long one"],
)
def test_nothing_is_left_of_records_whose_writing_failed(
    tmp_path: Path, failures: list[tuple[int, int]]
) -> None:
    (tmp_path / "txn").mkdir()
    system = FaultySystem(tmp_path)
    journal = write(system)
    for effects, filler in failures:
        fail(system, journal, effects, filler)
    journal.append("ABORT", why="short")
    assert journals.read(content(system), PATH).records[-1].type == "ABORT"
    assert set(rest(system)) == {0}


def test_nothing_is_left_of_a_torn_record_that_an_earlier_process_began(system: System) -> None:
    journal = write(system)
    system.write_at(PATH, journal._offset, b"0" * 900)
    Journal.open(system, PATH).append("ABORT", why="short")
    assert set(rest(system)) == {0}


def test_the_last_record_ends_the_file_also_after_one_that_failed(tmp_path: Path) -> None:
    (tmp_path / "txn").mkdir()
    system = FaultySystem(tmp_path)
    journal = write(system)
    fail(system, journal, 3, 500)
    journal.append("ABORT", why="short")
    journal.append("END")
    assert rest(system) == b""


def test_the_room_is_kept_until_the_end(system: System) -> None:
    journal = write(system)
    size = len(content(system))
    journal.append("ROLLED-BACK", at=1)
    assert len(content(system)) == size
    journal.append("END")
    assert len(content(system)) == journal._offset


def left_after(journal: Journal, type_: str) -> int:
    """How long a filler of the next record of a type may be until the room for the way back is touched."""
    reserved = journals.RESERVED + (journal._operations + 1) * journals.RESERVED_PER_OPERATION
    number, previous = len(journal.records) + 1, "0" * 64
    bare = f'{{"filler":"","n":{number},"prev":"{previous}","type":"{type_}"}}'
    return journal.size - journal._offset - reserved - 64 - len(" \n") - len(bare)


@pytest.mark.parametrize("intents", [0, 3], ids=["no operation", "three operations"])
@pytest.mark.parametrize("type_", ["BEGIN", "INTENT", "STAGED", "DONE", "FORWARD"])
def test_no_record_of_the_way_forward_takes_the_room_of_the_way_back(
    system: System, type_: str, intents: int
) -> None:
    write(system, intents)
    journal = Journal.open(system, PATH)
    assert journal._operations == intents
    size = len(content(system))
    journal.append(type_, filler="x" * left_after(journal, type_))
    assert len(content(system)) == journal.size == size
    journal.append("STAGED")
    assert len(content(system)) == journal.size == size + journals.STEP


def test_the_more_is_begun_the_more_room_is_kept(system: System) -> None:
    journal = write(system, 0)
    for number in range(1, 4):
        journal.append("INTENT", op={})
        assert journal._operations == number
        journal.append("DONE", of=number)
        assert journal._operations == number


@pytest.mark.parametrize("type_", ["COMMIT", "ABORT", "UNDOING", "UNDONE", "ROLLED-BACK", "DISTRUST"])
def test_the_way_back_takes_the_room_that_was_kept_for_it(system: System, type_: str) -> None:
    journal = write(system, 0)
    size = len(content(system))
    journal.append("STAGED", filler="x" * left_after(journal, "STAGED"))
    journal.append(type_)
    assert len(content(system)) == size


def test_room_is_made_for_a_record_longer_than_a_step_of_it(system: System) -> None:
    journal = write(system, 0)
    journal.append("INTENT", filler="x" * (2 * journals.STEP))
    assert journal.size == len(content(system)) == 3 * journals.STEP
    assert journal.size - journal._offset >= journals.RESERVED


def test_a_journal_that_may_not_be_found_again_is_not_begun(tmp_path: Path) -> None:
    """The name of the file is on the disk before anything is done that it has to tell of."""

    class LosesNames(System):
        def sync_dir(self, path: str) -> None:
            if path == "/txn":
                raise SyncError(errno.EIO, "x")
            super().sync_dir(path)

    (tmp_path / "txn").mkdir()
    with pytest.raises(SyncError):
        Journal.create(LosesNames(tmp_path), PATH, 0)


def test_the_last_of_several_records_of_a_type_is_returned(system: System) -> None:
    journal = write(system)
    journal.append("DISTRUST", boot="one")
    journal.append("DISTRUST", boot="two")
    assert journal.last("DISTRUST") == {"boot": "two"}
    assert journal.last("INTENT") == {"op": {"kind": "x", "number": 2}}
