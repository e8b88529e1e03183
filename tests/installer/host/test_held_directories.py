"""Directories held open: thousands of files cost one walk, and whatever we move is found where it then is."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from installer.host import safe_path
from installer.host.system import System


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def walks(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> int:
    counted: list[str] = []
    walk = safe_path._walk
    monkeypatch.setattr(
        safe_path,
        "_walk",
        lambda root, todo, path, follow: counted.append(path) or walk(root, todo, path, follow),
    )
    action()
    monkeypatch.undo()
    return len(counted)


def test_a_thousand_files_of_one_directory_cost_one_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(tmp_path)
    (tmp_path / "a/b").mkdir(parents=True)

    def write() -> None:
        with system.hold_directories():
            for number in range(1000):
                system.write_new(f"/a/b/{number}", b"x", 0o644, sync=False)

    assert walks(monkeypatch, write) == 1
    assert len(list((tmp_path / "a/b").iterdir())) == 1000


MOVES: dict[str, Callable[[System], object]] = {
    "the directory is moved": lambda system: system.rename("/a/b", "/a/c"),
    "one above it is moved": lambda system: system.rename("/a", "/moved"),
    "it is removed": lambda system: system.remove_tree("/a/b"),
    "a program moves it": lambda system: system.run(
        ["mv", system.real("/a/b"), system.real("/a") + "/c"], timeout=60
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_what_we_move_is_found_where_it_then_is(move: str, tmp_path: Path) -> None:
    system = System(tmp_path)
    (tmp_path / "a/b").mkdir(parents=True)
    with system.hold_directories():
        system.write_new("/a/b/old", b"old", 0o644)
        MOVES[move](system)
        (tmp_path / "a/b").mkdir(parents=True)
        system.write_new("/a/b/new", b"new", 0o644)
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["new"]


def test_a_link_on_the_way_that_we_change_is_followed_anew(tmp_path: Path) -> None:
    system = System(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")
    with system.hold_directories():
        system.write_new("/link/first", b"", 0o644)
        system.symlink("two", "/link.new")
        system.rename("/link.new", "/link")
        system.write_new("/link/second", b"", 0o644)
        system.unlink("/link")
        with pytest.raises(FileNotFoundError):
            system.write_new("/link/third", b"", 0o644)
    assert [*(tmp_path / "one").iterdir(), *(tmp_path / "two").iterdir()] == [
        tmp_path / "one/first",
        tmp_path / "two/second",
    ]


def test_no_link_leads_out_and_none_of_others_counts(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/out").symlink_to("../../outside")
    system = System(tmp_path / "root")
    with system.hold_directories(), pytest.raises(FileNotFoundError):
        system.write_new("/out/file", b"", 0o644)
    assert not list((tmp_path / "outside").iterdir())


def test_few_are_held_and_none_afterwards_with_several_threads(tmp_path: Path) -> None:
    system = System(tmp_path)
    for number in range(3 * safe_path.MAX_HELD):
        (tmp_path / f"d{number}").mkdir()
    before, most = descriptors(), 0

    def write(number: int) -> None:
        nonlocal most
        system.write_new(f"/d{number % (3 * safe_path.MAX_HELD)}/{number}", b"%d" % number, 0o644, sync=False)
        most = max(most, descriptors())

    with system.hold_directories(), ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(2000)))
    assert most - before <= safe_path.MAX_HELD + 4 * 4
    assert descriptors() == before
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 2000
    assert all(path.read_bytes() == path.name.encode() for path in found)


def test_every_walk_outside_of_a_held_directory_is_made_anew(tmp_path: Path) -> None:
    system = System(tmp_path)
    (tmp_path / "a").mkdir()
    with system.hold_directories():
        system.write_new("/a/x", b"", 0o644)
    os.rename(tmp_path / "a", tmp_path / "b")
    assert system.observe("/a/x").kind == "absent"
