"""One transaction: how often it tries to go back, when it hears signals, what is told of its end."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer import history, transaction
from installer.core.errors import Problem, RolledBackError
from installer.journal import Journal
from installer.operations import Context, Op, StepError
from installer.state import load
from installer.system import SyncError, System
from tests.faults.faulty import snapshot
from tests.installer.test_apply import ONE, STATE, THREE, TWO, deployed, install, root
from tests.installer.test_deploy_script import SCRIPT, log, spec
from tests.installer.test_deploy_script import install as install_with_script
from tests.rig.releases import context


class Patient(System):
    """Waits in no time, and remembers how long."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Failing(System):
    """Fails one effect on one path, each time or the first time."""

    def __init__(self, path: Path, effect: str, start: str, error: OSError, times: int = 1) -> None:
        super().__init__(path)
        self._effect, self._start, self._error, self.left = effect, start, error, times

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if name == self._effect and str(args[0]).startswith(self._start) and self.left:
            self.left -= 1
            raise self._error
        return super().around(name, args, call)


@pytest.fixture
def host(tmp_path: Path) -> Context:
    return context(System(tmp_path))


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def records(host: Context, number: int) -> list[str]:
    path = f"/{STATE}/txn/{number:06d}.done"
    return [record.type for record in Journal.open(host.system, path).records]


def test_a_way_back_that_fails_at_first_is_tried_again_after_a_pause(host: Context) -> None:
    install_with_script(host, spec("1.0.0", 1))
    twice = b'n=$(cat "$WAYBILL_ROOT/n" || echo 0); echo $((n + 1)) > "$WAYBILL_ROOT/n"; [ "$n" -ge 2 ]\n'
    system = Patient(root(host))
    with pytest.raises(RolledBackError, match=r"apply failed and was undone, 1\.0\.0 is as it was before"):
        install_with_script(context(system), spec("2.0.0", 2, SCRIPT + b"exit 4\n", SCRIPT + twice))
    assert system.slept == [2.0, 4.0]
    assert log(host).count("undo 2.0.0 with 2.0.0") == 3
    assert records(host, 2).count("UNDONE") == records(host, 2).count("UNDOING")
    assert records(host, 2)[-2:] == ["ROLLED-BACK", "END"]


def test_what_cannot_begin_has_changed_nothing(host: Context) -> None:
    install(host, ONE)
    before = snapshot(root(host), besides=("var",))
    failing = context(Failing(root(host), "write_new", f"/{STATE}/txn/", full()))
    with pytest.raises(RolledBackError, match="could not begin: No space left on device") as caught:
        install(failing, TWO)
    assert "nothing was changed" in caught.value.hint
    assert snapshot(root(host), besides=("var",)) == before
    assert [path.name for path in (root(host) / STATE / "txn").iterdir()] == ["000001.done"]
    assert not (root(host) / STATE / "state.json.new").exists()
    assert install(host, TWO).text()


def test_what_cannot_be_cleared_after_the_commit_is_said_and_done_later(host: Context) -> None:
    install(host, ONE)
    failing = Failing(root(host), "rename", f"/{STATE}/txn/", OSError(errno.EIO, os.strerror(errno.EIO)))
    done = install(context(failing), TWO)
    assert deployed(host) == "two"
    assert "the next command, or `install recover`, does the rest" in done.text()
    assert "Input/output error" in done.text()
    state = load(host.system, host.layout)
    assert state.current is not None
    assert state.current.version == "2.0.0"
    install(host, THREE)
    assert [event.version for event in history.history(host)] == ["1.0.0", "2.0.0", "3.0.0"]


def test_a_sync_that_fails_after_the_commit_is_written_down(host: Context) -> None:
    lost = SyncError(errno.EIO, os.strerror(errno.EIO))
    install(context(Failing(root(host), "rename", f"/{STATE}/txn/", lost)), ONE)
    assert Journal.open(host.system, f"/{STATE}/txn/000001.log").has("DISTRUST")


def test_the_first_signal_is_heard_and_no_other() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with transaction._signals() as signals:
        with pytest.raises(transaction.Interrupted, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
        assert signals.deaf
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_could_not_be_undone_keeps_what_is_known_of_the_cause(host: Context) -> None:
    within = replace(host, transaction="000007")
    problem = Problem("container chat-1", "does not answer")
    found = transaction.not_undone(within, StepError("said no", problems=[problem]), "unhealthy")
    assert found.what == "the release failed (unhealthy) and could not be fully undone: said no"
    assert (found.where, found.problems) == (within.layout.journal("000007"), (problem,))
    assert transaction.not_undone(within, full(), "unhealthy").problems == ()
    assert transaction.not_undone(within, found, "again") is found


def test_what_is_undone_is_not_undone_again(host: Context) -> None:
    (root(host) / "txn").mkdir()
    journal = Journal.create(host.system, "/txn/000001.log", 0)
    ops = [Op("files.place", {"number": number}) for number in (1, 2, 3)]
    journal.append("BEGIN")
    for op in ops:
        journal.append("INTENT", op=op.as_json(), preimage={})
    journal.append("UNDONE", of=4)
    assert transaction.intents(journal) == [(2, ops[0], {}), (3, ops[1], {})]


def test_in_another_thread_signals_are_left_alone(host: Context) -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def apply() -> None:
        install(host, ONE)
        inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=apply)
    thread.start()
    thread.join()
    assert (deployed(host), inside) == ("one", [before])


def test_of_problems_all_are_kept_in_order_while_there_is_room() -> None:
    assert transaction._bounded([Problem("a", "b"), Problem("c", "d")]) == ["a: b", "c: d"]
    assert transaction._bounded([]) == []
