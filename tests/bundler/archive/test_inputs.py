"""What goes into the bundle, in which order, and of what time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.archive.inputs import collect, creation_time
from bundler.config.loader import load
from bundler.provenance.git import inspect_checkout
from bundler.provenance.tags import ReleaseName
from installer.core.errors import UnfitInputError
from installer.core.format.manifest_rules import section_rank
from tests.rig.gitcheckout import git
from tests.rig.product import Product


def test_files_come_section_by_section_sorted_by_bytes(product: Product) -> None:
    (product.directory / "web/B").write_bytes(b"")
    (product.directory / "web/a").write_bytes(b"")
    paths = [item.entry.path for item in collect(load(product.directory, "1.4.0")).inputs]
    assert paths == sorted(paths, key=lambda path: (section_rank(path), path.encode()))
    assert paths[-4:] == ["trees/web/B", "trees/web/a", "trees/web/index.html", "trees/web/js/app.js"]


def test_a_tree_keeps_links_modes_and_empty_directories(product: Product) -> None:
    (product.directory / "web/cache/deep").mkdir(parents=True)
    (product.directory / "web/private").mkdir(mode=0o700)
    (product.directory / "web/private/x").write_bytes(b"")
    file = product.directory / "bundle.yaml"
    place = "    install: /opt/lan-chat/web\n"
    assert place in file.read_text()
    rule = place + "    attributes: [{path: private/, mode: '0700'}]\n"
    file.write_text(file.read_text().replace(place, rule))
    found = collect(load(product.directory, "1.4.0"))
    assert [(link.path, link.target, link.install) for link in found.links] == [
        ("trees/web/start.html", "index.html", "/opt/lan-chat/web/start.html")
    ]
    assert [(each.path, each.mode, each.install) for each in found.directories] == [
        ("trees/web/cache/deep", 0o755, "/opt/lan-chat/web/cache/deep"),
        ("trees/web/private", 0o700, "/opt/lan-chat/web/private"),
    ]


def test_files_that_vanished_are_named_all_at_once(product: Product) -> None:
    config = load(product.directory, "1.4.0")
    (product.directory / "build/chatd").unlink()
    (product.directory / "docs/UPGRADE.md").unlink()
    with pytest.raises(UnfitInputError) as caught:
        collect(config)
    assert len(caught.value.problems) == 2


class TestGit:
    def test_commit_tag_and_time_are_asked_of_git(self, product: Product) -> None:
        git(product.directory, "init", "-q")
        git(product.directory, "add", ".")
        git(product.directory, "commit", "-qm", "x", GIT_COMMITTER_DATE="1780000000 +0545")
        git(product.directory, "tag", "v1.4.0")
        found = inspect_checkout(product.directory, name=ReleaseName("lan-chat", "1.4.0"))
        source, when = found.source, found.time
        assert (len(source.commit), source.tag, source.dirty, when) == (40, "v1.4.0", False, 1_780_000_000)
        (product.directory / "CHANGELOG.md").write_text("changed")
        assert inspect_checkout(product.directory).source.dirty

    def test_no_checkout_is_no_fault(self, product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(product.directory.parent))
        assert inspect_checkout(product.directory).time is None

    def test_a_checkout_without_a_commit_is_no_fault(self, product: Product) -> None:
        git(product.directory, "init", "-q")
        assert inspect_checkout(product.directory).time is None

    def test_the_environment_of_another_checkout_plays_no_part(
        self, product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
        assert inspect_checkout(product.directory).time is None


def test_the_time_is_of_the_epoch_then_the_commit_then_the_newest_input(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(load(product.directory, "1.4.0"))
    for item in found.inputs:
        if item.source:
            os.utime(item.source, (5, 5))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert creation_time(found, 2).seconds == 1
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    assert creation_time(found, 2).seconds == 2
    assert creation_time(found, None).seconds == 5


def test_an_input_from_before_1970_gives_1970(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    found = collect(load(product.directory, "1.4.0"))
    for item in found.inputs:
        if item.source:
            os.utime(item.source, (-5, -5))
    assert creation_time(found, None).seconds == 0
