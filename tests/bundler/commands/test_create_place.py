"""What `create` says of the place of a bundle before it is written."""

from __future__ import annotations

import re
from pathlib import Path

from bundler.archive.space import RESERVE
from bundler.commands.create import plan_bundle
from bundler.config.loader import load
from tests.rig.product import Product
from tests.rig.small_disk import bundle_beside_read_only, bundle_on_full_disk


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
