"""Salt and the journal agree after a kill, a failure or a hang at each run that changes something."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from tests.rig.faulty import Killed
from tests.rig.needs import needs
from tests.rig.releases import context, install, recovered, remove, root
from tests.rig.salted import HALF, INIT, ONLY, States, WithSalt, stated
from tests.rig.salted import UNDO as UNDO_STATE
from tests.rig.share import EVERYTHING

DIES = "it dies here:\n  cmd.run:\n    - name: kill -9 $PPID\n"
ONCE = """\
it dies here once:
  cmd.run:
    - name: test -e {{ root }}/died || { touch {{ root }}/died; kill -9 $PPID; }
"""
FAULTS = ("kill before", "kill half", "kill after", "fail", "hang")
# In `make test` each fault once; the rest of the product with `make faults`.
UPGRADES = list(zip(FAULTS, (True, True, False, False, True), strict=True))
FIRST, UNDO, REMOVAL = ["kill half"], ["kill after"], ["kill half"]
FORWARD = ["kill half"]
if EVERYTHING:
    UPGRADES = list(product(FAULTS, (True, False)))
    FIRST = REMOVAL = list(FAULTS)
    FORWARD = ["kill before", "kill half", "kill after"]
    UNDO = [fault for fault in FAULTS if fault != "kill half"]  # the old states were applied without it


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host with the first release, which each test copies."""
    needs("salt")
    top = tmp_path_factory.mktemp("salt") / "host"
    top.mkdir()
    install(context(WithSalt(top)), stated(1), ONLY)
    return top


@pytest.fixture
def host(installed: Path, tmp_path: Path) -> Context:
    shutil.copytree(installed, tmp_path / "host", symlinks=True)
    return context(WithSalt(tmp_path / "host"))


def faulty(within: Context, fault: str, nth: int = 1) -> Context:
    """The same host, on which the nth run that changes something goes wrong."""
    return context(WithSalt(root(within), nth, "kill after" if fault == "kill half" else fault))


def init(fault: str) -> str:
    """Half way Salt ends itself, and the installer with it."""
    return HALF if fault == "kill half" else INIT


def again(within: Context) -> None:
    """Recover twice, as the next two commands do: the second finds nothing."""
    recovered(context(WithSalt(root(within))))
    assert recovered(context(WithSalt(root(within)))) == []
    assert not list(Path("/dev/shm").glob(f".waybill.run-{os.getpid()}-*"))


def state(within: Context) -> tuple[str, str, str]:
    """Return what the states, the files and the journal say is installed; empty for nothing."""
    paths = ("srv/level", "etc/f", "var/lib/waybill/lan-chat/current")
    level, file, current = (root(within) / path for path in paths)
    return (
        level.read_text().split(".")[0] if level.exists() else "",
        file.read_text() if file.exists() else "",
        current.readlink().name.split("-")[0] if current.is_symlink() else "",
    )


@pytest.mark.parametrize(("fault", "has_undo"), UPGRADES)
def test_an_upgrade_that_goes_wrong_leaves_the_release_from_before(
    host: Context, fault: str, has_undo: bool
) -> None:
    spec = stated(2, States(init(fault), UNDO_STATE if has_undo else ""))
    with pytest.raises(Killed if fault.startswith("kill") else RolledBackError):
        install(faulty(host, fault), spec, ONLY)
    again(host)
    assert state(host) == ("1", "1", "1")


@pytest.mark.parametrize("fault", FIRST)
def test_a_first_installation_that_goes_wrong_leaves_nothing(tmp_path: Path, fault: str) -> None:
    needs("salt")
    within = context(WithSalt(tmp_path))
    with pytest.raises(Killed if fault.startswith("kill") else RolledBackError):
        install(faulty(within, fault), stated(1, States(init(fault))), ONLY)
    again(within)
    assert state(within) == ("", "", "")


@pytest.mark.parametrize("fault", FORWARD)
def test_a_first_installation_without_a_state_to_undo_it_is_completed(tmp_path: Path, fault: str) -> None:
    needs("salt")
    within = context(WithSalt(tmp_path))
    # It dies the first time only, as a power cut does.
    once = INIT.replace("{{ root }}/srv/login:", ONCE + "{{ root }}/srv/login:")
    with pytest.raises(Killed):
        install(faulty(within, fault), stated(1, States(once if fault == "kill half" else INIT, "")), ONLY)
    again(within)
    assert state(within) == ("1", "1", "1")
    assert (tmp_path / "srv/login").exists()


@pytest.mark.parametrize("fault", UNDO)
def test_an_undo_that_goes_wrong_is_completed_by_the_next_command(host: Context, fault: str) -> None:
    with pytest.raises(Killed):
        install(faulty(host, "kill after"), stated(2), ONLY)
    # The first run of the recovery undoes the new states, the second one applies the old ones.
    with pytest.raises(Killed) if fault.startswith("kill") else nullcontext():
        recovered(faulty(host, fault, 2))
    again(host)
    assert state(host) == ("1", "1", "1")


@pytest.mark.parametrize("fault", REMOVAL)
def test_a_removal_that_goes_wrong_leaves_the_release(host: Context, fault: str) -> None:
    if fault == "kill half":
        install(host, stated(2, States(undo=UNDO_STATE + DIES)), ONLY)
    before = state(host)
    with pytest.raises(Killed if fault.startswith("kill") else RolledBackError):
        remove(faulty(host, fault))
    if fault == "kill half":
        assert state(host)[0] == ""
    again(host)
    assert state(host) == before
