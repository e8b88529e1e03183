"""What git says of a checkout: which files are not as committed, and nothing secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.provenance.git import Checkout, inspect_checkout, plain_url
from bundler.provenance.tags import ReleaseName
from tests.rig.gitcheckout import commit_all, git


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "repo" / "product"
    (directory / "build").mkdir(parents=True)
    for name in ("a", "b", "../other"):
        (directory / name).write_text("1")
    (directory / ".gitignore").write_text("build/\n")
    return directory


def committed(place: Path) -> Path:
    commit_all(place.parent)
    return place


def test_a_clean_tree_is_clean_whatever_lies_beside_it(place: Path) -> None:
    committed(place)
    (place / "build/x").write_text("made")
    (place / "note").write_text("not an input")
    found = inspect_checkout(place, [str(place / "a"), str(place / "build/x")])
    assert (found.changed, found.source.dirty, found.unknown) == ((), False, "")
    assert found.as_text().endswith("no tag, clean")


def test_changed_removed_and_renamed_files_are_named(place: Path) -> None:
    committed(place)
    (place / "a").write_text("2")
    git(place, "mv", "b", "c")
    assert inspect_checkout(place).changed == ("product/a", "product/b", "product/c")
    (place / "a").unlink()
    assert "product/a" in inspect_checkout(place).changed


def test_an_input_that_was_never_added_makes_the_tree_dirty(place: Path) -> None:
    committed(place)
    (place / "apply.sh").write_text("rm -rf /")
    assert inspect_checkout(place).changed == ()
    assert inspect_checkout(place, [str(place / "apply.sh")]).changed == ("product/apply.sh",)
    os.symlink(place, place.parent / "link")
    assert inspect_checkout(place.parent / "link", [str(place.parent / "link/apply.sh")]).changed == (
        "product/apply.sh",
    )


def test_a_change_elsewhere_in_the_repository_counts_only_where_it_goes_in(place: Path) -> None:
    committed(place)
    (place.parent / "other").write_text("2")
    assert inspect_checkout(place).changed == ()
    assert inspect_checkout(place, [str(place / "../other")]).changed == ("other",)


def test_names_that_git_would_quote(place: Path) -> None:
    (place / "é\n").write_text("1")
    committed(place)
    (place / "é\n").write_text("2")
    assert inspect_checkout(place).changed == ("product/é\n",)


@pytest.mark.needs("git")
def test_the_reason_is_recorded_where_there_is_no_repository_commit_or_git(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert inspect_checkout(place) == Checkout(unknown="not a git repository")
    git(place, "init", "-q")
    assert inspect_checkout(place).unknown == "the git repository has no commit yet"
    assert inspect_checkout(place).has_repository
    monkeypatch.setenv("PATH", str(tmp_path))
    assert inspect_checkout(place).unknown == "git is not installed"
    assert inspect_checkout(place).as_text() == "not recorded: git is not installed"


@pytest.mark.needs("root")
def test_a_repository_of_somebody_else_is_not_taken_for_none(place: Path) -> None:
    committed(place)
    for each in (place.parent, *place.parent.rglob("*")):
        os.chown(each, 12345, 12345, follow_symlinks=False)
    found = inspect_checkout(place)
    assert (found.commit, found.foreign) == ("", str(place.parent))
    assert found.unknown == "git refuses a checkout that belongs to another user"


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ("https://gitlab-ci-token:glcbt-64_secret@git.lan/team/chat.git", "https://git.lan/team/chat"),
        ("https://git.lan:8443/team/chat/", "https://git.lan:8443/team/chat"),
        ("https://git.lan/chat?private_token=secret#x", "https://git.lan/chat"),
        ("git@git.lan:team/chat.git", "ssh://git.lan/team/chat"),
        ("ssh://git@git.lan:2222/chat.git", "ssh://git.lan:2222/chat"),
        ("/srv/git/chat.git", ""),
        ("../chat", ""),
        ("file:///srv/git/chat", ""),
        ("ext::sh -c 'x'", ""),
        ("https://git.lan:port/chat", ""),
        ("https://git.lan/a\nb", ""),
        ("", ""),
    ],
)
def test_the_repository_s_url_has_one_form_and_nothing_secret(origin: str, shown: str) -> None:
    assert plain_url(origin) == shown


def test_origin_is_asked_for(place: Path) -> None:
    commit_all(place.parent, "v1.4.0", "https://token@git.lan/chat.git")
    found = inspect_checkout(place, name=ReleaseName("lan-chat", "1.4.0"))
    assert (found.repository, found.tag, len(found.commit)) == ("https://git.lan/chat", "v1.4.0", 40)
    # The time that went into the bundle before this was asked, and the tag, are what they were.
    assert found.source.text() == f"commit {found.commit}, tag v1.4.0"


def test_the_tag_is_the_one_that_names_this_release_whatever_else_was_fetched(place: Path) -> None:
    committed(place)
    name = ReleaseName("svc-a", "1.4.0")
    for tag, chosen in (
        ("v2.0.0", ""),  # another version
        ("svc-b/v1.4.0", ""),  # another product
        ("nightly", ""),
        ("v1.4.0-rc.1", ""),
        ("svc-a/v1.4.0", "svc-a/v1.4.0"),
        ("v1.4.0", "v1.4.0"),  # as before: the plain one wins
    ):
        git(place, "tag", "-am", "x", tag)
        assert inspect_checkout(place, name=name).tag == chosen, tag
    found = inspect_checkout(place, name=ReleaseName("svc-a", "1.4.0", "svc-b/"))
    assert found.tag == "svc-b/v1.4.0"
    assert inspect_checkout(place, name=ReleaseName("svc-a", "1.4.0", "svc-c/")).tag == ""


def test_a_submodule_that_was_not_fetched_is_missing_also_inside_of_another(
    place: Path, tmp_path: Path
) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for each in (inner, outer):
        each.mkdir()
        (each / "file").write_text("1")
    allow = ("-c", "protocol.file.allow=always")
    commit_all(inner)
    commit_all(outer)
    git(outer, *allow, "submodule", "add", "-q", str(inner), "deep")
    git(outer, "commit", "-qm", "x")
    committed(place)
    git(place.parent, *allow, "submodule", "add", "-q", str(outer), "product/lib")
    git(place.parent, "commit", "-qm", "x")
    # git itself fetches the one, but not what is in it.
    assert inspect_checkout(place).submodules == (str(place / "lib/deep"),)
    git(place.parent, *allow, "submodule", "update", "-q", "--init", "--recursive")
    assert inspect_checkout(place).submodules == ()
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(place.parent), str(clone))
    assert inspect_checkout(clone / "product").submodules == (str(clone / "product/lib"),)
