"""Reads a published bundle in the order of its bytes, as if it were a pipe; nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from installer.core.digest import oci_digest
from installer.core.errors import MediaError, TamperedError
from installer.core.format.bundle_source import StreamSource
from installer.core.oci import documents
from installer.shared.published.address import Address
from installer.shared.published.document import Blob, Published, config_of, parse_published, pieces
from installer.shared.registry.connection import Connection
from installer.shared.registry.download import Download
from installer.shared.registry.errors import RegistryError
from installer.shared.registry.repository import Repository

_TIMEOUT = 30.0


class PublishedBundle:
    """The bytes of a published bundle.

    Args:
        connection: The server.
        address: Of the bundle.

    Attributes:
        size: Its size in bytes; None where it is known only at the end.
        sha256: Of the bundle, in hex, as the server has it; empty where it does not say so.
    """

    def __init__(self, connection: Connection, address: Address) -> None:
        self._connection, self._where = connection, address.text
        self._open: list[Download] = []
        self._left = b""
        if address.path:
            self.size: int | None = None
            self.sha256 = ""
            file = Download(connection, address.path, address.text, None, "", _TIMEOUT)
            self._open.append(file)
            self._chunks = iter(lambda: file.read(1 << 20), b"")
        else:
            found = read_artifact(Repository(connection, address.repository), address)
            self.size, self.sha256 = found.size, found.sha256
            self._chunks = self._assembled(found, address.repository)

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; nothing at the end.

        Raises:
            MediaError: The server fails, is too slow, or sends something else than was stored.
        """
        if not self._left:
            try:
                self._left = next(self._chunks, b"")
            except RegistryError as error:
                raise MediaError(error.what, where=error.where, hint=error.hint) from None
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def close(self) -> None:
        """Close everything."""
        for each in self._open:
            each.close()
        self._connection.close()

    def _assembled(self, found: Published, repository: str) -> Iterator[bytes]:
        # Two downloads at a time, each in its own order: neither is ever kept as a whole.
        frame = _Joined(self, repository, [found.frame])
        payload = _Joined(self, repository, found.payload)
        for of_frame, length in pieces(found.runs):
            yield from (frame if of_frame else payload).take(length)

    def blob(self, repository: str, blob: Blob) -> Download:
        """Begin to download a blob."""
        where = f"{self._where}: {blob.digest}"
        path = f"/v2/{repository}/blobs/{blob.digest}"
        made = Download(self._connection, path, where, blob.size, blob.digest, _TIMEOUT)
        self._open.append(made)
        return made


class _Joined:
    """Blobs one after the other, as one stream."""

    def __init__(self, bundle: PublishedBundle, repository: str, blobs: Sequence[Blob]) -> None:
        self._blobs = (bundle.blob(repository, each) for each in blobs if each.size)
        self._now: Download | None = None

    def take(self, length: int) -> Iterator[bytes]:
        """Yield the next bytes; there are so many, as the sizes of the blobs say."""
        while length:
            if self._now is None:
                self._now = next(self._blobs)
            piece = self._now.read(length)
            if not piece:
                self._now = None
                continue
            length -= len(piece)
            yield piece


def read_artifact(repository: Repository, address: Address) -> Published:
    """Return what a registry has of a bundle.

    Raises:
        MediaError: There is no such bundle, or it cannot be read.
        TamperedError: It is something else.
    """
    try:
        found = repository.manifest(address.tag)
        if found is None:
            raise MediaError(
                "there is no such bundle",
                where=address.text,
                hint="check the name and the tag in the address",
            )
        config = config_of(found.data, address.text)
        # Before it is fetched: the size is only a claim.
        if config.size > documents.MAX_DOCUMENT:
            raise TamperedError("has a description that is too large", where=address.text)
        data = repository.small_blob(config.digest, config.size)
    except RegistryError as error:
        raise MediaError(error.what, where=error.where, hint=error.hint) from None
    if oci_digest(data) != config.digest:
        raise TamperedError("has a description that does not match its digest", where=address.text)
    return parse_published(found.data, data, address.text)


def source_of(bundle: PublishedBundle, name: str) -> StreamSource:
    """Return a published bundle as what a bundle is read from, once and in order."""
    return _Source(bundle, name)


class _Source(StreamSource):
    def __init__(self, bundle: PublishedBundle, name: str) -> None:
        super().__init__(bundle, name)  # type: ignore[arg-type]
        self._bundle = bundle

    def close(self) -> None:
        """Close the connections."""
        with suppress(OSError):
            self._bundle.close()
