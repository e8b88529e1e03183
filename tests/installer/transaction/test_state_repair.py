"""A state or a journal that somebody damaged, cut, deleted or brought along: mended, or refused by name."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands import history, status
from installer.commands.common.recovery import exclusive
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.host.context import Context
from installer.host.system import System
from installer.state.state import load
from installer.transaction.journal import RESERVED, Journal
from installer.transaction.state_repair import read_state, refuse_truncated
from tests.rig.chatd import ONE, THREE, TWO, deployed
from tests.rig.faulty import kill_at, snapshot
from tests.rig.journals import rewritten
from tests.rig.releases import STATE, context, install, root, state_file

pytestmark = pytest.mark.host(ONE, TWO)


def mended(within: Context) -> str:
    with exclusive(within) as (_, recovered):
        return " ".join(each.text() for each in recovered)


def refused(within: Context, match: str) -> NotUndoneError:
    """Recovers, which has to be refused without any change; gives the refusal."""
    before = snapshot(root(within))
    with pytest.raises(NotUndoneError, match=match) as caught, exclusive(within):
        pass
    assert caught.value.exit_code == 21
    assert caught.value.hint
    after = snapshot(root(within))
    lock = f"{STATE}/lock"
    assert {k: v for k, v in after.items() if k != lock} == {k: v for k, v in before.items() if k != lock}
    return caught.value


def unchanged(within: Context, act: Callable[[], object]) -> None:
    """Does something to the state, and sees that the next command brings it back."""
    before, state = load(within.system, within.layout), state_file(within, "state.json").read_bytes()
    releases = snapshot(state_file(within, "releases"))
    act()
    assert mended(within)
    assert load(within.system, within.layout) == before
    assert state_file(within, "state.json").read_bytes() == state
    assert snapshot(state_file(within, "releases")) == releases
    assert mended(within) == ""


def test_a_deleted_state_is_derived_from_the_journal(host: Context) -> None:
    unchanged(host, state_file(host, "state.json").unlink)
    assert status.product_status(host).drift == ()


@pytest.mark.parametrize("size", [0, 1, 100, -2])
def test_a_state_that_was_cut_is_derived_from_the_journal_and_kept(host: Context, size: int) -> None:
    data = state_file(host, "state.json").read_bytes()
    unchanged(host, lambda: state_file(host, "state.json").write_bytes(data[:size]))
    assert state_file(host, "state.json.damaged").read_bytes() == data[:size]


@pytest.mark.parametrize(
    "damage",
    [
        {"highest": "2"},
        {"current": "9-nothing"},
        {"releases": [{"name": "x"}]},
        {"releases": None},
        {"transaction": None},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_state_that_was_edited_into_nonsense_is_derived_again(
    host: Context, damage: dict[str, object]
) -> None:
    path = state_file(host, "state.json")
    value = json.loads(path.read_bytes())
    unchanged(host, lambda: path.write_text(json.dumps(value | damage)))


def test_an_older_state_that_was_put_back_is_brought_up_to_the_journal(host: Context) -> None:
    path = state_file(host, "state.json")
    value = json.loads(path.read_bytes())
    value["highest"], value["transaction"] = 1, 1
    unchanged(host, lambda: path.write_text(json.dumps(value)))


def test_the_damage_is_named_by_whoever_may_only_look(host: Context) -> None:
    state_file(host, "state.json").write_bytes(b"{")
    with pytest.raises(NotUndoneError, match="the state is damaged") as caught:
        status.product_status(host)
    assert "install recover" in caught.value.hint


def test_a_state_of_a_newer_installer_is_refused_and_left_alone(host: Context) -> None:
    path = state_file(host, "state.json")
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps(value | {"schema": "waybill/state/v2"}))
    assert "newer" in refused(host, "another version of the installer .waybill/state/v2").hint


def test_nothing_is_touched_without_state_and_journals(host: Context) -> None:
    state_file(host, "state.json").unlink()
    for path in state_file(host, "txn").iterdir():
        path.unlink()
    refused(host, "the state is missing, and no journal contains it")


@pytest.mark.parametrize("left", ["releases", "history.jsonl"])
def test_either_trace_of_a_release_is_enough_without_state_and_journals(host: Context, left: str) -> None:
    for name in {"state.json", "txn", "releases", "history.jsonl"} - {left}:
        path = state_file(host, name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    state_file(host, "txn").mkdir(0o700)  # it is locked, and made where it is missing
    refused(host, "the state is missing, and no journal contains it")


def test_a_damaged_state_that_no_journal_tells_is_refused_and_left_as_it_is(host: Context) -> None:
    state_file(host, "state.json").write_bytes(b"{")
    for path in state_file(host, "txn").iterdir():
        path.unlink()
    refused(host, "the state is damaged")


def test_a_state_is_believed_without_journals(host: Context) -> None:
    for path in state_file(host, "txn").iterdir():
        path.unlink()
    assert mended(host) == ""


def test_a_first_release_that_was_cut_short_is_undone_and_nothing_is_mended(tmp_path: Path) -> None:
    host = context(System(tmp_path))
    kill_at(host, ONE, "rename /opt/.waybill")
    assert not state_file(host, "state.json").exists()
    with exclusive(host) as (_, recovered):
        assert [each.outcome for each in recovered] == ["undone"]


@pytest.mark.parametrize("how", ["damaged", "unreadable"])
def test_an_older_journal_is_used_where_the_newest_cannot_be_read(host: Context, how: str) -> None:
    class Failing(System):
        def read(self, path: str, limit: int) -> bytes:
            if how == "unreadable" and path.endswith("000002.done"):
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return super().read(path, limit)

    path = state_file(host, "txn/000002.done")
    data = bytearray(path.read_bytes())
    data[100] ^= how == "damaged"
    path.write_bytes(data)
    state_file(host, "state.json").unlink()
    with pytest.raises(NotUndoneError, match=r"points to releases/2-.*, but state.json names releases/1-"):
        mended(context(Failing(root(host))))


@pytest.mark.parametrize(
    "change", [{"releases": None}, {"current": "9-nothing"}, None], ids=["types", "parts", "nothing"]
)
def test_an_older_journal_is_used_where_the_newest_is_nonsense(
    host: Context, change: dict[str, object] | None
) -> None:
    def nonsense(value: dict[str, object]) -> None:
        if value["type"] == "BEGIN":
            assert isinstance(value["state"], dict)
            value["state"] = value["state"] | change if change else {}

    rewritten(state_file(host, "txn/000002.done"), nonsense)
    state_file(host, "state.json").unlink()
    with pytest.raises(NotUndoneError, match=r"points to releases/2-.*, but state.json names releases/1-"):
        mended(host)


@pytest.mark.parametrize(
    ("record", "change"),
    [("COMMIT", {"at": ...}), ("COMMIT", {"why": 5}), ("BEGIN", {"new": ...}), ("BEGIN", {"new": 5})],
    ids=["a key is not there", "a reason that is no text", "no release is there", "a release of a number"],
)
def test_an_older_journal_is_used_where_the_newest_does_not_tell_its_release(
    host: Context, record: str, change: dict[str, object]
) -> None:
    def nonsense(value: dict[str, object]) -> None:
        if value["type"] == record:
            for name, wrong in change.items():
                if wrong is ...:
                    del value[name]
                else:
                    value[name] = wrong

    rewritten(state_file(host, "txn/000002.done"), nonsense)
    state_file(host, "state.json").unlink()
    with pytest.raises(NotUndoneError, match=r"points to releases/2-.*, but state.json names releases/1-"):
        mended(host)


def test_an_open_journal_alone_tells_the_state(host: Context) -> None:
    kill_at(host, THREE, "rename /opt/.waybill")
    for path in state_file(host, "txn").glob("*.done"):
        path.unlink()
    state_file(host, "state.json").unlink()
    assert "the state was missing" in mended(host)
    assert deployed(host) == "two"


def test_a_file_of_somebody_else_among_the_journals_tells_nothing(host: Context) -> None:
    state_file(host, "txn/notes.log").write_text("mine")
    unchanged(host, state_file(host, "state.json").unlink)


def test_a_state_deleted_while_a_transaction_was_open_costs_no_kept_release(tmp_path: Path) -> None:
    host = context(System(tmp_path))
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    state_file(host, "state.json").unlink()
    assert "the state was missing" in mended(host)
    assert deployed(host) == "one"
    assert [path.name.split("-")[0] for path in state_file(host, "releases").iterdir()] == ["1"]
    assert status.product_status(host).drift == ()


@pytest.fixture
def open_journal(host: Context) -> Path:
    """The journal of an upgrade that was killed after files were replaced."""
    kill_at(host, THREE, "rename /opt/.waybill")
    return state_file(host, "txn/000003.log")


@pytest.mark.parametrize("how", [lambda _data: b"", lambda data: bytes(len(data)), lambda data: data[:40]])
def test_a_journal_that_was_emptied_does_not_cost_the_backups(
    host: Context, open_journal: Path, how: Callable[[bytes], bytes]
) -> None:
    open_journal.write_bytes(how(open_journal.read_bytes()))
    error = refused(host, "the journal is empty, but files were replaced")
    assert error.where.endswith("000003.log")


def test_a_journal_that_was_cut_off_is_refused(host: Context, open_journal: Path) -> None:
    data = open_journal.read_bytes()
    open_journal.write_bytes(data[: len(data.rstrip(b"\0"))])
    refused(host, rf"the journal has \d+ bytes, not the {len(data)} that were allocated")


def test_a_journal_whose_last_records_were_taken_out_is_refused(host: Context, open_journal: Path) -> None:
    data = open_journal.read_bytes()
    lines = data.rstrip(b"\0").splitlines(keepends=True)
    kept = b"".join(line for line in lines if json.loads(line[65:])["n"] <= 2)
    open_journal.write_bytes(kept + bytes(len(data) - len(kept)))
    refused(host, r"the end of the journal is missing \(no record of the backup")


def test_a_journal_of_a_newer_installer_is_refused(host: Context, open_journal: Path) -> None:
    def newer(value: dict[str, object]) -> None:
        if value["type"] == "BEGIN":
            value["schema"] = "waybill/journal/v2"

    rewritten(open_journal, newer)
    assert "newer" in refused(host, "another version of the installer .waybill/journal/v2").hint


@pytest.mark.parametrize("committed", [True, False])
def test_an_operation_of_a_newer_installer_is_refused_by_name(
    host: Context, open_journal: Path, committed: bool
) -> None:
    def newer(value: dict[str, object]) -> None:
        if value["type"] == "INTENT" and isinstance(value["op"], dict):
            value["op"]["kind"] = "quantum.leap"

    rewritten(open_journal, newer)
    if committed:
        Journal.open(host.system, host.layout.journal("000003")).append("COMMIT", at=1)
    with pytest.raises(NotUndoneError, match=r"quantum\.leap") as caught, exclusive(host):
        pass
    assert caught.value.exit_code == 21
    assert deployed(host) == "three"


def test_a_journal_that_was_only_allocated_is_cleared(host: Context) -> None:
    state_file(host, "txn/000003.log").write_bytes(bytes(RESERVED))
    assert "had not started" in mended(host)
    assert not state_file(host, "txn/000003.log").exists()


@pytest.mark.parametrize("now", [0.0, 2.0**31 + 5, -(2.0**31)])
def test_a_clock_that_jumps_changes_only_what_the_history_says(tmp_path: Path, now: float) -> None:
    class Jumping(System):
        def now(self) -> float:
            return now

    install(context(System(tmp_path)), ONE)
    host = context(Jumping(tmp_path))
    install(host, TWO)
    kill_at(host, THREE, "rename /opt/.waybill")
    mended(host)
    assert deployed(host) == "two"
    assert [event.version for event in history.events(host)] == ["1.0.0", "2.0.0", "3.0.0"]
    assert "2.0.0" in history.HistoryResult(tuple(history.events(host)), ()).text()
    assert "2.0.0" in status.product_status(host).text()


def begun(within: Context, *types: str) -> tuple[Context, Journal]:
    """A transaction whose journal has these records."""
    journal = Journal.create(within.system, within.layout.journal("000003"), 0)
    for type_ in types:
        fields = {"room": journal.size} if type_ == "BEGIN" else {"preimage": {}}
        journal.append(type_, **fields)
    return replace(within, transaction="000003"), journal


def cut(within: Context) -> Journal:
    """Opens its journal after it has lost its room."""
    path = state_file(within, "txn/000003.log")
    path.write_bytes(path.read_bytes().rstrip(b"\0"))
    return Journal.open(within.system, within.layout.journal("000003"))


@pytest.mark.parametrize("decision", ["COMMIT", "ROLLED-BACK"])
def test_a_journal_without_its_room_is_sound_once_it_is_decided(host: Context, decision: str) -> None:
    within, _ = begun(host, "BEGIN", decision)
    refuse_truncated(within, cut(host))


def test_a_journal_without_its_room_is_refused_before_it_is_decided(host: Context) -> None:
    within, journal = begun(host, "BEGIN", "STAGED")
    refuse_truncated(within, journal)
    with pytest.raises(NotUndoneError, match="not the 262144 that were allocated"):
        refuse_truncated(within, cut(host))


@pytest.mark.parametrize(
    ("types", "what"),
    [
        ((), "the journal is empty"),
        (("BEGIN",), r"the end of the journal is missing \(no record of the backup 0"),
    ],
    ids=["empty", "begun"],
)
def test_a_caller_that_has_looked_for_backups_is_believed(
    host: Context, types: tuple[str, ...], what: str
) -> None:
    within, journal = begun(host, *types)
    refuse_truncated(within, journal)
    with pytest.raises(NotUndoneError, match=what):
        refuse_truncated(within, journal, ["0"])
    state_file(host, "txn/000003.backup").mkdir()
    state_file(host, "txn/000003.backup/0").touch()
    refuse_truncated(within, journal, [])
    with pytest.raises(NotUndoneError, match=what):
        refuse_truncated(within, journal)


def test_a_state_that_cannot_be_looked_at_is_named_to_who_may_only_look(host: Context) -> None:
    shutil.rmtree(state_file(host, "txn"))
    state_file(host, "txn").touch()
    with pytest.raises(HostNotReadyError, match="cannot be read: Not a directory") as caught:
        read_state(host)
    assert caught.value.where == host.layout.transactions
