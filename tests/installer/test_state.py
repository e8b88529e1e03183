"""The state: what runs, what is kept, how far it came; strict about its own files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.layout import Layout
from installer.state import Entry, State, load, next_transaction, save
from installer.system import System

ENTRY = Entry(
    "1-aaaaaaaaaaaa", "1.0.0", 1, "a" * 64, "b" * 64, "000001", "c" * 64, 5, ("files",), {"signers": ["x"]}
)


def entry(number: int) -> Entry:
    return replace(ENTRY, name=f"{number}-{'a' * 12}", version=f"{number}.0.0", sequence=number)


@pytest.fixture
def host(tmp_path: Path) -> tuple[System, Layout]:
    (tmp_path / "var/lib/waybill/p").mkdir(parents=True)
    return System(tmp_path), Layout("p")


def test_what_was_saved_is_loaded(host: tuple[System, Layout]) -> None:
    state = State().after(1, entry(1)).after(2, entry(2))
    save(*host, state)
    assert load(*host) == state


def test_nothing_there_is_an_empty_state(host: tuple[System, Layout]) -> None:
    assert load(*host) == State()


def test_three_releases_are_kept_the_last_run_first() -> None:
    state = State()
    for number in (1, 2, 3, 4):
        state = state.after(number, entry(number))
    assert [each.version for each in state.kept] == ["4.0.0", "3.0.0", "2.0.0"]
    assert state.previous == entry(3)


def test_the_highest_sequence_never_falls() -> None:
    state = State().after(1, entry(1)).after(2, entry(2)).after(3, entry(1))
    assert (state.current, state.highest) == (entry(1), 2)
    assert state.previous == entry(2)
    assert state.after(4, None).highest == 2


def test_a_kept_release_is_found_by_version_or_name() -> None:
    state = State().after(1, entry(1))
    assert state.find("v1.0.0") == state.find("1.0.0") == state.find(entry(1).name) == entry(1)
    assert state.find("9.9.9") is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"{}", b'{"schema":"waybill/state/v1"}', b'{"schema":1,"schema":2}', b"[]"],
    ids=["empty", "cut short", "without anything", "without releases", "with a key twice", "a list"],
)
def test_a_damaged_state_stops_everything(host: tuple[System, Layout], data: bytes) -> None:
    Path(host[0].root, host[1].state_file[1:]).write_bytes(data)
    with pytest.raises(NotUndoneError, match="state is damaged"):
        load(*host)


@pytest.mark.parametrize("name", ["highest", "transaction", "reset"])
@pytest.mark.parametrize("value", [[], "1", None, True], ids=str)
def test_a_number_of_another_type_is_damage(host: tuple[System, Layout], name: str, value: object) -> None:
    document = State().after(1, entry(1)).as_json() | {name: value}
    Path(host[0].root, host[1].state_file[1:]).write_text(json.dumps(document))
    with pytest.raises(NotUndoneError, match="state is damaged: its parts do not fit together"):
        load(*host)


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
def test_a_release_of_other_types_is_damage(host: tuple[System, Layout], name: str, value: object) -> None:
    document = State().after(1, entry(1)).as_json()
    document["releases"][0][name] = value
    Path(host[0].root, host[1].state_file[1:]).write_text(json.dumps(document))
    with pytest.raises(NotUndoneError, match="state is damaged: a release has a field of another type"):
        load(*host)


def test_a_transaction_number_is_never_used_again(host: tuple[System, Layout]) -> None:
    system, layout = host
    assert next_transaction(system, layout, State()) == "000001"
    directory = Path(system.root, layout.transactions[1:])
    directory.mkdir()
    (directory / "000007.done").touch()
    assert next_transaction(system, layout, replace(State(), transaction=3)) == "000008"


def test_a_state_of_root_is_refused_to_others_in_words(
    host: tuple[System, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", "state.json")

    system, layout = host
    monkeypatch.setattr(system, "read", denied)
    with pytest.raises(HostNotReadyError, match="cannot be read by this user") as caught:
        load(system, layout)
    assert caught.value.hint == "run as root"
