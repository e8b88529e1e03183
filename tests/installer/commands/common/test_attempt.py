"""What ends a command that nothing foresaw, or that somebody stops, is in the audit log too."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

from tests.rig.auditlogs import records
from tests.rig.bench import Bench, release


class Lost:
    """A stream whose reader went away."""

    def write(self, _text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    def isatty(self) -> bool:
        return False


def stop(*_: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


def fail(*_: Any) -> None:
    raise ZeroDivisionError("a fault")


@pytest.mark.parametrize(
    ("happens", "code", "reason"),
    [(fail, 1, "ZeroDivisionError: a fault"), (stop, 130, "interrupted")],
    ids=["internal error", "signal"],
)
@pytest.mark.parametrize("lost", [False, True])
def test_a_fault_and_a_signal_are_recorded_whoever_listens(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, happens: Any, code: int, reason: str, lost: bool
) -> None:
    bundle = str(bench.bundle(release()))
    monkeypatch.setattr("installer.commands.apply.plan_apply", lambda *_, **__: happens())
    if lost:
        monkeypatch.setattr(sys, "stderr", Lost())
    found, document, said = bench.run(bundle, "--yes")
    assert (found, document["exit"]) == (code, code)
    assert (said == "") == lost
    last = records(bench.host)[-1]
    assert (last["event"], last["exit"], last["reason"]) == ("refused", code, reason)
    assert not (bench.host / "opt").exists()
