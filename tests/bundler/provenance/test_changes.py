"""No mark, setting or ignore list hides a change of what goes into a bundle."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from bundler.provenance.git import inspect_checkout
from tests.rig.gitcheckout import commit_all, git

ALLOW = ("-c", "protocol.file.allow=always")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of a product in a repository, with a submodule `lib`; all is committed."""
    library, product = tmp_path / "library", tmp_path / "repo/product"
    library.mkdir()
    product.mkdir(parents=True)
    (library / "code").write_text("1")
    commit_all(library)
    for name in ("a", "b", "../other"):
        (product / name).write_text("1")
    (product / ".gitignore").write_text("build/\n")
    commit_all(product.parent)
    git(product.parent, *ALLOW, "submodule", "add", "-q", str(library), "product/lib")
    git(product.parent, "commit", "-qm", "x")
    assert changed(product) == ()
    return product


def changed(place: Path, *inputs: str) -> tuple[str, ...]:
    found = inspect_checkout(place, [str(place / each) for each in inputs])
    assert found.commit
    return found.changed


def test_a_link_to_the_directory_hides_no_change(place: Path, tmp_path: Path) -> None:
    (place / "a").write_text("2")
    (tmp_path / "link").symlink_to(place)
    (place.parent / "inside").symlink_to("product")
    assert changed(tmp_path / "link") == changed(place.parent / "inside") == ("product/a",)


def test_the_target_of_a_linked_input_counts(place: Path) -> None:
    (place / "linked").symlink_to("../other")
    git(place, "add", ".")
    git(place, "commit", "-qm", "x")
    (place / "../other").write_text("2")
    assert changed(place, "linked") == ("other",)


def test_a_link_that_was_never_added_counts(place: Path) -> None:
    (place / "linked").symlink_to("a")
    assert changed(place, "linked") == ("product/linked",)


def test_every_file_in_a_directory_that_is_an_input_counts(place: Path) -> None:
    (place / "layout/blobs").mkdir(parents=True)
    (place / "layout/blobs/x").write_text("1")
    assert changed(place, "layout") == ("product/layout/blobs/x",)


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_a_mark_in_the_index_hides_no_change(place: Path, mark: str) -> None:
    git(place, "update-index", mark, "a")
    assert changed(place) == ()
    (place / "a").write_text("2")
    before = (place.parent / ".git/index").read_bytes()
    assert changed(place) == ("product/a",)
    # Looking does not change the repository.
    assert (place.parent / ".git/index").read_bytes() == before


def test_a_change_in_the_second_in_which_the_index_was_written_is_seen_below_a_mark(place: Path) -> None:
    """Size and time of the file are as recorded; by the time of the index git knows that it has to look."""
    index, second = place.parent / ".git/index", (1_000_000_000, 1_000_000_000)
    git(place, "config", "core.trustctime", "false")  # no test can set that time
    os.utime(place / "a", second)
    git(place, "update-index", "--refresh")
    git(place, "update-index", "--assume-unchanged", "a")
    os.utime(index, second)
    (place / "a").write_text("2")
    os.utime(place / "a", second)
    assert changed(place) == ("product/a",)


def test_a_file_that_a_sparse_checkout_leaves_out_is_no_change(place: Path) -> None:
    git(place, "update-index", "--skip-worktree", "a")
    (place / "a").unlink()
    assert changed(place) == ()


@pytest.mark.parametrize("ignore", ["all", "dirty", "untracked"])
def test_no_setting_hides_a_change_in_a_submodule(place: Path, ignore: str) -> None:
    git(place, "config", "submodule.product/lib.ignore", ignore)
    git(place, "config", "diff.ignoreSubmodules", ignore)
    (place / "lib/code").write_text("2")
    assert changed(place) == ("product/lib/code",)


def test_no_setting_hides_another_commit_of_a_submodule(place: Path) -> None:
    git(place, "config", "submodule.product/lib.ignore", "all")
    git(place / "lib", "commit", "-qm", "x", "--allow-empty")
    assert changed(place) == ("product/lib",)


def test_an_input_in_a_submodule_that_was_never_added_counts(place: Path) -> None:
    (place / "lib/made").write_text("1")
    assert changed(place) == ()
    assert changed(place, "lib/made") == ("product/lib/made",)


def test_a_submodule_elsewhere_counts_if_an_input_is_in_it(place: Path, tmp_path: Path) -> None:
    git(place.parent, *ALLOW, "submodule", "add", "-q", str(tmp_path / "library"), "far")
    git(place.parent, "commit", "-qm", "x")
    git(place.parent / "far", "commit", "-qm", "x", "--allow-empty")
    (place.parent / "far/code").write_text("2")
    assert changed(place) == ()
    assert changed(place, "../far/code") == ("far", "far/code")


def test_a_submodule_whose_repository_is_of_other_files_counts(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "lib", tmp_path / "copy", symlinks=True)
    git(place / "lib", "config", "core.worktree", str(tmp_path / "copy"))
    (place / "lib/code").write_text("2")
    assert "product/lib" in changed(place)


