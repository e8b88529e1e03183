"""`install trust update`: any number of steps at once, whole or not at all, in effect at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.trust.root_files import root_bytes
from installer.commands.trust import LOCK, update_trust
from installer.core.errors import (
    BusyError,
    ExpiredError,
    HostNotReadyError,
    RefusedError,
    TamperedError,
    UntrustedError,
    UsageError,
)
from installer.core.timestamps import format_time
from installer.core.trust.root import Root, fingerprint
from installer.host.system import System
from installer.state.trust_store import (
    ROOT_FILE,
    TIME_FILE,
    init_trust,
    known_time,
    load_trust,
    remember_time,
)
from tests.faults.faulty import Killed
from tests.rig.trustworld import NOW, headed, person


class Fragile(System):
    """A host that dies before or after one of its effects."""

    def __init__(self, root: Path, at: int = -1, after: bool = False) -> None:
        super().__init__(root)
        self.at, self.after, self.done = at, after, 0

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
        number, self.done = self.done, self.done + 1
        if number == self.at and not self.after:
            raise Killed
        result = super().around(name, args, call)
        if number == self.at:
            raise Killed
        return result


def write(directory: Path, name: str, made: Root, *names: str) -> Path:
    directory.mkdir(exist_ok=True)
    data = root_bytes(made)
    (directory / name).write_bytes(data)
    for each in names:
        signer = person(each).signer
        for form, content in signer.sign(data).items():
            (directory / f"{name}.{signer.keyid8}.{form}").write_bytes(content)
    return directory / name


@pytest.fixture
def trusting(tmp_path: Path) -> System:
    first = write(tmp_path / "stick", "root.json", headed(1, "Ann"), "Ann")
    (tmp_path / "host").mkdir()
    system = System(tmp_path / "host")
    init_trust(system, first, fingerprint(first.read_bytes()), lambda _q: "", lambda: NOW)
    return system


def update(system: System, path: Path, now: datetime = NOW) -> int:
    return update_trust(system, path, lambda: now).root.version


def test_the_next_one_from_a_file(trusting: System, tmp_path: Path) -> None:
    path = write(tmp_path / "new", "root.json", headed(2, "Ben"), "Ann", "Ben")
    done = update_trust(trusting, path, lambda: NOW)
    assert (done.before, done.root.version) == (1, 2)
    assert load_trust(trusting)[1] == path.read_bytes()
    assert done.fingerprint == fingerprint(path.read_bytes())


@pytest.mark.parametrize("last", ["4.root.json", "root.json"])
def test_several_at_once_from_a_folder(trusting: System, tmp_path: Path, last: str) -> None:
    new = tmp_path / "new"
    write(new, "2.root.json", headed(2, "Ben", expires=NOW - timedelta(days=5)), "Ann", "Ben")
    write(new, "3.root.json", headed(3, "Cid"), "Ben", "Cid")
    write(new, last, headed(4, "Cid"), "Cid")
    assert update(trusting, new) == 4


def test_the_newest_one_already_is_no_fault_and_no_change(trusting: System, tmp_path: Path) -> None:
    before = (tmp_path / "host" / ROOT_FILE[1:]).stat().st_mtime_ns
    assert update(trusting, tmp_path / "stick") == 1
    assert update(trusting, tmp_path / "stick" / "root.json") == 1
    assert (tmp_path / "host" / ROOT_FILE[1:]).stat().st_mtime_ns == before


def test_a_gap_names_what_is_missing(trusting: System, tmp_path: Path) -> None:
    write(tmp_path / "new", "root.json", headed(3, "Ann"), "Ann")
    with pytest.raises(RefusedError, match="version 2 must be applied first"):
        update(trusting, tmp_path / "new")


def test_an_older_one_is_refused(trusting: System, tmp_path: Path) -> None:
    update(trusting, write(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann"))
    with pytest.raises(RefusedError, match="replaced only by a later version"):
        update(trusting, tmp_path / "stick")


def test_a_bad_one_in_between_changes_nothing(trusting: System, tmp_path: Path) -> None:
    new = tmp_path / "new"
    write(new, "2.root.json", headed(2, "Ann"), "Ann")
    write(new, "3.root.json", headed(3, "Eve"), "Eve")
    with pytest.raises(UntrustedError):
        update(trusting, new)
    assert load_trust(trusting)[0].version == 1


def test_the_last_one_must_be_in_force(trusting: System, tmp_path: Path) -> None:
    write(tmp_path / "new", "root.json", headed(2, "Ann", expires=NOW - timedelta(days=1)), "Ann")
    with pytest.raises(ExpiredError):
        update(trusting, tmp_path / "new")
    assert load_trust(trusting)[0].version == 1


def test_an_edited_one_is_refused(trusting: System, tmp_path: Path) -> None:
    path = write(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(TamperedError):
        update(trusting, path)


@pytest.mark.parametrize("name", ["x.json", "root.json.bak"])
def test_a_folder_without_a_root(trusting: System, tmp_path: Path, name: str) -> None:
    write(tmp_path / "new", name, headed(2, "Ann"), "Ann")
    with pytest.raises(UsageError, match=r"contains neither root\.json"):
        update(trusting, tmp_path / "new")


def test_a_file_may_have_another_name(trusting: System, tmp_path: Path) -> None:
    assert update(trusting, write(tmp_path / "new", "trust-2.json", headed(2, "Ann"), "Ann")) == 2


def test_what_is_not_there(trusting: System, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        update(trusting, tmp_path / "none" / "root.json")


def test_a_host_without_trust_has_nothing_to_update(tmp_path: Path) -> None:
    path = write(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    (tmp_path / "host").mkdir()
    with pytest.raises(UntrustedError, match="no trust is set up"):
        update(System(tmp_path / "host"), path)
    assert list((tmp_path / "host").iterdir()) == []


def test_two_at_once_do_not_mix(trusting: System, tmp_path: Path) -> None:
    path = write(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    lock = trusting.lock(LOCK)
    with pytest.raises(BusyError):
        update(trusting, path)
    lock.release()
    assert update(trusting, path) == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_effect_it_trusts_the_old_or_the_new(
    trusting: System, tmp_path: Path, after: bool
) -> None:
    old = load_trust(trusting)[1]
    path = write(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    place = tmp_path / "host" / ROOT_FILE[1:]
    number, seen = 0, set()
    while True:
        place.write_bytes(old)
        (tmp_path / "host" / TIME_FILE[1:]).unlink(missing_ok=True)
        fragile = Fragile(tmp_path / "host", number, after)
        try:
            update_trust(fragile, path, lambda: NOW)
        except Killed:
            seen.add(load_trust(trusting)[0].version)
            assert place.read_bytes() in (old, path.read_bytes())
            assert update(trusting, path) == 2
        else:
            break
        number += 1
    assert seen == {1, 2}
    assert number >= 6


def test_a_running_release_that_is_now_revoked_is_named(trusting: System, tmp_path: Path) -> None:
    from installer.host.layout import Layout
    from installer.state.state import Entry, State, save

    layout = Layout("lan-chat")
    Path(tmp_path / "host" / layout.base[1:]).mkdir(parents=True)
    Path(tmp_path / "host" / layout.lock[1:]).touch()
    entry = Entry("1-aaaaaaaaaaaa", "1.4.0", 1, "a" * 64, "b" * 64, "000001", "c" * 64)
    save(trusting, layout, State(entry, (entry,), 1, 1))
    new = replace(headed(2, "Ann"), revoked_bundles=frozenset({"a" * 64}))
    done = update_trust(trusting, write(tmp_path / "new", "root.json", new, "Ann"), lambda: NOW)
    assert done.affected == ("lan-chat 1.4.0",)


class TestTime:
    def test_it_only_goes_forward(self, trusting: System) -> None:
        assert known_time(trusting) == NOW
        remember_time(trusting, NOW + timedelta(hours=1))
        remember_time(trusting, NOW)
        assert known_time(trusting) == NOW + timedelta(hours=1)

    def test_what_is_damaged_is_not_taken_for_none(self, trusting: System, tmp_path: Path) -> None:
        for text in ("yesterday\n", "", "0" * 65, "2026-01-31T00:00:00Z\n" * 9):
            (tmp_path / "host" / TIME_FILE[1:]).write_text(text)
            with pytest.raises(HostNotReadyError, match="does not contain a time"):
                known_time(trusting)

    def test_people_can_read_it(self, trusting: System, tmp_path: Path) -> None:
        assert (tmp_path / "host" / TIME_FILE[1:]).read_text() == f"{format_time(NOW)}\n"
