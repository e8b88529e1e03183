"""A release whose source is lost or incomplete is refused, or at least warned of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.provenance.git import Checkout
from bundler.provenance.source_rules import SourceRules, problems, source_rules, warnings
from bundler.provenance.tags import ReleaseName, names_a_version
from installer.core.errors import Problem, UnfitInputError, UsageError
from installer.shared.progress import Progress
from tests.rig.gitcheckout import commit_all, git
from tests.rig.imagebuild import Built, layer, saved_new, tar
from tests.rig.product import YAML, Product

NAME = ReleaseName("lan-chat", "1.4.0")
ALL = frozenset({"source", "clean", "tag"})
GOOD = Checkout("c" * 40, 1, "v1.4.0", tags=("v1.4.0",), has_repository=True)


def places(found: list[Problem]) -> list[str]:
    assert all(each.hint for each in found)
    return [each.where for each in found]


@pytest.mark.parametrize(
    ("given", "prefix", "what"),
    [
        (["sorce"], "", "'sorce' cannot be required"),
        (["source,"], "", "'' cannot be required"),
        ([], "-x", "cannot be the beginning of a tag"),
        ([], "a b", "cannot be the beginning of a tag"),
    ],
)
def test_options_are_checked(given: list[str], prefix: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        source_rules(given, prefix, {})
    assert caught.value.where.startswith("--")
    assert caught.value.hint


def test_options_and_the_environment_become_rules() -> None:
    assert source_rules(["source,clean", "tag"], "svc-a/", {"CI": "true"}) == SourceRules(ALL, "svc-a/", True)
    for value in ("", "0", "false", "No"):
        assert not source_rules([], "", {"CI": value}).in_pipeline
    assert source_rules([], "", {"SOURCE_DATE_EPOCH": "1"}).has_epoch


def test_a_good_source_is_not_warned_of() -> None:
    rules = SourceRules(ALL, in_pipeline=True)
    assert list(problems(GOOD, rules, NAME)) == list(warnings(GOOD, rules, NAME)) == []


def test_what_is_required_and_missing_is_reported_at_once() -> None:
    rules = SourceRules(ALL)
    bad = Checkout("c" * 40, 1, changed=("a", "b"), tags=("nightly",), has_repository=True)
    found = list(problems(bad, rules, NAME))
    assert places(found) == ["--require clean", "--require tag"]
    assert found[0].what == "the checkout has uncommitted changes: a, b"
    assert found[1].what == "no tag of the commit names lan-chat 1.4.0; it has nightly"
    assert places(list(problems(Checkout(unknown="not a git repository"), rules, NAME))) == [
        "--require source", "--require clean", "--require tag",
    ]  # fmt: skip


def test_without_a_commit_a_pipeline_needs_a_time_and_a_person_is_warned() -> None:
    none = Checkout(unknown="not a git repository")
    assert places(list(problems(none, SourceRules(in_pipeline=True), NAME))) == ["SOURCE_DATE_EPOCH"]
    assert list(problems(none, SourceRules(), NAME)) == []
    assert "another identity" in next(warnings(none, SourceRules(), NAME)).what
    for rules in (SourceRules(has_epoch=True), SourceRules(in_pipeline=True, has_epoch=True)):
        assert list(problems(none, rules, NAME)) == list(warnings(none, rules, NAME)) == []
    # A checkout is there: its commit is lost although somebody thought of the time.
    lost = Checkout(unknown="git is not installed", has_repository=True)
    assert "git is not installed" in next(warnings(lost, SourceRules(has_epoch=True), NAME)).what


def test_a_checkout_of_another_owner_is_refused_with_the_command_that_helps() -> None:
    foreign = Checkout(unknown="x", foreign="/srv/my repo", has_repository=True)
    for rules in (SourceRules(), SourceRules(has_epoch=True), SourceRules(ALL, in_pipeline=True)):
        (found,) = problems(foreign, rules, NAME)
        assert found.where == "/srv/my repo"
        assert "`git config --global --add safe.directory '/srv/my repo'`" in found.hint


def test_a_tag_that_may_not_have_been_fetched_is_warned_of() -> None:
    bare = Checkout("c" * 40, 1, has_repository=True)
    # A repository of one's own has all its tags.
    assert list(warnings(bare, SourceRules(), NAME)) == []
    clone = Checkout("c" * 40, 1, has_repository=True, is_clone=True)
    for checkout, rules in ((clone, SourceRules()), (bare, SourceRules(in_pipeline=True))):
        (found,) = warnings(checkout, rules, NAME)
        assert "git fetch --tags" in found.hint
    other = Checkout("c" * 40, 1, tags=("nightly", "v2.0.0"), has_repository=True)
    (found,) = warnings(other, SourceRules(), NAME)
    assert found.what == (
        "no tag of the commit names lan-chat 1.4.0; it has nightly, v2.0.0: no tag is recorded"
    )
    assert "--tag-prefix" in found.hint
    assert "svc-a/v1.4.0" in next(warnings(other, SourceRules(), ReleaseName("x", "1.4.0", "svc-a/"))).hint


@pytest.mark.parametrize(
    ("tag", "names"),
    [("v1.0.0", True), ("svc-b/2.0.0", True), ("nightly", False), ("v1", False), ("1.2.3/x", False)],
)
def test_tags_of_versions_are_told_from_others(tag: str, names: bool) -> None:
    assert names_a_version(tag) is names


class TestRelease:
    """The whole way: a product in a checkout, bundled."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Product:
        monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        return Product.make(tmp_path / "repo")

    def test_a_missing_submodule_of_a_tree_is_refused_and_one_elsewhere_warned_of(
        self, place: Product, tmp_path: Path
    ) -> None:
        library = tmp_path / "library"
        library.mkdir()
        (library / "x.js").write_text("1")
        commit_all(library)
        commit_all(place.directory)
        for path in ("web/lib", "third/lib"):
            git(
                place.directory,
                "-c",
                "protocol.file.allow=always",
                "submodule",
                "add",
                "-q",
                str(library),
                path,
            )
        git(place.directory, "commit", "-qm", "x")
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", str(place.directory), str(clone))
        with pytest.raises(UnfitInputError) as caught:
            plan_bundle(load(clone, "1.4.0"))
        (found,) = caught.value.problems
        assert (found.where, "submodule" in found.what) == ("web/lib", True)
        assert found.hint.startswith("run `git submodule update --init --recursive`")
        # Where it is left out on purpose, it is not missed.
        text = YAML.replace("  - path: web\n", "  - path: web\n    exclude: [lib/]\n")
        (clone / "bundle.yaml").write_text(text)
        planned = plan_bundle(load(clone, "1.4.0"))
        assert [warning.where for warning in planned.warnings if "submodule" in warning.what] == ["third/lib"]

    def test_a_bundle_yaml_that_was_never_added_makes_the_tree_dirty(self, place: Product) -> None:
        text = (place.directory / "bundle.yaml").read_text()
        (place.directory / "bundle.yaml").unlink()
        commit_all(place.directory)
        (place.directory / "bundle.yaml").write_text(text)
        assert plan_bundle(load(place.directory, "1.4.0")).checkout.changed == ("bundle.yaml",)

    def test_links_of_trees_and_archives_of_images_that_were_never_added_make_the_tree_dirty(
        self, place: Product
    ) -> None:
        (place.directory / "bundle.yaml").write_text(f"{YAML}images:\n  - archive: images/x.tar\n")
        commit_all(place.directory)
        (place.directory / "web/new.html").symlink_to("index.html")
        (place.directory / "images").mkdir()
        (place.directory / "images/x.tar").write_bytes(tar(saved_new([Built("x:1", [layer("x")])])))
        changed = plan_bundle(load(place.directory, "1.4.0")).checkout.changed
        assert changed == ("images/x.tar", "web/new.html")

    def test_two_clones_with_other_tags_give_one_identity(self, place: Product, tmp_path: Path) -> None:
        commit_all(place.directory, "v1.4.0")
        git(place.directory, "tag", "svc-b/v2.0.0")
        one = place.create(tmp_path / "1.tar")
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", str(place.directory), str(clone))
        # Another umask, the file times of another moment, and without the tag of the other product.
        git(clone, "tag", "-d", "svc-b/v2.0.0")
        two = Product(clone).create(tmp_path / "2.tar")
        assert one.identity == two.identity
        assert one.manifest.source.tag == "v1.4.0"
        assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()

    def test_two_copies_without_git_differ_and_are_warned_of(self, place: Product, tmp_path: Path) -> None:
        other = tmp_path / "copy"
        shutil.copytree(place.directory, other, symlinks=True)
        for path in other.rglob("*"):
            os.utime(path, (1_780_000_000, 1_780_000_000), follow_symlinks=False)
        planned = plan_bundle(load(place.directory, "1.4.0"))
        assert "another copy of the same files gives another identity" in planned.warnings[-1].what
        first = write_bundle(planned, tmp_path / "1.tar", (), Progress())
        assert first.identity != Product(other).create(tmp_path / "2.tar").identity

    @pytest.mark.needs("root")
    def test_a_checkout_of_another_owner_is_refused(self, place: Product) -> None:
        commit_all(place.directory)
        for each in (place.directory, *place.directory.rglob("*")):
            os.chown(each, 12345, 12345, follow_symlinks=False)
        with pytest.raises(UnfitInputError) as caught:
            plan_bundle(load(place.directory, "1.4.0"))
        assert "belongs to another user" in str(caught.value)
        assert caught.value.exit_code == 30
