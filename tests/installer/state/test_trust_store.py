"""The root of a host and the time that it knows: what is believed, and what is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import (
    ExpiredError,
    HostNotReadyError,
    RefusedError,
    TamperedError,
    UntrustedError,
)
from installer.core.timestamps import format_time
from installer.core.trust.root import fingerprint
from installer.host.layout import STATE
from installer.host.system import System
from installer.state.host_identity import ENVIRONMENT_FILE
from installer.state.trust_store import (
    EARLIER_FILE,
    ROOT_FILE,
    TIME_FILE,
    init_trust,
    is_earlier,
    known_time,
    load_trust,
    remember_time,
    remove_partial_files,
    store_root,
    trusted_bytes,
)
from tests.rig.trustworld import NOW, headed, write_root

DAY = timedelta(days=1)


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "host").mkdir()
    return System(tmp_path / "host")


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A root on a stick."""
    return write_root(tmp_path / "stick", "root.json", headed(1, "Ann"), "Ann")


def here(system: System, path: str) -> Path:
    return Path(system.root, path[1:])


def trust(system: System, path: Path, days: int = 0) -> None:
    digits = fingerprint(path.read_bytes())
    init_trust(system, path, digits, lambda *_: "", lambda: NOW + days * DAY, "production")


def test_the_same_root_again_is_not_written_and_moves_no_time(system: System, first: Path) -> None:
    trust(system, first)
    written = here(system, ROOT_FILE).stat().st_ino
    trust(system, first, days=1)
    assert here(system, ROOT_FILE).stat().st_ino == written
    assert here(system, TIME_FILE).read_text().strip() == format_time(NOW)


@pytest.mark.parametrize("given", ["", "0" * 64], ids=["typed", "as an option"])
def test_no_root_is_trusted_whose_fingerprint_is_not_that_of_the_sheet(
    system: System, first: Path, given: str
) -> None:
    """The security of the first trust: what the sheet says is compared, however it was given."""
    digits = fingerprint(first.read_bytes())
    wrong = f"{'0' if digits[0] != '0' else '1'}{digits[1:]}"
    with pytest.raises(UntrustedError):
        init_trust(system, first, given, lambda *_: wrong, lambda: NOW, "production")
    assert not here(system, ROOT_FILE).exists()
    assert init_trust(system, first, "", lambda *_: digits, lambda: NOW, "production")[1] == digits
    assert here(system, ROOT_FILE).read_bytes() == first.read_bytes()


def test_the_rest_of_a_fingerprint_is_asked_by_the_question_for_it(system: System, first: Path) -> None:
    digits, asked = fingerprint(first.read_bytes()), list[str]()

    def ask(half: str) -> Callable[[str, str], str]:
        return lambda *_: asked.append(half) or half

    first_half, second_half = digits[:32], digits[32:]
    ask_first, ask_more = ask(first_half), ask(second_half)
    assert init_trust(system, first, "", ask_first, lambda: NOW, "production", ask_more)[1] == digits
    assert asked == [first_half, second_half]


def test_the_rest_of_a_fingerprint_is_asked_like_its_start_where_there_is_no_question_for_it(
    system: System, first: Path
) -> None:
    digits = fingerprint(first.read_bytes())
    halves = [digits[:32], digits[32:]]
    assert init_trust(system, first, "", lambda *_: halves.pop(0), lambda: NOW, "production")[1] == digits
    assert halves == []


def test_another_root_that_is_set_up_while_somebody_is_asked_stays(
    system: System, first: Path, tmp_path: Path
) -> None:
    other = write_root(tmp_path / "other", "root.json", headed(1, "Eve"), "Eve")

    def answer(_question: str, _option: str) -> str:
        trust(system, other)
        return fingerprint(first.read_bytes())

    with pytest.raises(RefusedError, match="another root was set up meanwhile") as caught:
        init_trust(system, first, "", answer, lambda: NOW, "production")
    assert (caught.value.where, caught.value.exit_code) == (ROOT_FILE, 13)
    assert load_trust(system)[1] == other.read_bytes()


def test_a_root_is_expired_from_its_very_moment_on(system: System, tmp_path: Path) -> None:
    path = write_root(tmp_path / "stick", "root.json", headed(1, "Ann", expires=NOW + DAY), "Ann")
    with pytest.raises(ExpiredError):
        trust(system, path, days=1)
    trust(system, path)
    assert known_time(system) == NOW


def test_a_root_that_cannot_be_read_is_not_taken_for_none(system: System) -> None:
    here(system, ROOT_FILE).mkdir(parents=True)
    with pytest.raises(UntrustedError, match="the trust files cannot be read") as caught:
        trusted_bytes(system)
    assert (caught.value.where, caught.value.exit_code) == (ROOT_FILE, 10)


