"""A directory that stands for a host, and the commands of `install` run on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.rig.bench import CLOCK, Bench, environment
from tests.rig.hosts import host, machine, system  # noqa: F401
from tests.rig.imagesite import site  # noqa: F401
from tests.rig.trustworld import NOW, root


@pytest.fixture
def host_dir(tmp_path: Path) -> Path:
    place = tmp_path / "host"
    (place / "etc/waybill/trust").mkdir(parents=True)
    return place


@pytest.fixture
def bench(
    host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A host of the environment `production`, which trusts the team; its clock stands still."""
    monkeypatch.setattr(CLOCK, lambda: NOW)
    made = Bench(host_dir, tmp_path, capsys)
    made.trust(root())
    environment(host_dir, "production\n")
    return made


@pytest.fixture
def thinking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the clock on while somebody is asked, who then says yes; `really` goes by, `also` happens."""

    def arrange(
        shown: timedelta, really: timedelta | None = None, also: Callable[[], object] = lambda: None
    ) -> None:
        now, past = [NOW], [0.0]
        monkeypatch.setattr(CLOCK, lambda: now[0])
        monkeypatch.setattr("installer.state.watch.since_boot", lambda: past[0])

        def answer(_question: str, _flag: str) -> str:
            now[0] += shown
            past[0] += (shown if really is None else really).total_seconds()
            also()
            return "y"

        monkeypatch.setattr("installer.cli.options.console.ask", answer)

    return arrange
