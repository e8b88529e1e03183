"""What scripts and configuration management rely on: waits, time limits, repeated runs, exit codes."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from installer.core.format.manifest import SECTIONS, Deployment
from installer.host.layout import Layout
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench, newer, release
from tests.rig.trustworld import FILES, World

ONLY = ("--yes", "--only", "script")


def with_script(
    script: str, version: str = "1.5.0", sequence: int = 100_050_000_999, undo: str = "#!/bin/sh\n"
) -> World:
    """A release whose script runs on this machine, as `--only script` asks for."""
    files = {**FILES, "deploy/a": script.encode(), "deploy/undo": undo.encode()}
    files = dict(sorted(files.items(), key=lambda item: (SECTIONS.index(item[0].split("/")[0]), item[0])))
    executable = {"kind": "script", "mode": 0o755}
    plan = build.plan(
        files, room=512, rollback="docs/ROLLBACK.md", version=version, sequence=sequence,
        entries={"docs/a": {"install": "/opt/a"}, "deploy/a": executable, "deploy/undo": executable},
        deploy=(Deployment("script", {"apply": "deploy/a", "undo": "deploy/undo"}),),
    )  # fmt: skip
    return World(plan=plan, approvals=release().approvals)


@pytest.fixture
def running(bench: Bench) -> Bench:
    """A host on which 1.4.0 runs."""
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    return bench


def lock_file(bench: Bench) -> Path:
    return bench.host / Layout("lan-chat").lock[1:]


def released_at_the_first_pause(monkeypatch: pytest.MonkeyPatch, held: IO[bytes]) -> None:
    """Let the other install end as soon as this one has begun to wait for it."""
    pause = time.sleep

    def sleep(seconds: float) -> None:
        held.close()
        pause(seconds)

    monkeypatch.setattr("installer.host.lock.time.sleep", sleep)


def test_wait_ends_with_the_other_install(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock_file(running).open("rb")
    fcntl.flock(held, fcntl.LOCK_EX)
    code, document, _ = running.run(newer(running), "--yes")
    assert (code, document["code"]) == (16, "busy")
    assert "--wait SECONDS" in document.hint
    released_at_the_first_pause(monkeypatch, held)
    code, said = running.text(newer(running), "--yes", "--wait", "60")
    assert code == 0
    assert "waiting for up to 60 s" in said


@pytest.mark.parametrize("words", [("rollback", "--yes"), ("remove", "lan-chat", "--yes"), ("recover",)])
def test_every_command_that_takes_the_lock_can_wait(
    running: Bench, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if words[0] == "rollback":
        running.run(newer(running), "--yes")
    held = lock_file(running).open("rb")
    fcntl.flock(held, fcntl.LOCK_EX)
    released_at_the_first_pause(monkeypatch, held)
    assert running.run(*words, "--wait", "60")[0] == 0
    assert held.closed


def test_a_release_that_takes_too_long_is_rolled_back(running: Bench) -> None:
    bundle = str(running.bundle(with_script("#!/bin/sh\nsleep 60\n"), "slow.tar"))
    code, document, said = running.run("apply", bundle, *ONLY, "--timeout", "1")
    assert (code, document["code"]) == (20, "rolled-back")
    assert "the time limit of 1 s (--timeout) has passed" in said
    assert "1.4.0 is still installed" in said
    assert "with a longer --timeout, and with --retry-failed" in document.hint
    assert running.run("status")[1]["products"][0]["installed"]["version"] == "1.4.0"
    # What did not come up in time has failed.
    assert running.run("apply", bundle, *ONLY)[1]["code"] == "failed-before"


def test_a_time_limit_before_anything_was_changed_changes_nothing(
    running: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lock_file(running).open("rb")
    fcntl.flock(held, fcntl.LOCK_EX)
    code, document, _ = running.run(newer(running), "--yes", "--wait", "600", "--timeout", "1")
    held.close()
    assert (code, document["code"]) == (20, "rolled-back")
    assert document.what == "the time limit of 1 s (--timeout) has passed before the release was begun"
    assert document["changed"] is False
    code, document, _ = running.run("audit")
    assert [(each["event"], each.get("exit")) for each in document["records"]][-1] == ("refused", 20)
    # It did not fail: it was not tried.
    assert running.run(newer(running), "--yes")[0] == 0


def kill_upgrade(bench: Bench, undo: str) -> None:
    """Begin an upgrade that is killed by its own script, so that the next command has to undo it."""
    bundle = str(bench.bundle(with_script("#!/bin/sh\nkill -9 $PPID\nsleep 1\n", undo=undo), "killed.tar"))
    code = (
        "import installer.commands.common.session as session; from tests.rig.trustworld import NOW; "
        "session.utc_now = lambda: NOW; from installer.cli.main import main; main()"
    )
    words = [sys.executable, "-c", code, "apply", bundle, *ONLY, "--root", str(bench.host)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL


def test_a_time_limit_that_passes_in_a_recovery_does_not_hide_what_was_recovered(running: Bench) -> None:
    kill_upgrade(running, undo="#!/bin/sh\nsleep 2\n")
    code, document, said = running.run(newer(running), "--yes", "--timeout", "1")
    assert (code, document["cause"], document["changed"]) == (20, "timeout", True)
    assert "was interrupted and is now undone: 1.4.0 is installed, as before" in said
    assert [each["what"] for each in document["warnings"]] == [
        "transaction 000002 was interrupted and is now undone: 1.4.0 is installed, as before"
    ]


def test_remove_says_what_it_recovered_first(running: Bench) -> None:
    kill_upgrade(running, undo="#!/bin/sh\n")
    code, document, said = running.run("remove", "lan-chat", "--yes")
    assert (code, document["changed"]) == (0, True)
    assert "was interrupted and is now undone: 1.4.0 is installed, as before" in said
    # Where nothing is left to be removed, what was recovered is a change all the same.
    kill_upgrade(running, undo="#!/bin/sh\n")
    code, document, said = running.run("remove", "lan-chat", "--yes")
    assert (code, document["changed"]) == (0, True)
    assert len(document["warnings"]) == 1


def test_a_release_that_failed_is_not_applied_again(running: Bench, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f"#!/bin/sh\necho run >> {runs}\n[ -e {tmp_path}/mended ]\n"
    bundle = str(running.bundle(with_script(script), "bad.tar"))
    assert running.run("apply", bundle, *ONLY)[0] == 20
    count = runs.read_text().count("run")
    # A timer comes again: nothing runs, and the answer says why and what to do.
    code, document, _ = running.run("apply", bundle, *ONLY)
    assert (code, document["code"]) == (15, "failed-before")
    assert "failed on this host on " in document.what
    assert "--retry-failed" in document.hint
    assert runs.read_text().count("run") == count
    code, document, _ = running.run("plan", bundle, "--only", "script", "--exit-code")
    assert code == 15
    assert any("--retry-failed" in (each["hint"] or "") for each in document["problems"])
    assert "FAILED     1.5.0 on " in running.text("status")[1]
    assert running.run("status")[1]["products"][0]["failed"]["cause"] == "script"
    # Repaired, and asked for: it is applied, and the failure is history.
    (tmp_path / "mended").touch()
    assert running.run("plan", bundle, "--only", "script", "--retry-failed", "--exit-code")[0] == 3
    assert running.run("apply", bundle, *ONLY, "--retry-failed")[0] == 0
    assert running.run("apply", bundle, *ONLY)[0] == 0
    assert running.run("status")[1]["products"][0]["failed"] is None


def test_another_release_is_applied_after_a_failure(running: Bench) -> None:
    bad = str(running.bundle(with_script("#!/bin/sh\nexit 1\n"), "bad.tar"))
    assert running.run("apply", bad, *ONLY)[0] == 20
    good = str(running.bundle(with_script("#!/bin/sh\n", "1.5.1", 100_050_001_999), "good.tar"))
    assert running.run("apply", good, *ONLY)[0] == 0


def test_an_interrupted_release_is_tried_again(running: Bench) -> None:
    # The script ends the installer once, as a shutdown of the host would.
    marker = running.stick / "ended"
    script = f"#!/bin/sh\n[ -e {marker} ] || {{ touch {marker}; kill -TERM $PPID; sleep 20; }}\n"
    bundle = str(running.bundle(with_script(script), "ended.tar"))
    assert running.run("apply", bundle, *ONLY)[0] == 20
    assert running.run("apply", bundle, *ONLY)[0] == 0


def test_rows_of_older_versions_keep_no_release_back(running: Bench) -> None:
    bad = str(running.bundle(with_script("#!/bin/sh\nexit 1\n"), "bad.tar"))
    assert running.run("apply", bad, *ONLY)[0] == 20
    history = running.host / Layout("lan-chat").history[1:]
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    assert rows[-1].pop("cause") == "script"
    history.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    assert running.run("apply", bad, *ONLY)[0] == 20


def test_exit_code_3_says_that_a_plan_would_change_something(bench: Bench) -> None:
    bundle = str(bench.bundle(release()))
    assert bench.run("plan", bundle)[0] == 0
    assert bench.run("plan", bundle, "--exit-code")[0] == 3
    assert bench.run(bundle, "--yes")[0] == 0
    assert bench.run("plan", bundle, "--exit-code")[0] == 0


def test_exit_code_3_says_that_the_host_has_drifted(running: Bench) -> None:
    assert running.run("status", "--check")[0] == 0
    (running.host / "opt/a").write_text("edited\n")
    assert running.run("status")[0] == 0
    code, document, _ = running.run("status", "--check")
    assert code == 3
    assert document["products"][0]["drift"]


def test_exit_code_3_says_that_a_transaction_is_unfinished(running: Bench) -> None:
    kill_upgrade(running, undo="#!/bin/sh\n")
    code, document, _ = running.run("status", "--check")
    assert code == 3
    (product,) = document["products"]
    assert (product["drift"], "was interrupted" in product["unfinished"]) == ([], True)
    assert running.run("recover")[0] == 0
    assert running.run("status", "--check")[0] == 0


def test_a_misspelt_product_is_told_with_the_one_that_was_meant(running: Bench) -> None:
    for name, hint in (("lan-chta", "did you mean lan-chat?"), ("x", "products here: lan-chat")):
        code, document, _ = running.run("status", "--product", name)
        assert (code, document.hint) == (2, hint)


def test_nothing_installed_has_not_drifted(bench: Bench) -> None:
    assert bench.run("status", "--check")[0] == 0


def test_removing_what_is_not_there_is_done_already(bench: Bench) -> None:
    before = sorted(bench.host.rglob("*"))
    code, document, _ = bench.run("remove", "lan-chat", "--yes")
    assert (code, document["changed"], document["product"]) == (0, False, "lan-chat")
    assert sorted(bench.host.rglob("*")) == before
    code, said = bench.text("remove", "stauts", "--yes")
    assert (code, said.strip()) == (0, "stauts is not installed here; nothing to do")
    assert bench.run("remove", "../x", "--yes")[0] == 2


def refused_by_the_plan(bench: Bench) -> tuple[int, str]:
    foreign = bench.host / "opt/a"
    foreign.parent.mkdir()
    foreign.write_text("somebody's")
    return bench.text(str(bench.bundle(release())), "--yes")


def undone_at_once(bench: Bench) -> tuple[int, str]:
    return bench.text(str(bench.bundle(with_script("#!/bin/sh\nexit 1\n"))), *ONLY)


def without_a_trusted_signature(bench: Bench) -> tuple[int, str]:
    return bench.text(str(bench.bundle(replace(release(), signers=("Ops",)))), "--yes")


@pytest.mark.parametrize(
    ("attempt", "exit_code"),
    [(refused_by_the_plan, 15), (undone_at_once, 20), (without_a_trusted_signature, 10)],
)
@pytest.mark.parametrize("more", [(), ("--purge",)])
def test_removing_what_no_attempt_has_installed_is_done_already(
    bench: Bench, attempt: Callable[[Bench], tuple[int, str]], exit_code: int, more: tuple[str, ...]
) -> None:
    code, said = attempt(bench)
    assert code == exit_code, said
    assert bench.run("remove", "lan-chat", "--yes", *more)[0] == 0
    # What was staged for the next attempt goes, and is no change a second time.
    assert not list(bench.host.glob("var/lib/waybill/lan-chat/staging/*"))
    code, document, _ = bench.run("remove", "lan-chat", "--yes", *more)
    assert (code, document["changed"], document["code"]) == (0, False, None)
    code, said = bench.text("remove", "lan-chat", "--yes", *more)
    assert (code, said.strip()) == (0, "lan-chat is not installed here; nothing to do")


def test_a_second_removal_changes_nothing(running: Bench) -> None:
    assert running.run("remove", "lan-chat", "--yes")[1]["changed"] is True
    code, document, _ = running.run("remove", "lan-chat", "--yes")
    assert (code, document["changed"]) == (0, False)


def test_quiet_says_nothing_about_what_went_well(bench: Bench) -> None:
    bundle = str(bench.bundle(release()))
    assert bench.text("apply", bundle, "--yes", "--quiet") == (0, "")
    assert bench.text("--quiet", "status") == (0, "")
    # What is wrong, and what was asked for as a document, is said all the same.
    code, said = bench.text("apply", str(bench.stick / "none.tar"), "--quiet")
    assert code == 2
    assert "error: " in said
    assert bench.run("status", "--quiet")[1]["products"][0]["product"] == "lan-chat"
