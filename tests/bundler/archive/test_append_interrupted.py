"""A kill at every byte of an append, and of its repair, leaves a bundle that verifies without it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundler.archive import append
from bundler.commands import approve
from installer.core.errors import TamperedError, UnfitInputError
from installer.core.format.partial_append import MAX_APPEND_BYTES
from installer.core.format.tar_header import BLOCK, END
from installer.core.verify import PARTIAL_APPEND
from tests.rig import bundlebuild as build
from tests.rig.approving import ASKED, OPS, tail
from tests.rig.bundlebuild import BytesMedium
from tests.rig.trustworld import NOW, Said, World


@dataclass(frozen=True)
class Step:
    """One write or truncation, as it reached the file."""

    offset: int
    data: bytes
    truncate: bool = False


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Step]]:
    steps: list[Step] = []
    write, ftruncate = append.write_all, os.ftruncate

    def watched(fd: int, data: bytes, offset: int) -> None:
        steps.append(Step(offset, data))
        write(fd, data, offset)

    def shortened(fd: int, size: int) -> None:
        steps.append(Step(size, b"", truncate=True))
        ftruncate(fd, size)

    with monkeypatch.context() as patch:
        patch.setattr(append, "write_all", watched)
        patch.setattr(os, "ftruncate", shortened)
        yield steps


def put(data: bytes, step: Step, count: int | None = None) -> bytes:
    """Does a step, or its first bytes."""
    if step.truncate:
        return data[: step.offset].ljust(step.offset, b"\0")
    piece = step.data[:count]
    return data[: step.offset].ljust(step.offset, b"\0") + piece + data[step.offset + len(piece) :]


def killed(base: bytes, steps: list[Step]) -> Iterator[bytes]:
    """Gives the file as a kill at every single byte leaves it."""
    for step in steps:
        for count in range(len(step.data)):
            yield put(base, step, count)
        base = put(base, step)
    yield base


class TestKill:
    @pytest.fixture
    def steps(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, list[Step], bytes]:
        before = path.read_bytes()
        with recorded(monkeypatch) as steps:
            approve.approve_bundle(path, OPS, ASKED, NOW)
        return before, steps, path.read_bytes()

    def test_a_bundle_verifies_without_an_append_that_was_cut_at_any_byte(
        self, world: World, steps: tuple[bytes, list[Step], bytes]
    ) -> None:
        before, made, after = steps
        old, new, notes = tail(before), tail(after), set()
        for state in killed(before, made):
            bundle = build.read(state)
            found = bundle.read_tail()
            assert found in (old, new)
            assert bundle.partial_append == (state not in (before, after) and found == old)
            notes.add((bundle.partial_append, len(found)))
        assert notes == {(False, len(old)), (True, len(old)), (False, len(new))}

    def test_the_note_is_in_the_report_and_the_policy_does_not_count_it(
        self, world: World, steps: tuple[bytes, list[Step], bytes]
    ) -> None:
        before, made, _ = steps
        torn = put(put(before, made[0]), made[1])
        complete = replace(world, approvals=(*world.approvals, Said("ops")))
        sidecar = replace(complete, approvals=world.approvals, beside=(Said("ops"),))
        for medium in (BytesMedium(torn), build.stream(torn)):
            verified, _ = sidecar.verify(medium)
            assert verified.notes == (PARTIAL_APPEND,)

    def test_blocks_may_reach_the_disk_in_any_order_between_two_syncs(
        self, steps: tuple[bytes, list[Step], bytes]
    ) -> None:
        before, made, _ = steps
        base, old = put(before, made[0]), tail(before)
        rng = random.Random(7)
        whole = put(base, made[1])
        places = range(made[1].offset, len(whole), BLOCK)
        for _ in range(200):
            state = bytearray(base.ljust(len(whole), b"\0"))
            for at in places:
                if rng.random() < 0.5:
                    state[at : at + BLOCK] = whole[at : at + BLOCK]
            assert tail(bytes(state[: len(whole) - rng.choice((0, 1, 512, 700))])) == old

    def test_tar_still_lists_what_was_there(self, path: Path, steps: tuple[bytes, list[Step], bytes]) -> None:
        before, made, _ = steps
        path.write_bytes(put(put(before, made[0]), made[1]))
        listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
        assert listed.stdout.splitlines()[-1].startswith("approvals/security-")

    def test_repair_finishes_it_or_takes_it_back_at_every_byte(
        self, path: Path, steps: tuple[bytes, list[Step], bytes]
    ) -> None:
        before, made, after = steps
        outcomes = set()
        complete = put(put(before, made[0]), made[1])
        for number, state in enumerate(killed(before, made)):
            if number % 7 and state[len(before) - 1024 :][:512] == bytes(512):
                continue  # each byte of the header, some of the rest
            path.write_bytes(state)
            outcome = approve.repair(path).outcome
            outcomes.add(outcome)
            wanted = after if outcome == "finished" or state == after else before
            assert path.read_bytes() == wanted
            assert approve.repair(path).outcome == "nothing"
            if state == complete:
                assert outcome == "finished"
        assert outcomes == {"finished", "dropped", "nothing"}

    def test_a_kill_in_the_repair_leaves_a_good_bundle_too(
        self, path: Path, steps: tuple[bytes, list[Step], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, made, _ = steps
        first = put(before, made[0])
        header = put(first, made[1])[: len(before) - 1024] + made[2].data[:200]
        cut = put(first, made[1], 300)
        for state in (first, cut, header + cut[len(header) :]):
            path.write_bytes(state)
            with recorded(monkeypatch) as repairing:
                assert approve.repair(path).outcome == "dropped"
            for halfway in killed(state, repairing):
                assert tail(halfway) == tail(before)

    def test_a_full_disk_leaves_it_as_it_was(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before, write = path.read_bytes(), append.write_all
        calls = 0

        def full(fd: int, data: bytes, offset: int) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                write(fd, data[:100], offset)
                raise OSError(28, "No space left on device")
            write(fd, data, offset)

        monkeypatch.setattr(append, "write_all", full)
        with pytest.raises(UnfitInputError, match="No space left"):
            approve.approve_bundle(path, OPS, ASKED, NOW)
        assert path.read_bytes() == before

    def test_a_truncated_append_is_repaired_before_the_next(
        self, path: Path, steps: tuple[bytes, list[Step], bytes]
    ) -> None:
        before, made, _ = steps
        path.write_bytes(put(before, made[0]))
        with pytest.raises(UnfitInputError, match="--repair"):
            approve.approve_bundle(path, OPS, ASKED, NOW)
        approve.repair(path)
        approve.approve_bundle(path, OPS, ASKED, NOW)


class TestNotTorn:
    """What no append leaves is refused as before."""

    @pytest.mark.parametrize(
        ("behind", "what"),
        [
            (b"x", "followed by other bytes"),
            (bytes(1), "the bundle is complete, but 1 zero bytes follow it"),
            (bytes(BLOCK), "the bundle is complete, but 512 zero bytes follow it"),
            (b"{", "followed by other bytes"),
        ],
        ids=["a byte", "a zero byte", "a zero block", "a brace"],
    )
    def test_bytes_after_the_end_are_no_partial_append(self, path: Path, behind: bytes, what: str) -> None:
        with pytest.raises(TamperedError, match=what):
            tail(path.read_bytes() + behind)

    @pytest.mark.parametrize("second", [b"x", b'{"_type":1', b"\0{", b"\x80", b"approvals/"])
    def test_other_bytes_in_the_second_zero_block_are_no_partial_append(
        self, path: Path, second: bytes
    ) -> None:
        data = path.read_bytes()
        with pytest.raises(TamperedError, match="two zero blocks"):
            tail(data[:-BLOCK] + second.ljust(BLOCK, b"\0"))

    def test_more_bytes_than_an_append_may_leave_are_no_partial_append(self, path: Path) -> None:
        data = path.read_bytes()[:-BLOCK] + append.STATEMENT_START
        assert tail(data.ljust(len(data) + 600, b"x"))
        for medium in (BytesMedium, build.stream):
            with pytest.raises(TamperedError, match="extra data that is not a truncated append"):
                build.read(medium(data.ljust(len(data) + MAX_APPEND_BYTES + BLOCK, b"x")))

    def test_a_flipped_bit_of_a_header_is_refused(self, path: Path) -> None:
        place = path.stat().st_size - len(END)
        approve.approve_bundle(path, OPS, ASKED, NOW)
        good = path.read_bytes()
        for at in range(BLOCK):
            bad = bytearray(good)
            bad[place + at] ^= 1 << (at % 8)
            with pytest.raises(TamperedError):
                tail(bytes(bad))

    def test_a_hole_in_the_digits_of_a_size_is_refused(self, path: Path) -> None:
        place = path.stat().st_size - len(END)
        approve.approve_bundle(path, OPS, ASKED, NOW)
        good = path.read_bytes()
        header = build.raw_header(good[place : place + BLOCK], size=b"00000\x00000000")
        with pytest.raises(TamperedError, match="not octal"):
            tail(good[:place] + header + good[place + BLOCK :])

    def test_repair_touches_nothing_else(self, path: Path) -> None:
        before = path.read_bytes()
        assert approve.repair(path).outcome == "nothing"
        path.write_bytes(before + b"x")
        with pytest.raises(TamperedError):
            approve.repair(path)
        assert path.read_bytes() == before + b"x"
