"""Git answers without starting a program that a repository names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.provenance.git import inspect_checkout
from bundler.provenance.git_command import GitError, run, without_filters
from tests.rig.gitcheckout import commit_all, git

ALLOW = ("-c", "protocol.file.allow=always")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What the program leaves when it runs."""
    return tmp_path / "ran"


@pytest.fixture
def program(tmp_path: Path, mark: Path) -> str:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout whose file `a` has an old time, so that git compares contents."""
    directory = tmp_path / "repo"
    directory.mkdir()
    (directory / "a").write_text("1")
    (directory / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    commit_all(directory)
    return directory


def touch(place: Path) -> None:
    """Changes the time of a file, and leaves the size: only a comparison of contents can tell."""
    os.utime(place / "a", (1, 1))


SETTINGS = [
    {"core.fsmonitor": "PROGRAM"},
    {"filter.x.clean": "PROGRAM"},
    {"filter.x.process": "PROGRAM"},
    {"filter.x.clean": "PROGRAM", "filter.x.required": "true"},
    {"filter.x.smudge": "PROGRAM"},
    {"diff.external": "PROGRAM"},
    {"diff.x.textconv": "PROGRAM"},
    {"diff.x.command": "PROGRAM"},
    {"core.pager": "PROGRAM"},
    {"pager.status": "PROGRAM"},
    {"gpg.program": "PROGRAM", "log.showSignature": "true"},
    {"alias.status": "!PROGRAM"},
    {"core.sshCommand": "PROGRAM"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids="+".join)
def test_no_setting_of_a_repository_runs_a_program(
    place: Path, program: str, mark: Path, settings: dict[str, str]
) -> None:
    for name, value in settings.items():
        git(place, "config", name, value.replace("PROGRAM", program))
    touch(place)
    assert inspect_checkout(place).changed == ()
    assert not mark.exists()


def test_no_hook_of_a_repository_is_run(place: Path, program: str, mark: Path) -> None:
    git(place, "update-index", "--assume-unchanged", "a")
    for name in ("post-index-change", "fsmonitor-watchman", "pre-auto-gc", "reference-transaction"):
        (place / ".git/hooks" / name).symlink_to(program)
    touch(place)
    assert inspect_checkout(place).changed == ()
    assert not mark.exists()


@pytest.mark.parametrize("name", ["core.fsmonitor", "filter.x.clean", "filter.x.process"])
def test_no_setting_of_a_submodule_runs_a_program(
    place: Path, tmp_path: Path, program: str, mark: Path, name: str
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "file").write_text("1")
    commit_all(outer)
    git(outer, *ALLOW, "submodule", "add", "-q", str(place), "lib")
    git(outer, "commit", "-qm", "x")
    git(outer / "lib", "config", name, program)
    touch(outer / "lib")
    assert inspect_checkout(outer).changed == ()
    assert not mark.exists()


def test_no_filter_of_the_user_is_run(
    place: Path, tmp_path: Path, program: str, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text(f'[filter "x"]\n\tclean = {program}\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(place)
    inspect_checkout(place)
    assert not mark.exists()


def test_an_object_that_is_missing_is_not_fetched(
    place: Path, tmp_path: Path, program: str, mark: Path
) -> None:
    clone = tmp_path / "clone"
    git(place, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, *ALLOW, "clone", "-q", "--filter=blob:none", f"file://{place}", str(clone))
    git(clone, "config", "remote.origin.uploadpack", program)
    git(clone, "config", "protocol.file.allow", "always")
    tree = git(clone, "rev-parse", "HEAD^{tree}")
    for pack in (clone / ".git/objects/pack").iterdir():
        pack.unlink()
    with pytest.raises(GitError):
        run(clone, "cat-file", "-p", tree)
    assert not mark.exists()


def test_a_filter_that_cannot_be_turned_off_makes_the_tree_unclean(place: Path) -> None:
    git(place, "config", "filter.a=b.clean", "cat")
    with pytest.raises(GitError, match="filters that cannot be turned off"):
        without_filters(place)
    assert inspect_checkout(place).changed == ("(git status failed)",)


def test_filters_that_cannot_be_listed_are_not_taken_for_none(place: Path) -> None:
    with (place / ".git/config").open("a") as config:
        config.write("[damaged\n")
    with pytest.raises(GitError, match="bad config"):
        without_filters(place)


def test_a_tag_that_is_not_utf_8_is_listed(place: Path) -> None:
    (place / ".git/packed-refs").write_bytes(git(place, "rev-parse", "HEAD").encode() + b" refs/tags/\xff\n")
    assert inspect_checkout(place).tags == ("\\xff",)


def test_a_repository_of_other_files_says_nothing_of_these(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    git(place, "config", "core.worktree", str(tmp_path / "elsewhere"))
    found = inspect_checkout(place)
    assert (found.commit, found.unknown) == ("", "the git repository is that of other files")
    git(place, "config", "--unset", "core.worktree")
    git(place, "config", "core.bare", "true")
    assert inspect_checkout(place).unknown == "the git repository is that of other files"
