"""Files that stand for others: what Git LFS, git-annex and git-crypt leave in an incomplete checkout."""

from __future__ import annotations

import re

from installer.core.errors import Problem

MAX_BYTES = 1024
"""The size in bytes up to which a file can be a pointer; the specification of Git LFS has this limit."""
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_LFS = re.compile(rb"version https?://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v[0-9]+\r?\n")
_ANNEX = re.compile(rb"/annex/objects/[^\n\0]+\n?")
_GIT_CRYPT = b"\0GITCRYPT\0"


def check(data: bytes, shown: str) -> list[Problem]:
    """Return a problem if a file is not what its name says, but a placeholder for it.

    Args:
        data: The file, or its first bytes if it is large.
        shown: Its name in messages.
    """
    if data.startswith(_GIT_CRYPT):
        what = "is encrypted by git-crypt: hosts would get the encrypted file"
        return [Problem(shown, what, "run `git-crypt unlock` in the checkout, then build again")]
    if len(data) > MAX_BYTES:
        return []
    if _LFS.match(data) and b"\noid " in data:
        what = "is a pointer of Git LFS: the file itself is missing"
        return [Problem(shown, what, "run `git lfs pull` in the checkout, then build again")]
    if _ANNEX.fullmatch(data):
        what = "is a pointer of git-annex: the file itself is missing"
        return [Problem(shown, what, "run `git annex get` in the checkout, then build again")]
    return []
