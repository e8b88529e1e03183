"""The state: what runs, what is kept, how far it came; strict about its own files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, NotUndoneError, TamperedError
from installer.core.format.manifest import HealthCheck
from installer.host.layout import Layout
from installer.host.system import System
from installer.state.evidence import Evidence
from installer.state.release import DamagedReleaseError, Installed, read_record, record_bytes
from installer.state.state import (
    DamagedStateError,
    Entry,
    State,
    cannot_access_error,
    load,
    next_transaction,
    reserve,
    save,
)
from tests.rig.faulty import FaultySystem

ENTRY = Entry(
    "1-aaaaaaaaaaaa",
    "1.0.0",
    1,
    "a" * 64,
    "b" * 64,
    "000001",
    "c" * 64,
    5,
    ("files",),
    Evidence({"signers": ["x"]}),
)


def entry(number: int) -> Entry:
    return replace(ENTRY, name=f"{number}-{'a' * 12}", version=f"{number}.0.0", sequence=number)


@pytest.fixture
def place(tmp_path: Path) -> tuple[System, Layout]:
    (tmp_path / "var/lib/waybill/p").mkdir(parents=True)
    return System(tmp_path), Layout("p")


def test_what_was_saved_is_loaded(place: tuple[System, Layout]) -> None:
    state = State().after(1, entry(1)).after(2, entry(2))
    save(*place, state)
    assert load(*place) == state


def test_a_host_may_keep_one_release_only(place: tuple[System, Layout]) -> None:
    state = State(keep=1).after(1, entry(1)).after(2, entry(2))
    assert state.retained == (entry(2),)
    save(*place, state)
    assert load(*place) == state


@pytest.mark.parametrize(
    ("evidence", "verified"),
    [({"verified": 9}, 9), ({}, 5), ({"verified": "9"}, 5), ({"verified": None}, 5)],
    ids=["as found", "of an older installer", "a text", "nothing"],
)
def test_a_release_was_verified_when_its_evidence_says_or_else_when_it_was_installed(
    evidence: dict[str, object], verified: int
) -> None:
    assert replace(ENTRY, evidence=Evidence(evidence)).verified == verified


def test_nothing_there_is_an_empty_state(place: tuple[System, Layout]) -> None:
    assert load(*place) == State()


def test_three_releases_are_kept_the_last_run_first() -> None:
    state = State()
    for number in (1, 2, 3, 4):
        state = state.after(number, entry(number))
    assert [each.version for each in state.retained] == ["4.0.0", "3.0.0", "2.0.0"]
    assert state.previous == entry(3)


def test_the_highest_sequence_never_falls() -> None:
    state = State().after(1, entry(1)).after(2, entry(2)).after(3, entry(1))
    assert (state.current, state.highest) == (entry(1), 2)
    assert state.previous == entry(2)
    assert state.after(4, None).highest == 2


def test_a_reset_by_the_root_lets_the_highest_sequence_fall_once() -> None:
    def reset(number: int, to: int) -> Entry:
        return replace(entry(number), evidence=Evidence({"policy": {"reset": to}}))

    state = State().after(1, entry(5)).after(2, reset(2, 1))
    assert (state.highest, state.reset) == (2, 1)
    state = state.after(3, reset(1, 1))
    assert (state.highest, state.reset) == (2, 1)
    assert state.after(4, entry(3)).reset == 1


def test_what_runs_is_kept_first_also_where_it_was_kept_before() -> None:
    state = State().after(1, entry(1)).after(2, entry(2))
    newer = replace(entry(1), record="000003")
    state = state.after(3, newer)
    assert state.retained == (newer, entry(2))
    assert state.previous == entry(2)


def test_the_release_before_is_the_first_retained_one_where_nothing_runs() -> None:
    assert replace(State().after(1, entry(1)), current=None).previous == entry(1)
    assert State().previous is None
    assert State().after(1, entry(1)).previous is None


def test_what_goes_is_what_is_not_kept_any_more() -> None:
    state = replace(State(), keep=2).after(1, entry(1)).after(2, entry(2))
    assert state.goes(entry(3)) == (entry(1),)
    assert state.goes(entry(1)) == ()
    assert state.goes(None) == (entry(2), entry(1))


def test_a_kept_release_is_found_by_version_or_name() -> None:
    state = State().after(1, entry(1))
    assert state.find("v1.0.0") == state.find("1.0.0") == state.find(entry(1).name) == entry(1)
    assert state.find("9.9.9") is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"{}", b'{"schema":"waybill/state/v1"}', b'{"schema":1,"schema":2}', b"[]"],
    ids=["empty", "cut short", "without anything", "without releases", "with a key twice", "a list"],
)
def test_a_damaged_state_stops_everything(place: tuple[System, Layout], data: bytes) -> None:
    Path(place[0].root, place[1].state_file[1:]).write_bytes(data)
    with pytest.raises(NotUndoneError, match="state is damaged") as caught:
        load(*place)
    assert caught.value.where == place[1].state_file
    assert place[1].state_file not in caught.value.what
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("name", ["highest", "transaction", "reset"])
@pytest.mark.parametrize("value", [[], "1", None, True], ids=str)
def test_a_number_of_another_type_is_damage(place: tuple[System, Layout], name: str, value: object) -> None:
    document = State().after(1, entry(1)).as_json() | {name: value}
    Path(place[0].root, place[1].state_file[1:]).write_text(json.dumps(document))
    with pytest.raises(NotUndoneError, match=f"state is damaged: {name} is .*, but must be an integer"):
        load(*place)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 1),
        ("sequence", "1"),
        ("blobs", 0),
        ("methods", "files"),
        ("methods", [1]),
        ("evidence", []),
    ],
)
def test_a_release_of_other_types_is_damage(place: tuple[System, Layout], name: str, value: object) -> None:
    document = State().after(1, entry(1)).as_json()
    document["releases"][0][name] = value
    Path(place[0].root, place[1].state_file[1:]).write_text(json.dumps(document))
    with pytest.raises(
        NotUndoneError, match=rf"state is damaged: releases\[0\]\.{name}(\[0\])? is .*, but must be "
    ):
        load(*place)
    with pytest.raises(TamperedError, match="but must be "):
        Entry.from_json(document["releases"][0])


def test_a_release_of_an_older_version_has_its_blobs_and_nothing_else_to_tell() -> None:
    old = {name: value for name, value in ENTRY.as_json().items() if name not in ("blobs", "evidence")}
    assert Entry.from_json(old) == replace(ENTRY, evidence=Evidence({}))


@pytest.mark.parametrize(
    "change",
    [{"current": "9-nothing"}, {"keep": 0}, {"keep": -1}],
    ids=["runs what is not there", "keeps none", "keeps less than none"],
)
def test_parts_that_do_not_fit_together_are_damage(
    place: tuple[System, Layout], change: dict[str, object]
) -> None:
    document = State().after(1, entry(1)).as_json() | change
    Path(place[0].root, place[1].state_file[1:]).write_text(json.dumps(document))
    with pytest.raises(DamagedStateError, match="state is damaged"):
        load(*place)


def test_a_state_that_the_disk_does_not_give_is_not_called_damaged(tmp_path: Path) -> None:
    class Failing(System):
        def read(self, path: str, limit: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with pytest.raises(HostNotReadyError, match="cannot be read: Input/output error") as caught:
        load(Failing(tmp_path), Layout("p"))
    assert caught.value.where == Layout("p").state_file


def test_a_state_is_written_into_the_reserved_space_on_a_full_disk(place: tuple[System, Layout]) -> None:
    old, new = State().after(1, entry(1)), State().after(1, entry(1)).after(2, entry(2))
    save(*place, old)
    for _ in range(2):
        reserve(*place, new)
    full = FaultySystem(Path(place[0].root), at=1, fault="full")
    save(full, place[1], new)
    assert load(*place) == new
    assert not Path(place[0].root, f"{place[1].state_file[1:]}.new").exists()
    assert full.trace[-1].startswith("fsync")


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"short"), lambda path: path.chmod(0o644)])
def test_room_that_is_not_ours_any_more_is_not_used(
    place: tuple[System, Layout], spoil: Callable[[Path], object]
) -> None:
    reserve(*place, State())
    spoil(Path(place[0].root, f"{place[1].state_file[1:]}.new"))
    save(*place, State().after(1, entry(1)))
    assert load(*place) == State().after(1, entry(1))
    assert Path(place[0].root, place[1].state_file[1:]).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"{}")], ids=["gone", "edited"])
@pytest.mark.parametrize("hint", ["", "do this"])
def test_a_record_that_is_not_what_was_written_is_refused_with_what_to_do(
    place: tuple[System, Layout], spoil: Callable[[Path], object], hint: str
) -> None:
    system, layout = place
    health = (HealthCheck("tcp", "127.0.0.1:1"),)
    data = record_bytes((), health)
    path = Path(system.root, layout.record("000001")[1:], "record.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    kept = replace(entry(1), record_sha256=sha256_hex(data))
    assert read_record(system, layout, kept) == ((), health)
    spoil(path)
    with pytest.raises(DamagedReleaseError) as caught:
        read_record(system, layout, kept, hint)
    assert caught.value.what in (
        "cannot be read: No such file or directory",
        "was changed since it was installed",
    )
    assert (caught.value.hint == hint) if hint else ("Install p 1.0.0 again" in caught.value.hint)
    assert caught.value.exit_code == 21


def test_a_transaction_number_is_never_used_again(place: tuple[System, Layout]) -> None:
    system, layout = place
    assert next_transaction(system, layout, State()) == "000001"
    directory = Path(system.root, layout.transactions[1:])
    directory.mkdir()
    for name in ("000007.done", "000008.log.mine", "notes"):
        (directory / name).touch()
    assert next_transaction(system, layout, replace(State(), transaction=3)) == "000008"


def test_a_state_of_root_is_refused_to_others_in_words(
    place: tuple[System, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", "state.json")

    system, layout = place
    monkeypatch.setattr(system, "read", denied)
    with pytest.raises(HostNotReadyError, match="cannot be read by this user") as caught:
        load(system, layout)
    assert caught.value.hint == "run as root"


@pytest.mark.parametrize(
    ("error", "what", "where", "hint"),
    [
        (PermissionError(13, "Permission denied", "/a"), "cannot be read by this user", "/a", "run as root"),
        (PermissionError(13, "Permission denied"), "cannot be read by this user", "/b", "run as root"),
        (OSError(5, "Input/output error", "/a"), "cannot be read: Input/output error", "/a", "disk"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error", "/b", "disk"),
    ],
    ids=["another's, named", "another's", "a failing disk, named", "a failing disk"],
)
def test_what_cannot_be_looked_at_is_named_with_what_to_do(
    error: OSError, what: str, where: str, hint: str
) -> None:
    said = cannot_access_error(error, "/b")
    assert (said.what, said.where) == (what, where)
    assert hint in said.hint


def test_a_record_says_what_is_there_and_nothing_of_what_is_not() -> None:
    link = Installed("/opt/l", "link", target="d", uid=0)
    said = json.loads(record_bytes((link,), (HealthCheck("tcp", "h:1"),)))
    assert said["schema"] == "waybill/record/v1"
    assert said["installed"] == [{"path": "/opt/l", "kind": "link", "target": "d", "gid": -1}]
    assert [probe["target"] for probe in said["health"]] == ["h:1"]


def ran(*numbers: int) -> State:
    """A host on which these releases ran, one after the other; each did what cannot be undone."""
    state = State(keep=5)
    for at, number in enumerate(numbers, 1):
        state = state.after(at, replace(entry(number), irreversible=(f"step of {number}",)))
    return state


@pytest.mark.parametrize(
    ("state", "to", "past"),
    [
        (ran(1, 2, 3), 3, []),
        (ran(1, 2, 3), 2, [3]),
        (ran(1, 2, 3), 1, [3, 2]),
        (ran(1, 3, 2), 3, []),
        (ran(2, 1), 2, []),
        (ran(1, 2), 7, []),
    ],
    ids=["what runs", "the one before", "two back", "an older one between", "forward", "one that never ran"],
)
def test_going_back_goes_past_the_newer_releases_that_ran_since(
    state: State, to: int, past: list[int]
) -> None:
    assert [each.sequence for each in state.past(entry(to))] == past


def test_a_release_of_the_same_sequence_is_not_gone_back_past() -> None:
    twin = replace(entry(1), name=f"1-{'b' * 12}")
    assert State().after(1, entry(1)).after(2, twin).past(entry(1)) == ()


def test_what_was_gone_back_past_is_done_anew_the_next_time_and_all_else_stays_done() -> None:
    state = ran(1, 2, 3).after(4, replace(entry(2), irreversible=("step of 2",)))
    assert {each.sequence: each.irreversible for each in state.retained} == {
        2: ("step of 2",),
        3: (),
        1: ("step of 1",),
    }
