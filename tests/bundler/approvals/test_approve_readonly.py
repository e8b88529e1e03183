"""Approvals of a bundle on a truly read-only medium: a mount that takes nothing, not even from root."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.signing.cosign import encrypt_key
from bundler.trust.root_files import root_bytes
from installer.core.trust.approval_sidecar import read_sidecar
from tests.rig import bundlebuild as build
from tests.rig.needs import needs
from tests.rig.trustworld import FILES, NOW, World, person, root

TOP = Path(__file__).parents[3]
APPROVE = "from bundler.cli.main import main; main()"


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    needs("unshare")
    place = tmp_path / "stick"
    place.mkdir()
    later = NOW + timedelta(days=3650)  # by the clock of this machine
    plan = build.plan(FILES, room=512, expires=int(later.timestamp()))
    (place / "b.tar").write_bytes(World(plan=plan, approvals=()).tar())
    (tmp_path / "ops.key").write_bytes(encrypt_key(person("Ops").signer._private, b""))
    (tmp_path / "root.json").write_bytes(root_bytes(root(expires=later)))
    return place


def approve(stick: Path, mounted: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `bundle approve` where `mounted` is read-only, for root too."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    command = [sys.executable, "-c", APPROVE, "approve", str(stick / "b.tar"), "--role", "ops"]
    options = ["--env", "production", "--key", str(stick.parent / "ops.key"), "--change-id", "CHG-7", *words]
    options += ["--root", str(stick.parent / "root.json"), "--yes"]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(mounted), *command, *options],
        env={**os.environ, "COSIGN_PASSWORD": "", "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_that_nobody_can_write_to_is_approved_beside_it(stick: Path) -> None:
    before = (stick / "b.tar").read_bytes()
    done = approve(stick, stick / "b.tar")
    assert done.returncode == 0, done.stderr
    assert "carry it with the bundle" in done.stdout
    assert (stick / "b.tar").read_bytes() == before
    assert f"approvals/ops-{person('Ops').key.keyid8}.json" in read_sidecar(stick / "b.tar.approvals")


def test_a_directory_where_nothing_can_be_written_either_is_named(stick: Path) -> None:
    done = approve(stick, stick)
    assert done.returncode == 30, done.stdout
    assert "Read-only file system" in done.stderr
    assert "choose another place with --output DIR" in done.stderr
    assert [each.name for each in stick.iterdir()] == ["b.tar"]


def test_an_approval_can_be_written_elsewhere(stick: Path, tmp_path: Path) -> None:
    done = approve(stick, stick, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert len(read_sidecar(tmp_path / "out", required=True)) == 3
    assert [each.name for each in stick.iterdir()] == ["b.tar"]
