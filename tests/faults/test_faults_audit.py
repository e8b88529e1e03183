"""The audit log when the power goes: a chain still, whatever a kill or an earlier power cut has left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.audit import segments
from installer.audit.log import HEAD, LOG, check, opened, read
from installer.host.system import System
from tests.rig.disk import Disk
from tests.rig.tap import Tap, tapped

TORN = b'{"by":{"uid":0},"event":"ended","reason":"' + b"x" * 700
"""What is left of a record; longer than a sector, so that what comes behind it begins in another."""


def record(root: Path, reason: str) -> None:
    """Adds a record longer than a sector, as a process of its own does."""
    root.mkdir(exist_ok=True)
    with opened(System(root)) as log:
        log.append({"event": "refused", "time": "2026-11-26T03:00:00Z", "reason": reason * 300})


def broken(disk: Disk, start: int, root: Path) -> Iterator[str]:
    """Cuts the power at every moment from `start` on; says where the log is no whole chain then."""
    for end, state in disk.cuts(20, start):
        state.write(root)
        try:
            record(root, "next")
            if problem := check(*read(System(root))).problem:
                yield f"{end}: {problem.what}"
        finally:
            shutil.rmtree(root)


def test_a_power_cut_while_what_was_torn_is_named_leaves_a_chain(fast: Path) -> None:
    root = fast / "host"
    for reason in ("one", "two"):
        record(root, reason)
    with (root / LOG[1:]).open("ab") as log:
        log.write(TORN)
    with tapped(root) as tap:
        record(root, "three")
    assert list(broken(tap.disk, 0, fast / "cut")) == []


def test_a_power_cut_while_the_next_process_writes_takes_nothing_that_a_kill_left_in_the_cache(
    fast: Path,
) -> None:
    root, tried = fast / "host", 0
    for reason in ("one", "two"):
        record(root, reason)
    with tapped(root) as tap:
        record(root, "three")
    for end in range(len(tap.disk.log) + 1):
        for half in (False, True):
            disk = tap.disk.left(fast / "killed", end, half)
            start = len(disk.log)
            with Tap(disk):
                record(fast / "killed", "four")
            shutil.rmtree(fast / "killed")
            assert list(broken(disk, start, fast / "cut")) == [], (end, half)
            tried += 1
    assert tried > 10


def test_a_head_that_is_behind_is_not_written_before_the_log_is_on_the_disk(fast: Path) -> None:
    """A head of a record that the power takes would say that the log was cut short."""
    root = fast / "host"
    record(root, "one")
    head = (root / HEAD[1:]).read_bytes()
    with tapped(root) as tap:
        record(root, "two")
    written = next(place for place, change in enumerate(tap.disk.log) if b"event" in change.data) + 1
    disk = tap.disk.left(fast / "killed", written)
    assert (fast / "killed" / HEAD[1:]).read_bytes() == head
    with Tap(disk), opened(System(fast / "killed")) as log:
        log.note_head()
    assert (fast / "killed" / HEAD[1:]).read_bytes() != head
    assert list(broken(disk, written, fast / "cut")) == []


def test_a_power_cut_in_the_first_record_of_a_host_leaves_a_chain(fast: Path) -> None:
    root = fast / "host"
    root.mkdir()
    with tapped(root) as tap:
        record(root, "one")
    assert list(broken(tap.disk, 0, fast / "cut")) == []


def test_a_power_cut_after_the_first_record_was_torn_leaves_a_chain(fast: Path) -> None:
    root = fast / "host"
    root.mkdir()
    with tapped(root) as tap:
        record(root, "one")
    written = next(place for place, change in enumerate(tap.disk.log) if b"event" in change.data)
    disk = tap.disk.left(fast / "killed", written, half=True)
    start = len(disk.log)
    with Tap(disk):
        record(fast / "killed", "two")
    assert list(broken(disk, start, fast / "cut")) == []


def begin(root: Path, reason: str) -> None:
    """Begins a new file of the log, and adds a record."""
    with opened(System(root)) as log:
        log.begin_segment()
        log.append({"event": "refused", "time": "2026-11-26T03:00:00Z", "reason": reason * 300})


def test_a_power_cut_while_a_new_file_is_begun_leaves_a_chain_also_of_what_a_kill_left_in_the_cache(
    fast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 500)
    root = fast / "host"
    record(root, "one")
    with tapped(root) as tap:
        record(root, "two")
    # The second record is in the cache only, and the head does not tell of it.
    written = next(place for place, change in enumerate(tap.disk.log) if b"event" in change.data) + 1
    disk = tap.disk.left(fast / "killed", written)
    with Tap(disk):
        begin(fast / "killed", "three")
    assert len(segments.closed_segments(System(fast / "killed"))) == 1
    assert list(broken(disk, written, fast / "cut")) == []
