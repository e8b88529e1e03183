"""`bundle pull`: get a published bundle back, byte for byte."""

from __future__ import annotations

import hashlib
import shlex
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.archive.output_file import OutputFile
from bundler.archive.reading import unverified_bundle
from bundler.commands.published.server import as_media, connect
from installer.core.digest import file_digest
from installer.core.errors import TamperedError, UnfitInputError, UsageError
from installer.core.limits import CHUNK
from installer.shared.humanize import size_text
from installer.shared.progress import Progress
from installer.shared.published.address import parse_address
from installer.shared.published.reader import PublishedBundle


@dataclass(frozen=True, slots=True)
class Pulled:
    """A bundle that was pulled: its file, identity, SHA-256 in hex, size in bytes, and whether it is new."""

    path: Path
    identity: str
    sha256: str
    size: int
    changed: bool

    def as_text(self) -> str:
        """Return it in words for people."""
        what = (
            f"pulled {self.path}, {size_text(self.size)}" if self.changed else f"{self.path} is there already"
        )
        return f"{what}\nidentity {self.identity}\nnobody has checked its signatures yet: `bundle verify`"

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "changed": self.changed,
            "path": str(self.path),
            "identity": self.identity,
            "sha256": self.sha256,
            "size": self.size,
        }


def pull_bundle(
    source: str, output: Path | None, progress: Progress, *, ca_file: Path | None = None
) -> Pulled:
    """Write a published bundle into a file.

    Args:
        source: Its address, as `publish_bundle` takes it.
        output: The file; None: the name that the address gives it, in this directory.
        progress: Receives the bytes that came.
        ca_file: The certificates that count; None: those of this machine.

    Raises:
        UsageError: It is no address, or the file is a directory.
        UnfitInputError: The file exists with other content, or cannot be written.
        MediaError: The server cannot be reached, refuses, or failed.
        TamperedError: What came is not a bundle, or not what was published.
    """
    address = parse_address(source)
    path = output or Path(address.name)
    # Before the server is asked for anything.
    if path.is_dir():
        name = shlex.quote(str(path / address.name))
        hint = f"name the file in it: -o {name}" if output else "give another name: -o FILE"
        raise UsageError("is a directory, not a file to write", where=str(path), hint=hint)
    with as_media(), closing(PublishedBundle(connect(address, ca_file), address)) as bundle:
        if bundle.sha256 and path.exists() and file_digest(path) == bundle.sha256:
            return _pulled(path, bundle.sha256, changed=False)
        if path.exists():
            # It may be a bundle with approvals that nobody has elsewhere.
            hint = "remove it, or choose another name: -o FILE"
            raise UnfitInputError("exists with other content", where=str(path), hint=hint)
        progress.start("pull", bundle.size or 0)
        found, offset = hashlib.sha256(), 0
        with OutputFile(path, 0o644, parents=False) as file:
            while chunk := bundle.read(CHUNK):
                file.write_at(offset, chunk)
                found.update(chunk)
                offset += len(chunk)
                progress.advance(len(chunk))
            # Before it gets its name: what is not the published bundle leaves no file.
            if bundle.sha256 and found.hexdigest() != bundle.sha256:
                hint = "do not use this address until it is known why"
                raise TamperedError("is not what was published there", where=source, hint=hint)
            file.publish(replace=False)
        progress.done()
    return _pulled(path, found.hexdigest(), changed=True)


def _pulled(path: Path, sha256: str, *, changed: bool) -> Pulled:
    try:
        with unverified_bundle(path) as bundle:
            # To its end: an upload that was cut may have left the beginning of a bundle there.
            bundle.read_tail()
            return Pulled(path, bundle.identity, sha256, path.stat().st_size, changed)
    except TamperedError:
        # A web server has no digest that would have said so before: what is no bundle leaves no file.
        if changed:
            path.unlink()
        raise
