"""A root as files: what an edit writes, and how many signatures are still missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.trust import root_files
from installer.core.errors import UsageError
from tests.rig.trustworld import NOW, root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "root.json"
    made.write_bytes(root_files.root_bytes(root()))
    return made


def test_an_unsigned_root_is_changed_in_place_under_its_version(path: Path) -> None:
    before = root_files.load(path).root
    done = root_files.edit(path, lambda old: replace(old, expires=old.expires + timedelta(days=1)), NOW)
    assert done.file.root.version == before.version
    assert done.file.root.expires == before.expires + timedelta(days=1)
    assert (done.archived, done.dropped) == (None, ())
    assert [each.name for each in path.parent.iterdir()] == ["root.json"]


def test_a_change_that_hosts_would_not_accept_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        root_files.edit(path, lambda old: replace(old, roles={}), NOW)
    assert "hosts would not accept the changed root; nothing was written" in caught.value.what
    assert path.read_bytes() == before


def test_the_same_root_has_the_same_bytes_and_one_fingerprint(path: Path) -> None:
    assert root_files.root_bytes(root_files.load(path).root) == path.read_bytes()
    assert root_files.edit(path, lambda old: old, NOW).file.fingerprint == root_files.load(path).fingerprint


@pytest.mark.parametrize(
    ("needed", "signed", "text"),
    [
        (0, (), "version 2 has no key with the role root: hosts cannot accept a newer version"),
        (2, ("ann",), "1 of 2 owners of version 2 have signed (ann); can still sign: bob"),
        (1, ("ann",), "1 of 1 owners of version 2 have signed (ann)"),
    ],
)
def test_what_is_missing_is_said(needed: int, signed: tuple[str, ...], text: str) -> None:
    standing = root_files.RootStanding(2, needed, signed, ("bob",))
    assert standing.as_text() == text
    assert standing.missing == max(0, (needed or 1) - len(signed))
    assert standing.complete == (0 < needed <= len(signed))
