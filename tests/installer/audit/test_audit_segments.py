"""A long audit log: written at its end, read piece by piece, in several files, and sound over all of them."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from installer.audit import attempts, recorder, segments
from installer.audit import log as audit_log
from installer.audit.attempts import COUNTS, count_all, count_new, note
from installer.audit.examination import examine
from installer.audit.log import HEAD, LOG, AuditError, check, opened
from installer.audit.record import encode
from installer.commands import audit as commands
from installer.host.context import Context
from installer.host.layout import STATE, Layout
from installer.host.system import System
from tests.rig.auditlogs import EVENT, problem
from tests.rig.bench import Bench, newer, release
from tests.rig.chatd import ONE, TWO, numbered
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.releases import install, recovered, root


def record(system: System, *, roll: bool = True, **fields: Any) -> None:
    with opened(system) as log:
        if roll:
            log.begin_segment()
        log.append({**EVENT, **fields})


def there(system: System, path: str = STATE) -> list[str]:
    names = (entry.name for entry in Path(system.root, path[1:]).iterdir())
    return sorted(name for name in names if name.startswith("audit") and name.endswith("jsonl"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 2000)


@pytest.fixture
def long(system: System, small: None) -> System:
    """A log of 40 records in several files."""
    for number in range(40):
        record(system, reason=f"reason {number}")
    return system


def test_a_log_goes_on_in_a_new_file_once_one_is_large_and_is_one_chain(long: System) -> None:
    names = there(long)
    assert len(names) > 4
    assert names[0] == "audit.000001.jsonl"
    numbers: list[int] = []
    found = examine(long, lambda each: numbers.append(each.number))
    assert found.problems == ()
    assert numbers == list(range(1, 41))
    assert check(*audit_log.read(long)).head == found.chain.head
    # Any tool checks it with all files one after the other.
    assert [row["n"] for row in map(json.loads, audit_log.read(long)[0].splitlines())] == numbers


@pytest.mark.parametrize(
    ("which", "said"),
    [(0, "records 1 to "), (1, "are missing: the next record is number "), (-2, " are missing: ")],
)
def test_a_file_of_it_that_is_gone_is_found(long: System, which: int, said: str) -> None:
    Path(long.root, STATE[1:], there(long)[which]).unlink()
    assert said in problem(long)


def test_the_file_that_is_written_cannot_vanish_unnoticed(long: System) -> None:
    Path(long.root, LOG[1:]).unlink()
    with pytest.raises(AuditError, match="is damaged or was truncated after record"):
        record(long)
    assert "and the following are missing" in problem(long)


def test_a_change_in_a_full_file_is_found(long: System) -> None:
    path = Path(long.root, STATE[1:], "audit.000002.jsonl")
    path.write_bytes(path.read_bytes().replace(b"reason", b"season", 1))
    assert "is damaged" in problem(long)


@pytest.mark.parametrize("fault", ["kill before", "kill after"])
def test_the_chain_goes_on_after_a_kill_anywhere_while_a_file_is_begun(
    tmp_path: Path, small: None, fault: str
) -> None:
    at, reached, cuts = 0, True, set[int]()
    while reached:
        at += 1
        (tmp_path / str(at)).mkdir()
        healthy = System(tmp_path / str(at))
        for number in range(9):
            record(healthy, roll=False, reason=f"{number} " + "x" * 200)
        system = FaultySystem(Path(healthy.root), at, fault)
        with suppress(Killed):
            record(system, reason="next")
        reached = len(system.trace) >= at
        cuts.add(len(there(healthy)))
        record(healthy, reason="after it")
        assert problem(healthy) == "", (fault, at)
    assert cuts >= {1, 2}


def test_space_for_the_end_of_a_transaction_is_reserved_in_the_new_file(long: System) -> None:
    record(long, roll=False, reason="x" * 2000)
    before = there(long)
    with opened(long) as log:
        log.reserve()
    assert len(there(long)) == len(before) + 1
    assert problem(long) == ""


def test_no_file_ends_with_a_partial_record(long: System) -> None:
    record(long, roll=False, reason="x" * 2000)
    before = there(long)
    with Path(long.root, LOG[1:]).open("ab") as log:
        log.write(b"half a rec")
    record(long, reason="next")
    assert there(long) == before
    record(long, reason="next")
    assert len(there(long)) == len(before) + 1
    assert problem(long) == ""


def test_a_log_that_cannot_be_renamed_stays_one_file(
    system: System, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = System.rename

    def held(self: System, source: str, target: str) -> None:
        if source == LOG:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), source)  # chattr +a
        rename(self, source, target)

    monkeypatch.setattr(System, "rename", held)
    for number in range(20):
        record(system, reason=f"reason {number}")
    assert there(system) == ["audit.jsonl"]
    assert problem(system) == ""


def test_sealing_sets_all_files_aside_and_the_new_log_is_sound(long: System) -> None:
    count = len(there(long))
    Path(long.root, STATE[1:], "audit.000002.jsonl").unlink()
    aside = commands.seal(long, "drill")
    assert problem(long) == ""
    record(long, reason="after it")
    assert problem(long) == ""
    names = there(long)
    stem = aside.rpartition("/")[2].removesuffix(".jsonl")
    assert len([name for name in names if name.startswith(stem)]) == count - 1
    assert "audit.jsonl" in names
    first = json.loads(Path(long.root, LOG[1:]).read_text().splitlines()[0])
    assert (first["event"], first["file"]) == ("sealed", aside)
    assert "is missing" in first["problem"] or "are missing" in first["problem"]


def put_log(system: System, count: int, **fields: Any) -> int:
    """Writes a log of `count` records at once; returns its size."""
    last, data = audit_log.ChainHead(0, "0" * 64), bytearray()
    for number in range(1, count + 1):
        made = encode(number, last.hash, {**EVENT, "reason": f"reason {number} " + "x" * 400, **fields})
        last = audit_log.ChainHead(number, made.hash)
        data += made.line + b"\n"
    Path(system.root, STATE[1:]).mkdir(parents=True, exist_ok=True)
    Path(system.root, LOG[1:]).write_bytes(data)
    Path(system.root, HEAD[1:]).write_text(f"{last.number} {last.hash}\n")
    return len(data)


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the bytes that are read of the files of the log."""
    found: list[int] = []
    chunks = System.chunks

    def counted(self: System, path: str, *, follow: bool = False, start: int = 0) -> Iterator[bytes]:
        for chunk in chunks(self, path, follow=follow, start=start):
            if path == LOG:
                found.append(len(chunk))
            yield chunk

    monkeypatch.setattr(System, "chunks", counted)
    return found


