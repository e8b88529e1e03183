"""The operation on files: what the plan saw counts, backups cannot be foreseen, users' links lead nowhere."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.status import product_status
from installer.core.errors import HostNotReadyError, NotUndoneError, RolledBackError
from installer.host.context import Context
from installer.host.system import System
from installer.planning.planner import plan_remove
from tests.rig.faulty import FaultySystem, Refusing, snapshot
from tests.rig.needs import needs
from tests.rig.releases import Member, ReleaseSpec, context, install, plan_for, planned, remove, root

pytestmark = pytest.mark.host(system=FaultySystem)
CONF, DATA = "/etc/chat.conf", "/data/chat/settings"


def release(number: int) -> ReleaseSpec:
    members = {
        "docs/conf": Member(b"conf %d\n" % number, CONF),
        "docs/settings": Member(b"settings %d\n" % number, DATA),
    }
    return ReleaseSpec(f"{number}.0.0", number, members)


def test_a_file_that_was_edited_at_the_prompt_is_not_overwritten(host: Context) -> None:
    install(host, release(1))
    path = root(host) / CONF[1:]
    with planned(host, release(2)) as plan:
        path.write_text("saved while the question was open\n")
        before = snapshot(root(host))
        with pytest.raises(HostNotReadyError) as raised:
            execute_plan(host, plan)
    assert raised.value.exit_code == 15
    assert (raised.value.where, raised.value.what) == (CONF, "was changed after the plan was made")
    (problem,) = raised.value.problems
    assert problem.where == CONF
    assert problem.what.startswith(f"the plan saw: file 0644 {os.geteuid()}:{os.getegid()} ")
    assert "run the same command again: it makes a new plan" in problem.hint
    assert snapshot(root(host)) == before
    # The second plan sees it and treats it as any edited file.
    assert [each.where for each in plan_for(host, release(2)).problems] == [CONF]


def test_a_file_that_came_after_the_plan_is_not_overwritten(host: Context) -> None:
    with planned(host, release(1)) as plan:
        (root(host) / "etc").mkdir()
        (root(host) / CONF[1:]).write_text("theirs")
        with pytest.raises(HostNotReadyError) as raised:
            execute_plan(host, plan)
    assert [problem.where for problem in raised.value.problems] == ["/etc"]
    assert (root(host) / CONF[1:]).read_text() == "theirs"


class Separate(System):
    """A host on which /data is a file system of its own: nothing is linked or renamed across its edge."""

    before_link: Any = None

    def _between(self, *paths: str) -> None:
        if len({path.startswith("/data/") for path in paths}) > 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), paths[1])

    def link(self, source: str, target: str) -> None:
        self._between(source, target)
        if self.before_link:
            self.before_link(source, target)
        super().link(source, target)

    def rename(self, source: str, target: str) -> None:
        self._between(source, target)
        super().rename(source, target)


@pytest.fixture
def separate(tmp_path: Path) -> Context:
    """A host with an installed release, and a file system that a service account may write to."""
    found = context(Separate(tmp_path))
    (tmp_path / "data/chat").mkdir(parents=True)
    install(found, release(1))
    (tmp_path / "data/chat").chmod(0o777)
    return found


def failing(within: Context, cls: type[System] = Refusing) -> Context:
    """Return the host, on which COMMIT cannot be written."""

    class Failing(Separate, Refusing):
        pass

    return context(Failing(root(within), "COMMIT", OSError(errno.EIO, "Input/output error")))


def backups(within: Context) -> list[Path]:
    return sorted((root(within) / "data/chat").glob(".waybill-*"))


def test_a_backup_that_a_service_account_plants_is_not_taken_for_ours(separate: Context) -> None:
    # The names of earlier versions: transaction and batch.
    for index in range(4):
        (root(separate) / f"data/chat/.waybill-000002-place-files-0-{index}.old").write_text("planted")
    with pytest.raises(RolledBackError):
        install(failing(separate), release(2))
    assert (root(separate) / DATA[1:]).read_bytes() == b"settings 1\n"
    assert product_status(separate).drift == ()


def test_the_names_next_to_files_differ_from_time_to_time(separate: Context) -> None:
    seen: list[str] = []

    def note(_source: str, target: str) -> None:
        seen.append(target)

    for number in (2, 3):
        system = failing(separate).system
        assert isinstance(system, Separate)
        system.before_link = note
        with pytest.raises(RolledBackError):
            install(context(system), release(number))
    siblings = [name for name in seen if name.startswith("/data/")]
    assert len(siblings) == 2
    tags = {name.split("-")[-3] + name.split("-")[-2] for name in siblings}
    assert len(tags) == 2
    assert backups(separate) == []


@pytest.mark.parametrize("spoil", ["replaced", "removed", "a directory"])
def test_a_backup_that_somebody_spoils_does_not_prevent_the_undo(separate: Context, spoil: str) -> None:
    class Spoiling(Separate, Refusing):
        done = False

        def around(self, name: str, args: tuple[Any, ...], call: Any) -> Any:
            result = super().around(name, args, call)
            # The last moment before all is undone: the release is in place, and the backup still there.
            if name == "rename" and args[1] == DATA and not self.done:
                self.done = True
                (backup,) = [path for path in backups(separate) if path.name.endswith(".old")]
                backup.unlink()
                if spoil == "replaced":
                    backup.write_text("planted")
                elif spoil == "a directory":
                    (backup / "deep").mkdir(parents=True)
            return result

    system = Spoiling(root(separate), "COMMIT", OSError(errno.EIO, "Input/output error"))
    with pytest.raises(RolledBackError):
        install(context(system), release(2))
    assert (root(separate) / DATA[1:]).read_bytes() == b"settings 1\n"
    assert (root(separate) / CONF[1:]).read_bytes() == b"conf 1\n"
    assert backups(separate) == []


@pytest.fixture
def linked(host: Context) -> Context:
    """A host on which an ordinary user moved a directory of a release and put a link in its place."""
    needs("root")
    install(host, release(1))
    top = root(host)
    (top / "data/chat").rename(top / "moved")
    (top / "data/chat").symlink_to("/moved")
    os.chown(top / "data/chat", 1234, 1234, follow_symlinks=False)
    return host


LINK = "the symbolic link /data/chat on the way to it belongs to user 1234, not to root"


def test_a_users_link_on_the_way_is_named_by_the_plan(linked: Context) -> None:
    plan = plan_for(linked, release(2))
    (problem,) = plan.problems
    assert (problem.where, problem.what) == (DATA, LINK)
    assert problem.hint.endswith("`chown -h root:root /data/chat`")
    with pytest.raises(HostNotReadyError) as raised:
        plan.require_ready()
    assert raised.value.exit_code == 15


def test_a_users_link_on_the_way_stops_a_removal_by_name(linked: Context) -> None:
    before = snapshot(root(linked), besides=("var",))
    with exclusive(linked) as (state, _):
        plan = plan_remove(linked, state)
        assert (DATA, LINK) in [(problem.where, problem.what) for problem in plan.problems]
        with pytest.raises(HostNotReadyError):
            execute_plan(linked, plan)
    assert snapshot(root(linked), besides=("var",)) == before
    # With the link given to root, as the hint says, the removal goes through it.
    os.chown(root(linked) / "data/chat", 0, 0, follow_symlinks=False)
    remove(linked)
    assert not (root(linked) / "moved/settings").exists()


def test_a_users_link_on_the_way_stops_a_first_install_by_name(host: Context) -> None:
    needs("root")
    top = root(host)
    (top / "data").mkdir()
    (top / "elsewhere").mkdir()
    (top / "data/chat").symlink_to("/elsewhere")
    os.chown(top / "data/chat", 1234, 1234, follow_symlinks=False)
    assert [(problem.where, problem.what) for problem in plan_for(host, release(1)).problems] == [
        (DATA, LINK)
    ]


def test_a_users_link_that_comes_during_the_transaction_is_an_error_with_its_name(host: Context) -> None:
    needs("root")
    install(host, release(1))
    top = root(host)

    class Linking(FaultySystem):
        def around(self, name: str, args: tuple[Any, ...], call: Any) -> Any:
            if name == "write_at" and b'"type":"STAGED"' in args[2]:
                (top / "data/chat").rename(top / "moved")
                (top / "data/chat").symlink_to("/moved")
                os.chown(top / "data/chat", 1234, 1234, follow_symlinks=False)
            return super().around(name, args, call)

    with pytest.raises((RolledBackError, NotUndoneError)) as raised:
        install(context(Linking(top)), replace(release(2)))
    assert isinstance(raised.value, RolledBackError)
    assert LINK in str(raised.value)
    assert (top / CONF[1:]).read_bytes() == b"conf 1\n"
