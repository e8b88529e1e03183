"""A small product on disk: a bundle.yaml with everything that needs no engine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bundler.commands.create import Created, plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.signing import Signer
from installer.shared.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
EPOCH = "1790000000"
YAML = """\
schema: waybill/v1
product: lan-chat
platforms: [linux/amd64]
expires: 36500d
binaries:
  - path: build/chatd
    install: /opt/lan-chat/bin/chatd
trees:
  - path: web
    install: /opt/lan-chat/web
docs: {changelog: CHANGELOG.md, upgrade: docs/UPGRADE.md}
"""


@dataclass(frozen=True, slots=True)
class Product:
    """The directory of a product."""

    directory: Path

    @classmethod
    def make(cls, directory: Path, binary: bytes = b"\x7fELF chatd\n") -> Product:
        """Lays the product down."""
        files = {
            "bundle.yaml": YAML.encode(),
            "CHANGELOG.md": b"# Changelog\n\n## 1.4.0\n\nFaster.\n\n## 1.3.0\n\nFirst.\n",
            "docs/UPGRADE.md": b"# Upgrade\n\nNothing to do.\n",
            "build/chatd": binary,
            "web/index.html": b"<!doctype html>\n",
            "web/js/app.js": b"// app\n" * 100,
        }
        for name, data in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o644)
        (directory / "build/chatd").chmod(0o755)
        (directory / "web/start.html").symlink_to("index.html")
        for folder in (directory / "web", directory / "web/js"):
            folder.chmod(0o755)
        return cls(directory)

    @property
    def target(self) -> Path:
        """Where `create` writes when nobody says another place."""
        return self.directory / "dist" / "lan-chat-1.4.0.tar"

    def create(self, target: Path | None = None, signers: tuple[Signer, ...] = ()) -> Created:
        """Makes the bundle in this process."""
        config = load(self.directory, "1.4.0")
        return write_bundle(plan_bundle(config), target or self.target, signers, Progress())

    def command(self, *words: str) -> list[str]:
        """Gives the command line of `bundle`, started as people start it."""
        return [sys.executable, "-c", "from bundler.cli.main import main; main()", *words]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `bundle` in the product's directory."""
        return subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": EPOCH, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def leftovers(self) -> list[str]:
        """Names in the output directory other than the bundle itself."""
        folder = self.target.parent
        return (
            sorted(each.name for each in folder.iterdir() if each != self.target) if folder.exists() else []
        )
