"""A program that embeds Waybill has its own signal handlers: they may raise between any two byte codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from installer.commands.common.recovery import exclusive
from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.host.system import System
from installer.shared.terminal import interrupts
from installer.state.state import load
from installer.transaction.journal import Journal
from tests.rig.chatd import ONE, TWO, deployed
from tests.rig.releases import STATE, context, install, root


class Ctrl:
    """Raises KeyboardInterrupt at one byte code of some functions, counted from 0 over all their calls."""

    def __init__(self, codes: set[CodeType], at: int) -> None:
        self._codes, self._left = codes, at

    @property
    def pressed(self) -> bool:
        return self._left < 0

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> Callable[..., Any] | None:
        if frame.f_code not in self._codes:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left == -1:
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("growing", [False, True])
def test_no_two_records_have_one_number_wherever_an_append_is_interrupted(
    tmp_path: Path, growing: bool
) -> None:
    system, at = System(tmp_path), 0
    system.mkdir("/txn", 0o700)
    codes = {Journal.append.__code__, Journal._extend.__code__}
    while True:
        path = f"/txn/{at:06d}.log"
        journal = Journal.create(system, path, 0)
        journal.append("BEGIN", size="x" * (journal.size - 100_000) if growing else "")
        ctrl, before = Ctrl(codes, at), sys.gettrace()
        sys.settrace(ctrl)
        try:
            with suppress(KeyboardInterrupt):
                journal.append("INTENT", op="x" * 40_000)
        finally:
            sys.settrace(before)
        journal.append("ABORT", why="interrupted")
        journal.append("ROLLED-BACK")
        found = Journal.open(system, path)
        numbers = [record.number for record in found.records]
        assert numbers == [record.number for record in journal.records] == list(range(1, len(numbers) + 1))
        types = [record.type for record in found.records if record.type != "INTENT"]
        assert types == ["BEGIN", "ABORT", "ROLLED-BACK"]
        if not ctrl.pressed:
            break
        at += 1
    assert at > 50


class Pressing(System):
    """Its user presses Ctrl-C right after records of some types were written; Python's own handler raises."""

    def __init__(self, path: Path, *types: str) -> None:
        super().__init__(path)
        self.left = list(types)

    def write_at(self, path: str, offset: int, data: bytes, *, truncate: bool = False) -> None:
        super().write_at(path, offset, data, truncate=truncate)
        if self.left and f'"type":"{self.left[0]}"'.encode() in data:
            del self.left[0]
            signal.raise_signal(signal.SIGINT)


UNDO = ("ABORT", "UNDOING", "UNDONE", "ROLLED-BACK")


@pytest.mark.parametrize("record", ["BEGIN", "INTENT", "DONE", "STAGED", *UNDO, "COMMIT", "END"])
def test_a_keyboard_interrupt_without_our_handlers_leaves_old_or_new(host: Context, record: str) -> None:
    install(host, ONE)
    # The second press meets the undo that the first one caused.
    pressing = Pressing(root(host), *(("DONE", record) if record in UNDO else (record,)))
    with pytest.raises((KeyboardInterrupt, RolledBackError)):
        install(context(pressing), TWO)
    assert pressing.left == []
    ran = deployed(host)
    with exclusive(host) as (state, _):
        assert state.current is not None
        # A COMMIT of which the transaction does not know is overwritten by its ABORT: undone, and told so.
        assert state.current.version == ("2.0.0" if record == "END" else "1.0.0")
    assert deployed(host) == ("two" if record == "END" else "one")
    # After a commit nothing was left to do, nor after an undo that was not interrupted.
    assert ran == deployed(host) or record in UNDO
    suffixes = {path.suffix for path in (root(host) / STATE / "txn").iterdir()}
    assert suffixes == {".done"}


def press_after(record: str) -> Callable[..., Any]:
    """Returns a trace function that raises KeyboardInterrupt once, when the record is written and known."""
    pressed = False

    def trace(frame: FrameType, event: str, _arg: Any) -> Callable[..., Any] | None:
        nonlocal pressed
        if frame.f_code is not Journal.append.__code__:
            return None
        if event == "return" and frame.f_locals["type_"] == record and not pressed:
            pressed = True
            raise KeyboardInterrupt
        return trace

    return trace


@pytest.mark.parametrize(("record", "kept"), [("STAGED", "one"), ("COMMIT", "two")])
def test_a_keyboard_interrupt_after_a_known_record_ends_what_that_record_decided(
    host: Context, record: str, kept: str
) -> None:
    install(host, ONE)
    before = sys.gettrace()
    sys.settrace(press_after(record))
    try:
        with pytest.raises((KeyboardInterrupt, RolledBackError)) as caught:
            install(host, TWO)
    finally:
        sys.settrace(before)
    # The caller sees its own exception where the release stays, and is told of the undo where it does not.
    assert caught.type is (KeyboardInterrupt if kept == "two" else RolledBackError)
    assert deployed(host) == kept
    # All of it is done by then: nothing is left for the next command.
    assert {path.suffix for path in (root(host) / STATE / "txn").iterdir()} == {".done"}
    current = load(host.system, host.layout).current
    assert current is not None
    assert current.version == ("2.0.0" if kept == "two" else "1.0.0")


def test_the_signal_handlers_of_the_program_stay_without_ours(host: Context) -> None:
    before = [signal.getsignal(number) for number in interrupts.STOPPING]
    seen = list[list[Any]]()

    class Looking(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            seen.append([signal.getsignal(number) for number in interrupts.STOPPING])
            return super().around(name, args, call)

    install(context(Looking(root(host))), ONE)
    assert all(each == before for each in seen)
    assert len(seen) > 10
