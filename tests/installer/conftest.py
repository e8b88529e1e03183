"""A directory that stands for a host, and the commands of `install` run on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.rig.bench import CLOCK, bench, host_dir  # noqa: F401
from tests.rig.hosts import host, machine, system  # noqa: F401
from tests.rig.imagesite import site  # noqa: F401
from tests.rig.registrysite import registry_host  # noqa: F401
from tests.rig.trustworld import NOW


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
