"""The baseline is found in the history by its subject line; it is absent from a shallow history."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import baseline
from tests.rig.gitcheckout import git
from tests.rig.needs import needs


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository in which two commits have the baseline's subject line, and a later one mentions it."""
    git(tmp_path, "init", "-q")
    for number, subject in enumerate((baseline.SUBJECT, f"Revert {baseline.SUBJECT}", baseline.SUBJECT)):
        (tmp_path / "file").write_text(str(number))
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", subject)
    monkeypatch.setattr(baseline, "TOP", tmp_path)
    monkeypatch.setattr(baseline, "CACHE", tmp_path / "cache")
    baseline._tree.cache_clear()
    yield tmp_path
    baseline._tree.cache_clear()


def test_the_oldest_commit_with_the_subject_line_counts(history: Path) -> None:
    assert baseline._tree() == git(history, "rev-parse", "HEAD~2^{tree}")


def test_a_shallow_history_has_no_baseline(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shallow = history / "shallow"
    git(history, "commit", "--allow-empty", "-qm", "Later")
    git(history, "clone", "-q", "--depth=1", f"file://{history}", str(shallow))
    monkeypatch.setattr(baseline, "TOP", shallow)
    with pytest.raises(baseline.AbsentError, match="no commit with the subject"):
        baseline.provide()
    assert baseline.find() is None


def test_the_reason_without_a_repository_is_that_of_git(tmp_path: Path, history: Path) -> None:
    (history / ".git").rename(history / "elsewhere")
    with pytest.raises(baseline.AbsentError, match="git log failed"):
        baseline.provide()


def test_a_build_that_fails_leaves_nothing_behind(history: Path) -> None:
    with pytest.raises(baseline.AbsentError, match=r"has no bundler/freeze\.py"):
        baseline.provide()
    assert [path.name for path in (history / "cache/baseline").iterdir()] == ["lock"]
    assert baseline.find() is None


def test_the_executables_of_the_baseline_start() -> None:
    home = Path(needs("baseline"))
    for name in ("install", "bundle"):
        done = subprocess.run([home / name, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout
