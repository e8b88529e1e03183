"""The audit log: chained, only appended to, readable whatever became of its end; no change goes unnoticed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installer.audit import log as audit_log
from installer.audit.log import HEAD, LOG, AuditError, check, opened
from installer.audit.record import RECORD_LIMIT, decode, encode
from installer.host.system import SyncError, System
from tests.rig.auditlogs import EVENT, content, problem, put, record
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.needs import lacks, needs
from tests.rig.tap import tapped

T = TypeVar("T")


@pytest.fixture
def four(system: System) -> System:
    for number in range(4):
        record(system, reason=f"reason {number}")
    return system


def test_what_was_written_is_read_back_in_its_order(four: System) -> None:
    chain = check(*audit_log.read(four))
    assert chain.problem is None
    assert [r.fields["reason"] for r in chain.records] == [f"reason {n}" for n in range(4)]
    assert [r.number for r in chain.records] == [1, 2, 3, 4]
    assert content(four, HEAD).decode() == f"4 {chain.head.hash}\n"
    assert os.stat(Path(four.root, LOG[1:])).st_mode & 0o777 == 0o600


def test_every_line_is_json_and_stock_tools_follow_the_chain(four: System) -> None:
    needs("openssl")
    script = """
    prev=$(printf 0%.0s $(seq 64))
    while IFS= read -r line; do
        hash=$(printf %s "$line" | sed 's/,"hash":"[0-9a-f]*"}$/}/' | sha256sum | cut -d' ' -f1)
        case $line in *"\\"prev\\":\\"$prev\\""*"\\"hash\\":\\"$hash\\"}") ;; *) exit 1 ;; esac
        prev=$hash
    done
    echo "$prev"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        input=content(four),
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.decode().strip() == check(*audit_log.read(four)).head.hash
    assert [json.loads(line)["n"] for line in content(four).splitlines()] == [1, 2, 3, 4]


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_change_of_any_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    system = System(tmp_path_factory.mktemp("host"))
    for number in range(3):
        record(system, reason=f"reason {number}")
    good = content(system)
    at = data.draw(st.integers(0, len(good) - 1))
    to = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    put(system, good[:at] + bytes([to]) + good[at + 1 :])
    number = good.count(b"\n", 0, at) + 1
    assert f"record {number} " in problem(system)


def test_a_log_cut_short_at_any_length_is_found(four: System) -> None:
    good = content(four)
    for length in range(len(good)):
        assert check(good[:length], audit_log.read(four)[1]).problem is not None, length


def swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], lines[3]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:1] + lines[2:], "record 2 is missing: the next record is number 3"),
        (lambda lines: lines[:1] + lines[3:], "records 2 to 3 are missing: the next record is number 4"),
        (lambda lines: lines[1:], "record 1 is missing"),
        (lambda lines: lines[:-1], "record 4 and the following are missing"),
        (lambda _: [], "record 1 and the following are missing"),
        (swapped, "record 2 is missing: the next record is number 3"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "expected record 3, found record 2"),
    ],
    ids=["middle", "two of the middle", "first", "last", "all", "swapped", "twice"],
)
def test_records_that_are_gone_or_moved_are_found(
    four: System, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    put(four, b"".join(change(content(four).splitlines(keepends=True))))
    assert said in problem(four)


def test_a_record_that_was_written_anew_with_a_good_hash_is_found(four: System) -> None:
    lines = content(four).splitlines()
    for at, said in (
        (1, "record 3 does not contain the hash of the record before it"),
        (3, "record 4 does not match /var/lib/waybill/audit.head: it was replaced"),
    ):
        old = decode(lines[at])
        assert old
        forged = encode(old.number, old.previous, {**EVENT, "reason": "nothing happened"})
        put(four, b"".join(line + b"\n" for line in [*lines[:at], forged.line, *lines[at + 1 :]]))
        assert said in problem(four)


def test_a_whole_new_history_is_found_by_a_noted_head_alone(four: System, tmp_path: Path) -> None:
    noted = check(*audit_log.read(four)).head.hash
    Path(four.root, LOG[1:]).unlink()
    Path(four.root, HEAD[1:]).unlink()
    for number in range(4):
        record(four, reason=f"another {number}")
    chain = check(*audit_log.read(four))
    assert chain.problem is None
    assert noted not in [r.hash for r in chain.records]


def test_nothing_is_added_to_a_log_whose_end_was_changed(four: System) -> None:
    good = content(four)
    for bad in (good[:-1], good[: good.rfind(b'{"by"')], b""):
        put(four, bad)
        with pytest.raises(AuditError) as caught:
            record(four)
        assert (caught.value.exit_code, caught.value.where) == (15, LOG)
        assert "install audit --seal" in caught.value.hint
        assert content(four) == bad
    put(four, good)
    Path(four.root, HEAD[1:]).unlink()
    with pytest.raises(AuditError, match="is missing"):
        record(four)
    assert "is missing" in problem(four)


@pytest.mark.parametrize("fault", ["kill before", "kill half", "kill after"])
def test_a_kill_at_any_effect_of_a_record_leaves_it_whole_or_absent_and_hides_nothing(
    tmp_path: Path, fault: str
) -> None:
    at, reached = 0, True
    torn = 0
    while reached:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        healthy = System(root)
        record(healthy, reason="first")
        before = content(healthy)
        system = FaultySystem(root, at, fault)
        with suppress(Killed):
            record(system, reason="second")
        reached = len(system.trace) >= at
        there = content(healthy)
        assert there.startswith(before)
        assert problem(healthy) == ""
        rest = there[len(before) :]
        whole = rest.endswith(b"\n")
        record(healthy, reason="third")
        chain = check(*audit_log.read(healthy))
        assert chain.problem is None
        reasons = [r.fields.get("reason", r.event) for r in chain.records]
        partly = ["repaired"] if rest and not whole else []
        assert reasons == ["first", *(["second"] if whole else partly), "third"]
        assert content(healthy).startswith(there)
        torn += len(partly)
    assert torn == (fault == "kill half")


def test_wherever_a_disk_becomes_full_in_the_first_records_the_log_goes_on_once_there_is_room(
    tmp_path: Path,
) -> None:
    at, written, reached = 0, set[int](), True
    while reached:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        with tapped(root, "full", at) as tap, suppress(OSError), opened(System(root)) as log:
            log.reserve()
            for number in range(3):
                log.append({**EVENT, "reason": f"{number}"})
        reached = len(tap.steps) >= at
        healthy = System(root)
        before = check(*audit_log.read(healthy))
        assert before.problem is None
        written.add(len(before.records))
        record(healthy, reason="with room")
        chain = check(*audit_log.read(healthy))
        assert chain.problem is None
        assert chain.records[: len(before.records)] == before.records
        assert audit_log.read(healthy)[1] == chain.head
    assert written == {0, 3}


def test_a_torn_record_is_named_by_length_and_digest_and_cannot_be_changed_later(four: System) -> None:
    put(four, content(four) + b'{"by":{"uid"')
    assert check(*audit_log.read(four)).partial == 12
    record(four)
    chain = check(*audit_log.read(four))
    assert chain.problem is None
    assert (chain.records[4].event, chain.records[4].fields["bytes"]) == ("repaired", 12)
    put(four, content(four).replace(b'{"by":{"uid"\n', b'{"by":{"pid"\n'))
    assert "record 5 is damaged" in problem(four)


def test_what_a_power_cut_leaves_as_zeros_is_a_torn_record(four: System) -> None:
    put(four, content(four) + bytes(300))
    record(four)
    chain = check(*audit_log.read(four))
    assert chain.problem is None
    assert chain.records[4].fields["bytes"] == 300


def many(root: str, name: str, start: Any) -> None:
    start.wait()
    for number in range(20):
        record(System(root), reason=f"{name} {number}")


class Forgetful(System):
    """A host whose disk fails one sync; `boot` tells one run of its kernel from the next."""

    fail = True
    boot = "1"

    def _fsync(self, fd: int) -> None:
        if self.fail:
            self.fail = False
            raise SyncError(errno.EIO, os.strerror(errno.EIO))
        super()._fsync(fd)

    def boot_id(self) -> str:
        return self.boot


def test_after_a_sync_failed_nothing_is_added_before_the_next_boot(four: System) -> None:
    """The kernel says it once: a record behind one that is lost would break the chain when the power goes."""
    whole = content(four)
    host = Forgetful(Path(four.root))
    with pytest.raises(SyncError):
        record(host, reason="lost")
    with pytest.raises(AuditError, match="reboot required after a failed fsync") as caught:
        record(host, reason="behind it")
    assert "reboot" in caught.value.hint
    put(host, whole + bytes(len(content(host)) - len(whole)))  # what was not synced never reached the disk
    host.boot = "2"
    record(host, reason="after it")
    assert problem(host) == ""
    events = [(r.event, r.fields.get("reason")) for r in check(*audit_log.read(host)).records[4:]]
    assert events == [("repaired", None), ("refused", "after it")]
    assert not Path(four.root, audit_log.DISTRUST[1:]).exists()


class Failing(Forgetful):
    """Its disk fails, and from then on takes nothing at all."""

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if not self.fail and name == "write_new":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().around(name, args, call)


def test_a_failed_sync_that_cannot_be_noted_is_told_as_it_was(four: System) -> None:
    with pytest.raises(SyncError, match="Input/output error"):
        record(Failing(Path(four.root)))


def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Event()
    workers = [spawn.Process(target=many, args=(str(tmp_path), name, start)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    chain = check(*audit_log.read(System(tmp_path)))
    assert chain.problem is None
    for name in ("a", "b"):
        mine = [r.fields["reason"] for r in chain.records if r.fields["reason"].startswith(name)]
        assert mine == [f"{name} {number}" for number in range(20)]


def test_a_record_is_bounded_and_says_what_was_cut(system: System) -> None:
    problems = [f"problem {number} " + "x" * 5000 for number in range(500)]
    found = record(system, reason="y" * 100_000, problems=problems)
    assert len(found.line) <= RECORD_LIMIT
    assert found.fields["reason"].endswith(" more)")
    assert found.fields["problems"][-1].endswith(" more)")
    assert problem(system) == ""


def test_root_itself_may_be_held_to_appending() -> None:
    needs("root")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        system = System(name)
        record(system, reason="first")
        log = Path(name, LOG[1:])
        marked = subprocess.run(["chattr", "+a", log], check=False, capture_output=True)
        if marked.returncode:
            lacks(
                "append-only", f"a file system with append-only files at /var/tmp: {marked.stderr.decode()}"
            )
        try:
            with pytest.raises(PermissionError):
                log.write_bytes(b"")
            with log.open("ab") as torn:
                torn.write(b"half a rec")
            record(system, reason="second")
            chain = check(*audit_log.read(system))
        finally:
            subprocess.run(["chattr", "-a", log], check=True)
    assert chain.problem is None
    assert [r.event for r in chain.records] == ["refused", "repaired", "refused"]
