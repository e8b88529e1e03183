"""One repository of a registry: what it has, and what is put there or taken away."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from installer.core.digest import oci_digest
from installer.core.limits import MIB
from installer.core.oci import documents
from installer.shared.registry.connection import TRIES, Connection
from installer.shared.registry.errors import RegistryError, lying

CHUNK = 8 * MIB
"""Bytes of one request of an upload: what is sent again after a connection broke."""
MOST_CHUNK = 64 * MIB
"""The largest least size of a request that a registry may ask for."""
_ACCEPT = ", ".join((*documents.INDEXES, *documents.MANIFESTS))
_REMOVED = "application/vnd.waybill.removed.v1+json"
_PAGES = 20
"""Pages of a list of tags that are looked at."""
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


class NoDeletionError(RegistryError):
    """The registry does not remove tags, or not for this login."""


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index of a registry."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """Its digest."""
        return oci_digest(self.data)


class Repository:
    """One repository.

    Args:
        connection: The registry.
        name: The repository, without the host.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self.name = connection, name
        self.where = f"{connection.host}/{name}"

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has a blob."""
        where = f"{self.where}@{digest}"
        answer = self._connection.ask("HEAD", self._path(f"blobs/{digest}"), where, known=(404,))
        return answer.status_code == 200

    def small_blob(self, digest: str, size: int) -> bytes:
        """Return a blob that fits into an answer; the caller compares its digest."""
        where = f"{self.where}@{digest}"
        data = bytes(self._connection.ask("GET", self._path(f"blobs/{digest}"), where).content)
        if len(data) != size:
            raise lying(where, f"sends {len(data)} bytes of a blob of {size}")
        return data

    def manifest(self, reference: str) -> Document | None:
        """Return what a tag or a digest leads to; None where there is nothing.

        Raises:
            RegistryError: What comes for a digest does not have it.
        """
        where = (
            f"{self.where}@{reference}" if reference.startswith("sha256:") else f"{self.where}:{reference}"
        )
        answer = self._connection.ask(
            "GET", self._path(f"manifests/{reference}"), where, known=(404,), headers={"Accept": _ACCEPT}
        )
        if answer.status_code == 404:
            return None
        found = Document(
            bytes(answer.content), answer.headers.get("Content-Type", "").partition(";")[0].strip()
        )
        if reference.startswith("sha256:") and found.digest != reference:
            raise lying(where, f"sends a manifest with the digest {found.digest[:19]}…")
        return found

    def lists_referrers(self, digest: str) -> bool:
        """Return whether the registry itself lists what refers to a manifest, as OCI 1.1 has it."""
        path, unknown = self._path(f"referrers/{digest}"), (400, 404, 405, 501)
        return self._connection.ask("GET", path, self.where, known=unknown).status_code == 200

    def put(self, reference: str, document: Document) -> None:
        """Store a manifest by its digest or under a tag, and read it back.

        Raises:
            RegistryError: The registry refuses it, or returns something else afterwards.
        """
        where = f"{self.where}:{reference}"

        def send() -> None:
            self._connection.ask(
                "PUT",
                self._path(f"manifests/{reference}"),
                where,
                ok=(200, 201, 202),
                headers={"Content-Type": document.media_type},
                data=document.data,
            )

        self._connection.changing("put", send, visible=True)
        back = self.manifest(reference)
        if back is None or back.data != document.data:
            raise lying(where, "took a manifest and does not return it as it was sent")

    def mount(self, digest: str, source: str) -> bool:
        """Take over a blob from another repository of the registry; False where it does not do that."""
        path = self._path(f"blobs/uploads/?mount={digest}&from={source}")

        def send() -> bool:
            answer = self._connection.ask(
                "POST", path, f"{self.where}@{digest}", ok=(201, 202), known=(400, 401, 403, 404, 405)
            )
            # Registries that do not mount, or do not find the blob there, answer as to any upload.
            if answer.status_code == 202 and (place := answer.headers.get("Location")):
                # It began an upload instead.
                self.cancel(place)
            return answer.status_code == 201

        return self._connection.changing("mount", send)

    def require_push(self) -> None:
        """Require that the login may push here: begin an upload, and take it back.

        Raises:
            RegistryError: It may not, or the registry cannot be reached.
        """
        place, _ = self.begin(self.where)
        self.cancel(place)

    def tags(self) -> list[str] | None:
        """Return the tags; None where there are more than can be looked at."""
        path, found = self._path("tags/list?n=1000"), list[str]()
        for _ in range(_PAGES):
            answer = self._connection.ask("GET", path, self.where, known=(404,))
            if answer.status_code == 404:
                return found
            try:
                names = json.loads(answer.content).get("tags") or []
                found += [str(each)[:128] for each in names]
            except (ValueError, AttributeError, TypeError, RecursionError):
                raise lying(self.where, "does not send a list of tags") from None
            more = re.match(r'\s*<([^<>]{1,2000})>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
            if more is None:
                return found
            path = more[1]
        return None

    def _path(self, below: str) -> str:
        return f"/v2/{self.name}/{below}"

    def begin(self, where: str) -> tuple[str, int]:
        """Begin an upload; return where it goes, and the bytes of a request."""
        # Sent once: a second one after a lost answer would leave the first upload open.
        answer = self._connection.changing(
            "begin",
            lambda: self._connection.ask("POST", self._path("blobs/uploads/"), where, ok=(202,), tries=1),
        )
        least = answer.headers.get("OCI-Chunk-Min-Length", "0")
        if not least.isdecimal() or int(least) > MOST_CHUNK:
            raise lying(where, f"wants requests of more than {MOST_CHUNK // MIB} MiB")
        return _place(answer.headers.get("Location", ""), where), max(CHUNK, int(least))

    def cancel(self, place: str) -> None:
        """Take an upload back, as far as the registry lets it."""
        known = (400, 404, 405)
        try:
            self._connection.changing(
                "cancel",
                lambda: self._connection.ask(
                    "DELETE", place, self.where, ok=(200, 202, 204), known=known, tries=1
                ),
            )
        except RegistryError:
            return  # the registry removes uploads itself that nobody ends

    def upload(
        self, digest: str, size: int, source: Callable[[], BinaryIO], advance: Callable[[int], None]
    ) -> None:
        """Send a blob in pieces, and go on where it was after a connection broke.

        Args:
            digest: Its digest; what is read has to have it.
            size: Its size.
            source: Opens it.
            advance: Told the bytes that the registry has taken.

        Raises:
            RegistryError: The registry refused, broke off too often, or lied about what it has.
            OSError: The source cannot be read.
        """
        with source() as file:
            _Upload(self, self._connection, digest, size, file, advance).run()

    def delete_tag(self, tag: str) -> None:
        """Remove a tag and nothing else: what it leads to stays, and is for the registry to collect.

        Raises:
            NoDeletionError: The registry does not remove tags, or not for this login.
            RegistryError: The registry cannot be reached, or failed.
        """
        self._delete_tag(tag)
        if self.manifest(tag) is not None:
            raise lying(f"{self.where}:{tag}", "says that it removed a tag, which is still there")

    def _delete_tag(self, tag: str) -> None:
        where = f"{self.where}:{tag}"
        if self._delete(tag, where):
            return
        # Older registries remove manifests only, with all of their tags. The tag is moved to a manifest that
        # nobody else uses, and goes with that one.
        removed, config = removed_marker(self.name, tag)
        # Asked before the tag is moved: a registry that removes nothing must not be left with a moved tag.
        if not self._delete(removed.digest, where):
            raise _not_deleted(where, 405)
        if not self.has_blob(oci_digest(config)):
            self.put_blob(config)
        self.put(tag, removed)
        if not self._delete(removed.digest, where):
            raise _not_deleted(where, 405)

    def _delete(self, reference: str, where: str) -> bool:
        """Delete a manifest or tag; False where the registry does not support that."""
        path, gone, unsupported = self._path(f"manifests/{reference}"), (200, 202, 204, 404), (400, 405, 501)
        try:
            answer = self._connection.changing(
                "delete",
                lambda: self._connection.ask("DELETE", path, where, ok=gone, known=unsupported),
                visible=True,
            )
        except RegistryError as error:
            if error.status in (401, 403):
                raise _not_deleted(where, error.status) from None
            raise
        return answer.status_code not in unsupported

    def put_blob(self, data: bytes) -> None:
        """Send a small blob."""
        from io import BytesIO

        _Upload(self, self._connection, oci_digest(data), len(data), BytesIO(data), lambda _count: None).run()


def removed_marker(name: str, tag: str) -> tuple[Document, bytes]:
    """Return the manifest to which a tag is moved on its way out, and the configuration that it names.

    Args:
        name: The repository.
        tag: The tag. Nobody else has the same manifest, whose removal takes no other tag with it.
    """
    config = json.dumps({"removed": f"{name}:{tag}"}).encode()
    described = {"mediaType": _REMOVED, "digest": oci_digest(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": documents.MANIFEST, "config": described, "layers": []}
    return Document(documents.dumps_compact(manifest), documents.MANIFEST), config


def _place(location: str, where: str) -> str:
    if not location:
        raise lying(where, "does not say where an upload goes")
    return location


def _not_deleted(where: str, status: int) -> NoDeletionError:
    why = "permit it to this login" if status in (401, 403) else "see `delete` in its configuration"
    what = "the registry does not remove tags"
    error = NoDeletionError(what, where=where, hint=f"remove it there yourself, or {why}")
    error.status = status
    return error


@dataclass
class _Upload:
    """One blob on its way."""

    repository: Repository
    connection: Connection
    digest: str
    size: int
    file: BinaryIO
    advance: Callable[[int], None]

    def __post_init__(self) -> None:
        self._where = f"{self.repository.where}@{self.digest}"
        self._hash, self._hashed, self._told, self._failures = hashlib.sha256(), 0, 0, 0

    def run(self) -> None:
        place, chunk = self.repository.begin(self._where)
        offset = 0
        try:
            while offset < self.size:
                place, offset = self._piece(place, offset, chunk)
                if offset > self._told:
                    self.advance(offset - self._told)
                    self._told = offset
            self._require_signed()
            self._end(place)
        except (RegistryError, OSError):
            self.repository.cancel(place)
            raise

    def _piece(self, place: str, offset: int, chunk: int) -> tuple[str, int]:
        """Send one piece, and return where the next one goes and starts."""
        data = self._read(offset, min(chunk, self.size - offset))
        end = offset + len(data)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{end - 1}",
        }
        try:
            answer = self.connection.changing(
                "send",
                lambda: self.connection.ask(
                    "PATCH", place, self._where, ok=(202,), known=(416,), headers=headers, data=data, tries=1
                ),
            )
        except RegistryError as error:
            return self._again(error, place, end)
        if answer.status_code == 416:
            return self._again(lying(self._where, "refuses a part of an upload as out of order"), place, end)
        return _place(answer.headers.get("Location", ""), self._where), self._taken(answer.headers, end)

    def _again(self, error: RegistryError, place: str, end: int) -> tuple[str, int]:
        """Ask how far an upload came that broke off, within the tries of the whole blob."""
        self._failures += 1
        # What the registry has decided itself gets no better by asking again: it is full, or forbids it.
        if self._failures >= TRIES or (400 <= error.status < 500 and error.status != 416):
            raise error
        if error.status < 0 or "full" in error.what:
            raise error
        answer = self.connection.ask("GET", place, self._where, ok=(200, 204), known=(404,))
        if answer.status_code == 404:
            # It has forgotten the upload: from the start, as often as there are tries.
            return self.repository.begin(self._where)[0], 0
        return _place(answer.headers.get("Location", "") or place, self._where), self._taken(
            answer.headers, end
        )

    def _taken(self, headers: Mapping[str, str], end: int) -> int:
        """Return how many bytes the registry says it has; never more than it was sent."""
        text = headers.get("Range") or f"0-{end - 1}"
        found = _RANGE.fullmatch(text.strip())
        if found is None:
            raise lying(self._where, "does not say how much of an upload it has")
        # `0-0` is what registries write for nothing.
        count = int(found[1]) + 1 if int(found[1]) else 0 if end > 1 else end
        if count > end:
            raise lying(self._where, "says that it has more of an upload than was sent")
        return count

    def _read(self, offset: int, count: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(count)
        # The size is signed: a file that shrank must not be sent as if it were whole.
        if len(data) != count:
            raise RegistryError("is shorter than what was signed", where=self.digest, hint=_CHANGED)
        # What is sent a second time was hashed the first time.
        if offset <= self._hashed < offset + count:
            self._hash.update(data[self._hashed - offset :])
            self._hashed = offset + count
        return data

    def _require_signed(self) -> None:
        if self._hashed != self.size or f"sha256:{self._hash.hexdigest()}" != self.digest:
            raise RegistryError("does not match its digest", where=self.digest, hint=_CHANGED)

    def _end(self, place: str) -> None:
        joint = "&" if "?" in place else "?"
        try:
            self.connection.changing(
                "end",
                lambda: self.connection.ask(
                    "PUT", f"{place}{joint}digest={self.digest}", self._where, ok=(201, 202, 204), tries=1
                ),
            )
        except RegistryError:
            # The answer may be what was lost.
            if not self.repository.has_blob(self.digest):
                raise


_CHANGED = "a file was changed since it was read and checked: run the command again, from the bundle"
