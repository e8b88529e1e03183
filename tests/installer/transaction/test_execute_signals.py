"""When a transaction hears a signal, and when it is too late."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.host.system import System
from installer.shared.terminal import interrupts
from tests.rig.chatd import ONE, TWO, deployed
from tests.rig.releases import STATE, context, install, records, root
from tests.rig.scripts import SCRIPT, scripted
from tests.rig.steps import install_steps

LOG = rf"/{STATE}/txn/00000[12]\.log"
BAD = scripted("2.0.0", 2, SCRIPT + b"echo not ready; exit 4\n")


class Signalled(System):
    """Is asked to stop once, just before an effect whose name and first words are these."""

    def __init__(self, path: Path, effect: str, holds: str) -> None:
        super().__init__(path)
        self._effect, self._holds, self.asked = effect, holds, False

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == self._effect and self._holds in f"{args}" and not self.asked:
            self.asked = True
            signal.raise_signal(signal.SIGTERM)
        return super().around(name, args, call)


def test_signals_are_left_alone_in_another_thread(host: Context) -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def apply() -> None:
        install(host, ONE)
        inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=apply)
    thread.start()
    thread.join()
    assert (deployed(host), inside) == ("one", [before])


def test_a_signal_while_it_is_decided_comes_too_late(host: Context) -> None:
    system = Signalled(root(host), "write_at", "COMMIT")
    with interrupts.handled():
        install(context(system), ONE)
    assert system.asked
    assert deployed(host) == "one"
    assert records(host, 1).count("COMMIT") == 1


def test_a_signal_during_an_operation_stops_the_transaction_before_the_next_one(host: Context) -> None:
    install(host, ONE)
    system = Signalled(root(host), "rename", "/opt/d")
    with interrupts.handled(), pytest.raises(RolledBackError, match="interrupted by SIGTERM"):
        install(context(system), TWO)
    assert system.asked
    # The operation itself was completed, and undone with the others.
    assert records(host, 2).count("DONE") == records(host, 2).count("UNDONE")
    assert deployed(host) == "one"


def a_signal_changes_nothing_any_more() -> None:
    """The result is decided, and only has to be told."""
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_while_it_is_undone_does_not_stop_the_way_back(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    system = Signalled(root(host), "write_at", "UNDOING")
    with interrupts.handled():
        with pytest.raises(RolledBackError, match="not ready"):
            install_steps(context(system), BAD)
        a_signal_changes_nothing_any_more()
    assert system.asked
    assert records(host, 2)[-2:] == ["ROLLED-BACK", "END"]


def test_a_signal_while_what_could_not_begin_is_cleared_is_not_heard(host: Context) -> None:
    class Both(Signalled):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "write_new" and args[0].endswith(".log"):
                self.asked = False
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().around(name, args, call)

    system = Both(root(host), "unlink", "state.json.new")
    system.asked = True  # not before it cannot begin
    with interrupts.handled():
        with pytest.raises(RolledBackError, match=rf"could not start: {LOG}: No space left on device"):
            install(context(system), ONE)
        a_signal_changes_nothing_any_more()
    assert system.asked
