"""Attributes of files as they are seen: what an ACL grants by name is apart from the mode."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from installer.host.system import Seen, System
from tests.rig.inodes import ACL, acl, attributes, give


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "x"
    made.write_bytes(b"x")
    made.chmod(0o644)
    return made


def seen(file: Path, **options: bool) -> Seen:
    return System(file.parent).observe(f"/{file.name}", **options)


def test_a_file_without_attributes_is_written_as_it_always_was(file: Path) -> None:
    assert seen(file).as_json().keys() == {"kind", "sha256", "size", "mode", "uid", "gid", "target"}


def test_a_second_name_is_seen_and_makes_no_other_file(file: Path) -> None:
    first = seen(file)
    file.with_name("y").hardlink_to(file)
    assert (first.links, seen(file).links) == (1, 2)
    assert seen(file) == first
    assert seen(file).as_json() == first.as_json()


def test_attributes_are_part_of_what_is_seen_and_survive_a_journal(file: Path) -> None:
    give(file, acl=acl(), note=b"1")
    first = seen(file)
    assert (first.bits, first.acl, first.capabilities) == (0o644, acl().hex(), "")
    assert Seen(**first.as_json()) == first
    give(file, note=b"2")
    assert seen(file) != first
    assert seen(file, digest=False).acl == ""
    assert seen(file, digest=False, attributes=True).acl == first.acl


@pytest.mark.parametrize(
    ("group", "mask", "shown"), [(4, 6, 0o644), (6, 6, 0o664), (6, 4, 0o644), (0, 7, 0o604), (7, 0, 0o604)]
)
def test_the_bits_of_the_group_are_its_own_bounded_by_the_mask(
    file: Path, group: int, mask: int, shown: int
) -> None:
    give(file, acl=acl(group=group, mask=mask))
    assert seen(file).bits == shown
    # Whoever asks whether others may write sees all that the ACL grants.
    assert seen(file).mode == stat.S_IMODE(file.stat().st_mode)


def test_a_new_mode_leaves_users_by_name_their_rights(file: Path) -> None:
    give(file, acl=acl(named=6, group=4, mask=6))
    System(file.parent).set_owner_mode("/x", 0o600, keep_acl=True)
    assert attributes(file)[ACL] == acl(named=6, group=0, mask=6, other=0)
    assert seen(file).bits == 0o600
    System(file.parent).set_owner_mode("/x", 0o750, keep_acl=True)
    assert attributes(file)[ACL] == acl(owner=7, named=6, group=5, mask=7, other=0)
    assert seen(file).bits == 0o750


def test_a_mode_of_our_own_directories_closes_them_whatever_their_acl(file: Path) -> None:
    give(file, acl=acl(named=6, group=4, mask=6))
    System(file.parent).set_owner_mode("/x", 0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert attributes(file)[ACL] == acl(named=6, group=4, mask=0, other=0)


def test_attributes_are_set_together_with_the_mode(file: Path) -> None:
    give(file, acl=acl(named=6, group=6, mask=6), note=b"1")
    other = file.parent / "y"
    other.write_bytes(b"y")
    give(other, strange=b"1")
    system = System(file.parent)
    system.set_attributes("/y", system.attributes("/x"), 0o640)
    assert attributes(other) == {ACL: acl(named=6, group=4, mask=6, other=0), "user.note": b"1"}
    assert seen(other).bits == 0o640
    system.set_attributes("/y", {})
    assert attributes(other) == {}


def test_a_file_that_may_not_be_opened_is_seen_without_attributes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def closed(path: str, flags: int, *more: int, **options: int) -> int:
        if path == "x" and not flags & os.O_PATH:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", closed)
    assert seen(file, digest=False, attributes=True).mode == stat.S_IMODE(file.stat().st_mode)
