"""What recovery decides from a journal: whether it may go on at all, and what it says about it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.audit import log as audit_log
from installer.commands.common import recovery
from installer.commands.common.recovery import Recovered, _stuck, exclusive
from installer.core.errors import BusyError, HostNotReadyError, NotUndoneError, Problem
from installer.core.format.manifest import Manifest
from installer.deploy.method_registry import handler
from installer.deploy.operation import Op, StepError
from installer.host.context import Context
from installer.host.system import SyncError, System
from installer.state.state import State, load
from installer.state.trust_store import ROOT_FILE
from installer.transaction import finalize
from installer.transaction.journal import Journal
from tests.rig.chatd import ONE, TWO, deployed
from tests.rig.faulty import FaultySystem, Mounted, Rebooted, Refusing, kill_at, snapshot
from tests.rig.releases import STATE, Notes, context, install, recovered, root


@pytest.fixture
def cut_short(tmp_path: Path) -> Context:
    """A host whose upgrade was killed after files were replaced."""
    host = context(System(tmp_path))
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    return host


def open_journal(host: Context) -> Journal:
    return Journal.open(host.system, host.layout.journal("000002"))


@pytest.mark.parametrize("until", ["rename /opt/.waybill", "write_at /var/lib/waybill/lan-chat/state.json"])
def test_what_a_kill_left_in_the_cache_is_on_the_disk_before_anything_is_built_on_it(
    tmp_path: Path, until: str
) -> None:
    host = context(Mounted(tmp_path))
    install(host, ONE)
    kill_at(host, TWO, until)
    changed = list[str]()

    class Noting(Mounted):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            changed.append(f"{name} {args[0]}")
            return super().around(name, args, call)

    recovered(context(Noting(tmp_path)))
    assert sorted(changed[:2]) == ["sync_fs /opt", "sync_fs /var/lib/waybill/lan-chat"]
    assert len(changed) > 10


@pytest.mark.parametrize("kind", ["systemd.before", "systemd.up"])
def test_links_that_enable_units_are_among_what_is_brought_to_the_disk(kind: str) -> None:
    assert list(handler(kind).places({})) == ["/etc/systemd/system"]


def test_after_a_failed_sync_nothing_is_done_before_a_reboot(cut_short: Context) -> None:
    open_journal(cut_short).require_reboot(SyncError(errno.EIO, os.strerror(errno.EIO)))
    before = snapshot(root(cut_short))
    with pytest.raises(NotUndoneError, match="the disk failed to write") as caught, exclusive(cut_short):
        pass
    assert caught.value.where == cut_short.layout.journal("000002")
    assert "reboot, then run `install recover`" in caught.value.hint
    assert snapshot(root(cut_short)) == before
    rebooted = context(Rebooted(root(cut_short)))
    assert [each.outcome for each in recovered(rebooted)] == ["undone"]
    assert deployed(rebooted) == "one"


def test_any_other_error_is_no_reason_to_distrust_the_disk(cut_short: Context) -> None:
    open_journal(cut_short).require_reboot(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert not open_journal(cut_short).has("DISTRUST")
    assert [each.outcome for each in recovered(cut_short)] == ["undone"]


def test_a_sync_that_fails_in_recovery_is_written_down(cut_short: Context) -> None:
    class LosesWrites(FaultySystem):
        failed = False

        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "unlink" and not self.failed:
                self.failed = True
                raise SyncError(errno.EIO, os.strerror(errno.EIO))
            return super().around(name, args, call)

    with pytest.raises(NotUndoneError), exclusive(context(LosesWrites(root(cut_short)))):
        pass
    journal = open_journal(cut_short)
    assert journal.has("DISTRUST")
    assert journal.records[-1].fields == {"boot": cut_short.system.boot_id()}


def test_a_sync_that_fails_while_a_commit_is_finished_is_written_down(tmp_path: Path) -> None:
    host = context(System(tmp_path))
    install(host, ONE)
    kill_at(host, TWO, "write_at /var/lib/waybill/lan-chat/state.json.new")

    class LosesWrites(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "rename" and args[1] == f"/{STATE}/txn/000002.done":
                raise SyncError(errno.EIO, os.strerror(errno.EIO))
            return super().around(name, args, call)

    with pytest.raises(NotUndoneError, match="cannot recover transaction 000002"):
        recovered(context(LosesWrites(tmp_path)))
    assert open_journal(host).has("DISTRUST")
    assert [each.outcome for each in recovered(context(Rebooted(tmp_path)))] == ["finished"]


def test_a_journal_that_has_given_its_room_back_is_put_away_the_next_time(cut_short: Context) -> None:
    class Stuck(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "rename" and args[1] == f"/{STATE}/txn/000002.done":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().around(name, args, call)

    with pytest.raises(NotUndoneError, match="cannot recover transaction"):
        recovered(context(Stuck(root(cut_short))))
    assert open_journal(cut_short).has("END")
    assert [each.outcome for each in recovered(cut_short)] == ["undone"]
    assert recovered(cut_short) == []
    ended = Journal.open(cut_short.system, f"/{STATE}/txn/000002.done")
    types = [record.type for record in ended.records]
    assert (types.count("ABORT"), types.count("ROLLED-BACK"), types.count("END")) == (1, 1, 1)


def test_what_cannot_be_brought_to_an_end_keeps_what_is_known_of_the_cause() -> None:
    problem = Problem("/etc/f", "was changed by somebody else")
    stuck = _stuck(StepError("said no", problems=[problem]), "transaction 000002", "/txn/000002.log")
    assert stuck.what == "cannot recover transaction 000002: said no"
    assert (stuck.where, stuck.problems) == ("/txn/000002.log", (problem,))
    assert _stuck(OSError(errno.EIO, os.strerror(errno.EIO)), "it", "there").problems == ()
    assert _stuck(stuck, "another", "place") is stuck


@pytest.mark.parametrize("boots", [1, 2])
def test_why_it_was_given_up_is_said_after_recovery_too(tmp_path: Path, boots: int) -> None:
    host = context(System(tmp_path))
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    open_journal(host).append("ABORT", why="the disk was full", said=[])
    (found,) = recovered(host if boots == 1 else context(Rebooted(tmp_path)))
    assert found == Recovered("000002", "undone", "the disk was full")
    assert [row.get("why") for row in finalize.history(host)] == [None, "the disk was full"]


def test_what_was_given_up_by_nobody_was_cut_short(cut_short: Context) -> None:
    recovered(cut_short)
    assert Journal.open(cut_short.system, f"/{STATE}/txn/000002.done").last("ABORT")["why"] == "interrupted"


def test_a_way_back_that_fails_names_why_it_was_given_up_at_first(cut_short: Context) -> None:
    open_journal(cut_short).append("ABORT", why="the disk was full", said=[])
    failing = Refusing(root(cut_short), "UNDOING", OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(NotUndoneError, match=r"the release failed \(the disk was full\) and could not be"):
        recovered(context(failing))


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "remount its file system read-write"),
        (errno.ENOSPC, "free some space there"),
        (errno.EIO, "check this path, and the kernel log (dmesg)"),
    ],
)
@pytest.mark.parametrize("effect", ["mkdir", "lock"])
def test_a_state_that_cannot_be_written_to_is_no_ready_host(
    tmp_path: Path, effect: str, number: int, hint: str
) -> None:
    class Refusing(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == effect:
                raise OSError(number, os.strerror(number))
            return super().around(name, args, call)

        def lock(self, path: str, wait: float = 0.0, *, private: str = "") -> Any:
            take = super().lock
            return self.around("lock", (path,), lambda: take(path, wait, private=private))

    with pytest.raises(HostNotReadyError, match="cannot write") as caught:
        recovered(context(Refusing(tmp_path)))
    assert hint in caught.value.hint
    assert caught.value.where == f"/{STATE}"


def test_the_lock_is_given_back_also_after_a_refusal(cut_short: Context) -> None:
    (root(cut_short) / STATE / "txn/000002.log").rename(root(cut_short) / "away")
    for _ in range(2):
        with pytest.raises(NotUndoneError, match="journal of an unfinished transaction is missing"):
            recovered(cut_short)
    (root(cut_short) / "away").rename(root(cut_short) / STATE / "txn/000002.log")
    assert [each.outcome for each in recovered(cut_short)] == ["undone"]


LOADED = Op("image.load", {}, "stage")
PLACED = Op("files.place", {}, "switch")


@pytest.mark.parametrize(
    ("op", "boot", "methods", "asked"),
    [
        (LOADED, "before", ("images", "compose"), ["1.0.0"]),
        (LOADED, "now", ("images", "compose"), []),
        (PLACED, "before", ("images", "compose"), []),
        (LOADED, "before", ("images",), []),
        (LOADED, "before", ("compose",), []),
        (LOADED, "before", None, []),
    ],
    ids=["rebooted", "same boot", "no image touched", "no engine", "no images", "nothing stands"],
)
def test_images_are_looked_at_after_a_reboot_where_some_were_touched_and_are_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    op: Op,
    boot: str,
    methods: tuple[str, ...] | None,
    asked: list[str],
) -> None:
    """How they are mended is tried with a real engine: test_images_faults.py."""
    host, seen = context(System(tmp_path)), list[str]()
    install(host, ONE)
    state = load(host.system, host.layout)
    assert state.current is not None
    stands = replace(state, current=replace(state.current, methods=methods) if methods is not None else None)
    journal = Journal.create(host.system, host.layout.journal("000002"), 0)
    journal.append("BEGIN", boot=host.system.boot_id() if boot == "now" else boot)
    journal.append("INTENT", op=op.as_json(), preimage={})
    journal.append("INTENT", op=PLACED.as_json(), preimage={})

    def mend(_context: Context, manifest: Manifest, directory: str) -> None:
        assert directory.endswith(stands.current.name if stands.current else "")
        seen.append(manifest.version)

    monkeypatch.setattr("installer.images.repair.repair_images", mend)
    recovery._repair_images(host, journal, stands)
    assert seen == asked


@pytest.mark.parametrize(("effect", "version"), [("/opt/d", "1.0.0"), ("state.json", "2.0.0")])
def test_the_images_of_the_release_that_is_to_stand_are_seen_to_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effect: str, version: str
) -> None:
    host, seen = context(System(tmp_path)), list[str]()
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill" if effect == "/opt/d" else f"write_at /{STATE}/state.json.new")

    def see(_context: Context, _journal: Journal, stands: State) -> None:
        assert (tmp_path / STATE / "txn/000002.log").exists()
        seen.append(stands.current.version if stands.current else "")

    monkeypatch.setattr(recovery, "_repair_images", see)
    recovered(host)
    assert seen == [version]


@pytest.mark.parametrize(
    ("outcome", "why", "incomplete", "text"),
    [
        ("finished", "", False, "was committed and is now completed: 1.0.0 is installed"),
        ("finished", "no such unit", True, "is committed, but a step failed: no such unit"),
        (
            "rolled-forward",
            "",
            False,
            "was past the point of no return and is now completed: 1.0.0 is installed",
        ),
        ("rolled-forward", "no such unit", True, "is committed, but a step failed: no such unit"),
        ("undone", "no such unit", False, "was interrupted and is now undone: 1.0.0 is installed, as before"),
        ("not-started", "", False, "had not started: cleaned up"),
        ("repaired", "the state was missing", False, "the state was missing"),
        ("unstaged", "removed the staged files of x 1.0", False, "removed the staged files of x 1.0"),
    ],
)
def test_only_what_stands_and_failed_is_not_whole(
    outcome: Any, why: str, incomplete: bool, text: str
) -> None:
    found = Recovered("000002", outcome, why, installed="1.0.0")
    assert found.incomplete is incomplete
    assert text in found.text()


def test_a_state_that_cannot_be_mended_is_named(tmp_path: Path) -> None:
    class Full(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name in ("write_new", "write_at") and "state.json" in args[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().around(name, args, call)

    host = context(System(tmp_path))
    install(host, ONE)
    (tmp_path / STATE / "state.json").unlink()
    with pytest.raises(
        NotUndoneError,
        match=re.escape(f"cannot recover the state: /{STATE}/state.json.new: No space"),
    ) as caught:
        recovered(context(Full(tmp_path)))
    assert caught.value.where == host.layout.state_file
    assert [each.outcome for each in recovered(host)] == ["repaired"]


@pytest.mark.parametrize("name", ["root.json.new", ".root.json.new"])
def test_what_is_left_of_a_new_root_file_is_cleared(tmp_path: Path, name: str) -> None:
    spare = tmp_path / ROOT_FILE.rpartition("/")[0][1:] / name
    spare.parent.mkdir(parents=True)
    spare.write_bytes(b"half")
    assert recovered(context(System(tmp_path))) == []
    assert not spare.exists()


def test_what_cannot_be_cleared_is_named_and_stops_nothing(cut_short: Context) -> None:
    class Stuck(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "unlink" and args[0].endswith("state.json.new"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().around(name, args, call)

    recovered(cut_short)
    (root(cut_short) / STATE / "state.json.new").write_bytes(b"")
    stuck = context(Stuck(root(cut_short)))
    assert recovered(stuck) == []
    assert isinstance(stuck.progress, Notes)
    (line,) = stuck.progress.lines
    assert line.startswith(
        f"not cleared yet: /{STATE}/state.json.new: cannot be cleared: Input/output error; hint: "
    )
    assert recovered(cut_short) == []
    assert not (root(cut_short) / STATE / "state.json.new").exists()


def test_the_audit_log_has_the_end_of_what_was_cut_short(cut_short: Context) -> None:
    def last() -> dict[str, Any]:
        return audit_log.check(*audit_log.read(cut_short.system)).records[-1].fields

    assert "result" not in last()
    recovered(cut_short)
    assert (last()["transaction"], last()["result"]) == ("000002", "rolled back")
    assert last()["recovered"] is True


def test_what_somebody_else_has_put_among_the_journals_is_left_alone(cut_short: Context) -> None:
    recovered(cut_short)
    for name in ("notes.log", "notes.backup", "notes.done"):
        (root(cut_short) / STATE / "txn" / name).mkdir()
    assert recovered(cut_short) == []
    assert len(list((root(cut_short) / STATE / "txn").glob("notes.*"))) == 3


def test_a_backup_beside_a_journal_that_ended_is_not_lost(cut_short: Context) -> None:
    recovered(cut_short)
    (root(cut_short) / STATE / "txn/000001.backup").mkdir()
    assert recovered(cut_short) == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["a directory", "a file"])
def test_where_nothing_runs_something_else_in_the_place_of_the_link_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    host = context(System(tmp_path))
    assert recovered(host) == []
    make(tmp_path / STATE / "current")
    with pytest.raises(NotUndoneError, match=r"not a link, but state\.json names no running release"):
        recovered(host)


def test_a_lock_that_is_removed_while_it_is_held_lets_no_second_one_in(cut_short: Context) -> None:
    with exclusive(cut_short):
        (root(cut_short) / STATE / "lock").unlink()
        with pytest.raises(BusyError) as caught, exclusive(cut_short):
            pass
        assert caught.value.exit_code == 16