def test_adding_to_a_long_log_reads_its_end_only(system: System, read_bytes: list[int]) -> None:
    size = put_log(system, 8000)
    assert size > 5_000_000
    with opened(system) as log:
        log.reserve()
        log.append({**EVENT, "reason": "next"})
    assert sum(read_bytes) < 2_500_000, "its beginning, and its end twice at most"
    assert problem(system) == ""


def test_checking_a_long_log_takes_memory_for_a_piece_of_it(system: System) -> None:
    size = put_log(system, 12_000)
    tracemalloc.start()
    try:
        assert count_all(system).mark.head.number == 12_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 8_000_000
    assert peak < size, "a fraction of the log is in memory at a time"


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A host on which it is noted after each command how far its log is settled and counted."""
    from tests.rig.hosts import make_host

    monkeypatch.setattr(audit_log, "MARK_EVERY", 1)
    return make_host(tmp_path, ONE, TWO)


def test_what_is_settled_is_not_read_again(noted: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def seen(*words: Any) -> Any:
        for each in about(*words):
            begun.append(each.number)
            yield each

    about = segments.about
    monkeypatch.setattr(segments, "about", seen)
    recovered(noted)
    assert begun == []
    install(noted, numbered(4))
    assert len(begun) < 6
    assert problem(noted.system) == ""


def test_no_command_on_an_old_host_reads_its_long_log_once_it_is_settled(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    system = System(bench.host)
    last, log = check(*audit_log.read(system)).head, Path(bench.host, LOG[1:])
    with log.open("ab") as file:
        for _ in range(25_000):
            record = encode(last.number + 1, last.hash, {**EVENT, "product": "other", "reason": "x" * 2000})
            last = audit_log.ChainHead(record.number, record.hash)
            file.write(record.line + b"\n")
    Path(bench.host, HEAD[1:]).write_text(f"{last.number} {last.hash}\n")
    size, bundle = log.stat().st_size, newer(bench)
    assert bench.run(bundle, "--yes")[0] == 0
    # Also what begins a new file, and what no transaction begins.
    for words in (["rollback", "--yes"], [bundle, "--yes"], [bundle, "--yes"], ["recover"], ["status"]):
        before = read_by_this_process()
        assert bench.run(*words)[0] == 0
        assert read_by_this_process() - before < size // 2, words
    assert problem(system) == ""


def read_by_this_process() -> int:
    """Bytes that this process has read until now, of whatever file and by whatever call."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_short_log_is_not_noted_and_one_with_a_partial_record_never(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = Path(system.root, Layout("lan-chat").audit_mark[1:])
    mark.parent.mkdir(parents=True)
    record(system)
    with opened(system) as log:
        log.settled("lan-chat")
    assert not mark.exists()
    monkeypatch.setattr(audit_log, "MARK_EVERY", 1)
    with Path(system.root, LOG[1:]).open("ab") as torn:
        torn.write(b"half a rec")
    with opened(system) as log:
        log.settled("lan-chat")
        assert not mark.exists()
        log.append(EVENT)
        log.settled("lan-chat")
        assert mark.exists()