def test_an_input_in_a_repository_that_is_no_submodule_counts(place: Path) -> None:
    (place / "vendored").mkdir()
    (place / "vendored/code").write_text("1")
    commit_all(place / "vendored")
    assert changed(place) == ()
    assert changed(place, "vendored/code") == ("product/vendored/",)


def test_only_ignore_lists_that_others_have_too_hide_an_input(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ignore").write_text("apply.sh\n")
    (tmp_path / ".gitconfig").write_text(f"[core]\n\texcludesFile = {tmp_path}/ignore\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (place.parent / ".git/info/exclude").write_text("apply.sh\n")
    (place / "apply.sh").write_text("1")
    assert changed(place, "apply.sh") == ("product/apply.sh",)
    (place / ".gitignore").write_text("apply.sh\n")
    git(place, "commit", "-qam", "x")
    assert changed(place, "apply.sh") == ()


def test_a_replaced_commit_hides_no_change(place: Path) -> None:
    committed = git(place, "rev-parse", "HEAD")
    (place / "a").write_text("2")
    git(place, "commit", "-qam", "x")
    other = git(place, "rev-parse", "HEAD")
    git(place, "update-ref", "--no-deref", "HEAD", committed)
    git(place, "replace", committed, other)
    assert changed(place) == ("product/a",)


def test_where_git_fails_the_tree_is_not_called_clean(place: Path) -> None:
    (place.parent / ".git/modules/product/lib/index").write_bytes(b"damaged")
    assert changed(place) == ("product/lib (git status failed)",)
    (place.parent / ".git/index").write_bytes(b"damaged")
    assert changed(place) == ("(git status failed)",)


def test_a_name_that_is_not_utf_8_is_named(place: Path) -> None:
    name = os.fsdecode(b"\xff")
    (place / name).write_text("1")
    assert changed(place, name) == ("product/\\xff",)


def test_settings_of_the_user_change_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text(
        "[color]\n\tui = always\n[column]\n\tui = always\n[status]\n\tshort = true\n\tbranch = true\n"
        "\trelativePaths = true\n\tshowUntrackedFiles = no\n\trenames = copies\n\tshowStash = true\n"
        "\tsubmoduleSummary = true\n[core]\n\tquotePath = true\n\tabbrev = 4\n\tcommentChar = x\n"
        "[log]\n\tshowSignature = true\n\tdate = relative\n\tdecorate = full\n[tag]\n\tsort = -refname\n"
        "\tgpgSign = true\n[gpg]\n\tprogram = /nowhere\n[diff]\n\tnoprefix = true\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    for tag in ("v1.4.0", "v1.4.0-rc.1", "nightly", "a-rather-long-tag-that-fills-a-column", "x"):
        git(place, "tag", tag)
    git(place, "mv", "a", "é")
    (place / "made").write_text("1")
    found = inspect_checkout(place, [str(place / "made")])
    assert found.tags == ("a-rather-long-tag-that-fills-a-column", "nightly", "v1.4.0", "v1.4.0-rc.1", "x")
    assert found.changed == ("product/a", "product/made", "product/é")
    assert found.commit == git(place, "rev-parse", "HEAD")


class TestLfs:
    """Files of Git LFS are compared with their pointers; the filter, a program, is not run."""

    @pytest.fixture
    def big(self, place: Path) -> Path:
        pointer = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(b'big').hexdigest()}\nsize 3\n"
        )
        (place / "big").write_text(pointer)
        (place / ".gitattributes").write_text("big filter=lfs -text\n")
        git(place, "add", ".")
        git(place, "commit", "-qm", "x")
        (place / "big").write_bytes(b"big")
        return place / "big"

    def test_the_file_of_a_pointer_is_clean(self, place: Path, big: Path) -> None:
        assert changed(place) == ()

    @pytest.mark.parametrize("content", [b"bad", b"bigger", b""])
    def test_another_file_is_a_change(self, place: Path, big: Path, content: bytes) -> None:
        big.write_bytes(content)
        assert changed(place) == ("product/big",)

    def test_another_mode_is_a_change(self, place: Path, big: Path) -> None:
        big.chmod(0o755)
        assert changed(place) == ("product/big",)

    def test_a_pointer_to_another_file_is_a_change(self, place: Path, big: Path) -> None:
        big.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3\n")
        git(place, "add", "product/big".removeprefix("product/"))
        assert changed(place) == ("product/big",)

    def test_without_the_attribute_a_pointer_is_text(self, place: Path, big: Path) -> None:
        (place / ".gitattributes").write_text("")
        assert changed(place) == ("product/.gitattributes", "product/big")

    def test_a_file_that_was_committed_as_it_is_and_changed_is_a_change(self, place: Path) -> None:
        (place / ".gitattributes").write_text("a filter=lfs\n")
        git(place, "add", ".")
        git(place, "commit", "-qm", "x")
        (place / "a").write_text("2")
        assert changed(place) == ("product/a",)
