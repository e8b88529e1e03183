"""What `create` says of the time and of the place of a bundle before it is written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bundler.archive.space import RESERVE
from bundler.commands.create import plan_bundle
from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from tests.rig.gitcheckout import commit_all, git
from tests.rig.product import Product
from tests.rig.smalldisk import bundle_beside_read_only, bundle_on_full_disk


def expired(product: Product) -> str:
    """What is said of a bundle whose time is long ago."""
    listed = product.directory / "bundle.yaml"
    listed.write_text(listed.read_text().replace("expires: 36500d", "expires: 30d"))
    with pytest.raises(UnfitInputError) as caught:
        plan_bundle(load(product.directory, "1.4.0"))
    return next(str(each) for each in caught.value.problems if "expired" in each.what)


def test_an_expired_time_is_named_by_what_it_was_taken_from(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(product.directory.parent))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    said = expired(product)
    assert "is SOURCE_DATE_EPOCH" in said
    assert "set it to a later time" in said
    assert "1970-01-02" in said
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    config = load(product.directory, "1.4.0")
    for item in config.items:
        os.utime(item.source, (5, 5))
    for tree in config.trees:
        for file in tree.files:
            os.utime(tree.source / file.path, (5, 5))
    newest = config.items[0]
    os.utime(newest.source, (86400, 86400))
    said = expired(product)
    assert f"is the time of the newest file, {newest.member}, since there is no commit" in said
    assert "`export SOURCE_DATE_EPOCH=$(date +%s)`" in said
    assert "make a new commit" not in said


def test_an_expired_commit_asks_for_a_new_one(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    commit_all(product.directory)
    early = "1970-01-02T00:00:00Z"
    git(product.directory, "commit", "-q", "--amend", "--no-edit", GIT_COMMITTER_DATE=early)
    said = expired(product)
    assert "is the time of the commit" in said
    assert "make a new commit" in said


def test_the_largest_size_of_a_small_bundle_is_that_of_its_head_and_its_files(product: Product) -> None:
    planned = plan_bundle(load(product.directory, "1.4.0"))
    product.create()
    size = product.target.stat().st_size
    assert size <= planned.most_bytes <= size + 8192


def test_a_full_disk_is_told_apart_from_the_reserve(product: Product, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    words = ("create", "v1.4.0", "-C", str(product.directory), "-o", str(place / "b.tar"))
    ended = bundle_on_full_disk(kept, place, *words)
    assert ended.returncode == 30, ended.stderr
    match = re.search(r"the bundle needs up to ([0-9,]+) bytes, ([0-9,]+) more must stay free", ended.stderr)
    assert match, ended.stderr
    assert int(match[1].replace(",", "")) < 200_000
    assert int(match[2].replace(",", "")) == RESERVE


def test_a_read_only_file_system_is_not_called_full(product: Product, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    words = ("create", "v1.4.0", "-C", str(product.directory), "-o", str(place / "b.tar"))
    ended = bundle_beside_read_only(place, *words)
    assert ended.returncode == 30, ended.stderr
    assert "the file system is read-only" in ended.stderr
    assert "space" not in ended.stderr
