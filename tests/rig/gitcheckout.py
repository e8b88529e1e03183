"""A real git checkout around a product's directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.rig.needs import needs


def git(directory: Path, *words: str, **environment: str) -> str:
    """Runs git as nobody in particular, with no settings but the repository's; gives what it printed.

    Skips the test where there is no git.
    """
    identity = {
        f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        [needs("git"), "-C", str(directory), *words],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | identity | {"GIT_CONFIG_GLOBAL": "/dev/null", **environment},
    )
    return done.stdout.strip()


def commit_all(directory: Path, tag: str = "", origin: str = "") -> str:
    """Makes a directory a repository and commits all that is in it; gives the commit's id."""
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "x", GIT_COMMITTER_DATE="1780000000 +0545")
    if tag:
        git(directory, "tag", tag)
    if origin:
        git(directory, "remote", "add", "origin", origin)
    return git(directory, "rev-parse", "HEAD")
