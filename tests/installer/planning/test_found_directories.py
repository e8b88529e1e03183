"""A directory that was there before the product is the operator's: it keeps its mode, owner and place."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.status import product_status
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import DirectoryEntry
from installer.host.context import Context
from installer.host.host import Seen
from installer.planning import plan_text
from installer.planning.changes import Changes
from installer.planning.directory_changes import change, leave, with_origin
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.state.release import Installed
from tests.rig.faulty import FaultySystem, Refusing, snapshot
from tests.rig.needs import needs
from tests.rig.releases import (
    Member,
    ReleaseSpec,
    context,
    install,
    plan_for,
    planned,
    remove,
    roll_back,
    root,
)

pytestmark = pytest.mark.host(system=FaultySystem)
REPLACE, KEEP = Options(drift=Policy("replace")), Options(drift=Policy("keep"))
DATA = "/srv/chat-data"


def with_directory(
    version: str = "1.0.0", mode: int | None = 0o700, path: str = DATA, file: str = "/opt/x"
) -> ReleaseSpec:
    directories = (DirectoryEntry("trees/t/d", mode, path),) if mode is not None else ()
    members = {"docs/x": Member(version.encode(), file)}
    return ReleaseSpec(version, int(version[0]), members, directories=directories)


@pytest.fixture
def data(host: Context) -> Path:
    """A directory of the operator."""
    path = root(host) / DATA[1:]
    path.mkdir(parents=True)
    path.chmod(0o755)
    return path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.needs("root")
def test_by_default_another_mode_is_refused_with_the_remedies(host: Context, data: Path) -> None:
    before = snapshot(root(host), besides=("var",))
    with planned(host, with_directory()) as plan, pytest.raises(HostNotReadyError) as raised:
        execute_plan(host, plan)
    (problem,) = raised.value.problems
    assert str(problem) == (
        f"{DATA}: was there before this product and has mode 0755, not 0700\n"
        f"  hint: set it yourself: `chown 0:0 {DATA} && chmod 0700 {DATA}`; to leave it as it is: --on-drift "
        f"keep:{DATA}; to let the release change it: --on-drift replace:{DATA}"
    )
    assert snapshot(root(host), besides=("var",)) == before


def test_a_kept_directory_stays_as_it_is_and_is_no_drift(host: Context, data: Path) -> None:
    install(host, with_directory(), KEEP)
    assert mode(data) == 0o755
    found = product_status(host)
    assert found.drift == ()
    assert [each.path for each in found.edited] == [DATA]
    assert not install(host, with_directory()).changed
    install(host, with_directory("2.0.0"))  # the release wants the same as before
    assert mode(data) == 0o755
    assert [problem.where for problem in plan_for(host, with_directory("3.0.0", 0o750)).problems] == [DATA]
    remove(host)
    assert mode(data) == 0o755


@pytest.mark.needs("root")
def test_a_replaced_directory_is_changed_and_the_removal_changes_it_back(host: Context, data: Path) -> None:
    with planned(host, with_directory(), REPLACE) as plan:
        text = plan_text.plan_text(plan)
        assert f"  ~ {DATA}  mode and owner 0755 0:0 → 0700 0:0\n" in text
        assert f"{DATA} has mode 0755, not 0700: changed; removing the product changes it back" in text
        (row,) = [each for each in plan.as_json()["files"] if each["path"] == DATA]
        assert (row["before"], row["after"]) == ("0755 0:0", "0700 0:0")
        execute_plan(host, plan)
    assert mode(data) == 0o700
    assert not install(host, with_directory()).changed
    done = remove(host)
    assert mode(data) == 0o755
    assert done.removal is not None
    assert f"stays  {DATA}: was there before this product" in done.removal.text()
    assert done.removal.exit_code == 0


def test_a_later_release_that_does_not_want_it_leaves_it_as_it_was(host: Context, data: Path) -> None:
    install(host, with_directory(), REPLACE)
    install(host, with_directory("2.0.0", None))
    assert mode(data) == 0o755
    roll_back(host, options=REPLACE)
    assert mode(data) == 0o700
    remove(host)
    assert mode(data) == 0o755


def test_a_directory_that_still_holds_a_file_goes_back_too(host: Context, data: Path) -> None:
    install(host, with_directory(file=f"{DATA}/x"), REPLACE)
    install(host, with_directory("2.0.0", None, file=f"{DATA}/x"))
    assert mode(data) == 0o755
    remove(host)
    assert data.is_dir()
    assert list(data.iterdir()) == []


def test_what_the_operator_changed_since_is_left_alone(host: Context, data: Path) -> None:
    install(host, with_directory(), REPLACE)
    data.chmod(0o711)
    remove(host)
    assert mode(data) == 0o711


@pytest.mark.parametrize("path", ["/srv", "/home", "/srv/chat-data"])
def test_an_empty_one_of_the_same_mode_is_not_removed(host: Context, path: str) -> None:
    there = root(host) / path[1:]
    there.mkdir(parents=True)
    there.chmod(0o755)
    install(host, with_directory(mode=0o755, path=path))
    done = remove(host)
    assert there.is_dir()
    assert done.removal is not None
    assert f"stays  {path}: was there before this product" in done.removal.text()


def test_a_directory_that_waybill_created_is_removed(host: Context) -> None:
    (root(host) / "srv").mkdir()
    install(host, with_directory())
    assert mode(root(host) / DATA[1:]) == 0o700
    remove(host)
    assert not (root(host) / DATA[1:]).exists()
    assert (root(host) / "srv").is_dir()


def test_a_directory_that_every_host_has_stays_even_without_a_record_of_it(host: Context) -> None:
    """Records of earlier versions list what was there before like what they created."""
    install(host, with_directory(mode=0o755, path="/srv"))  # made: the host had none
    done = remove(host)
    assert (root(host) / "srv").is_dir()
    assert done.removal is not None
    assert done.removal.exit_code == 0


def test_the_owner_of_a_found_directory_is_shown_and_restored(host: Context, data: Path) -> None:
    needs("root")
    os.chown(data, 1234, 1234)
    with planned(host, with_directory(mode=0o755), REPLACE) as plan:
        assert f"  ~ {DATA}  mode and owner 0755 1234:1234 → 0755 0:0\n" in plan_text.plan_text(plan)
        execute_plan(host, plan)
    assert data.stat().st_uid == 0
    remove(host)
    assert (data.stat().st_uid, data.stat().st_gid) == (1234, 1234)


def test_a_changed_directory_is_as_it_was_after_an_undo(host: Context, data: Path) -> None:
    failing = context(Refusing(root(host), "COMMIT", OSError(errno.EIO, "Input/output error")))
    with pytest.raises(RolledBackError):
        install(failing, with_directory(), REPLACE)
    assert mode(data) == 0o755


# -- by itself -----------------------------------------------------------------------------------------


def made(path: str, **fields: Any) -> Installed:
    return Installed(path, "dir", mode=0o755, uid=0, gid=0, **fields)


def test_what_every_host_has_was_there_before_and_else_the_record_tells() -> None:
    seen = Seen("dir", mode=0o755)
    assert with_origin(made("/data/x"), None, seen) == (made("/data/x", was="0755 0:0"), False)
    assert with_origin(made("/data/x"), made("/data/x"), seen) == (made("/data/x"), True)
    assert with_origin(made("/srv"), made("/srv"), seen) == (made("/srv", was="0755 0:0"), False)
    told = made("/srv", was="0700 0:0")
    assert with_origin(made("/srv"), told, seen) == (told, False)


def test_a_change_of_a_directory_names_owners_also_where_they_stay() -> None:
    found = change(made("/d"), Seen("dir", mode=0o700, uid=3, gid=4), replace(made("/d"), uid=-1, gid=-1))
    assert (found.before, found.after) == ("0700 3:4", "0755 3:4")
    found = change(made("/d"), Seen("dir", mode=0o700, uid=3, gid=4), made("/d"))
    assert (found.before, found.after) == ("0700 3:4", "0755 0:0")


def left(host: Context, item: Installed) -> Changes:
    changes = Changes()
    leave(host.system, changes, item, "")
    return changes


def test_what_waybill_created_goes_when_it_is_empty(host: Context) -> None:
    assert left(host, made("/data/x", origin="trees/x")).prune == ["/data/x"]
    # Whoever had no /srv has one that holds files of the release only.
    assert left(host, made("/srv")).prune == ["/srv"]
    assert left(host, made("/srv", origin="trees/x")).prune == []
    assert left(host, made("/srv", origin="trees/x")).stays == {"/srv": "is part of every host"}


@pytest.mark.needs("root")
def test_what_was_there_gets_back_what_it_had_unless_somebody_changed_it(host: Context) -> None:
    place = root(host) / "data/x"
    place.mkdir(parents=True)
    place.chmod(0o755)
    was = made("/data/x", origin="trees/x", was="0700 0:0")
    changes = left(host, was)
    assert changes.late == [
        {"path": "/data/x", "kind": "dir", "mode": 0o700, "uid": 0, "gid": 0, "saw": "dir 0755 0:0"}
    ]
    assert [(each.before, each.after) for each in changes.changes] == [("0755 0:0", "0700 0:0")]
    for item in (replace(was, policy="kept"), replace(was, was="0755 0:0")):
        assert (left(host, item).late, left(host, item).changes) == ([], [])
    place.chmod(0o750)
    assert left(host, was).late == []
    assert left(host, was).stays == {"/data/x": "was there before this product"}
