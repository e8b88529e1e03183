"""Playbooks and the journal agree after a kill, a failure or a hang at each run of real Ansible.

One host and its plans are made once; each case begins on a copy of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.host.private_copy import memory_place
from installer.host.system import Completed
from installer.planning.plan import Plan
from installer.planning.planner import plan_remove
from installer.shared.child import process
from tests.rig.faulty import Killed
from tests.rig.playbooks import WRITE, OnDirectory, Parts, copied, playbook, settings, with_ansible
from tests.rig.releases import context, install, plan_for, recovered, root
from tests.rig.share import EVERYTHING

# Runs until it is killed, in a session of its own; only while the host has the file `hold`.
HOLD = """\
    - name: hold
      ansible.builtin.command:
        argv: [sh, -c, "echo $$ > {{ waybill.root }}/pid; exec sleep 1000"]
      when: (waybill.root ~ '/hold') is exists
"""
KILLS = ("kill before", "kill half", "kill after")
FAULTS = (*KILLS, "fail", "hang")
UPGRADES = FAULTS
FIRSTS = FAULTS if EVERYTHING else ("kill half", "fail")
FORWARDS = KILLS if EVERYTHING else ("kill half",)
UNDOS = KILLS if EVERYTHING else ("kill half",)


class Faulty(OnDirectory):
    """The same host, on which one run of a playbook goes wrong, once.

    Args:
        root: The directory.
        name: The name of the playbook.
        fault: `kill before`, `kill half` (the installer dies while a task runs, and nothing can end what
            Ansible started), `kill after`, `fail` or `hang`.
    """

    def __init__(self, root: Path, name: str, fault: str) -> None:
        super().__init__(root)
        self._name, self._fault = name, fault

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if not argv[-1].endswith(f"/{self._name}") or not self._fault:
            return super().run(argv, **options)
        fault, self._fault = self._fault, ""
        if fault == "fail":
            return Completed(tuple(argv), 2, b"", b"the rig refuses")
        if fault == "kill before":
            self._die()
        if fault == "kill after":
            super().run(argv, **options)
            self._die()
        hold = Path(self.root, "hold")
        hold.touch()
        try:
            heard = holding(
                Path(self.root, "pid"), options["heard"], self._die if fault == "kill half" else late
            )
            with real_clock():
                return super().run(argv, **{**options, "heard": heard})
        finally:
            hold.unlink()


def holding(pid: Path, told: Callable[[bytes], None], then: Callable[[], None]) -> Callable[[bytes], None]:
    """Return what hears the lines of a playbook, and does something once its task `hold` runs."""

    def heard(line: bytes) -> None:
        told(line)
        if b'"task": "hold"' in line and b'"event": "task"' in line:
            while not pid.exists() or not pid.read_text().strip():
                time.sleep(0.02)
            then()

    return heard


_ahead = [0.0]


def late() -> None:
    """Let the time of a run be up."""
    _ahead[0] = 1e6


@contextmanager
def real_clock() -> Iterator[None]:
    """Give the runs of programs a clock that `late` puts forward."""

    class Clock:
        monotonic = staticmethod(lambda: time.monotonic() + _ahead[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "time", Clock)
        yield
    _ahead[0] = 0.0


@dataclass(frozen=True)
class World:
    """Hosts to begin on, each with a plan."""

    upgrade: tuple[Path, Plan]
    first: tuple[Path, Plan]
    forward: tuple[Path, Plan]


def release(number: int, *, undo: bool = True) -> Any:
    parts = Parts(tasks=WRITE + HOLD) if undo else Parts(tasks=WRITE + HOLD, undo="")
    return playbook(number, parts)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    top = tmp_path_factory.mktemp("hosts")
    made = {name: with_ansible(top / name) for name in ("upgrade", "first", "forward")}
    install(made["upgrade"], release(1))
    specs = {"upgrade": release(2, undo=False), "first": release(1), "forward": release(1, undo=False)}
    return World(**{name: (root(each), plan_for(each, specs[name])) for name, each in made.items()})


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """End the task of a test that has failed."""
    yield
    if held(tmp_path / "host"):
        os.kill(int((tmp_path / "host/pid").read_text()), signal.SIGKILL)


def begin(start: tuple[Path, Plan], to: Path, name: str, fault: str) -> None:
    """Carry a plan out on a copy of its host, on which one run of a playbook goes wrong."""
    plan = start[1]
    assert plan.new
    within = context(Faulty(copied(start[0], to), name, fault))
    # What was staged with the plan is on the copy, too.
    within = replace(within, resume=plan.new.identity)
    with pytest.raises(Killed if fault.startswith("kill") else RolledBackError), exclusive(within):
        execute_plan(within, plan)
    if fault.startswith("kill"):
        # A real kill leaves the memory, too: here, that of a process that has ended.
        left().mkdir(exist_ok=True)
        (left() / "variables.json").write_text("{}")


def again(host: Path) -> Context:
    """Recover, as the next command does; nothing that was begun is left running."""
    within = context(OnDirectory(host))
    recovered(within)
    assert not held(host)
    assert not left().exists()
    return within


@cache
def left() -> Path:
    """Return where a run of a process that has ended would have had its secrets."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return Path(memory_place(), f".waybill.run-{ended.pid}-0123456789abcdef")


