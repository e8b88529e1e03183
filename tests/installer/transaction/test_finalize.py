"""What comes after the last decision: the same however often it is done, and nothing of somebody else's."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.commands import history
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.host.context import Context
from installer.host.system import SyncError, System
from installer.planning.planner import plan_remove
from installer.state.state import State, load, save
from installer.transaction import finalize
from installer.transaction.finalize import KEEP_JOURNALS
from installer.transaction.journal import Journal
from tests.rig.chatd import ONE, THREE, TWO
from tests.rig.faulty import FaultySystem, kill_at
from tests.rig.releases import STATE, Notes, context, install, root


def ended(host: Context, number: int) -> tuple[Context, Journal]:
    within = replace(host, transaction=f"{number:06d}")
    return within, Journal.open(host.system, f"/{STATE}/txn/{number:06d}.done")


def opened_again(host: Context, number: int) -> tuple[Context, Journal]:
    """As a power cut leaves it that comes before the journal is put away."""
    path = root(host) / STATE / f"txn/{number:06d}.done"
    path.rename(path.with_suffix(".log"))
    within = replace(host, transaction=f"{number:06d}")
    return within, Journal.open(host.system, f"/{STATE}/txn/{number:06d}.log")


def lines(host: Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root(host) / STATE / "history.jsonl").read_text().splitlines()]


def test_a_commit_brings_about_the_same_state_before_and_after_it_is_saved(host: Context) -> None:
    install(host, ONE)
    before = load(host.system, host.layout)
    install(host, TWO)
    after = load(host.system, host.layout)
    within, journal = ended(host, 2)
    assert finalize.committed_state(within, journal) == after
    save(host.system, host.layout, before)
    assert finalize.committed_state(within, journal) == after
    later = replace(after, transaction=3, highest=7)
    save(host.system, host.layout, later)
    assert finalize.committed_state(within, journal) == later


def test_the_number_of_kept_releases_is_the_one_that_was_chosen_at_the_beginning(host: Context) -> None:
    install(host, ONE)
    within, journal = ended(host, 1)
    begin, commit = journal.records[0].fields, {"at": 7}
    del within
    derived = finalize.derive_state(State(keep=5), 1, {**begin, "state": {"keep": 2}}, commit)
    assert (derived.keep, derived.transaction, derived.current and derived.current.installed) == (2, 1, 7)
    assert finalize.derive_state(State(keep=5), 1, {**begin, "state": {}}, commit).keep == 5
    assert finalize.derive_state(derived, 2, {**begin, "new": None}, commit).current is None


def test_ending_twice_is_ending_once(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    before, told = load(host.system, host.layout), lines(host)
    within, journal = opened_again(host, 2)
    assert finalize.after_commit(within, journal) == before
    assert load(host.system, host.layout) == before
    assert lines(host) == told
    assert sorted(path.name for path in (root(host) / STATE / "txn").iterdir()) == [
        "000001.done",
        "000002.done",
    ]


def test_a_history_that_went_away_meanwhile_begins_anew(host: Context) -> None:
    install(host, ONE)
    (root(host) / STATE / "history.jsonl").unlink()
    finalize.after_commit(*opened_again(host, 1))
    assert [line["transaction"] for line in lines(host)] == ["000001"]


def test_a_torn_line_is_overwritten_also_where_it_is_longer_than_the_next(host: Context) -> None:
    install(host, ONE)
    path = root(host) / STATE / "history.jsonl"
    path.write_bytes(b'{"torn":"' + b"x" * 100_000)
    finalize.after_commit(*opened_again(host, 1))
    assert [line["transaction"] for line in lines(host)] == ["000001"]


def test_a_line_of_the_history_is_on_the_disk_with_the_name_of_its_file(host: Context) -> None:
    install(host, ONE)
    within, journal = opened_again(host, 1)
    (root(host) / STATE / "history.jsonl").unlink()
    traced = FaultySystem(root(host))
    finalize.after_commit(replace(within, system=traced), journal)
    line = next(at for at, did in enumerate(traced.trace) if did == f"write_at /{STATE}/history.jsonl")
    assert f"sync_dir /{STATE}" in traced.trace[line:]


def test_a_journal_is_put_away_for_good(host: Context) -> None:
    install(host, ONE)
    within, journal = opened_again(host, 1)
    traced = FaultySystem(root(host))
    finalize.after_commit(replace(within, system=traced), journal)
    away = next(
        at for at, did in enumerate(traced.trace) if did.startswith("rename") and did.endswith(".done")
    )
    assert traced.trace[away + 1] == f"sync_dir /{STATE}/txn"


def test_the_history_says_of_each_transaction_what_became_of_it(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    with exclusive(host):
        pass
    done, back = lines(host)
    assert (done["transaction"], done["verb"], done["outcome"]) == ("000001", "apply", "done")
    assert (done["from"], done["version"]) == ("", "1.0.0")
    assert "why" not in done
    assert done["evidence"]["signers"] == back["evidence"]["signers"] == ["release (cosign 1234abcd)"]
    assert (back["transaction"], back["outcome"], back["why"]) == ("000002", "rolled back", "interrupted")
    assert (back["from"], back["to"][:2], back["version"]) == (done["to"], "2-", "2.0.0")
    assert back["identity"] != done["identity"]


def test_a_removal_that_failed_is_remembered_too(host: Context) -> None:
    install(host, ONE)

    class Failing(System):
        failed = False

        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if args[:1] == ("/opt/d",) and not self.failed:
                self.failed = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().around(name, args, call)

    failing = context(Failing(root(host)))
    with exclusive(failing) as (state, _), pytest.raises(RolledBackError, match="remove failed"):
        execute_plan(failing, plan_remove(failing, state))
    told = lines(host)[-1]
    assert (told["verb"], told["outcome"], told["to"], told["version"]) == ("remove", "rolled back", "", "")
    assert (root(host) / "opt/d").read_bytes() == b"one"


def test_the_last_journals_are_kept_and_no_more(host: Context) -> None:
    for number in range(KEEP_JOURNALS + 2):
        install(host, replace(ONE, version=f"1.0.{number}", sequence=number + 1))
    with exclusive(host):
        pass
    names = sorted(path.name for path in (root(host) / STATE / "txn").iterdir())
    assert names == [f"{number:06d}.done" for number in range(3, KEEP_JOURNALS + 3)]


def test_what_somebody_put_beside_the_journals_stays(host: Context) -> None:
    install(host, ONE)
    theirs = [f"{number:06d}.note" for number in range(KEEP_JOURNALS + 2)]
    directory = root(host) / STATE / "txn"
    for name in (*theirs, "mine.done"):
        (directory / name).touch()
    (directory / ".backup").mkdir()
    with exclusive(host):
        pass
    assert sorted(path.name for path in directory.iterdir()) == [
        ".backup",
        *sorted([*theirs, "000001.done", "mine.done"]),
    ]


def test_backups_beside_a_journal_that_ended_are_cleared(host: Context) -> None:
    install(host, ONE)
    backup = root(host) / STATE / "txn/000001.backup"
    backup.mkdir()
    with exclusive(host):
        pass
    assert not backup.exists()


def test_the_room_kept_for_a_state_is_given_back(host: Context) -> None:
    install(host, ONE)
    spare = root(host) / STATE / "state.json.new"
    spare.write_bytes(bytes(9))
    with exclusive(host):
        pass
    assert not spare.exists()


def test_what_never_began_leaves_nothing(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, f"write_new /{STATE}/txn/000002.log")
    with exclusive(host) as (state, done):
        assert [(each.transaction, each.outcome) for each in done] == [("000002", "not-started")]
        assert state.current is not None
    assert [path.name for path in (root(host) / STATE / "txn").iterdir()] == ["000001.done"]
    assert not (root(host) / STATE / "state.json.new").exists()


def test_no_history_is_an_empty_one(host: Context) -> None:
    assert finalize.history(host) == []
    install(host, ONE)
    (root(host) / STATE / "history.jsonl").unlink()
    install(host, THREE)
    assert [event.version for event in history.events(host)] == ["3.0.0"]


def test_a_history_of_root_is_refused_to_others_in_words(host: Context) -> None:
    class Denied(System):
        def read(self, path: str, limit: int) -> bytes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    with pytest.raises(HostNotReadyError, match="cannot be read by this user") as caught:
        finalize.history(context(Denied(root(host))))
    assert caught.value.where == f"/{STATE}/history.jsonl"


def test_a_history_that_cannot_be_written_does_not_keep_a_rollback_from_ending(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")

    class Full(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "write_at" and str(args[0]).endswith("history.jsonl"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().around(name, args, call)

    with exclusive(context(Full(root(host)))) as (_, done):
        assert [each.outcome for each in done] == ["undone"]
    assert (root(host) / STATE / "txn/000002.done").exists()
    with exclusive(host) as (_, done):
        assert done == []


def test_the_state_keeps_as_much_of_a_failure_as_it_has_space_for(host: Context) -> None:
    install(host, ONE)
    _, journal = ended(host, 1)
    for why, kept in (("x" * 2000, "x" * finalize.REASON), ("x", "x")):
        derived = finalize.derive_state(State(), 1, journal.records[0].fields, {"at": 7, "why": why})
        assert derived.current is not None
        assert derived.current.incomplete == kept


def test_what_never_began_is_cleared_with_the_room_kept_for_its_state(host: Context) -> None:
    install(host, ONE)
    spare, backup = root(host) / STATE / "state.json.new", root(host) / STATE / "txn/000002.backup"
    spare.write_bytes(bytes(9))
    backup.mkdir()
    finalize.not_started(replace(host, transaction="000002"))
    assert not spare.exists()
    assert not backup.exists()


def test_the_transactions_of_a_history_are_told_as_far_as_it_can_be_read(host: Context) -> None:
    def told() -> list[str]:
        return finalize.transactions(host.system, host.layout)

    assert told() == []
    install(host, ONE)
    install(host, TWO)
    path = root(host) / STATE / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\nnonsense\n", 1))
    assert told() == ["000001", "000002"]


def test_no_transaction_is_reported_where_a_file_is_in_the_place_of_the_state(tmp_path: Path) -> None:
    (tmp_path / STATE).parent.mkdir(parents=True)
    (tmp_path / STATE).write_bytes(b"")
    within = context(System(tmp_path))
    assert finalize.transactions(within.system, within.layout) == []


def test_a_failed_sync_while_clearing_is_reported_and_stops_nothing(host: Context) -> None:
    install(host, ONE)

    class Unsynced(System):
        def remove_tree(self, path: str) -> None:
            raise SyncError(errno.EIO, os.strerror(errno.EIO), path)

    (root(host) / STATE / "txn/000001.backup").mkdir()
    within = context(Unsynced(root(host)))
    finalize.clear(within)
    assert isinstance(within.progress, Notes)
    (line,) = within.progress.lines
    assert f"not cleared yet: /{STATE}/txn/000001.backup: cannot be cleared: Input/output error" in line


class Unwritable(System):
    """Fails whatever is done to the view of every user; with `stays`, its removal too."""

    stays = False

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        if "public.json" in str(args[0]) and (name != "unlink" or self.stays):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(args[0]))
        return super().around(name, args, call)


@pytest.mark.parametrize(
    "stays", [False, True], ids=["the old one is removed", "nor can the old one be removed"]
)
def test_a_view_of_every_user_that_cannot_be_written_keeps_no_transaction_open(
    host: Context, stays: bool
) -> None:
    install(host, ONE)
    view = root(host) / STATE / "public.json"
    assert view.exists()
    system = Unwritable(root(host))
    within = context(system)
    system.stays = stays
    assert install(within, TWO).changed
    assert view.exists() == stays
    assert isinstance(within.progress, Notes)
    said = "cannot be written: Read-only file system; until it is, status needs root"
    assert any(said in line for line in within.progress.lines)


def test_a_view_of_every_user_goes_where_the_state_cannot_be_read(host: Context) -> None:
    """It is derived from the state: better none than one that says something else."""
    install(host, ONE)
    (root(host) / STATE / "state.json").write_text("{")
    finalize.publish_view(host)
    assert not (root(host) / STATE / "public.json").exists()
    assert isinstance(host.progress, Notes)
    (said,) = [line for line in host.progress.lines if "status needs root" in line]
    assert "cannot be written: None" not in said
