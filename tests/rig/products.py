"""A small product to break: bundle.yaml and what it names, and the problems that `load` finds in it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.errors import UnfitInputError

BUNDLE = """\
schema: waybill/v1
product: lan-chat
platforms: [linux/amd64]
binaries:
  - path: build/{os}-{arch}/chatd
    install: /opt/lan-chat/bin/chatd
docs: {changelog: CHANGELOG.md, upgrade: docs/UPGRADE.md}
"""


def elf(machine: int = 62) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine) + bytes(44)


def make_product(directory: Path) -> Path:
    """Lays down a small release that is fit to ship as 1.4.0."""
    put(directory, "bundle.yaml", BUNDLE)
    put(directory, "build/linux-amd64/chatd", elf())
    put(
        directory,
        "CHANGELOG.md",
        "# Changelog\n\n## [1.4.0] - 2026-01-01\n\n- Faster.\n\n## [1.3.0]\n\n- Old.\n",
    )
    put(directory, "docs/UPGRADE.md", "Nothing to do.\n")
    return directory


def put(directory: Path, path: str, content: str | bytes) -> None:
    target = directory / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())


def add(directory: Path, text: str) -> None:
    put(directory, "bundle.yaml", BUNDLE + text)


def faults(directory: Path, version: str = "v1.4.0", **options) -> list[str]:
    with pytest.raises(UnfitInputError) as caught:
        load(directory, version, **options)
    assert caught.value.exit_code == 30
    assert all(problem.where for problem in caught.value.problems)
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


def hints(directory: Path, version: str = "v1.4.0") -> str:
    with pytest.raises(UnfitInputError) as caught:
        load(directory, version)
    return "\n".join(problem.hint for problem in caught.value.problems)
