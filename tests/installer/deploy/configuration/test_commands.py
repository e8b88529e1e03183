"""Commands of configuration files, with real programs: once the files are in place, and again once undone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.errors import NotUndoneError, RolledBackError
from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import HealthCheck
from installer.deploy.configuration.operations import HANDLERS
from installer.host.context import Context
from installer.planning.plan_text import plan_text
from tests.rig.faulty import Killed
from tests.rig.livedir import LiveDir, configured, shell, with_members
from tests.rig.releases import (
    Member,
    Notes,
    ReleaseSpec,
    context,
    install,
    plan_for,
    recovered,
    remove,
    roll_back,
    root,
)

pytestmark = pytest.mark.host(system=LiveDir, directories=("etc",))
TAKE = 'test -e "$HOST/broken" && { echo cannot take it; exit 5; }; cat "$HOST/etc/web.conf" >> "$HOST/taken"'
COMMAND = OnChange(command=shell(TAKE))
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)


def numbered(number: int, **more: object) -> ReleaseSpec:
    return configured(f"{number}.0.0", number, f"{number}\n", on_change=COMMAND, **more)  # type: ignore[arg-type]


def taken(host: Context) -> list[str]:
    """Return what the command saw in the file, each time."""
    path = root(host) / "taken"
    return path.read_text().splitlines() if path.exists() else []


def test_the_command_runs_once_the_new_file_is_in_place(host: Context) -> None:
    install(host, numbered(1))
    install(host, numbered(2))
    assert taken(host) == ["1", "2"]


def test_the_command_does_not_run_if_the_file_does_not_change(host: Context) -> None:
    install(host, numbered(1))
    same = replace(numbered(1), version="2.0.0", sequence=2)
    install(host, same)
    assert taken(host) == ["1"]


def test_a_rollback_is_a_change_too(host: Context) -> None:
    install(host, numbered(1))
    install(host, numbered(2))
    roll_back(host)
    assert taken(host) == ["1", "2", "1"]


def test_a_command_that_fails_undoes_everything_and_runs_again_with_the_old_file(host: Context) -> None:
    install(host, numbered(1))
    fails = OnChange(
        command=shell('cat "$HOST/etc/web.conf" >> "$HOST/taken"; grep -q 1 "$HOST/etc/web.conf"')
    )
    with pytest.raises(RolledBackError, match=r"sh -c .*: exit status 1: no output") as caught:
        install(host, configured("2.0.0", 2, "2\n", on_change=fails))
    assert caught.value.cause == "script"
    assert (root(host) / "etc/web.conf").read_text() == "1\n"
    assert taken(host) == ["1", "2", "1"]


def test_what_a_command_prints_is_told_if_it_fails_and_if_its_undo_fails(host: Context) -> None:
    install(host, numbered(1))
    (root(host) / "broken").touch()
    with pytest.raises(NotUndoneError, match="cannot take it"):
        install(host, numbered(2))
    (root(host) / "broken").unlink()
    assert [each.outcome for each in recovered(host)] == ["undone"]
    assert taken(host) == ["1", "1"]


def test_a_command_that_cannot_do_without_its_file_keeps_nothing_from_going(host: Context) -> None:
    (root(host) / "broken").touch()
    with pytest.raises(RolledBackError, match="cannot take it"):
        install(host, numbered(1))
    (root(host) / "broken").unlink()
    install(host, numbered(1))
    remove(host)
    assert not (root(host) / "etc/web.conf").exists()
    assert isinstance(host.progress, Notes)
    assert "No such file or directory (going on: its configuration is gone)" in host.progress.lines[-1]


def test_a_command_that_hangs_is_killed_and_undone_when_its_time_is_over(host: Context) -> None:
    hangs = OnChange(command=shell('test -e "$HOST/etc/web.conf" || exit 0; sleep 60'))
    with pytest.raises(RolledBackError) as caught:
        install(host, configured("1.0.0", 1, "1\n", on_change=hangs, timeout=1))
    assert caught.value.cause == "timeout"
    assert not (root(host) / "etc/web.conf").exists()


def test_a_command_of_several_files_has_the_longest_time_that_one_of_them_says(host: Context) -> None:
    def seconds(*timeouts: int) -> list[int]:
        first, *others = timeouts
        members = {
            f"config/{number}.conf": Member(
                b"x", f"/etc/{number}.conf", kind="template", on_change=COMMAND, timeout=each
            )
            for number, each in enumerate(others)
        }
        spec = configured("1.0.0", 1, "x", on_change=COMMAND, timeout=first)
        (act,) = plan_for(host, with_members(spec, members)).as_json()["on_change"]
        return [act["timeout"]]

    assert [seconds(0), seconds(5), seconds(5, 0), seconds(90, 600, 5)] == [[60], [5], [60], [600]]


def test_a_command_in_a_journal_of_a_version_without_time_limits_runs(host: Context) -> None:
    host = replace(host, transaction="1")
    args = {"commands": [{"words": ["touch", str(root(host) / "ran")], "fresh": False, "ended": False}]}
    handler = HANDLERS["on_change.commands"]
    handler.do(host, args, handler.observe(host, args))
    assert (root(host) / "ran").exists()


def test_a_release_that_is_not_healthy_lets_the_command_see_the_old_file_again(host: Context) -> None:
    install(host, numbered(1))
    with pytest.raises(RolledBackError):
        install(host, replace(numbered(2), health=SICK))
    assert taken(host) == ["1", "2", "1"]


def test_a_command_that_never_began_is_not_run_by_the_way_back(host: Context) -> None:
    install(host, numbered(1))

    class NoLink(LiveDir):
        def rename(self, source: str, target: str) -> None:
            if target.endswith("/current"):
                raise OSError(5, "Input/output error")
            super().rename(source, target)

    with pytest.raises(RolledBackError):
        install(context(NoLink(root(host))), numbered(2))
    assert taken(host) == ["1"]


def test_a_kill_in_the_command_is_undone_by_the_next_command_line(host: Context) -> None:
    install(host, numbered(1))

    class Dying(LiveDir):
        def run(self, *args: object, **words: object) -> object:  # type: ignore[override]
            super().run(*args, **words)  # type: ignore[arg-type]
            self._die()

    with pytest.raises(Killed):
        install(context(Dying(root(host))), numbered(2))
    assert taken(host) == ["1", "2"]
    assert [each.outcome for each in recovered(host)] == ["undone"]
    assert taken(host) == ["1", "2", "1"]


def test_a_secret_that_a_command_prints_is_in_no_error_log_and_journal(host: Context) -> None:
    place = root(host) / "etc/waybill/lan-chat"
    for name, text in (("secrets/db", "hunter2hunter2"), ("values.yaml", "db: secret://file/db\n")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
        (place / name).chmod(0o600)
    fails = OnChange(command=shell('cat "$HOST/etc/web.conf" >&2; cat "$HOST/etc/web.conf"; exit 1'))
    defaults = Member(b"db: ''\n", kind="values")
    spec = with_members(
        configured("1.0.0", 1, "{{ db }}\n", on_change=fails), {"config/values.yaml": defaults}
    )
    with pytest.raises(RolledBackError) as caught:
        install(host, replace(spec, values="config/values.yaml"))
    assert "exit status 1: ***" in str(caught.value)
    assert isinstance(host.progress, Notes)
    assert "hunter2" not in f"{caught.value}{caught.value.problems}{host.progress.lines}"
    kept = [path for path in root(host).rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert kept == [place / "secrets/db"]


PROGRAM = Member(b'#!/bin/sh\ncat "$HOST/etc/web.conf" >> "$HOST/taken"\n', "/opt/take", 0o755)


class Tools(LiveDir):
    """Finds programs that the release installs, below its directory."""

    def which(self, tool: str) -> str | None:
        path = root(context(self)) / tool[1:]
        return str(path) if path.exists() else super().which(tool)

    def run(self, argv, **words):  # type: ignore[no-untyped-def]
        return super().run([self.which(argv[0]) or argv[0], *argv[1:]], **words)


@pytest.mark.host(system=Tools, directories=("etc",))
def test_a_program_that_comes_with_the_release_runs_and_is_missed_by_nobody_when_it_goes(
    host: Context,
) -> None:
    own = OnChange(command=("/opt/take",))
    spec = with_members(configured("1.0.0", 1, "1\n", on_change=own), {"bin/linux-amd64/take": PROGRAM})
    with pytest.raises(RolledBackError):
        install(host, replace(spec, health=SICK))
    assert taken(host) == ["1"]
    install(host, spec)
    assert taken(host) == ["1", "1"]
    remove(host)
    assert taken(host) == ["1", "1"]


def test_a_program_of_the_host_that_is_gone_by_now_keeps_no_release_from_going(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(host, numbered(1))
    monkeypatch.setattr(host.system, "which", lambda tool: None)
    remove(host)
    assert taken(host) == ["1"]


def test_removing_the_release_runs_the_command_once_the_file_is_gone(host: Context) -> None:
    gone = OnChange(command=shell('ls "$HOST/etc" > "$HOST/listed"'))
    install(host, configured("1.0.0", 1, "1\n", on_change=gone))
    assert "web.conf" in (root(host) / "listed").read_text()
    remove(host)
    assert "web.conf" not in (root(host) / "listed").read_text()


def test_the_plan_names_the_command_with_the_file_and_json_has_it(host: Context) -> None:
    spec = configured("1.0.0", 1, "1\n", on_change=OnChange(command=("true", "a b")))
    plan = plan_for(host, spec)
    assert "once the configuration has changed:\n  ~ run true 'a b' (/etc/web.conf changed)" in plan_text(
        plan
    )
    (act,) = plan.as_json()["on_change"]
    assert act.pop("timeout") == 60
    assert act == {
        "does": "command", "unit": None, "command": ["true", "a b"], "because": ["/etc/web.conf"],
    }  # fmt: skip


def test_a_command_that_is_not_there_is_told_by_the_plan(host: Context) -> None:
    spec = configured("1.0.0", 1, "1\n", on_change=OnChange(command=("no-such-program",)))
    (problem,) = plan_for(host, spec).problems
    assert (problem.where, problem.what) == ("no-such-program", "is not on this host, or cannot be executed")


@pytest.mark.host(directories=("etc",))
def test_below_a_root_no_command_runs_and_the_plan_says_so(host: Context) -> None:
    plan = plan_for(host, numbered(1))
    assert not [op for op in plan.operations if op.kind.startswith("on_change")]
    assert any(note.startswith("not done with --root: run sh -c") for note in plan.notes)
    install(host, numbered(1))
    assert taken(host) == []


def test_where_systemd_does_not_run_no_unit_is_told_and_the_plan_says_so(host: Context) -> None:
    spec = configured("1.0.0", 1, "1\n", on_change=OnChange(reload="nginx.service"))
    assert "not done, since systemd does not run here: reload nginx.service" in plan_for(host, spec).notes
    install(host, spec)
