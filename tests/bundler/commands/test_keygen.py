"""A private key is readable by its owner alone, or is not written."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.archive.output_file import OutputFile
from bundler.commands.keygen import generate_key_pair
from installer.core.errors import UsageError
from tests.rig.needs import lacks, needs


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", "x")


def test_only_the_owner_reads_a_private_key_where_the_file_system_has_modes(tmp_path: Path) -> None:
    pair = generate_key_pair(tmp_path / "release")
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o640, 0o604])
def test_no_key_is_written_where_the_file_system_has_no_modes(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on FAT, which gives every file the mode of the mount."""
    monkeypatch.setattr(OutputFile, "mode", mode)
    with pytest.raises(UsageError, match=f"this file system gives it the mode {mode:04o}") as caught:
        generate_key_pair(tmp_path / "release")
    assert caught.value.where == str(tmp_path / "release.key")
    assert "umask=077" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stick(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A FAT stick, mounted with the options that the test names."""
    for component in ("root", "loop", "mtools"):
        needs(component)
    image, mount = tmp_path / "stick.img", tmp_path / "stick"
    mount.mkdir()
    subprocess.run(["mformat", "-C", "-i", image, "-T", "40000", "::"], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", f"loop,{request.param}", "-t", "vfat", image, mount],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lacks("vfat", done.stderr.strip())
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("stick", ["umask=000", "umask=022"], indirect=True)
def test_keygen_is_refused_on_a_real_stick(stick: Path) -> None:
    with pytest.raises(UsageError, match="this file system gives it the mode 07"):
        generate_key_pair(stick / "release")
    assert list(stick.iterdir()) == []


@pytest.mark.parametrize("stick", ["umask=077"], indirect=True)
def test_a_key_is_written_on_a_stick_that_is_mounted_for_its_owner(stick: Path) -> None:
    assert generate_key_pair(stick / "release").private.is_file()
