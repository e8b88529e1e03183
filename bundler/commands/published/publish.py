"""`bundle publish`: store a bundle in a registry or on a web server of the site, its bytes unchanged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from bundler.archive.pieces import Cut, PieceFile, Ranges, cut
from bundler.archive.reading import unverified_bundle
from bundler.commands.published.server import as_media, connect
from bundler.commands.published.web_server import OTHER, store_file
from installer.core.digest import oci_digest
from installer.core.errors import UnfitInputError
from installer.core.oci import documents
from installer.shared.humanize import size_text
from installer.shared.progress import Progress
from installer.shared.published.address import Address, parse_address
from installer.shared.published.document import MAX_BLOBS
from installer.shared.registry.connection import Connection
from installer.shared.registry.repository import Document, Repository

_CONTINUES = "run the same command again: it continues, and sends only what the registry does not have yet"


@dataclass(frozen=True, slots=True)
class Publication:
    """A bundle that is published.

    Attributes:
        target: Its address.
        identity: The identity of the bundle.
        sha256: Of the file, in hex.
        size: Bytes of the file.
        sent: Bytes that were sent; 0 if it was there already.
        changed: Whether anything was stored.
        signed: Whether the bundle has a signature.
    """

    target: str
    identity: str
    sha256: str
    size: int
    sent: int
    changed: bool
    signed: bool

    def as_text(self) -> str:
        """Return it in words for people."""
        if not self.changed:
            first = f"{self.target} has this bundle already: nothing to do"
        else:
            # No share: all of a small bundle, with the documents of a registry, is more than the bundle.
            first = f"published {self.target}: {size_text(self.size)}, {size_text(self.sent)} sent"
        note = "" if self.signed else "\nnote: the bundle is not signed: no host will install it"
        return f"{first}\nidentity {self.identity}{note}"

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "changed": self.changed,
            "target": self.target,
            "identity": self.identity,
            "sha256": self.sha256,
            "size": self.size,
            "sent": self.sent,
            "signed": self.signed,
        }


def publish_bundle(
    path: Path, target: str, progress: Progress, *, ca_file: Path | None = None
) -> Publication:
    """Publish a bundle.

    Args:
        path: The bundle.
        target: `oci://HOST/REPOSITORY:TAG`, or `https://HOST/PATH/NAME.tar`.
        progress: Receives the bytes that were read, then those that were sent.
        ca_file: The certificates that count; None: those of this machine.

    Raises:
        UsageError: The target is no address, or there is no such bundle.
        UnfitInputError: The target exists with other content, or the bundle has too many files.
        TamperedError: It is not a bundle, it is truncated, or something is not as its list says.
        MediaError: The server cannot be reached, refuses, or failed. The same command continues.
    """
    address = parse_address(target)
    size = path.stat().st_size if path.is_file() else 0
    with unverified_bundle(path) as bundle:
        # The end first: a truncated copy is refused before gigabytes are read.
        bundle.read_tail()
        progress.start("read", size)
        made = cut(path, bundle, size, progress.advance)
        progress.done()
    with closing(connect(address, ca_file)) as connection, as_media(address.text):
        if address.path:
            sent, changed = store_file(connection, address, path, made.published.sha256, progress)
        else:
            sent, changed = _store_artifact(connection, address, path, made, progress)
    return Publication(
        target, bundle.identity, made.published.sha256, size, sent, changed, bool(bundle.head.signatures)
    )


def _store_artifact(
    connection: Connection, address: Address, path: Path, made: Cut, progress: Progress
) -> tuple[int, bool]:
    config = made.published.config()
    manifest = Document(made.published.manifest(), documents.MANIFEST)
    largest = max(len(config), len(manifest.data))
    # Before anything is sent: a reader refuses what is larger, and the blobs would lie there for nothing.
    if len(made.pieces) > MAX_BLOBS or largest > documents.MAX_DOCUMENT:
        hint = "publish it to a web server instead: https://HOST/PATH/NAME.tar"
        raise UnfitInputError("has too many files for an artifact of a registry", where=str(path), hint=hint)
    repository = Repository(connection, address.repository)
    if _is_there(repository, address, manifest):
        return 0, False
    lacking = {
        each.blob: each.ranges
        for each in made.pieces
        if each.blob.size and not repository.has_blob(each.blob.digest)
    }
    progress.start("publish", sum(blob.size for blob in lacking))
    sent = 0
    with as_media(address.text, _CONTINUES):
        for blob, ranges in lacking.items():
            repository.upload(blob.digest, blob.size, _opener(path, ranges), progress.advance)
            sent += blob.size
        progress.done()
        if not repository.has_blob(oci_digest(config)):
            repository.put_blob(config)
            sent += len(config)
        # Again, after what may have taken minutes: somebody else may have published meanwhile.
        if _is_there(repository, address, manifest):
            return sent, False
        # Last: until then nobody sees that there is something.
        repository.put(address.tag, manifest)
    return sent + len(manifest.data), True


def _is_there(repository: Repository, address: Address, manifest: Document) -> bool:
    """Return whether the tag leads to this very bundle.

    Raises:
        UnfitInputError: It leads to something else.
    """
    found = repository.manifest(address.tag)
    if found is not None and found.data != manifest.data:
        raise UnfitInputError("exists with other content", where=address.text, hint=OTHER)
    return found is not None


def _opener(path: Path, ranges: Ranges) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, PieceFile(path, ranges))
