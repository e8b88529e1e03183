"""Signals: heard where stopping is safe, kept elsewhere, and left alone where nobody asked for handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.shared.terminal import interrupts
from installer.shared.terminal.interrupts import Interrupted

TOP = Path(__file__).resolve().parents[4]


@pytest.fixture
def handled() -> Iterator[None]:
    with interrupts.handled():
        yield


def send(number: signal.Signals = signal.SIGTERM) -> None:
    """Send this process a signal; Python runs its handler before this returns."""
    signal.raise_signal(number)


@pytest.mark.parametrize("number", interrupts.STOPPING)
def test_each_signal_stops_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in interrupts.STOPPING]
    with interrupts.handled(), pytest.raises(Interrupted, match=number.name):
        send(number)
    assert [signal.getsignal(each) for each in interrupts.STOPPING] == before


def test_only_the_first_one_stops_what_can_stop_anywhere(handled: None) -> None:
    with pytest.raises(Interrupted):
        send()
    send()
    send(signal.SIGHUP)


def test_a_change_is_stopped_at_the_next_check(handled: None) -> None:
    with interrupts.deferred():
        send()
        send(signal.SIGHUP)
        with pytest.raises(Interrupted, match="SIGHUP"):
            interrupts.check()
        interrupts.check()


def test_a_change_without_a_check_is_stopped_at_its_end(handled: None) -> None:
    done = []
    with pytest.raises(Interrupted), interrupts.deferred():  # noqa: PT012
        with interrupts.deferred():
            send()
        done.append("inner")
    assert done == ["inner"]


def test_a_failure_is_not_hidden_by_a_signal(handled: None) -> None:
    with pytest.raises(ValueError, match="the cause"), interrupts.deferred():  # noqa: PT012
        send()
        raise ValueError("the cause")


def test_a_wait_in_a_change_is_stopped_at_once(handled: None) -> None:
    with interrupts.deferred(), pytest.raises(Interrupted), interrupts.waiting():  # noqa: PT012
        send()
        pytest.fail("it went on")


def test_a_signal_before_a_wait_in_a_change_is_not_forgotten(handled: None) -> None:
    with interrupts.deferred():
        send()
        with pytest.raises(Interrupted), interrupts.waiting():
            pytest.fail("it waited")


def test_a_wait_after_the_first_signal_is_stopped_by_a_new_one_only(handled: None) -> None:
    with pytest.raises(Interrupted):
        send()
    send()
    with interrupts.waiting():
        pass
    with pytest.raises(Interrupted), interrupts.waiting():
        send()


def test_the_wait_for_a_piece_is_stopped_and_so_is_the_next_piece(handled: None) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        send()
        yield b"two"

    taken = []
    with pytest.raises(Interrupted), interrupts.deferred():  # noqa: PT012
        for each in interrupts.pieces(pieces()):
            taken.append(each)
    assert taken == [b"one"]
    assert list(interrupts.pieces([1, 2])) == [1, 2]


def test_an_undo_is_not_stopped_and_what_follows_it_is(handled: None) -> None:
    done = []
    with pytest.raises(Interrupted, match="SIGTERM"):  # noqa: PT012
        with interrupts.deferred() as undo:
            undo.shield()
            send()
            interrupts.check()
            with interrupts.waiting(), interrupts.deferred():
                interrupts.check()
            done.append("undone")
        done.append("went on")
    assert done == ["undone"]


def test_nothing_stops_what_is_decided(handled: None) -> None:
    with interrupts.deferred():
        send()
        interrupts.finish()
        interrupts.check()
    send()
    with interrupts.waiting():
        send()


def test_a_library_changes_no_handler_and_hears_nothing() -> None:
    before = [signal.getsignal(each) for each in interrupts.STOPPING]
    with interrupts.deferred() as part:
        part.shield()
        with interrupts.waiting():
            interrupts.check()
        interrupts.finish()
        assert [signal.getsignal(each) for each in interrupts.STOPPING] == before
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_worker_neither_installs_handlers_nor_defers_them(handled: None) -> None:
    def work() -> None:
        with interrupts.deferred() as part:
            part.shield()
            interrupts.finish()
            interrupts.ignore()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with pytest.raises(Interrupted):
        send()


def test_handlers_of_a_worker_are_not_installed() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(interrupts.install()))
    thread.start()
    thread.join()
    assert found == [{}]


IGNORING = """
import os, signal, sys
from installer.shared.terminal import interrupts
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interrupts.install()
os.kill(os.getpid(), signal.SIGHUP)
print("went on")
try:
    os.kill(os.getpid(), signal.SIGTERM)
except interrupts.Interrupted as error:
    print(error)
interrupts.ignore()
for number in interrupts.STOPPING:
    os.kill(os.getpid(), number)
sys.exit(7)
"""


def test_a_signal_that_was_ignored_stays_ignored_and_the_end_is_not_disturbed() -> None:
    words, env = [sys.executable, "-c", IGNORING], os.environ | {"PYTHONPATH": str(TOP)}
    done = subprocess.run(words, env=env, capture_output=True, check=False)
    assert done.stdout.decode().splitlines() == ["went on", "SIGTERM"]
    assert (done.returncode, done.stderr) == (7, b"")
