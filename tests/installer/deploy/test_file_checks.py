"""What keeps root from replacing a file is found before anything changes: mounts, and marks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.errors import RolledBackError
from installer.deploy.file_checks import require_replaceable
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.host import Seen
from installer.host.system import System
from installer.planning.plan import Plan
from installer.planning.planner import plan_remove
from tests.rig.loop import Loop
from tests.rig.releases import (
    Member,
    ReleaseSpec,
    context,
    install,
    plan_for,
    planned,
    root,
)

CONF, WEB = "/etc/demo/app.conf", "/opt/demo/web"


def release(number: int) -> ReleaseSpec:
    members = {
        "docs/conf": Member(b"v=%d" % number, CONF, 0o644),
        "docs/web": Member(b"%d" % number, f"{WEB}/i.html", 0o644),
    }
    return ReleaseSpec(f"{number}.0.0", number, members)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Context]:
    """A host on an ext4 of its own, which has marks, with release 1."""
    loop = Loop.make("ext4", tmp_path / "disk", tmp_path / "host")
    try:
        host = context(System(tmp_path / "host"))
        install(host, release(1))
        yield host
    finally:
        run("chattr", "-R", "-i", "-a", str(tmp_path / "host"), check=False)
        for point in (CONF, WEB):
            run("umount", "-l", str(tmp_path / "host" / point[1:]), check=False)
        loop.detach()


def run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=True)


def real(host: Context, path: str) -> str:
    return str(root(host) / path[1:])


def problems(plan: Plan) -> list[tuple[str, str]]:
    return [(each.where, each.what) for each in plan.problems]


@pytest.mark.needs("loop", "ext4")
class TestPlan:
    @pytest.mark.parametrize("place", [CONF, "/etc/demo"])
    @pytest.mark.parametrize(("mark", "what"), [("i", "is immutable (chattr +i)"), ("a", "is append-only")])
    def test_a_marked_file_and_a_marked_directory_are_named(
        self, disk: Context, place: str, mark: str, what: str
    ) -> None:
        run("chattr", f"+{mark}", real(disk, place))
        (problem,) = plan_for(disk, release(2)).problems
        assert problem.where == place
        assert problem.what.startswith(what)
        # What is to be typed is a path of this machine, not one of the host below --root.
        assert f"chattr -{mark} {real(disk, place)}" in problem.hint
        assert "run as root" not in problem.hint
        run("chattr", f"-{mark}", real(disk, place))
        assert problems(plan_for(disk, release(2))) == []

    def test_a_file_with_a_mount_on_it_is_named(self, disk: Context) -> None:
        run("mount", "--bind", real(disk, CONF), real(disk, CONF))
        (problem,) = plan_for(disk, release(2)).problems
        assert (problem.where, problem.what) == (CONF, "is a mount point, which nothing can replace")
        assert f"umount {real(disk, CONF)}" in problem.hint
        run("umount", real(disk, CONF))
        assert problems(plan_for(disk, release(2))) == []

    def test_a_mounted_directory_that_holds_files_is_no_obstacle(self, disk: Context) -> None:
        run("mount", "--bind", real(disk, WEB), real(disk, WEB))
        assert problems(plan_for(disk, release(2))) == []
        install(disk, release(2))

    def test_a_mount_on_which_capabilities_do_not_count_is_named(self, disk: Context) -> None:
        member = Member(b"x", "/opt/demo/srv", 0o755, capabilities="cap_net_raw=ep")
        spec = ReleaseSpec("2.0.0", 2, {"bin/linux-amd64/srv": member})
        run("mount", "-o", "remount,nosuid", str(root(disk)))
        (problem,) = plan_for(disk, spec).problems
        assert problem.what == "is mounted nosuid, so that the capabilities of /opt/demo/srv do not count"
        run("mount", "-o", "remount,suid", str(root(disk)))
        assert problems(plan_for(disk, spec)) == []

    def test_what_does_not_change_may_be_marked(self, disk: Context) -> None:
        run("chattr", "+i", real(disk, CONF))
        assert problems(plan_for(disk, release(1))) == []

    def test_a_removal_names_what_cannot_go(self, disk: Context) -> None:
        run("chattr", "+i", real(disk, CONF))
        with exclusive(disk) as (state, _):
            (problem,) = plan_remove(disk, state).problems
        assert problem.where == CONF


@pytest.mark.needs("loop", "ext4")
@pytest.mark.parametrize(("mark", "place"), [("chattr", CONF), ("chattr", "/etc/demo"), ("mount", CONF)])
def test_an_obstacle_that_comes_after_the_plan_stops_the_operation_before_any_change(
    disk: Context, mark: str, place: str
) -> None:
    with planned(disk, release(2)) as plan:
        if mark == "chattr":
            run("chattr", "+i", real(disk, place))
        else:
            run("mount", "--bind", real(disk, place), real(disk, place))
        with pytest.raises(RolledBackError, match=f"{place}: is "):
            execute_plan(disk, plan)
    assert (root(disk) / WEB[1:] / "i.html").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("wanted", "there", "is_refused"),
    [
        ("file", "file", True),
        ("absent", "file", True),
        ("link", "dir", True),
        ("absent", "dir", True),
        ("dir", "dir", False),  # it stays, and only its mode may change
        ("file", "absent", False),
    ],
)
def test_a_mount_stops_what_would_be_replaced_or_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, there: Literal["file", "dir", "absent"],
    is_refused: bool,
) -> None:  # fmt: skip
    (tmp_path / "etc").mkdir()
    if there == "dir":
        (tmp_path / "etc/x").mkdir()
    elif there == "file":
        (tmp_path / "etc/x").write_text("")
    monkeypatch.setattr("installer.host.kernel.mount_table", lambda: [f"{tmp_path}/etc/x"])
    rows = [({"path": path, "kind": wanted}, Seen(there)) for path in ("/etc/y", "/etc/x", "/etc/x")]
    if not is_refused:
        require_replaceable(System(tmp_path), rows)
        return
    with pytest.raises(StepError, match="is a mount point") as caught:
        require_replaceable(System(tmp_path), rows)
    assert (caught.value.where, caught.value.problems) == ("/etc/x", ())
