"""Configuration files are checked by real programs before anything is changed; what is wrong is told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.core.errors import HostNotReadyError
from installer.core.limits import MIB
from installer.deploy.configuration import validation
from installer.host.context import Context
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.planning.plan_text import plan_text
from tests.rig.faulty import Killed, snapshot
from tests.rig.livedir import LiveDir, configured, shell, with_members
from tests.rig.releases import (
    STATE,
    Member,
    Notes,
    context,
    install,
    plan_for,
    planned,
    recovered,
    roll_back,
    root,
)

pytestmark = pytest.mark.host(system=LiveDir, directories=("etc",))
SEE = 'cp "$1" "$HOST/seen"; (stat -c "%a %n" "$1"; stat -c %a "$(dirname "$1")") > "$HOST/seen.as"'
GOOD = shell('grep -q good "$1" || { echo looked; echo no good line; exit 3; }', "{file}")


def ran(host: Context) -> list[tuple[str, ...]]:
    assert isinstance(host.system, LiveDir)
    return host.system.ran


def copies(host: Context) -> list[Path]:
    """Return the copies that were made for the programs."""
    return list((root(host) / STATE).glob("*/*/0/*/web.conf"))


def rejected(host: Context, text: str, *words: str, version: int = 1, timeout: int = 0) -> HostNotReadyError:
    """Install a release whose file is rejected, and require that nothing was changed."""
    before = snapshot(root(host), besides=("var", "seen"))
    release = configured(f"{version}.0.0", version, text, validate=words or GOOD, timeout=timeout)
    with pytest.raises(HostNotReadyError) as caught:
        install(host, release)
    assert snapshot(root(host), besides=("var", "seen")) == before
    assert not copies(host)
    assert caught.value.exit_code == 15
    return caught.value


def test_the_program_sees_the_final_bytes_under_the_name_of_the_file_for_root_only(host: Context) -> None:
    spec = configured("1.0.0", 1, "port {{ 1 + 1 }}\n", validate=shell(SEE, "{file}"))
    install(host, spec)
    assert (root(host) / "seen").read_bytes() == (root(host) / "etc/web.conf").read_bytes() == b"port 2\n"
    mode, name, directory = (root(host) / "seen.as").read_text().split()
    assert (mode, directory) == ("600", "700")
    assert name.endswith("/web.conf")
    assert not Path(name).exists()


def test_a_file_that_is_rejected_changes_nothing_and_the_reason_is_told(host: Context) -> None:
    error = rejected(host, "bad\n")
    assert "1.0.0: a configuration file was rejected" in error.what
    first, second = error.problems
    assert first.where == second.where == "/etc/web.conf"
    assert first.what == "is rejected: exit status 3: no good line"
    assert re.search(r"sh -c .* \{file\}$", first.hint)
    assert second.what == "looked"
    assert "nothing was changed" in error.hint


def test_the_running_release_is_untouched_by_one_that_is_rejected(host: Context) -> None:
    install(host, configured("1.0.0", 1, "good\n", validate=GOOD))
    rejected(host, "bad\n", version=2)
    assert (root(host) / "etc/web.conf").read_text() == "good\n"


def test_all_files_that_are_rejected_are_named_at_once(host: Context) -> None:
    other = Member(b"bad", "/etc/other.conf", kind="template", validate=GOOD)
    release = with_members(configured("1.0.0", 1, "bad\n", validate=GOOD), {"config/other.conf": other})
    with pytest.raises(HostNotReadyError, match="2 configuration files were rejected") as caught:
        install(host, release)
    assert {each.where for each in caught.value.problems} == {"/etc/web.conf", "/etc/other.conf"}


def test_the_path_of_the_copy_is_shown_as_that_of_the_file(host: Context) -> None:
    error = rejected(host, "x", *shell('echo "$1:3: syntax error" >&2; exit 1', "{file}"))
    assert error.problems[0].what == "is rejected: exit status 1: /etc/web.conf:3: syntax error"


def test_a_program_that_hangs_is_killed(host: Context) -> None:
    error = rejected(host, "x", *shell("echo started; sleep 60 & wait", "{file}"), timeout=1)
    assert error.problems[0].what == "could not be checked within 1 s"
    assert "started" in str(error)


@pytest.mark.parametrize(("timeout", "seconds"), [(0, 30), (300, 300)])
def test_a_check_has_the_time_that_its_file_says(host: Context, timeout: int, seconds: int) -> None:
    spec = configured("1.0.0", 1, "good\n", validate=GOOD, timeout=timeout)
    (check,) = plan_for(host, spec).as_json()["checks"]
    assert check["timeout"] == seconds


def test_a_program_that_takes_all_memory_is_ended_and_not_the_services_of_the_host(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MEMORY", 64 * MIB)
    error = rejected(host, "x", *shell("cat /proc/$$/oom_score_adj; tail /dev/zero 2>&1", "{file}"))
    assert "memory exhausted" in error.problems[0].what
    assert error.problems[1].what == "1000"


def test_a_program_that_kills_itself_is_a_rejection(host: Context) -> None:
    error = rejected(host, "x", *shell("kill -9 $$", "{file}"))
    assert error.problems[0].what == "is rejected: killed by signal 9: no output"


def test_a_program_that_prints_without_end_is_shown_by_its_last_lines(host: Context) -> None:
    text = "head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 100; echo; echo the end; exit 1"
    error = rejected(host, "x", *shell(text, "{file}"))
    assert error.problems[0].what == "is rejected: exit status 1: the end"
    assert len(error.problems) <= 1 + validation.LINES
    assert len(str(error)) < 10_000


def test_a_program_that_changes_its_file_has_not_checked_what_would_be_installed(host: Context) -> None:
    error = rejected(host, "x", *shell('echo more >> "$1"', "{file}"))
    assert error.problems[0].what == "was changed by the program that was to check it"


def test_a_secret_that_the_program_prints_is_hidden(host: Context) -> None:
    values = root(host) / "etc/waybill/lan-chat/values.yaml"
    values.parent.mkdir(parents=True)
    values.write_text("db_password: hunter2hunter2\n")
    values.chmod(0o600)
    spec = replace(
        configured("1.0.0", 1, "{{ db_password }}\n", validate=shell('cat "$1"; exit 1', "{file}")),
        values="config/values.yaml",
    )
    spec = with_members(spec, {"config/values.yaml": Member(b"db_password: changeme-now\n", kind="values")})
    with pytest.raises(HostNotReadyError) as caught:
        install(host, spec)
    assert "hunter2" not in str(caught.value)
    assert "***" in caught.value.problems[0].what


def test_programs_that_are_not_there_are_told_by_the_plan_with_all_other_problems(host: Context) -> None:
    (root(host) / "etc/plain").write_text("not a program\n")
    spec = configured("1.0.0", 1, "x", validate=("no-such-program", "{file}"))
    others = {
        "config/b.conf": Member(b"x", "/etc/b.conf", kind="template", validate=("/no/such", "{file}")),
        "config/c.conf": Member(b"x", "/etc/c.conf", kind="template", validate=("/etc/plain", "{file}")),
        "config/d.conf": Member(b"x", "/etc/d.conf", kind="template", owner="nobody-such:nobody-such"),
    }
    plan = plan_for(host, with_members(spec, others))
    found = {problem.where: problem.what for problem in plan.problems}
    assert "is not on this host, but /etc/web.conf" in found["no-such-program"]
    assert "is not on this host, but /etc/b.conf" in found["/no/such"]
    assert "cannot be executed, but /etc/c.conf" in found["/etc/plain"]
    assert "/etc/d.conf" in found
    assert ran(host) == []


def test_the_plan_says_who_will_check_and_runs_nothing(host: Context) -> None:
    plan = plan_for(host, configured("1.0.0", 1, "bad", validate=("grep", "-q", "good", "{file}")))
    assert "checked before anything is changed:\n  /etc/web.conf by grep -q good {file}" in plan_text(plan)
    assert plan.as_json()["checks"] == [
        {"path": "/etc/web.conf", "command": ["grep", "-q", "good", "{file}"], "timeout": 30}
    ]
    assert ran(host) == []


def test_only_files_whose_content_changes_are_checked(host: Context) -> None:
    install(host, configured("1.0.0", 1, "good\n", validate=GOOD))
    count = len(ran(host))
    install(host, configured("2.0.0", 2, "good\n", validate=shell("exit 1", "{file}")))
    assert len(ran(host)) == count
    assert plan_for(host, configured("3.0.0", 3, "good 3\n", validate=GOOD)).effects.checks


def test_a_file_of_which_only_the_mode_changes_is_not_checked(host: Context) -> None:
    spec = configured("1.0.0", 1, "same\n")
    install(host, spec)
    file = replace(spec.members["config/web.conf"], mode=0o600, validate=shell("exit 1", "{file}"))
    install(host, configured("2.0.0", 2, "", **{"config/web.conf": file}))
    assert (root(host) / "etc/web.conf").stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_edited_and_is_put_back_is_checked(host: Context) -> None:
    spec = configured("1.0.0", 1, "good\n", validate=GOOD)
    install(host, spec)
    (root(host) / "etc/web.conf").write_text("edited\n")
    policy = Options(drift=Policy("replace"))
    assert [check.item.path for check in plan_for(host, spec, policy).effects.checks] == ["/etc/web.conf"]


def test_a_version_that_is_written_next_to_an_edited_file_is_not_in_force_and_not_checked(
    host: Context,
) -> None:
    install(host, configured("1.0.0", 1, "good\n", validate=GOOD))
    (root(host) / "etc/web.conf").write_text("edited\n")
    spec = configured("2.0.0", 2, "bad\n", validate=GOOD)
    plan = plan_for(host, spec, Options(drift=Policy("keep")))
    assert plan.effects.checks == ()
    assert plan.problems == ()


def test_a_rollback_checks_what_comes_back(host: Context) -> None:
    install(host, configured("1.0.0", 1, "one\n", validate=shell('! test -e "$HOST/refuse"', "{file}")))
    install(host, configured("2.0.0", 2, "two\n"))
    (root(host) / "refuse").touch()
    with pytest.raises(HostNotReadyError, match="rejected"):
        roll_back(host)
    assert (root(host) / "etc/web.conf").read_text() == "two\n"
    (root(host) / "refuse").unlink()
    roll_back(host)
    assert (root(host) / "etc/web.conf").read_text() == "one\n"


CHECKER = b'#!/bin/sh\necho "$0" > "$HOST/checker"\ngrep -q new "$2"\n'


@pytest.mark.parametrize("kind", ["binary", "tree"])
def test_a_program_of_the_release_checks_before_it_is_installed(host: Context, kind: str) -> None:
    path = {"binary": "bin/linux-amd64/check", "tree": "trees/app/check"}[kind]
    old = Member(b"#!/bin/sh\nexit 9\n", "/opt/check", 0o755, kind)
    new = Member(CHECKER, "/opt/check", 0o755, kind)
    words = ("/opt/check", "--file", "{file}")
    install(host, with_members(configured("1.0.0", 1, "old"), {path: old}))
    install(host, with_members(configured("2.0.0", 2, "new", validate=words), {path: new}))
    used = (root(host) / "checker").read_text().strip()
    assert re.search(r"/\.run-[0-9a-f-]+/" + path, used)
    assert not Path(used).exists()


def test_a_program_of_the_release_that_cannot_be_executed_is_told_by_the_plan(host: Context) -> None:
    program = Member(b"x", "/opt/check", 0o644)
    spec = configured("1.0.0", 1, "x", validate=("/opt/check", "{file}"))
    (problem,) = plan_for(host, with_members(spec, {"bin/linux-amd64/check": program})).problems
    assert (problem.where, "is not executable" in problem.what) == ("bin/linux-amd64/check", True)


def test_a_kill_during_the_check_leaves_nothing_after_the_next_command(host: Context) -> None:
    class Dying(LiveDir):
        def run(self, *args: object, **words: object) -> object:
            self._die()

    dying = context(Dying(root(host)))
    with pytest.raises(Killed):
        install(dying, configured("1.0.0", 1, "secret text\n", validate=GOOD))
    assert copies(host)
    assert [each.outcome for each in recovered(host)] == ["unstaged"]
    assert not copies(host)


@pytest.mark.host(directories=("etc",))
def test_below_a_root_nothing_is_run_and_the_plan_says_so(host: Context) -> None:
    spec = configured("1.0.0", 1, "bad\n", validate=GOOD)
    with planned(host, spec) as plan:
        assert plan.effects.checks == ()
        assert any(note.startswith("not checked with --root: /etc/web.conf by sh") for note in plan.notes)
        execute_plan(host, plan)
    assert (root(host) / "etc/web.conf").read_text() == "bad\n"


def test_people_see_which_file_is_being_checked(host: Context) -> None:
    install(host, configured("1.0.0", 1, "good\n", validate=GOOD))
    assert isinstance(host.progress, Notes)
    assert "checking /etc/web.conf" in host.progress.lines
