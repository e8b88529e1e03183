"""What is done to a host is in its audit log: once, truthfully, whoever was killed when."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.audit import log as audit_log
from installer.audit import recorder
from installer.audit.log import AuditError
from installer.commands import status
from installer.commands.common.attempt import attempt
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.core.errors import NotUndoneError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.core.trust.root import PRODUCTION
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.planning.planner import plan_apply
from installer.state.evidence import EvidenceFile
from tests.rig.auditlogs import break_log, events, records
from tests.rig.bench import Bench, release
from tests.rig.chatd import ONE
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.releases import SIGNED, Member, Notes, context, install, stage
from tests.rig.trustworld import APPROVALS, Said, root

TOP = Path(__file__).parents[3]
SICK = replace(
    ONE,
    version="2.0.0",
    sequence=2,
    deploy=(Deployment("script", {"apply": "deploy/a", "undo": "deploy/a"}),),
    members={**ONE.members, "deploy/a": Member(b"#!/bin/sh\n", mode=0o755, kind="script")},
    health=(HealthCheck("tcp", "127.0.0.1:1", within=0),),
)


def test_the_whole_life_of_a_product_is_told_and_outlives_it(bench: Bench) -> None:
    first, second = bench.bundle(release()), bench.bundle(release("1.5.0", 100_050_000_999), "c.tar")
    for words in (
        (str(first), "--yes"),
        (str(first), "--yes"),
        (str(second), "--yes"),
        ("rollback", "--yes"),
    ):
        assert bench.run(*words)[0] == 0
    assert bench.run("remove", "lan-chat", "--yes")[0] == 0
    told = [(r["event"], r.get("verb"), r.get("version"), r.get("result")) for r in records(bench.host)]
    assert told == [
        ("begun", "apply", "1.4.0", None),
        ("ended", "apply", "1.4.0", "done"),
        ("unchanged", "apply", "1.4.0", None),
        ("begun", "apply", "1.5.0", None),
        ("ended", "apply", "1.5.0", "done"),
        ("begun", "rollback", "1.4.0", None),
        ("ended", "rollback", "1.4.0", "done"),
        ("begun", "remove", "1.4.0", None),
        ("ended", "remove", "1.4.0", "done"),
    ]


def test_a_record_says_who_what_where_and_on_whose_word(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    (bench.host / "etc/hostname").write_text("chat01.plant.example\n")
    world = release()
    assert bench.run(str(bench.bundle(world)), "--yes")[0] == 0
    begun, ended = records(bench.host)
    assert begun["by"]["sudo_user"] == "anna"
    assert begun["by"]["uid"] == os.getuid()
    assert begun["host"] == "chat01.plant.example"
    assert (begun["identity"], begun["environment"], begun["change_id"]) == (
        world.identity,
        "production",
        "CHG-7",
    )
    assert [row["owner"] for row in begun["released_by"]] == ["Rea"]
    assert {(row["role"], row["owner"]) for row in begun["approved_by"]} == {
        ("provenance", "Ci"),
        ("security", "Sec"),
        ("ops", "Ops"),
    }
    assert (ended["exit"], ended["transaction"], ended["identity"]) == (0, "000001", world.identity)


def test_a_user_without_an_entry_in_the_list_of_users_is_recorded_by_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    for row in records(bench.host):
        assert (row["by"]["uid"], "user" in row["by"]) == (54321, False)


def test_a_release_that_is_not_healthy_is_told_with_the_probe_that_failed(tmp_path: Path) -> None:
    within = context(System(tmp_path))
    install(within, ONE)
    with pytest.raises(RolledBackError):
        install(within, SICK, Options(only=frozenset({"script"})))
    assert events(tmp_path) == ["begun", "ended done", "begun", "ended rolled back"]
    ended = records(tmp_path)[-1]
    assert (ended["exit"], ended["version"]) == (20, "2.0.0")
    assert "is not healthy" in ended["reason"]
    assert "127.0.0.1:1" in ended["reason"]


def test_a_record_names_the_evidence_of_the_verification(tmp_path: Path) -> None:
    within = context(System(tmp_path))
    with exclusive(within) as (state, _):
        staged = stage(tmp_path, ONE)
        evidence = SIGNED.with_file(EvidenceFile("/evidence.d/1.json", "e" * 64))
        execute_plan(within, plan_apply(within, state, staged, Options(), evidence=evidence))
    assert records(tmp_path)[0]["evidence"] == "e" * 64


@pytest.mark.parametrize("fault", ["kill before", "kill half", "kill after"])
def test_the_log_says_once_what_really_happened_after_a_kill_at_any_effect(
    tmp_path: Path, fault: str
) -> None:
    at = 0
    seen = set()
    while True:
        at += 1
        place = tmp_path / str(at)
        place.mkdir()
        system = FaultySystem(place, at, fault)
        with suppress(Killed):
            install(context(system), ONE)
        if len(system.trace) < at:
            break
        healthy = context(FaultySystem(place))
        for _ in range(2):
            with exclusive(healthy) as (state, _found):
                pass
        told = [event for event in events(place) if event != "repaired"]
        wanted = ["begun", "ended done"] if state.current else ["begun", "ended rolled back"]
        assert told in (wanted, [] if state.current is None else wanted, ["begun", "ended never began"]), at
        assert (told[-1:] == ["ended done"]) == (state.current is not None), f"{at}: {system.trace[-1]}"
        seen.add(tuple(told))
        install(healthy, ONE)
        assert events(place)[-2:] == ["begun", "ended done"] or told == wanted
    assert seen >= {
        (),
        ("begun", "ended never began"),
        ("begun", "ended rolled back"),
        ("begun", "ended done"),
    }


def test_what_recovery_has_ended_says_so(tmp_path: Path) -> None:
    trace = FaultySystem(tmp_path / "golden")
    (tmp_path / "golden").mkdir()
    install(context(trace), ONE)
    at = max(
        n for n, effect in enumerate(trace.trace, 1) if effect.startswith("rename") and "current" in effect
    )
    host = tmp_path / "host"
    host.mkdir()
    with suppress(Killed):
        install(context(FaultySystem(host, at, "kill after")), ONE)
    assert events(host) == ["begun"]
    with exclusive(context(System(host))) as (_, recovered):
        assert [each.outcome for each in recovered] == ["undone"]
    assert events(host) == ["begun", "ended rolled back"]
    assert records(host)[-1]["recovered"] is True


def test_nothing_is_begun_where_the_log_is_damaged(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    break_log(bench.host)
    code, document, said = bench.run(str(bench.bundle(release("1.5.0", 100_050_000_999))), "--yes")
    assert (code, document["code"], document.where) == (15, "audit", audit_log.LOG)
    assert "install audit --seal" in document.hint
    assert "WARNING: this is NOT in the audit log" in said
    assert bench.run("status")[1]["products"][0]["installed"]["version"] == "1.4.0"
    assert bench.run("audit")[0] == 11
    assert bench.run("audit", "--seal", "a disk went bad")[0] == 0
    assert bench.run(str(bench.stick / "b.tar"), "--yes")[0] == 0
    assert events(bench.host) == ["sealed", "begun", "ended done"]


def test_nothing_is_begun_where_there_is_no_space_for_the_log(tmp_path: Path) -> None:
    within = context(System(tmp_path))
    install(within, ONE)
    (tmp_path / "opt/d").unlink()

    class Full(System):
        def around(self, name: str, args: Any, call: Any) -> Any:
            if name in ("reserve", "append"):
                raise OSError(28, "No space left on device", args[0])
            return super().around(name, args, call)

    with pytest.raises(AuditError, match="cannot write the audit log: No space left") as caught:
        install(context(Full(tmp_path)), ONE)
    assert (caught.value.exit_code, caught.value.where) == (15, audit_log.LOG)
    assert not (tmp_path / "opt/d").exists()
    assert events(tmp_path) == ["begun", "ended done"]


def test_an_end_that_cannot_be_written_is_said_loudly_and_written_by_the_next_command(tmp_path: Path) -> None:
    class Filling(System):
        appended = 0

        def around(self, name: str, args: Any, call: Any) -> Any:
            self.appended += name == "append"
            if name == "append" and self.appended > 1:
                raise OSError(28, "No space left on device", args[0])
            return super().around(name, args, call)

    within = context(Filling(tmp_path))
    install(within, ONE)
    assert isinstance(within.progress, Notes)
    assert "NOT in the audit log yet" in within.progress.lines[-1]
    assert (tmp_path / "opt/d").read_bytes() == b"one"
    assert events(tmp_path) == ["begun"]
    with exclusive(context(System(tmp_path))):
        pass
    assert events(tmp_path) == ["begun", "ended done"]


def test_each_refusal_says_step_reason_and_what_was_vouched_for(bench: Bench) -> None:
    nobody = replace(release(), signers=())
    unapproved = replace(release(), approvals=APPROVALS[:1])
    assert bench.run(str(bench.bundle(nobody)), "--yes")[0] == 10
    assert bench.run(str(bench.bundle(unapproved)), "--yes")[0] == 14
    first, second = records(bench.host)
    assert (first["event"], first["step"], first["exit"], first["code"]) == ("refused", 6, 10, "untrusted")
    assert first["medium"].endswith("/b.tar")
    assert "product" not in first
    assert (second["step"], second["exit"], second["product"], second["version"]) == (
        18,
        14,
        "lan-chat",
        "1.4.0",
    )
    assert second["identity"] == unapproved.identity
    assert any("role security" in problem for problem in second["problems"])


def test_a_run_that_was_declined_not_ready_or_busy_is_in_the_log(bench: Bench) -> None:
    path = bench.bundle(release())
    assert bench.run(str(path))[0] == 2  # no terminal to ask on: wrong usage is no event
    (bench.host / "opt").mkdir()
    (bench.host / "opt/a").write_text("somebody else's")
    assert bench.run(str(path), "--yes")[0] == 15
    with exclusive(Context(System(bench.host), context(System(bench.host)).layout, Notes())):
        assert bench.run(str(path), "--yes")[0] == 16
    assert [(r["event"], r["exit"], r["code"]) for r in records(bench.host)] == [
        ("refused", 15, "host-not-ready"),
        ("refused", 16, "busy"),
    ]


def test_looking_writes_nothing(bench: Bench) -> None:
    path = bench.bundle(release())
    for words in (("verify", str(path)), ("plan", str(path)), ("status",), ("audit",)):
        bench.run(*words)
    assert not (bench.host / "var").exists()


def test_what_cannot_be_undone_is_told_each_time(tmp_path: Path) -> None:
    within = context(System(tmp_path))
    with (
        pytest.raises(NotUndoneError),
        recorder.audited(within.system, recorder.AuditedCommand("recover", "lan-chat"), within.progress.note),
    ):
        raise NotUndoneError("the release failed and could not be fully undone", where="/x")
    (row,) = records(tmp_path)
    assert (row["event"], row["verb"], row["exit"], row["where"]) == ("not-undone", "recover", 21, "/x")


def test_an_internal_error_is_recorded_without_secrets(tmp_path: Path) -> None:
    session = Session.open(tmp_path)
    session.secrets.add(["hunter22"])
    with pytest.raises(ValueError, match="hunter22"), attempt(session, "apply", product="lan-chat"):
        raise ValueError("cannot read 'hunter22'")
    (row,) = records(tmp_path)
    assert (row["code"], row["reason"]) == ("fault", "ValueError: cannot read '***'")


def test_broken_glass_is_loud(bench: Bench) -> None:
    bench.trust(root(environments={"production": replace(PRODUCTION, break_glass=True)}))
    said = Said("break-glass", fields={"notes": "plant stands still"})
    assert bench.run(str(bench.bundle(replace(release(), approvals=(said,)))), "--yes")[0] == 0
    assert any("role security" in each for each in records(bench.host)[0]["break_glass"])
    code, said_out = bench.text("audit")
    assert code == 0
    assert "BREAK-GLASS used instead of: 1 approval in role provenance" in said_out


def test_lost_ears_do_not_stop_an_install(tmp_path: Path) -> None:
    """A session that is gone leaves a stderr that nobody reads; what goes on has to go on."""
    script = f"""
import os, sys
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
sys.path.insert(0, {str(TOP)!r})
from pathlib import Path
from dataclasses import replace
from installer.shared.command.console import Console
from tests.rig.chatd import ONE
from tests.rig.releases import context, install
from installer.host.system import System
within = replace(context(System({str(tmp_path)!r})), progress=Console("install").progress())
install(within, ONE)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode in (0, 120)  # 120: Python could not flush stderr at its end
    assert (tmp_path / "opt/d").read_bytes() == b"one"
    assert status.product_status(context(System(tmp_path))).unfinished == ""
