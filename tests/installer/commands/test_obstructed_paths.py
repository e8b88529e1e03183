"""Places that are not as they should be: refused, with a word that says which and what to do."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.common.recovery import exclusive
from installer.commands.status import product_status
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.core.format.manifest import Deployment
from installer.host.system import System
from installer.planning.method_selection import select
from installer.planning.plan import Options
from installer.planning.planner import plan_apply
from tests.rig.releases import STATE, Member, Notes, ReleaseSpec, context, install, recovered, stage

PROGRAM = ReleaseSpec("1.0.0", 1, {"bin/linux-amd64/chatd": Member(b"daemon", "", 0o755)})
UNIT = replace(
    PROGRAM,
    members={**PROGRAM.members, "deploy/chat.service": Member(b"[Service]\n", kind="unit")},
    deploy=(Deployment("systemd", {"units": ["deploy/chat.service"]}),),
)
CURRENT = "var/lib/waybill/lan-chat/current"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts the state's directory of a host, with options of mount(8)."""
    root = tmp_path / "host"
    state = root / "var/lib/waybill"
    state.mkdir(parents=True)

    def mount(options: str) -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=755", "none", state], check=True)
        return root

    yield mount
    subprocess.run(["umount", state], check=False)


@pytest.mark.needs("root")
def test_a_state_that_is_mounted_read_only_is_named_and_status_still_answers(
    mounted: Callable[[str], Path],
) -> None:
    root = mounted("rw")
    host = context(System(root))
    install(host, PROGRAM)
    subprocess.run(["mount", "-o", "remount,ro", root / "var/lib/waybill"], check=True)
    with pytest.raises(HostNotReadyError) as raised, exclusive(host):
        pass
    assert raised.value.where == "/var/lib/waybill/lan-chat"
    assert "Read-only file system" in raised.value.what
    assert "remount its file system read-write" in raised.value.hint
    assert product_status(host).drift == ()


@pytest.mark.needs("root")
def test_programs_that_would_run_from_a_noexec_state_are_named(mounted: Callable[[str], Path]) -> None:
    root = mounted("noexec")
    host = context(System(root))
    with pytest.raises(HostNotReadyError) as raised:
        install(host, PROGRAM)
    (problem,) = raised.value.problems
    assert problem.where == "/var/lib/waybill/lan-chat/releases"
    assert problem.what == "is mounted noexec, and bin/linux-amd64/chatd is a program that runs from there"
    elsewhere = Member(b"daemon", "/opt/chat/chatd", 0o755)
    install(host, replace(PROGRAM, members={"bin/linux-amd64/chatd": elsewhere}))


def test_a_file_where_the_state_is_to_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/waybill").write_text("")
    with pytest.raises(HostNotReadyError) as raised, exclusive(context(System(tmp_path))):
        pass
    assert "a directory is needed here, but a file exists: move the file away" in raised.value.hint


def other_release(path: Path) -> None:
    path.unlink()
    path.symlink_to("releases/9-000000000000")


def outside(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("somebody's")


def file(path: Path) -> None:
    path.unlink()
    path.write_text("somebody's")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (other_release, "points to releases/9-000000000000"),
        (outside, "points to /etc"),
        (directory, "is a directory, not a link"),
        (file, "is a file, not a link"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_current_that_is_not_ours_is_refused_and_the_hint_puts_it_right(
    tmp_path: Path, spoil: Callable[[Path], None], what: str
) -> None:
    host = context(System(tmp_path))
    install(host, PROGRAM)
    path = tmp_path / CURRENT
    target = path.readlink()
    spoil(path)
    assert [problem.where for problem in product_status(host).drift] == [f"/{CURRENT}"]
    with pytest.raises(NotUndoneError) as raised, exclusive(host):
        pass
    assert raised.value.where == f"/{CURRENT}"
    assert raised.value.what == f"{what}, but state.json names {target}"
    command = raised.value.hint.partition(f"To run {target}: ")[2].partition(";")[0]
    subprocess.run(["sh", "-euc", command], check=True)
    with exclusive(host):
        pass
    assert path.readlink() == target
    assert product_status(host).drift == ()
    if spoil in (directory, file):
        saved = path.with_name("current.saved")
        assert (saved / "mine" if saved.is_dir() else saved).read_text() == "somebody's"


def test_a_current_where_nothing_runs_is_refused_and_the_hint_puts_it_right(tmp_path: Path) -> None:
    host = context(System(tmp_path))
    with exclusive(host):
        pass
    (tmp_path / CURRENT).symlink_to("/etc")
    with (
        pytest.raises(NotUndoneError, match=r"but state\.json names no running release") as raised,
        exclusive(host),
    ):
        pass
    command = raised.value.hint.partition("To run no release: ")[2].partition(";")[0]
    subprocess.run(["sh", "-euc", command], check=True)
    with exclusive(host):
        pass


def test_a_unit_is_laid_down_only_where_systemd_is_driven(tmp_path: Path) -> None:
    unit = "etc/systemd/system/chat.service"
    host = context(System(tmp_path))
    install(host, UNIT)
    assert not (tmp_path / unit).exists()
    assert (tmp_path / CURRENT / "deploy/chat.service").exists()
    own = Member(b"[Service]\n", f"/{unit}", kind="unit")
    install(host, replace(UNIT, version="1.1.0", sequence=2, members={"deploy/chat.service": own}))
    assert (tmp_path / unit).exists()
    install(host, replace(UNIT, version="1.2.0", sequence=3))
    assert (tmp_path / unit).exists(), "what a running release has laid down is not taken away by skipping"


def test_where_systemd_is_driven_the_plan_has_the_unit(tmp_path: Path) -> None:
    host = context(System(tmp_path))
    only = frozenset({"systemd"})
    assert "systemd" in select(UNIT.manifest(), live=False, only=only, skip=frozenset()).used
    with exclusive(host) as (state, _):
        plan = plan_apply(host, state, stage(tmp_path, UNIT), Options(only=only))
    assert "/etc/systemd/system/chat.service" in [change.path for change in plan.changes.changes]


class Unlisted(System):
    """A host whose staging directory cannot be listed."""

    def names(self, path: str) -> list[str]:
        if path == f"/{STATE}/staging":
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return super().names(path)


def test_a_staging_directory_that_cannot_be_listed_is_named_and_stops_no_command(tmp_path: Path) -> None:
    install(context(System(tmp_path)), PROGRAM)
    host = context(Unlisted(tmp_path))
    assert recovered(host) == []
    assert isinstance(host.progress, Notes)
    (line,) = host.progress.lines
    assert line.startswith(f"not cleared yet: /{STATE}/staging: cannot be cleared: Input/output error; hint:")
