"""Destinations on exFAT, as boot partitions and sticks have it: no modes, owners and links are kept there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.status import product_status
from installer.core.errors import RolledBackError
from installer.core.format.manifest import DirectoryEntry, LinkEntry
from installer.host.context import Context
from installer.host.file_systems import FileSystems
from installer.host.system import Space, System
from tests.rig.exfat import exfat
from tests.rig.faulty import Refusing
from tests.rig.releases import Member, ReleaseSpec, context, install, plan_for, remove, roll_back, root

pytestmark = pytest.mark.needs("exfat", "loop")
KERNEL, CONF = "/firmware/kernel.img", "/firmware/chat/config.txt"


def release(number: int, **fields: object) -> ReleaseSpec:
    members = {
        "docs/kernel": Member(b"kernel %d" % number, KERNEL, 0o644),
        "docs/conf": Member(b"conf %d" % number, CONF, 0o600),
        "docs/own": Member(b"own %d" % number, "/opt/x", 0o640),
    }
    directories = (DirectoryEntry("trees/t/d", 0o750, "/firmware/overlays"),)
    return ReleaseSpec(f"{number}.0.0", number, members, directories=directories, **fields)  # type: ignore[arg-type]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Context]:
    """A small computer whose boot partition is exFAT."""
    (tmp_path / "host").mkdir()
    with exfat(tmp_path / "image", tmp_path / "host/firmware"):
        yield context(System(tmp_path / "host"))


def read(within: Context, path: str) -> bytes:
    return (root(within) / path[1:]).read_bytes()


def test_a_capability_that_would_not_be_kept_is_refused(board: Context) -> None:
    member = Member(b"x", "/firmware/srv", 0o755, capabilities="cap_net_raw=ep")
    (problem,) = plan_for(board, ReleaseSpec("1.0.0", 1, {"bin/linux-amd64/srv": member})).problems
    assert problem.what == "gets cap_net_raw=ep, but exfat keeps no capabilities"


def test_the_file_system_is_recognised(board: Context) -> None:
    found = FileSystems(board.system)
    assert found.poor("/firmware") == "exfat"
    assert found.poor("/firmware/new/deep") == "exfat"
    assert found.poor("/opt") == ""


def test_a_release_is_installed_upgraded_rolled_back_and_removed_without_drift(board: Context) -> None:
    install(board, release(1))
    assert product_status(board).drift == ()
    assert not install(board, release(1)).changed
    install(board, release(2))
    assert (read(board, KERNEL), read(board, CONF)) == (b"kernel 2", b"conf 2")
    assert product_status(board).drift == ()
    roll_back(board)
    assert (read(board, KERNEL), read(board, CONF)) == (b"kernel 1", b"conf 1")
    assert product_status(board).drift == ()
    done = remove(board)
    assert done.removal is not None
    assert done.removal.exit_code == 0
    assert list((root(board) / "firmware").iterdir()) == []


def test_a_failed_upgrade_is_undone(board: Context) -> None:
    install(board, release(1))
    failing = context(Refusing(root(board), "COMMIT", OSError(errno.EIO, "Input/output error")))
    with pytest.raises(RolledBackError):
        install(failing, release(2))
    assert (read(board, KERNEL), read(board, CONF)) == (b"kernel 1", b"conf 1")
    assert product_status(board).drift == ()


def test_a_change_of_content_is_still_drift(board: Context) -> None:
    install(board, release(1))
    (root(board) / KERNEL[1:]).write_bytes(b"edited")
    (root(board) / "opt/x").chmod(0o600)
    assert {(each.where, each.what) for each in product_status(board).drift} == {
        (KERNEL, "has different content"),
        ("/opt/x", "has mode 0600, not 0640"),
    }


def test_the_plan_says_what_is_not_kept(board: Context) -> None:
    notes = plan_for(board, release(1)).notes
    assert f"{CONF} and 1 more: exfat keeps no modes and owners; they are those of its mount" in notes
    assert any(note.startswith(f"{CONF} should have mode 0600: check") for note in notes)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/firmware/a:b", "has ':' in its name, which exfat does not allow"),
        ("/firmware/dot.", "ends in a dot, which exfat does not keep"),
        ("/firmware/blank ", "ends in a blank, which exfat does not keep"),
        ("/firmware/KERNEL.img", f"leads to the same place as {KERNEL}, /firmware/KERNEL.img"),
    ],
)
def test_names_that_it_cannot_hold_are_refused_before_anything(board: Context, path: str, what: str) -> None:
    spec = release(1)
    members = {**spec.members, "docs/x": Member(b"x", path)}
    plan = plan_for(board, replace(spec, members=members))
    assert [(problem.where, problem.what) for problem in plan.problems] == [(path, what)] or [
        problem.where for problem in plan.problems
    ] == [KERNEL]


def test_a_link_is_refused_before_anything(board: Context) -> None:
    plan = plan_for(board, release(1, links=(LinkEntry("trees/t/now", "v1", "/firmware/now"),)))
    what = "would be a symbolic link, which exfat does not have"
    assert [(problem.where, problem.what) for problem in plan.problems] == [("/firmware/now", what)]


class Unrecognised(System):
    """A host that does not tell which file system a directory is on."""

    def space(self, path: str) -> Space:
        return replace(super().space(path), device=0)


def test_a_poor_file_system_that_is_not_recognised_leaves_the_host_as_it_was(board: Context) -> None:
    with pytest.raises(RolledBackError) as raised:
        install(context(Unrecognised(root(board))), release(1))
    assert "its file system does not keep modes or owners" in str(raised.value)
    assert list((root(board) / "firmware").iterdir()) == []


def test_a_host_of_an_earlier_version_gets_out(board: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions installed there, saw drift at once, and could neither upgrade nor undo."""
    monkeypatch.setattr("installer.deploy.file_operations.require_kept", lambda *_: None)
    install(context(Unrecognised(root(board))), release(1))
    monkeypatch.undo()
    assert product_status(board).drift == ()
    install(board, release(2))
    remove(board)
    assert list((root(board) / "firmware").iterdir()) == []
