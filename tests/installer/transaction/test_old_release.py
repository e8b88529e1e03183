"""After a rollback the old release answers again, or the command says that it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.errors import RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.transaction.journal import Journal
from installer.transaction.old_release import watch_old_release
from tests.rig.faulty import kill_at
from tests.rig.releases import Notes, install, recovered, root
from tests.rig.scripts import SCRIPT, scripted

ALL = Options(only=frozenset({"files", "script"}))
SICK = HealthCheck("command", "", command=("/bin/false",), within=0)
# Each start makes the old release deaf for two questions.
DEAF = SCRIPT + b'rm -f "$WAYBILL_ROOT/asked"\n'


def old(host: Context, probe: str, within: int = 20) -> None:
    """Install a release that is asked by a shell script in the host's directory."""
    check = HealthCheck("command", "", command=("/bin/sh", "-c", f"cd {root(host)}; {probe}"), within=within)
    install(host, replace(scripted("1.0.0", 1, DEAF), health=(check,)), ALL)


def upgrade(host: Context) -> RolledBackError:
    breaking = SCRIPT + b'touch "$WAYBILL_ROOT/broken"\n'
    with pytest.raises(RolledBackError) as caught:
        install(host, replace(scripted("2.0.0", 2, breaking), health=(SICK,)), ALL)
    return caught.value


def said(host: Context) -> list[str]:
    assert isinstance(host.progress, Notes)
    return host.progress.lines


def test_the_old_release_is_started_by_name_and_waited_for(host: Context) -> None:
    old(host, "echo x >> asked; test $(wc -l < asked) -gt 2")
    error = upgrade(host)
    assert len((root(host) / "asked").read_text().split()) == 3
    assert error.problems[-1].where == "command /bin/false"
    lines = said(host)[said(host).index("undo: running deploy/undo.sh") :]
    assert "undo: running deploy/apply.sh (1.0.0)" in lines
    assert lines[-1] == "health: OK"


def test_an_old_release_that_is_unhealthy_now_is_a_problem_of_its_own(host: Context) -> None:
    old(host, "test ! -e broken", within=0)
    error = upgrade(host)
    assert "1.0.0 is still installed" in error.what
    problem = error.problems[-1]
    assert problem.where == "1.0.0"
    assert problem.what.startswith("was started again, but is not healthy: ")
    assert said(host)[-1].startswith("1.0.0 was started again, but is not healthy: ")


def test_nothing_is_waited_for_after_a_reboot(host: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """At boot its services may be ordered after the recovery."""
    old(host, "test ! -e broken", within=0)
    upgrade(host)
    journal = Journal.open(host.system, host.layout.journal("000002").removesuffix(".log") + ".done")
    from installer.state.state import load

    monkeypatch.setattr(System, "boot_id", lambda _self: "the next boot")
    assert watch_old_release(host, journal, load(host.system, host.layout).current) is None
    assert said(host)[-1] == "1.0.0 is installed again; its health was not checked"


def test_nothing_is_said_without_health_checks_or_an_old_release(host: Context) -> None:
    error = upgrade(host)
    assert "nothing is installed, as before" in error.what
    assert [line for line in said(host) if "started again" in line] == []


def test_recovery_watches_it_too(host: Context) -> None:
    old(host, "test ! -e broken", within=0)
    kill_at(host, scripted("2.0.0", 2), "rename /etc/.waybill")
    (root(host) / "broken").touch()
    assert [each.outcome for each in recovered(host)] == ["undone"]
    assert said(host)[-1].startswith("1.0.0 was started again, but is not healthy: ")