def test_a_mark_that_cannot_be_written_stops_nothing(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MARK_EVERY", 1)
    record(system)
    with opened(system) as log:
        log.settled("lan-chat")
    assert not Path(system.root, Layout("lan-chat").base[1:]).exists()


@pytest.mark.parametrize("forged", ["made up", "behind an open transaction", "not JSON"])
def test_no_mark_hides_a_transaction_without_an_end(noted: Context, forged: str) -> None:
    with opened(noted.system) as log:
        log.append(
            {**EVENT, "event": "begun", "verb": "apply", "product": "lan-chat", "transaction": "000009"}
        )
        mark = log._end
    path = root(noted) / noted.layout.audit_mark[1:]
    made: dict[str, Any] = {"offset": mark, "number": 1, "hash": "0" * 64}
    path.write_text("{" if forged == "not JSON" else json.dumps(made))
    recovered(noted)
    last = check(*audit_log.read(noted.system)).records[-1].fields
    assert (last["transaction"], last["result"]) == ("000009", "never began")


def test_counts_are_the_same_from_the_beginning_and_from_where_they_were_noted(noted: Context) -> None:
    system = noted.system
    first = count_all(system)
    note(system, first)
    install(noted, numbered(4))
    record(system, verb="apply", product="lan-chat", exit=13)
    assert count_new(system) == count_all(system)
    assert count_new(system).attempts.counts["lan-chat", "apply", "refused"] == 1
    assert attempts.Attempts.from_json(first.attempts.as_json()) == first.attempts


@pytest.mark.parametrize("spoilt", [b"{", b"[]", b'{"attempts":{},"mark":1}'])
def test_counts_that_are_damaged_or_of_another_log_are_made_anew(noted: Context, spoilt: bytes) -> None:
    system = noted.system
    note(system, count_all(system))
    path = root(noted) / COUNTS[1:]
    good = path.read_bytes()
    path.write_bytes(spoilt)
    assert count_new(system) == count_all(system)
    path.write_bytes(good)
    commands.seal(system, "drill")
    assert count_new(system) == count_all(system)
    assert count_new(system).mark.head.number == 1


class Clock(System):
    """A host whose clock the test sets."""

    seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds


def test_runs_that_change_nothing_are_recorded_once_a_day(tmp_path: Path) -> None:
    system = Clock(tmp_path)
    row = {"verb": "apply", "product": "lan-chat", "version": "1.0.0", "identity": "1" * 64, "exit": 0}

    def run(**fields: object) -> int:
        recorder.happened(system, "unchanged", {**row, **fields}, pytest.fail)
        return examine(system).chain.count

    assert [run() for _ in range(5)] == [1] * 5
    # Another product in between changes nothing of that.
    assert run(product="other") == 2
    assert run() == 2
    assert run(version="2.0.0") == 3
    # After anything else the next one is news.
    recorder.happened(system, "trust", {"verb": "trust init", "product": "lan-chat"}, pytest.fail)
    assert [run(), run()] == [5, 5]
    Clock.seconds += 86400
    try:
        assert [run(), run()] == [6, 6]
    finally:
        Clock.seconds -= 86400