def held(host: Path) -> bool:
    """Return whether the task `hold` runs: a process that is ending has no memory any more."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return bool(Path(f"/proc/{int((host / 'pid').read_text())}/cmdline").read_bytes())
    return False


@pytest.mark.parametrize("fault", UPGRADES)
def test_an_upgrade_that_goes_wrong_leaves_the_settings_from_before(
    world: World, tmp_path: Path, fault: str
) -> None:
    begin(world.upgrade, tmp_path / "host", "site.yml", fault)
    if fault == "kill half":
        assert held(tmp_path / "host")
        assert settings(tmp_path / "host") == "level 2"
    again(tmp_path / "host")
    assert settings(tmp_path / "host") == "level 1"


@pytest.mark.parametrize("fault", FIRSTS)
def test_a_first_installation_that_goes_wrong_is_undone_by_its_undo_playbook(
    world: World, tmp_path: Path, fault: str
) -> None:
    begin(world.first, tmp_path / "host", "site.yml", fault)
    again(tmp_path / "host")
    assert settings(tmp_path / "host") == ""
    assert not (tmp_path / "host/var/lib/waybill/lan-chat/current").is_symlink()


@pytest.mark.parametrize("fault", FORWARDS)
def test_a_first_installation_without_an_undo_playbook_is_completed(
    world: World, tmp_path: Path, fault: str
) -> None:
    begin(world.forward, tmp_path / "host", "site.yml", fault)
    again(tmp_path / "host")
    assert settings(tmp_path / "host") == "level 1"
    assert (tmp_path / "host/var/lib/waybill/lan-chat/current").is_symlink()


@pytest.mark.parametrize("fault", UNDOS)
def test_an_undo_that_is_killed_is_completed_by_the_next_command(
    world: World, tmp_path: Path, fault: str
) -> None:
    host = tmp_path / "host"
    begin(world.upgrade, host, "site.yml", "kill before")
    (host / "settings").write_text("level 2\n")  # as half of a run would have left it
    with pytest.raises(Killed):
        recovered(context(Faulty(host, "site.yml", fault)))
    again(host)
    assert settings(host) == "level 1"


@pytest.mark.parametrize("fault", UNDOS)
def test_a_removal_that_is_killed_leaves_the_release(world: World, tmp_path: Path, fault: str) -> None:
    host = copied(world.upgrade[0], tmp_path / "host")
    within = context(Faulty(host, "undo.yml", fault if fault != "kill half" else "kill after"))
    with pytest.raises(Killed), exclusive(within) as (state, _):
        execute_plan(within, plan_remove(within, state))
    again(host)
    assert settings(host) == "level 1"
