"""Releases of one program, which is one file: enough where only the transaction matters."""

from __future__ import annotations

from installer.host.context import Context
from tests.rig.releases import Member, ReleaseSpec, root


def numbered(number: int, word: str = "") -> ReleaseSpec:
    """Return the release NUMBER.0.0, whose program holds a word."""
    program = Member((word or f"number {number}").encode(), "/opt/d", 0o755)
    return ReleaseSpec(f"{number}.0.0", number, {"bin/linux-amd64/d": program})


ONE, TWO, THREE, FOUR = (numbered(at, word) for at, word in enumerate(("one", "two", "three", "four"), 1))


def deployed(within: Context) -> str:
    """Return what the installed program holds; nothing where there is none."""
    path = root(within) / "opt/d"
    return path.read_text() if path.exists() else ""
