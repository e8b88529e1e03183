"""`install trust update`: any number of steps at once, whole or not at all, in effect at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from installer.commands.trust import update_trust
from installer.core.document_file import read_document
from installer.core.errors import (
    BusyError,
    ExpiredError,
    HostNotReadyError,
    RefusedError,
    TamperedError,
    UntrustedError,
    UsageError,
)
from installer.core.limits import LIMITS
from installer.core.timestamps import format_time
from installer.core.trust.root import PRODUCTION, ROOT_BYTES, ProductRule, Role, fingerprint
from installer.host.layout import Layout
from installer.host.system import System
from installer.state.evidence import Evidence
from installer.state.state import Entry, State, save
from installer.state.trust_store import (
    LOCK,
    ROOT_FILE,
    TIME_FILE,
    init_trust,
    known_time,
    load_trust,
    remember_time,
)
from tests.rig.bench import Bench
from tests.rig.faulty import Killed
from tests.rig.trustworld import NOW, headed, person, write_root

AUDIT = "var/lib/waybill/audit.jsonl"


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


def silent(_question: str, _flag: str) -> str:
    return ""


@pytest.fixture
def trusting(tmp_path: Path) -> System:
    first = write_root(tmp_path / "stick", "root.json", headed(1, "Ann"), "Ann")
    (tmp_path / "host").mkdir()
    system = System(tmp_path / "host")
    init_trust(system, first, fingerprint(first.read_bytes()), silent, lambda: NOW, "production")
    return system


def update(system: System, path: Path, now: datetime = NOW) -> int:
    return update_trust(system, path, lambda: now).root.version


def test_the_next_root_is_taken_from_a_file(trusting: System, tmp_path: Path) -> None:
    path = write_root(tmp_path / "new", "root.json", headed(2, "Ben"), "Ann", "Ben")
    done = update_trust(trusting, path, lambda: NOW)
    assert (done.before, done.root.version) == (1, 2)
    assert load_trust(trusting)[1] == path.read_bytes()
    assert done.fingerprint == fingerprint(path.read_bytes())


@pytest.mark.parametrize("last", ["4.root.json", "root.json"])
def test_several_steps_are_taken_at_once_from_a_folder(trusting: System, tmp_path: Path, last: str) -> None:
    new = tmp_path / "new"
    write_root(new, "2.root.json", headed(2, "Ben", expires=NOW - timedelta(days=5)), "Ann", "Ben")
    write_root(new, "3.root.json", headed(3, "Cid"), "Ben", "Cid")
    write_root(new, last, headed(4, "Cid"), "Cid")
    assert update(trusting, new) == 4


def test_the_newest_one_already_is_no_fault_and_no_change(trusting: System, tmp_path: Path) -> None:
    before = (tmp_path / "host" / ROOT_FILE[1:]).stat().st_mtime_ns
    assert update(trusting, tmp_path / "stick") == 1
    assert update(trusting, tmp_path / "stick" / "root.json") == 1
    assert (tmp_path / "host" / ROOT_FILE[1:]).stat().st_mtime_ns == before


def test_a_gap_names_what_is_missing(trusting: System, tmp_path: Path) -> None:
    write_root(tmp_path / "new", "root.json", headed(3, "Ann"), "Ann")
    with pytest.raises(RefusedError, match="version 2 must be applied first"):
        update(trusting, tmp_path / "new")


def test_an_older_one_is_refused(trusting: System, tmp_path: Path) -> None:
    update(trusting, write_root(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann"))
    with pytest.raises(RefusedError, match="replaced only by a later version"):
        update(trusting, tmp_path / "stick")


def test_trust_update_stops_at_the_first_bad_version_and_names_it(trusting: System, tmp_path: Path) -> None:
    new = tmp_path / "new"
    write_root(new, "2.root.json", headed(2, "Ann"), "Ann")
    write_root(new, "3.root.json", headed(3, "Eve"), "Eve")
    done = update_trust(trusting, new, lambda: NOW)
    assert load_trust(trusting)[0].version == done.root.version == 2
    assert isinstance(done.stopped, UntrustedError)
    assert done.stopped.where == str(new / "3.root.json")
    # Nothing is left to take: the same fault is the answer now.
    with pytest.raises(UntrustedError):
        update_trust(trusting, new, lambda: NOW)


def test_an_update_that_stops_at_a_bad_version_ends_with_its_error_and_names_what_was_taken(
    bench: Bench,
) -> None:
    bench.trust(headed(1, "Ann"))
    new = bench.stick / "new"
    write_root(new, "2.root.json", headed(2, "Ann"), "Ann")
    write_root(new, "3.root.json", headed(3, "Ann"), "Ann").write_bytes(b"{")
    code, document, _ = bench.run("trust", "update", str(new))
    assert (code, document["from"]["sequence"], document["to"]["sequence"]) == (11, 1, 2)
    assert "the root of this host is version 2 now" in document["problems"][-1]["what"]
    assert bench.run("trust", "show")[1]["trust"]["version"] == 2
    events = [row["event"] for row in map(json.loads, (bench.host / AUDIT).read_text().splitlines())]
    assert events == ["trust", "refused"]


def test_a_version_that_is_missing_in_between_is_named(trusting: System, tmp_path: Path) -> None:
    new = tmp_path / "new"
    write_root(new, "3.root.json", headed(3, "Ann"), "Ann")
    write_root(new, "4.root.json", headed(4, "Ann"), "Ann")
    with pytest.raises(RefusedError, match="has version 3 of the root, but not version 2"):
        update(trusting, new)


class TestMedium:
    """What is on the stick besides is neither read nor waited for."""

    @pytest.mark.parametrize("name", ["2.root.json", "root.json", "2.root.json.00000000.sig"])
    def test_a_pipe_does_not_hang_it(self, trusting: System, tmp_path: Path, name: str) -> None:
        new = tmp_path / "new"
        write_root(new, "2.root.json", headed(2, "Ann"), "Ann")
        (new / name).unlink(missing_ok=True)
        if name == "root.json":
            (new / "2.root.json").unlink()
        os.mkfifo(new / name)
        with pytest.raises(TamperedError, match="is not a regular file") as caught:
            update(trusting, new)
        assert caught.value.where == str(new / name)

    @pytest.mark.parametrize("name", ["2.root.json", "2.root.json.00000000.sig"])
    def test_a_link_on_it_is_not_followed(self, trusting: System, tmp_path: Path, name: str) -> None:
        new = tmp_path / "new"
        write_root(new, "2.root.json", headed(2, "Ann"), "Ann")
        (new / name).unlink(missing_ok=True)
        (new / name).symlink_to("/etc/passwd")
        with pytest.raises(TamperedError, match="is a symbolic link"):
            update(trusting, new)

    def test_a_link_that_somebody_names_is(self, trusting: System, tmp_path: Path) -> None:
        path = write_root(tmp_path / "new", "2.root.json", headed(2, "Ann"), "Ann")
        for each in list(path.parent.iterdir()):
            name = each.with_name(each.name.replace("2.root", "latest"))
            name.symlink_to(each.name) if each == path else name.write_bytes(each.read_bytes())
        assert update(trusting, path.with_name("latest.json")) == 2

    def test_one_version_is_read_at_a_time_and_nothing_behind_a_bad_one(
        self, trusting: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new = tmp_path / "new"
        write_root(new, "2.root.json", headed(2, "Ann"), "Ann")
        write_root(new, "3.root.json", headed(3, "Eve"), "Eve")
        for number in range(4, 40):
            (new / f"{number}.root.json").write_bytes(bytes(ROOT_BYTES))
        read = list[str]()

        def counted(path: Path, limit: int, *, follow: bool = True) -> bytes:
            read.append(path.name)
            return read_document(path, limit, follow=follow)

        monkeypatch.setattr("installer.state.root_updates.read_document", counted)
        assert update_trust(trusting, new, lambda: NOW).root.version == 2
        assert {name.partition(".")[0] for name in read} == {"2", "3"}

    def test_too_many_signatures_are_not_read(
        self, trusting: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_root(tmp_path / "new", "2.root.json", headed(2, "Ann"), "Ann")
        for number in range(LIMITS.signatures):
            path.with_name(f"{path.name}.{number:08x}.asc").write_bytes(b"x")
        monkeypatch.setattr("installer.state.root_updates.read_document", pytest.fail)
        with pytest.raises(TamperedError, match="more than 64 signatures"):
            update(trusting, path.parent)

    def test_a_directory_without_end_is_refused(
        self, trusting: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_root(tmp_path / "new", "2.root.json", headed(2, "Ann"), "Ann")
        monkeypatch.setattr("installer.state.root_updates.MOST_NAMES", 2)
        with pytest.raises(UsageError, match="contains more than 2 files"):
            update(trusting, path.parent)


def test_the_last_one_must_be_in_force(trusting: System, tmp_path: Path) -> None:
    write_root(tmp_path / "new", "root.json", headed(2, "Ann", expires=NOW - timedelta(days=1)), "Ann")
    with pytest.raises(ExpiredError):
        update(trusting, tmp_path / "new")
    assert load_trust(trusting)[0].version == 1


def test_an_edited_one_is_refused(trusting: System, tmp_path: Path) -> None:
    path = write_root(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(TamperedError):
        update(trusting, path)


@pytest.mark.parametrize("name", ["x.json", "root.json.bak"])
def test_a_folder_without_a_root_is_refused(trusting: System, tmp_path: Path, name: str) -> None:
    write_root(tmp_path / "new", name, headed(2, "Ann"), "Ann")
    with pytest.raises(UsageError, match=r"contains neither root\.json"):
        update(trusting, tmp_path / "new")


def test_a_file_may_have_another_name(trusting: System, tmp_path: Path) -> None:
    assert update(trusting, write_root(tmp_path / "new", "trust-2.json", headed(2, "Ann"), "Ann")) == 2


def test_a_root_that_is_absent_is_named(trusting: System, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        update(trusting, tmp_path / "none" / "root.json")


def test_a_host_without_trust_has_nothing_to_update(tmp_path: Path) -> None:
    path = write_root(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    (tmp_path / "host").mkdir()
    with pytest.raises(UntrustedError, match="no trust is set up"):
        update(System(tmp_path / "host"), path)
    assert list((tmp_path / "host").iterdir()) == []


def test_two_updates_at_once_do_not_mix(trusting: System, tmp_path: Path) -> None:
    path = write_root(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
    lock = trusting.lock(LOCK)
    with pytest.raises(BusyError):
        update(trusting, path)
    lock.release()
    assert update(trusting, path) == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_effect_leaves_the_old_or_the_new_root(
    trusting: System, tmp_path: Path, after: bool
) -> None:
    old = load_trust(trusting)[1]
    path = write_root(tmp_path / "new", "root.json", headed(2, "Ann"), "Ann")
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


def entry(version: str, sequence: int, digit: str, keyid: str) -> Entry:
    evidence = Evidence({"accepted": [{"owner": "Rea", "scheme": "cosign", "keyid": keyid}]})
    name = f"{sequence}-{digit * 12}"
    return Entry(name, version, sequence, digit * 64, "b" * 64, "000001", "c" * 64, evidence=evidence)


def has_releases(system: System, *entries: Entry) -> None:
    layout = Layout("lan-chat")
    base = Path(system.root, layout.base[1:])
    base.mkdir(parents=True)
    (base / "lock").touch()
    save(system, layout, State(entries[0], entries, 9, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"revoked_bundles": frozenset({"a" * 64})}, "is now revoked"),
        ({"products": {"lan-chat": ProductRule(floor=6)}}, r"is now below the security floor of the root"),
        (
            {"environments": {"production": replace(PRODUCTION, products=("other",))}},
            "is no longer allowed in the environment production",
        ),
    ],
)
def test_what_the_new_root_does_not_admit_any_more_is_named(
    trusting: System, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    rea = person("Rea").key.keyid
    # The second stays good where that can be.
    has_releases(trusting, entry("1.4.0", 5, "a", rea), entry("1.3.0", 4, "d", rea))
    new = replace(headed(2, "Ann"), **change)
    done = update_trust(trusting, write_root(tmp_path / "new", "root.json", new, "Ann"), lambda: NOW)
    assert done.fallen[0].running
    assert done.fallen[0].version == "1.4.0"
    assert words in done.fallen[0].text()
    assert "install the release that replaces it" in done.fallen[0].text()
    both = "revoked_bundles" not in change
    assert [each.version for each in done.fallen[1:]] == (["1.3.0"] if both else [])
    if both:
        assert done.fallen[1].text().endswith("no rollback to it")


def test_a_release_whose_keys_were_revoked_is_named(trusting: System, tmp_path: Path) -> None:
    rea = person("Rea").key.keyid
    has_releases(trusting, entry("1.5.0", 6, "a", person("Rob").key.keyid), entry("1.4.0", 5, "d", rea))
    base = headed(2, "Ann")
    new = replace(
        base,
        keys={**base.keys, person("Rob").key.keyid: person("Rob").key},
        roles={**base.roles, "release": Role((rea, person("Rob").key.keyid), 1)},
        revoked_keys=frozenset({rea}),
    )
    done = update_trust(trusting, write_root(tmp_path / "new", "root.json", new, "Ann"), lambda: NOW)
    assert [(each.version, each.running) for each in done.fallen] == [("1.4.0", False)]
    assert "is signed with keys that are now revoked" in done.fallen[0].text()


def test_a_damaged_product_hides_no_other(trusting: System, tmp_path: Path) -> None:
    has_releases(trusting, entry("1.4.0", 5, "a", "0" * 64))
    bad = Path(trusting.root, Layout("a-first").base[1:])
    bad.mkdir()
    (bad / "lock").touch()
    (bad / "state.json").write_text("{")
    new = replace(headed(2, "Ann"), revoked_bundles=frozenset({"a" * 64}))
    done = update_trust(trusting, write_root(tmp_path / "new", "root.json", new, "Ann"), lambda: NOW)
    assert [each.product for each in done.fallen] == ["lan-chat"]


class TestTime:
    def test_the_known_time_only_goes_forward(self, trusting: System) -> None:
        assert known_time(trusting) == NOW
        remember_time(trusting, NOW + timedelta(hours=1))
        remember_time(trusting, NOW)
        assert known_time(trusting) == NOW + timedelta(hours=1)

    def test_what_is_damaged_is_not_taken_for_none(self, trusting: System, tmp_path: Path) -> None:
        for text in ("yesterday\n", "", "0" * 65, "2026-01-31T00:00:00Z\n" * 9):
            (tmp_path / "host" / TIME_FILE[1:]).write_text(text)
            with pytest.raises(HostNotReadyError, match="does not contain a time"):
                known_time(trusting)

    def test_people_can_read_the_known_time(self, trusting: System, tmp_path: Path) -> None:
        assert (tmp_path / "host" / TIME_FILE[1:]).read_text() == f"{format_time(NOW)}\n"
