"""Who can change what decides about trust: every part of the path, and of where its links lead."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from installer.core.errors import UntrustedError
from installer.host import ownership
from installer.host.ownership import require_protected, unprotected, unsafe_part
from installer.host.system import System

FILE = "/etc/waybill/trust/root.json"
NOBODY = 65534


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "host" / FILE[1:]
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    for each in (path, *path.parents[:3]):
        each.chmod(0o644 if each == path else 0o755)
    return tmp_path / "host"


def refused(root: Path, path: str = FILE) -> UntrustedError:
    with pytest.raises(UntrustedError) as caught:
        require_protected(System(root), path)
    return caught.value


def test_a_directory_as_waybill_makes_it_is_accepted(tree: Path) -> None:
    require_protected(System(tree), FILE)


def test_who_else_could_change_a_file_is_named_with_the_command_that_stops_it(tree: Path) -> None:
    assert unprotected(System(tree), FILE) == []
    (tree / FILE[1:]).chmod(0o666)
    (problem,) = unprotected(System(tree), FILE)
    place = str(tree / FILE[1:])
    assert (problem.where, problem.hint) == (place, f"run `chmod go-w {place}`")


def test_what_is_absent_is_no_fault(tree: Path) -> None:
    require_protected(System(tree), "/etc/waybill/environment")
    require_protected(System(tree), "/var/lib/waybill/trusted-time")


@pytest.mark.parametrize("mode", [0o020, 0o002, 0o022, 0o007, 0o777])
@pytest.mark.parametrize("part", [FILE, "/etc/waybill/trust", "/etc/waybill", "/etc"])
def test_each_part_of_a_path_that_others_can_write_is_named(tree: Path, part: str, mode: int) -> None:
    place = tree / part[1:]
    place.chmod(place.stat().st_mode & 0o7755 | mode)
    error = refused(tree)
    assert error.where == str(place)
    assert "can be written by" in error.what
    assert f"chmod go-w {place}" in error.hint
    if mode & 0o022:
        subprocess.run(["sh", "-c", error.hint.split("`")[1]], check=True)
        require_protected(System(tree), FILE)


def test_a_directory_of_others_counts_where_the_file_is_absent(tree: Path) -> None:
    (tree / "etc/waybill").chmod(0o777)
    assert refused(tree, "/etc/waybill/environment").where == str(tree / "etc/waybill")


@pytest.mark.needs("root")
@pytest.mark.parametrize("part", [FILE, "/etc/waybill/trust", "/etc/waybill", "/etc"])
def test_each_part_of_a_path_that_belongs_to_another_user_is_named(tree: Path, part: str) -> None:
    place = tree / part[1:]
    os.chown(place, NOBODY, NOBODY)
    error = refused(tree)
    assert (error.where, error.what.partition(",")[0]) == (str(place), f"belongs to user {NOBODY}")
    assert f"chown root {place}" in error.hint


def test_all_unsafe_parts_are_named_at_once_with_one_line_that_mends_them(tree: Path) -> None:
    for part in (FILE, "/etc/waybill"):
        (tree / part[1:]).chmod(0o777)
    error = refused(tree)
    assert [error.where, *(each.where for each in error.problems)] == [
        str(tree / "etc/waybill"), str(tree / FILE[1:]),
    ]  # fmt: skip
    assert f"chmod go-w {tree}/etc/waybill && chmod go-w {tree}{FILE}" in error.hint


@pytest.mark.parametrize("target", ["/srv/conf", "../srv/conf"])
def test_where_a_link_leads_counts_as_well(tree: Path, target: str) -> None:
    (tree / "srv").mkdir(mode=0o755)
    (tree / "etc/waybill").rename(tree / "srv/conf")
    (tree / "etc/waybill").symlink_to(target)
    require_protected(System(tree), FILE)
    for part in ("srv", "srv/conf", "srv/conf/trust"):
        (tree / part).chmod(0o775)
        assert refused(tree).where == str(tree / part)
        (tree / part).chmod(0o755)


@pytest.mark.needs("root")
def test_a_link_of_another_user_is_named(tree: Path) -> None:
    (tree / "etc/waybill").rename(tree / "conf")
    (tree / "etc/waybill").symlink_to("/conf")
    os.chown(tree / "etc/waybill", NOBODY, NOBODY, follow_symlinks=False)
    error = refused(tree)
    assert error.what.startswith(f"is a symbolic link that belongs to user {NOBODY}")


def test_a_relative_link_leads_from_where_it_is(tree: Path) -> None:
    (tree / "etc/waybill").rename(tree / "etc/conf")
    (tree / "etc/waybill").symlink_to("conf")
    require_protected(System(tree), FILE)
    (tree / "etc/conf").chmod(0o777)
    assert refused(tree).where == str(tree / "etc/conf")


def test_links_without_end_are_left_to_the_reader(tree: Path) -> None:
    (tree / "etc/waybill").rename(tree / "conf")
    (tree / "etc/waybill").symlink_to("/etc/waybill")
    require_protected(System(tree), FILE)


@pytest.mark.needs("root")
def test_a_sticky_directory_of_root_lets_nobody_replace_a_file(tree: Path) -> None:
    (tree / "etc").chmod(0o1777)
    require_protected(System(tree), FILE)
    os.chown(tree / "etc", NOBODY, NOBODY)
    assert refused(tree).where == str(tree / "etc")


def test_the_machine_itself_is_examined_from_its_root(tmp_path: Path) -> None:
    # The directory above is what pytest made for this user alone.
    (tmp_path / "file").write_text("")
    require_protected(System("/"), str(tmp_path / "file"))
    tmp_path.chmod(0o777)
    assert refused(Path("/"), str(tmp_path / "file")).where == str(tmp_path)


def test_the_root_directory_counts_only_where_it_is_that_of_the_machine(tree: Path) -> None:
    tree.chmod(0o777)
    require_protected(System(tree), FILE)
    machine = System(tree)
    machine.live = True
    with pytest.raises(UntrustedError) as caught:
        require_protected(machine, FILE)
    assert caught.value.where.rstrip("/") == str(tree)


def test_a_sticky_bit_protects_no_file_and_nothing_in_a_directory_of_a_user(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / FILE[1:]).chmod(0o1666)
    assert refused(tree).where == str(tree / FILE[1:])
    (tree / FILE[1:]).chmod(0o644)
    (tree / "etc").chmod(0o1777)
    status = os.stat_result((0o041777, 1, 1, 1, NOBODY, NOBODY, 0, 0, 0, 0))
    monkeypatch.setattr(ownership.os, "geteuid", lambda: NOBODY)
    assert ownership._Part("/etc", status).fault() is not None


class TestAWorkDirectory:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        (tmp_path / "data/in").mkdir(parents=True)
        for path in (tmp_path, tmp_path / "data", tmp_path / "data/in"):
            path.chmod(0o755)
        return tmp_path

    @pytest.mark.parametrize("part", ["/data", "/data/in"])
    @pytest.mark.parametrize(
        ("mode", "owner", "safe"),
        [
            (0o755, (0, 0), True), (0o775, (0, 0), True), (0o777, (0, 0), False), (0o775, (0, 50), False),
            (0o757, (0, 50), False), (0o1777, (0, 0), True), (0o1775, (0, 50), True), (0o755, (0, 50), True),
            (0o755, (NOBODY, 0), False), (0o700, (NOBODY, 0), False),
        ],
    )  # fmt: skip
    @pytest.mark.needs("root")
    def test_each_part_of_the_path_of_a_work_directory_is_checked(
        self, place: Path, part: str, mode: int, owner: tuple[int, int], safe: bool
    ) -> None:
        os.chown(place / part[1:], *owner)
        (place / part[1:]).chmod(mode)
        problem = unsafe_part(System(place), "/data/in")
        assert (problem is None) == safe
        if problem:
            assert (problem.where, problem.what.split()[0]) == ("/data/in", part)

    @pytest.mark.needs("root")
    def test_the_highest_is_named_first(self, place: Path) -> None:
        (place / "data/in/deep").mkdir()
        for part in ("data", "data/in"):
            os.chown(place / part, NOBODY, 0)
        problem = unsafe_part(System(place), "/data/in/deep")
        assert problem is not None
        assert problem.what.startswith("/data belongs to user")
