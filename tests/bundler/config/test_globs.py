"""Patterns of `exclude`: what they match, and that none of them takes long."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bundler.config.globs import Glob, glob_fault
from tests.rig.hang import ends

PATHS = (
    "a.map", "js/a.map", "js/lib/a.map", "dist/x", "js/dist/x", "cache/x", "docs/draft", "docs/a/draft",
    "docs/a/b/draft", "docs/a/b/final", ".git/HEAD", "ab", "a/b",
)  # fmt: skip
PATTERNS = (
    "*.map", "/*.map", "js/*.map", "/dist", "dist", "dist/", "cache/", "docs/**/draft", "docs/**", "**/draft",
    "**/lib/**", "?b", "a?b", ".git", "x", "js/**/x", "/docs/*/draft",
)  # fmt: skip


def left(pattern: str, tmp: Path) -> set[str]:
    """The files that remain, as the walk of a tree asks."""
    glob = Glob(pattern)
    remaining = set()
    for path in PATHS:
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        if not any(glob.matches(each, is_directory=True) for each in above) and not glob.matches(
            path, is_directory=False
        ):
            remaining.add(path)
    return remaining


@pytest.mark.needs("checkout")
def test_patterns_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    """git itself says which files its own reading of the pattern would ignore."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for path in PATHS:
        # a/b and ab, and dist as a directory: all of them can exist at once.
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if not path.startswith(".git/"):
            (tmp_path / path).write_text("")
    for pattern in PATTERNS:
        (tmp_path / ".git/info/exclude").write_text(f"{pattern}\n")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), "ls-files", "--others", "--exclude-standard"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        # git never lists what is in its own directory.
        assert left(pattern, tmp_path) - {".git/HEAD"} == set(done.stdout.split()), pattern


def test_the_repository_of_a_checkout_can_be_left_out(tmp_path: Path) -> None:
    assert ".git/HEAD" not in left(".git/", tmp_path)
    assert ".git/HEAD" not in left(".git", tmp_path)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("!keep", "cannot bring back"),
        ("[ab].js", "do not know"),
        ("{a,b}.js", "do not know"),
        ("a\\*", "do not know"),
        ("a//b", "empty"),
        ("../x", "`..`"),
        ("./x", "`.`"),
        ("/", "empty"),
        ("a**b", "component of its own"),
        ("**", "matches everything"),
        ("**/**", "matches everything"),
    ],
)
def test_a_pattern_that_means_something_else_is_refused(pattern: str, fault: str) -> None:
    assert fault in (glob_fault(pattern) or "")


@pytest.mark.parametrize("pattern", [*PATTERNS, "*", "a*b?c", "**/x"])
def test_good_patterns_have_no_fault(pattern: str) -> None:
    assert glob_fault(pattern) is None


@pytest.mark.parametrize("pattern", ["*a" * 120 + "b", "**/a/" * 50 + "b", "/" + "a*" * 120])
def test_no_pattern_takes_long(pattern: str) -> None:
    with ends():
        assert not Glob(pattern).matches("a/" * 120 + "a" * 250, is_directory=False)
