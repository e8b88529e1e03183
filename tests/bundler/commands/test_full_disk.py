"""Files that people ask for on a truly full disk: what `bundle` ends with, says and leaves there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bundler.signing.cosign import encrypt_key
from bundler.trust.root_files import root_bytes
from tests.rig import bundlebuild as build
from tests.rig.smalldisk import bundle_on_full_disk
from tests.rig.trustworld import FILES, NOW, World, person, root

APPROVE = ("approve", "{place}/b.tar", "--role", "ops", "--env", "production", "--key", "{here}/ops.key")
APPROVE += ("--change-id", "CHG-7", "--root", "{here}/root.json", "--yes")
COMMANDS = {
    "approve in place": (APPROVE, "write the approval to another disk with --output DIR"),
    "approve beside it": ((*APPROVE, "--sidecar"), "choose another place with --output DIR"),
    "prepare": (
        (*APPROVE[:6], "--change-id", "CHG-7", "--root", "{here}/root.json", "--yes", "--prepare"),
        "free some space, or choose another place",
    ),
    "keygen": (("keygen", "{place}/release"), "free some space, or choose another place"),
    "a sheet": (
        ("trust", "sheet", "{here}/root.json", "-o", "{place}/sheet.txt"),
        "free some space, or choose another place",
    ),
}


@pytest.mark.parametrize(("words", "hint"), COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_is_no_wrong_usage_and_nothing_is_left_on_it(
    tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    kept, place = tmp_path / "kept", tmp_path / "disk"
    kept.mkdir()
    place.mkdir()
    later = NOW + timedelta(days=3650)  # by the clock of this machine
    plan = build.plan(FILES, room=512, expires=int(later.timestamp()))
    (kept / "b.tar").write_bytes(World(plan=plan, approvals=()).tar())
    (tmp_path / "ops.key").write_bytes(encrypt_key(person("Ops").signer._private, b""))
    (tmp_path / "root.json").write_bytes(root_bytes(root(expires=later)))
    filled = [word.format(place=place, here=tmp_path) for word in words]
    ended = bundle_on_full_disk(kept, place, *filled)
    assert ended.returncode == 30, ended.stderr
    assert "No space left on device" in ended.stderr
    assert hint in ended.stderr
    assert "--sidecar" not in ended.stderr
    assert "left behind" not in ended.stdout, ended.stdout
