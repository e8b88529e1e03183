"""Where something is mounted, and what is marked, is found without trying it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from installer.host.inodes.obstacles import Obstacles
from installer.host.system import System


def test_a_mount_point_is_found_in_the_table_of_mounts() -> None:
    found = Obstacles(System("/")).to_replace("/proc")
    assert found is not None
    assert (found.path, found.what) == ("/proc", "is a mount point, which nothing can replace")
    assert "`umount /proc`" in found.hint


def test_a_directory_with_a_mount_below_cannot_be_replaced_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("installer.host.kernel.mount_table", lambda: ["/", "/etc/a b"])
    found = Obstacles(System("/")).to_replace("/etc")
    assert found is not None
    assert found.path == "/etc/a b"
    assert "`umount '/etc/a b'`" in found.hint


def test_a_neighbour_of_a_mount_point_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("installer.host.kernel.mount_table", lambda: [str(tmp_path / "ab")])
    (tmp_path / "a").write_text("x")
    assert Obstacles(System(tmp_path)).to_replace("/a") is None
    assert Obstacles(System(tmp_path)).to_replace("/absent/deeper") is None
    assert Obstacles(System(tmp_path)).to_change_in("/") is None


def test_another_file_system_shows_without_a_table_of_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("installer.host.kernel.mount_table", lambda: None)
    found = Obstacles(System("/")).to_replace("/proc")
    assert found is not None
    assert found.what.startswith("is a mount point")


def test_a_link_has_no_marks_and_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self/mem")
    assert Obstacles(System(tmp_path)).to_mark("/link") is None


@pytest.mark.needs("mount")
@pytest.mark.parametrize("has_table", [True, False])
def test_files_and_links_of_an_overlay_are_no_mount_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_table: bool
) -> None:
    """There they have other device numbers than their directory."""
    lower, place = tmp_path / "lower", tmp_path / "place"
    (lower / "directory").mkdir(parents=True)
    (lower / "file").write_text("x")
    (lower / "link").symlink_to("file")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        for name in ("upper", "work", "root"):
            (place / name).mkdir()
        options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", options, place / "root"], check=True)
        if not has_table:
            monkeypatch.setattr("installer.host.kernel.mount_table", lambda: None)
        obstacles = Obstacles(System(place / "root"))
        assert [obstacles.to_replace(f"/{name}") for name in ("file", "link", "directory")] == [None] * 3
    finally:
        subprocess.run(["umount", "--recursive", place], check=True)
