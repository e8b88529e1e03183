"""`bundle installer`: write the standalone executable `install` that travels with bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.freeze.build import write_installer
from bundler.freeze.platforms import chosen
from installer.core.digest import file_digest
from installer.shared.humanize import size_text
from installer.shared.progress import Progress


@dataclass(frozen=True, slots=True)
class InstallerFile:
    """The executable that was written: its path, size in bytes, SHA-256 in hex, and platforms."""

    path: Path
    size: int
    sha256: str
    platforms: tuple[str, ...]

    def as_text(self) -> str:
        """Return it in words for people."""
        written = f"wrote {self.path}, {size_text(self.size)}, for {', '.join(self.platforms)}"
        return f"{written}\nsha256 {self.sha256}"

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "changed": True,
            "path": str(self.path),
            "size": self.size,
            "sha256": self.sha256,
            "platforms": list(self.platforms),
        }


def create_installer(path: Path, platforms: Sequence[str], progress: Progress) -> InstallerFile:
    """Write the executable: the frozen `bundle` carries one, a checkout builds it.

    Args:
        path: The file to write; replaced in one step.
        platforms: What it is to run on; by default this machine's platform.
        progress: Receives the steps of a build.

    Raises:
        UsageError: There is no such platform, or it is neither carried, nor can it be built on this machine.
        UnfitInputError: The build failed.
    """
    # Imported only by this command: the build machinery is of no use elsewhere.
    written = write_installer(path, chosen(" ".join(platforms)), progress)
    return InstallerFile(path, path.stat().st_size, file_digest(path), tuple(written))
