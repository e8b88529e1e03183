"""Images from a registry, by tag or by digest (OCI distribution specification, v2).

A tag is resolved once; after that everything is fetched by its digest and checked against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.image_sources.attachments import artifact_type
from bundler.image_sources.base import Readable
from bundler.image_sources.faults import as_input
from bundler.image_sources.http import TRIES, Connection, NoSuchImageError, read_body, uses_plain_http
from bundler.image_sources.store import SavedImageSource
from bundler.image_sources.walk import ImageWalk, SavedImage
from bundler.image_sources.whole import Near, tags_of
from installer.core.digest import oci_digest
from installer.core.errors import TamperedError, UnfitInputError
from installer.core.limits import CHUNK
from installer.core.oci import documents
from installer.core.oci.reference import familiar, reference_fault, split_host, split_reference

if TYPE_CHECKING:
    from requests import Response

_ACCEPT = ", ".join((*documents.INDEXES, *documents.MANIFESTS))
_COSIGN_TAGS = (("sig", "signature"), ("att", "attestation"), ("sbom", "sbom"))
"""The tags `sha256-<hex>.<end>` next to an image, and what cosign stores under them."""


class RegistrySource(SavedImageSource):
    """One reference of a registry, for all platforms of the bundle.

    Args:
        place: `HOST[:PORT]/NAME[:TAG][@DIGEST]`, after `http://` for a registry without TLS.
        platforms: Platforms of the bundle.
        reference: Name of the image in the bundle; empty: its own.
    """

    key = "registry"
    takes = "reference"

    walk: _Repository

    def __init__(
        self, place: Path | str, platforms: Sequence[str], reference: str = "", *, whole: bool = False
    ) -> None:
        super().__init__(place, platforms, whole=whole)
        self._name = reference

    def find(self) -> list[SavedImage]:
        """Fetch manifests and configurations.

        Raises:
            UnfitInputError: The registry does not answer, lacks the image, or sends something else.
        """
        scheme, given, bare = str(self.place).rpartition("://")
        fault = reference_fault(bare)
        if fault or scheme not in ("", "http", "https"):
            what = f"the reference {fault}" if fault else "has a scheme other than http and https"
            raise UnfitInputError(what, where=self.where, hint="write `registry: HOST/NAME:TAG`")
        name, tag, digest = split_reference(bare)
        if digest and not tag and not self._name:
            hint = "give it a name in bundle.yaml: `as: NAME:TAG`"
            raise UnfitInputError("the image has a digest but no tag", where=self.where, hint=hint)
        reference = familiar(self._name or f"{name}:{tag or 'latest'}")
        host, repository = split_host(name)
        connection = Connection(host, plain=scheme == "http" if given else uses_plain_http(host))
        self.where = f"registry {bare}"
        self.walk = self.payload = walk = _Repository(
            connection, repository, self.where, self.platforms, whole=self.whole
        )
        with as_input():
            root = walk.root(digest or tag or "latest")
            images = list(walk.entry(root, (reference,), root.digest, 0))
            # What a whole image has besides is not left out.
            self.skipped += [] if self.whole else walk.skipped or walk.attached(root.digest)
            return images

    def beside(self, digests: Sequence[str]) -> Iterable[Near]:
        """Yield what the registry has under the tags of cosign, and what refers to the image by OCI 1.1."""
        for tag in (tag for digest in digests for tag in tags_of(digest)):
            # Only what is not there is left out: a signature that could not be fetched is missed much later.
            with suppress(NoSuchImageError):
                yield Near(self.walk.tagged(tag), tag)
        for digest in digests:
            yield from (Near(entry, subject=digest) for entry in self.walk.referring(digest))


class _Repository(ImageWalk):
    """A repository: the walk from a tag down to the images, and their layers as payload."""

    def __init__(
        self, connection: Connection, name: str, where: str, platforms: Sequence[str], *, whole: bool
    ) -> None:
        super().__init__(where, platforms, whole=whole)
        self._connection = connection
        self._name = name
        self._known: dict[str, bytes] = {}

    def get(self, path: str, headers: Mapping[str, str], where: str) -> Response:
        """Send a GET request for a path below the repository."""
        return self._connection.get(f"/v2/{self._name}/{path}", headers, where)

    def root(self, tag: str) -> documents.Descriptor:
        """Fetch the manifest or index of a tag or digest."""
        response = self.get(f"manifests/{tag}", {"Accept": _ACCEPT}, self.where)
        data = _document(response, self.where)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        media_type = content_type if content_type in (*documents.INDEXES, *documents.MANIFESTS) else ""
        digest = oci_digest(data)
        announced = response.headers.get("Docker-Content-Digest") or digest
        for expected in (announced, tag if tag.startswith("sha256:") else digest):
            if expected != digest:
                raise TamperedError(
                    f"the manifest has the digest {digest}, not {expected}",
                    where=self.where,
                    hint="do not use the image: the registry, or a proxy in front of it, returned "
                    "different content",
                )
        # It was fetched by its tag: asking again could give another one.
        self._known[digest] = data
        # The walk leaves out what is no image, and so can say what was there instead.
        if not artifact_type(data, self.where):
            media_type = documents.parse_document(data, self.where, media_type).media_type
        return documents.Descriptor(digest, len(data), media_type or documents.MANIFEST)

    def tagged(self, tag: str) -> documents.Descriptor:
        """Fetch the manifest of a tag that leads to no image.

        Raises:
            NoSuchImageError: There is none.
        """
        where = f"{self.where}: {tag}"
        data = _document(self.get(f"manifests/{tag}", {"Accept": _ACCEPT}, where), where)
        self._known[oci_digest(data)] = data
        return documents.Descriptor(oci_digest(data), len(data), documents.MANIFEST)

    def referring(self, digest: str) -> Sequence[documents.Descriptor]:
        """Return the manifests that refer to one by OCI 1.1.

        Raises:
            UnfitInputError: The registry does not say.
        """
        # Without that part of the protocol, clients keep the list under a tag.
        data = self._asked(f"referrers/{digest}")
        try:
            entries = documents.parse_index(data, self.where).manifests if data else ()
        except TamperedError:
            entries = ()
        if entries:
            return entries
        tag = digest.replace(":", "-")
        try:
            data = _document(self.get(f"manifests/{tag}", {"Accept": _ACCEPT}, self.where), self.where)
        except NoSuchImageError:
            return ()
        return documents.parse_index(data, f"{self.where}: {tag}").manifests

    def attached(self, digest: str) -> list[str]:
        """Return the types of what the registry has next to an image, as far as it answers."""
        tag = digest.replace(":", "-")
        found = [f"application/{kind}" for end, kind in _COSIGN_TAGS if self._asked(f"manifests/{tag}.{end}")]
        return found + self.referrers(digest)

    def referrers(self, digest: str) -> list[str]:
        """Return the types of what refers to a manifest by OCI 1.1, as far as the registry answers."""
        # Registries older than OCI 1.1 have the list of referrers under a tag.
        for path in (f"referrers/{digest}", f"manifests/{digest.replace(':', '-')}"):
            with suppress(TamperedError):
                entries = documents.parse_index(self._asked(path), self.where).manifests
                return [each.artifact or each.media_type for each in entries]
        return []

    def _asked(self, path: str) -> bytes:
        try:
            return _document(self.get(path, {"Accept": _ACCEPT}, self.where), self.where)
        except UnfitInputError:
            return b""

    def document(self, entry: documents.Descriptor) -> tuple[bytes, str]:
        where = f"{self.where}: {entry.digest}"
        # Each document once: both platforms of an index may share one.
        if entry.digest not in self._known:
            manifest = entry.media_type in (*documents.INDEXES, *documents.MANIFESTS)
            # Manifests and blobs have different paths, whatever their digest.
            path = f"{'manifests' if manifest else 'blobs'}/{entry.digest}"
            response = self.get(path, {"Accept": entry.media_type} if manifest else {}, where)
            self._known[entry.digest] = _document(response, where)
        return self._known[entry.digest], where

    def layer(self, layer: documents.Descriptor) -> str:
        return layer.digest

    def open(self, name: str, size: int) -> AbstractContextManager[Readable]:
        return closing(_BlobStream(self, name, size))


@dataclass(slots=True)
class _BlobStream:
    """A blob that continues where it was after the connection broke."""

    repository: _Repository
    digest: str
    size: int
    offset: int = 0
    failures: int = 0
    _response: Response | None = field(default=None)

    def read(self, size: int, /) -> bytes:
        while self.offset < self.size:
            try:
                response = self._response or self._open()
                chunk = read_body(response, min(size, self.size - self.offset))
            except OSError:
                # What came so far counts: the next request asks for the rest only.
                chunk = b""
            if chunk:
                self.offset += len(chunk)
                return chunk
            self.close()
            self.failures += 1
            # Progress resets nothing: a registry that breaks off each megabyte would never end.
            if self.failures >= TRIES:
                raise UnfitInputError(
                    f"the registry sent only {self.offset} of {self.size} bytes of the layer",
                    where=self._where,
                    hint="try again; if it fails again, push the image again: the registry's copy is damaged",
                )
        # What comes after the end is returned, too, so that a longer blob is noticed.
        return read_body(self._response, 1) if self._response is not None else b""

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    @property
    def _where(self) -> str:
        return f"{self.repository.where}: {self.digest}"

    def _open(self) -> Response:
        # The first request asks for everything: a registry need not support ranges.
        headers = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        path = f"blobs/{self.digest}"
        self._response = response = self.repository.get(path, headers, self._where)
        # A registry without ranges sends the whole blob: what is known already is skipped.
        left = self.offset if response.status_code == 200 else 0
        while left and (chunk := read_body(response, min(left, CHUNK))):
            left -= len(chunk)
        return response


def _document(response: Response, where: str) -> bytes:
    try:
        data = read_body(response, documents.MAX_DOCUMENT + 1)
    except OSError as error:
        raise UnfitInputError(f"the connection was lost: {error}", where=where, hint="try again") from None
    finally:
        response.close()
    # The limit is that of the reader on the host.
    if len(data) > documents.MAX_DOCUMENT:
        what = f"is larger than {documents.MAX_DOCUMENT} bytes, the maximum size of a document"
        raise UnfitInputError(
            what, where=where, hint="this is not a manifest or configuration: check the address"
        )
    return data
