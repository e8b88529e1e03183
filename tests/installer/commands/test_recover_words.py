"""What is said of recovery: to whoever waits for it, of what was recovered, and where a journal is gone."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Any

import pytest

from installer.commands.common.recovery import Recovered, exclusive, report_recovered
from installer.commands.recover import RecoverResult
from installer.core.errors import BusyError, NotUndoneError
from installer.core.format.manifest import MANIFEST
from installer.host.context import Context
from installer.host.system import System
from installer.shared.command.ui import Ui
from installer.state.trust_store import ROOT_FILE
from tests.rig.chatd import ONE, TWO
from tests.rig.faulty import Cut, Killed, kill_at
from tests.rig.releases import Notes, context, install, recovered, remove, root, stage


class Said(Ui):
    """Remembers what is said and told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.facts: list[dict[str, Any]] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def tell(self, **facts: Any) -> None:
        self.facts.append(facts)


def test_what_was_recovered_is_said_and_counts_as_a_change() -> None:
    said = Said()
    report_recovered(said, [])
    assert (said.warnings, said.facts) == ([], [])
    rows = [Recovered("000001", "undone", "why"), Recovered("000002", "finished", "")]
    report_recovered(said, rows)
    assert said.warnings == [each.text() for each in rows]
    assert said.facts == [{"changed": True}]


@pytest.mark.parametrize(
    ("first", "now"),
    [(True, "nothing is installed, as before"), (False, "1.0.0 is installed, as before")],
    ids=["of a first installation", "of an upgrade"],
)
def test_the_undo_says_what_is_installed_after_it(host: Context, first: bool, now: str) -> None:
    if not first:
        install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    (found,) = recovered(host)
    assert found.text() == f"transaction 00000{2 - first} was interrupted and is now undone: {now}"


def test_a_completed_removal_says_that_nothing_is_installed(host: Context) -> None:
    install(host, ONE)
    with pytest.raises(Killed):
        remove(context(Cut(root(host), "COMMIT")))
    (found,) = recovered(host)
    assert found.text() == "transaction 000002 was committed and is now completed: nothing is installed"


def hint(host: Context) -> str:
    """What is said where the backups of a transaction are there, but not its journal."""
    backup = root(host) / host.layout.backup("000009")[1:]
    backup.mkdir(parents=True)
    with pytest.raises(NotUndoneError, match="the journal of an unfinished transaction is missing") as caught:
        recovered(host)
    assert f"1. `mv {backup} {backup.with_suffix('.saved')}` (it contains" in caught.value.hint
    return caught.value.hint


@pytest.mark.host(ONE)
def test_an_upgrade_without_its_journal_is_ended_by_hand(host: Context) -> None:
    link = root(host) / host.layout.current[1:]
    target = link.readlink()
    assert f"; 2. `ln -sfn {target} {link}`; 3. `install rollback 1.0.0 --on-drift replace`." in hint(host)


def test_a_first_install_without_its_journal_is_ended_by_hand(host: Context) -> None:
    link = root(host) / host.layout.current[1:]
    assert f"; 2. `rm -f {link}`; 3. `install apply BUNDLE --on-drift replace`." in hint(host)


def test_staged_files_that_are_removed_are_named_once_and_count_as_a_change(host: Context) -> None:
    stage(root(host), TWO)
    (done,) = found = recovered(host)
    assert done == Recovered("", "unstaged", "removed the staged files of lan-chat 2.0.0")
    result = RecoverResult(tuple(("lan-chat", each) for each in found))
    assert result.text() == "lan-chat: removed the staged files of lan-chat 2.0.0"
    assert result.as_json()["changed"] is True
    assert not list((root(host) / host.layout.staging[1:]).iterdir())
    assert recovered(host) == []


def test_staged_files_of_which_nobody_knows_the_version_are_named_by_their_directory(host: Context) -> None:
    staged = stage(root(host), TWO)
    (root(host) / staged.directory[1:] / MANIFEST).unlink()
    name = staged.directory.rpartition("/")[2]
    (done,) = recovered(host)
    assert done.why == f"removed the staged files of lan-chat {name}, whose version is not known"


def test_staged_files_with_which_the_same_command_goes_on_are_not_called_removed(host: Context) -> None:
    staged = stage(root(host), TWO)
    assert recovered(replace(host, resume=staged.identity)) == []


@pytest.mark.parametrize("wait", [0.0, 0.1])
def test_a_wait_is_announced(host: Context, wait: float) -> None:
    other = context(host.system)
    assert isinstance(other.progress, Notes)
    with exclusive(host), pytest.raises(BusyError), exclusive(other, wait):
        pass
    assert [line.partition(": ")[2] for line in other.progress.lines] == (
        ["waiting for up to 0.1 s"] if wait else []
    )
    with exclusive(other, wait):
        pass


def test_what_is_left_of_a_new_root_that_cannot_be_removed_stops_nothing(host: Context) -> None:
    class Stuck(System):
        def unlink(self, path: str) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    spare = root(host) / f"{ROOT_FILE[1:]}.new"
    spare.parent.mkdir(parents=True)
    spare.write_bytes(b"half")
    assert recovered(context(Stuck(root(host)))) == []
    assert spare.exists()
