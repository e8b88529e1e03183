"""File systems without modes and owners are known by the name that the kernel has for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from installer.host.file_systems import FileSystems
from installer.host.system import System

ROW = "36 35 {major}:{minor} / {mount} rw,noatime shared:1 - {type} {source} rw,fmask=0022\n"


def mounted(root: Path, monkeypatch: pytest.MonkeyPatch, type_: str, source: str = "none") -> FileSystems:
    """Returns what is told where the kernel says that the directory is on a file system of that type."""
    device = root.stat().st_dev
    row = ROW.format(
        major=os.major(device), minor=os.minor(device), mount="/boot/firmware", type=type_, source=source
    )
    read_text = Path.read_text

    def told(path: Path, *words: str) -> str:
        return row if str(path) == "/proc/self/mountinfo" else read_text(path, *words)

    monkeypatch.setattr(Path, "read_text", told)
    return FileSystems(System(root))


@pytest.mark.parametrize("type_", ["vfat", "msdos", "exfat", "fuse.exfat"])
def test_every_kind_of_fat_keeps_no_modes_and_has_no_links(
    type_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mounted(tmp_path, monkeypatch, type_)
    assert found.poor("/firmware/new/deep") == type_
    assert found.fault("/now", "link") == f"would be a symbolic link, which {type_} does not have"
    assert found.fault("/a:b", "file") == f"has ':' in its name, which {type_} does not allow"
    assert found.fault("/kernel.img", "file") == found.fault("/overlays", "dir") == ""


@pytest.mark.parametrize("type_", ["ntfs", "ntfs3", "fuseblk", "cifs", "smb3", "9p", "vboxsf"])
def test_shares_and_disks_of_windows_may_keep_no_modes_and_have_links(
    type_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mounted(tmp_path, monkeypatch, type_)
    assert (found.poor("/"), found.fault("/now", "link")) == (type_, "")


def test_exfat_in_user_space_is_known_by_its_first_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "device"
    device.write_bytes(b"\xeb\x76\x90EXFAT   " + bytes(501))
    assert mounted(tmp_path, monkeypatch, "fuseblk", str(device)).poor("/") == "exfat"


@pytest.mark.parametrize("type_", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "nfs4"])
def test_a_file_system_with_modes_is_none_of_them(
    type_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mounted(tmp_path, monkeypatch, type_)
    assert (found.poor("/"), found.fault("/a:b", "link")) == ("", "")
