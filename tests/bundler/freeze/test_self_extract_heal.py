"""What lies in the cache is checked at every start, and made anew from the file that was started."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundler.freeze.packed import DATA, SHELLS, refusal, run, unpacked
from tests.rig.needs import needs


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARM: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "a-bit": flip,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": Path.unlink,
    "a-directory": replace_by_directory,
    "a-link-to-nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "no-right": lambda path: path.chmod(0),
}


@pytest.fixture
def home(tool: Path, trusted: Path) -> Path:
    assert run(tool, trusted, "x").returncode == 0
    (made,) = unpacked(trusted)
    return made


def healthy(home: Path) -> bool:
    return (home / "lib/deep/data").read_bytes() == DATA and os.access(home / "tool", os.X_OK)


@pytest.mark.parametrize("file", ["tool", "lib/deep/data", ".files"])
@pytest.mark.parametrize("harm", HARM)
def test_damage_is_healed_from_the_file_that_was_started(
    tool: Path, trusted: Path, home: Path, harm: str, file: str
) -> None:
    HARM[harm](home / file)
    done = run(tool, trusted, "x")
    assert (done.returncode, done.stdout) == (0, f"{home}/tool\nx\n")
    if harm != "no-right":
        assert (
            f"tool: unpacked itself again, because files were changed or damaged in:\n  {home}" in done.stderr
        )
        assert healthy(home)
    assert run(tool, trusted, "x").stderr == ""
    assert [path.name for path in trusted.iterdir()] == [home.name]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_heals_it(tool: Path, trusted: Path, home: Path, shell: str) -> None:
    if shell == "busybox":
        needs("busybox")
    (home / "tool").write_text("")
    done = run(tool, trusted, "x", shell=SHELLS[shell])
    assert (done.returncode, done.stdout) == (0, f"{home}/tool\nx\n")


@pytest.mark.parametrize("marker", ["", "0" * 64 + "  -\n", "\n", "no newline"])
def test_a_marker_of_no_worth_is_written_anew(tool: Path, trusted: Path, home: Path, marker: str) -> None:
    kept = (home / ".complete").read_text()
    inode = (home / "tool").stat().st_ino
    (home / ".complete").write_text(marker)
    assert run(tool, trusted, "x").stderr == ""
    assert (home / ".complete").read_text() == kept
    assert (home / "tool").stat().st_ino == inode


def test_the_contents_are_read_only_if_something_was_touched(
    tool: Path, trusted: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside the program has no say: the list itself is held against the digest in the head."""
    kept = (home / ".complete").read_text()
    run(tool, trusted, "x")
    assert (home / ".complete").read_text() == kept
    os.utime(home / "tool")
    assert run(tool, trusted, "x").stderr == ""
    assert (home / ".complete").read_text() != kept


def test_a_program_and_a_list_that_agree_are_not_enough(tool: Path, trusted: Path, home: Path) -> None:
    (home / "tool").write_text("#!/bin/sh\necho planted\n")
    planted = hashlib.sha256((home / "tool").read_bytes()).hexdigest()
    lines = (home / ".files").read_text().splitlines()
    lines[-1] = f"{planted}  tool"
    (home / ".files").write_text("\n".join(lines) + "\n")
    assert run(tool, trusted, "x").stdout == f"{home}/tool\nx\n"


def test_a_restored_copy_starts_as_it_is(tool: Path, trusted: Path, home: Path) -> None:
    shutil.copytree(home, trusted / "c" / home.name)
    (trusted / "c").chmod(0o700)
    inode = (trusted / "c" / home.name / "tool").stat().st_ino
    assert run(tool, trusted / "c", "x").stderr == ""
    assert (trusted / "c" / home.name / "tool").stat().st_ino == inode


def mounted(trusted: Path, tool: Path, steps: str) -> subprocess.CompletedProcess[str]:
    """Unpacks to a file system of its own in $1, does the steps, and starts it again."""
    needs("unshare")
    script = (
        'mount -t tmpfs -o size=4m,mode=700 tmpfs "$1" && export WAYBILL_CACHE="$1" || exit 98\n'
        '"$2" x >/dev/null || exit 99\n'
        f'cd "$1"/tool-* && home=$PWD && {steps}\n"$2" x'
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(trusted), str(tool)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_read_only_cache_that_is_whole_starts(tool: Path, trusted: Path) -> None:
    done = mounted(trusted, tool, 'touch tool && mount -o remount,ro "$1"')
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "x")


def test_a_read_only_cache_that_is_damaged_is_told(tool: Path, trusted: Path) -> None:
    said = refusal(mounted(trusted, tool, ': >tool && mount -o remount,ro "$1"'))
    assert f"  {trusted}: Read-only file system\n" in said
    assert f"  and files were changed or damaged in:\n  {trusted}/tool-" in said


def test_a_full_cache_that_is_damaged_is_told(tool: Path, trusted: Path) -> None:
    said = refusal(mounted(trusted, tool, ': >tool && cat /dev/zero >"$1"/filler 2>/dev/null;'))
    assert f"  {trusted}: cannot be filled (1 MB are needed)" in said
    assert f"  and files were changed or damaged in:\n  {trusted}/tool-" in said


def test_a_cache_that_became_noexec_is_told(tool: Path, trusted: Path) -> None:
    said = refusal(mounted(trusted, tool, 'mount -o remount,noexec "$1"'))
    assert "is it mounted noexec?" in said
    assert "damaged" not in said


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_file_that_was_cut_short_never_ends_with_0(tool: Path, trusted: Path, shell: str) -> None:
    content = tool.read_bytes()
    head = content.index(b"\n}\n\x1f\x8b") + 3
    block = content.index(b"\n{ #") + 3
    for length in {*range(block, head, 397), head - 1, head, head + 1, len(content) - 1}:
        tool.write_bytes(content[:length])
        done = run(tool, trusted, "x", shell=SHELLS[shell])
        assert (done.returncode != 0, done.stdout) == (True, ""), length