def test_a_damaged_root_names_the_ways_out(system: System, first: Path) -> None:
    trust(system, first)
    here(system, ROOT_FILE).write_bytes(b"{}")
    with pytest.raises(TamperedError) as caught:
        load_trust(system)
    assert (caught.value.where, caught.value.exit_code) == (ROOT_FILE, 11)
    assert "restore it from a backup" in caught.value.hint
    assert "`install trust init root.json`" in caught.value.hint


def test_a_root_that_others_can_write_is_not_read(system: System, first: Path) -> None:
    trust(system, first)
    here(system, ROOT_FILE).chmod(0o666)
    with pytest.raises(UntrustedError, match="could have been changed"):
        trusted_bytes(system)


def timed(system: System, content: bytes) -> Path:
    path = here(system, TIME_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestKnownTime:
    def test_a_known_time_that_others_can_write_is_not_read(self, system: System) -> None:
        timed(system, f"{format_time(NOW)}\n".encode()).chmod(0o646)
        with pytest.raises(UntrustedError, match="could have been changed"):
            known_time(system)

    @pytest.mark.parametrize("content", [b"", b"\xff\n", b"tomorrow\n", b"2" * 65])
    def test_a_damaged_one_is_not_taken_for_none_and_is_not_replaced(
        self, system: System, content: bytes
    ) -> None:
        path = timed(system, content)
        with pytest.raises(HostNotReadyError, match="does not contain a time") as caught:
            known_time(system)
        assert (caught.value.where, caught.value.exit_code) == (TIME_FILE, 15)
        remember_time(system, NOW)
        assert path.read_bytes() == content

    def test_a_link_and_an_unreadable_file_are_no_known_time(self, system: System) -> None:
        path = timed(system, b"")
        path.unlink()
        path.symlink_to("nowhere")
        with pytest.raises(HostNotReadyError, match="does not contain a time"):
            known_time(system)
        path.unlink()
        path.mkdir()
        with pytest.raises(HostNotReadyError, match="cannot be read: Is a directory") as caught:
            known_time(system)
        assert (caught.value.where, caught.value.exit_code) == (TIME_FILE, 15)

    def test_no_time_is_known_without_a_state_and_to_a_user_who_may_not_read_it(self, system: System) -> None:
        class Refused(System):
            def read(self, path: str, limit: int, **more: Any) -> bytes:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

        assert known_time(Refused(Path(system.root))) is None
        here(system, "/var/lib").mkdir(parents=True)
        here(system, STATE).write_bytes(b"")
        assert known_time(system) is None
        # It is recorded where it can be; that it cannot stops nothing.
        remember_time(system, NOW)
        assert here(system, STATE).read_bytes() == b""

    def test_only_a_later_one_is_written(self, system: System) -> None:
        remember_time(system, NOW)
        written = here(system, TIME_FILE).stat().st_ino
        remember_time(system, NOW)
        remember_time(system, NOW - DAY)
        assert here(system, TIME_FILE).stat().st_ino == written
        remember_time(system, NOW + DAY)
        assert known_time(system) == NOW + DAY


def test_a_record_of_earlier_roots_that_others_can_write_proves_nothing(system: System, first: Path) -> None:
    trust(system, first)
    store_root(system, b"{}", [(1, "aa")])
    assert is_earlier(system, 1, "aa")
    assert not is_earlier(system, 2, "aa")
    here(system, EARLIER_FILE).chmod(0o666)
    with pytest.raises(UntrustedError, match="could have been changed"):
        is_earlier(system, 1, "aa")


def test_a_damaged_record_of_earlier_roots_still_tells_the_others(system: System, first: Path) -> None:
    trust(system, first)
    here(system, EARLIER_FILE).write_bytes(b"1 aa\n2 \xff\n3 cc\n")
    assert is_earlier(system, 1, "aa")
    assert is_earlier(system, 3, "cc")


def test_what_interrupted_replacements_left_is_removed_and_nothing_else(system: System, first: Path) -> None:
    trust(system, first)
    before = {path for path in here(system, "/").rglob("*") if path.is_file()}
    paths = (ROOT_FILE, TIME_FILE, EARLIER_FILE, ENVIRONMENT_FILE)
    left = [f"{path}.new" for path in paths]
    # As version 0.1 named them.
    left += [f"{path.rpartition('/')[0]}/.{path.rpartition('/')[2]}.new" for path in (ROOT_FILE, TIME_FILE)]
    for path in left:
        here(system, path).write_bytes(b"half")
    remove_partial_files(system)
    assert {path for path in here(system, "/").rglob("*") if path.is_file()} == before
