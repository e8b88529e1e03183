"""Content of archives and layouts by name: with random access, or read once from a stream.

Names are keys: those of members and those that documents ask for come in one form (`archive_key`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from bundler.image_sources.base import BlobSink, ExpectedLayer, Readable
from bundler.image_sources.faults import AGAIN, DAMAGED, HOSTILE
from bundler.image_sources.tarscan import BLOCK, Body, Member, place, scan
from installer.core.digest import HEX
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Layer
from installer.core.limits import CHUNK, MIB
from installer.core.oci.documents import MAX_DOCUMENT
from installer.core.oci.expand import sniff

BLOBS = "blobs/sha256/"
# Many small documents must not add up to a full memory.
MAX_HELD = 64 * MIB
"""Bytes of all documents of one archive together that are held in memory."""
MAX_LINKS = 40
"""Links that are followed for one name: as many as Linux follows."""
DESCRIPTIONS = ("manifest.json", "index.json", "oci-layout")
# Docker writes these for versions before 1.10; nothing reads them.
_LEGACY = ("VERSION", "json", "repositories")


class Content(Protocol):
    """Documents and payload by their names."""

    where: str

    def resolve(self, name: str) -> str | None:
        """Return the member that has the bytes of `name`, links followed; None if there is none."""
        ...

    def size(self, name: str) -> int:
        """Return the size of a resolved name."""
        ...

    def place(self, name: str) -> str:
        """Return how messages name a resolved name."""
        ...

    def document(self, name: str) -> bytes:
        """Return the bytes of a resolved name.

        Raises:
            UnfitInputError: It is larger than a document may be, or cannot be read.
        """
        ...


class Payload(Protocol):
    """Layers that can be read as streams, in any order."""

    def open(self, name: str, size: int) -> AbstractContextManager[Readable]:
        """Open the layer of this name, which has this many bytes."""
        ...


def blob_digest(name: str) -> str:
    """Return the digest that `blobs/sha256/<hex>` promises; empty for a name of any other form."""
    text = name.removeprefix(BLOBS)
    return f"sha256:{text}" if text != name and HEX.fullmatch(text) else ""


def config_digest(name: str) -> str:
    """Return the digest in the name of a configuration; empty if it has none."""
    # `<hex>.json` is Docker's and Podman's, `sha256:<hex>` that of crane, ko and kaniko; others have none.
    for text in (name.removesuffix(".json"), name.removeprefix("sha256:")):
        if text != name and HEX.fullmatch(text):
            return f"sha256:{text}"
    return blob_digest(name)


@dataclass(slots=True)
class _Members:
    """The members of an archive, with its links resolved."""

    where: str
    members: dict[str, Member] = field(default_factory=dict)

    def resolve(self, name: str) -> str | None:
        """Return the member that has the bytes of `name`, links followed; None if there is none."""
        member = self.members.get(name)
        # A chain of links could be a circle.
        for _ in range(MAX_LINKS):
            if member is None or member.kind == "file":
                break
            member = self.members.get(member.target)
        return member.name if member is not None and member.kind == "file" else None

    def size(self, name: str) -> int:
        return self.members[name].size

    def place(self, name: str) -> str:
        """Return how messages name a member."""
        return place(self.where, name)

    def _add(self, member: Member) -> Member | None:
        """Add a member; return the one that already has its name.

        Raises:
            UnfitInputError: The two are obviously not the same.
        """
        known = self.members.setdefault(member.name, member)
        if known is member:
            return None
        if (known.kind, known.size, known.target) != (member.kind, member.size, member.target):
            raise self._differs(member.name)
        return known

    def _differs(self, name: str) -> UnfitInputError:
        # Some readers take the first of two members of one name, others the last.
        return UnfitInputError("occurs twice with different content", where=self.place(name), hint=HOSTILE)


class ArchiveFile(_Members):
    """A tar archive with random access: only its headers and documents are read at first."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        with open_regular(path) as file:
            # Device, inode, size and time: a file that is replaced meanwhile has another identity.
            self._identity = _identity(file)
            length = self._identity[2]
            repeated = [
                (known, member)
                for member, _ in scan(file, self.where, lambda count: _seek(file, count, length, self.where))
                if (known := self._add(member)) is not None and member.kind == "file"
            ]
            # Tools write a layer again that several images share. Equal sizes: no byte is read too often.
            for pair in repeated:
                self._compare(file, *pair)

    def _compare(self, file: BinaryIO, first: Member, second: Member) -> None:
        for done in range(0, first.size, CHUNK):
            count = min(CHUNK, first.size - done)
            if len({os.pread(file.fileno(), count, each.offset + done) for each in (first, second)}) > 1:
                raise self._differs(first.name)

    def document(self, name: str) -> bytes:
        """Return the bytes of a member."""
        with self.open(name, self.size(name)) as body:
            return read_document(body, self.size(name), self.place(name))

    @contextmanager
    def open(self, name: str, size: int) -> Iterator[Readable]:
        """Open a member; refuse an archive that has changed since it was scanned."""
        with open_regular(self._path) as file:
            # Offsets of the scan would lead into other bytes.
            if _identity(file) != self._identity:
                raise changed_while_read(self.where)
            file.seek(self.members[name].offset)
            yield Body(file, size, self.place(name))


class LayoutDirectory:
    """An OCI layout in a directory."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def resolve(self, name: str) -> str | None:
        """Return the name if there is such a file."""
        # A name may be longer than the file system allows: such a file is not there either.
        return name if os.path.isfile(self._path / name) else None  # noqa: PTH113

    def place(self, name: str) -> str:
        """Return how messages name a file."""
        return f"{self.where}/{name}"

    def size(self, name: str) -> int:
        """Return the size of a file."""
        return (self._path / name).stat().st_size

    def document(self, name: str) -> bytes:
        """Return the bytes of a file."""
        with self.open(name, self.size(name)) as file:
            return read_document(file, self.size(name), self.place(name))

    @contextmanager
    def open(self, name: str, size: int) -> Iterator[Readable]:
        """Open a file that must have this size."""
        with open_regular(self._path / name) as file:
            # Checked before reading: the digest would tell as well, but only after gigabytes.
            if (now := os.fstat(file.fileno()).st_size) != size:
                raise UnfitInputError(f"is {now} bytes, not {size}", where=self.place(name), hint=DAMAGED)
            yield file


class StreamedArchive(_Members):
    """An archive that is read once, as a stream: it keeps documents, and layers go to the sink."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.layers: dict[str, Layer] = {}
        self._held: dict[str, bytes] = {}
        self._documents: dict[str, bool] = {}
        self._space = MAX_HELD

    def document(self, name: str) -> bytes:
        """Return the bytes of a document that was read."""
        if name in self._held:
            return self._held[name]
        if name not in self.layers and self.size(name) > MAX_DOCUMENT:
            raise _too_large(self.size(name), self.place(name))
        if self._space < self.size(name):
            what = f"has more than {MAX_HELD} bytes of documents"
            raise UnfitInputError(what, where=self.where, hint="save fewer images in one archive")
        raise UnfitInputError("is neither a document nor a layer", where=self.place(name), hint=AGAIN)

    def layer(self, name: str, sink: BlobSink) -> Layer:
        """Return a layer that was read; one that looked like a document goes to the sink now.

        Raises:
            UnfitInputError: It was neither.
        """
        # A layer may be as short as a document and begin like one.
        if name not in self.layers:
            expected = ExpectedLayer(self.place(name), digest=blob_digest(name))
            self.layers[name] = sink.layer(BytesIO(self.document(name)), expected)
        return self.layers[name]

    def take(self, stream: Readable, sink: BlobSink | None, wanted: Container[str] | None = None) -> None:
        """Read an archive.

        Args:
            stream: The archive.
            sink: Takes the layers; None: they are skipped.
            wanted: Members that are layers of the images to pack; None: those that an engine names like one.

        Raises:
            UnfitInputError: The archive is truncated or hostile, or a layer does not match its name.
        """
        for member, body in scan(stream, self.where):
            self._add(member)
            if member.kind == "file":
                layer = _named_like_layer(member.name) if wanted is None else member.name in wanted
                self._take(member, body, sink if layer else None)

    def _take(self, member: Member, body: Body, sink: BlobSink | None) -> None:
        name, head = member.name, b""
        # One block tells a tar header from JSON and from compressed data.
        while len(head) < BLOCK and (chunk := body.read(BLOCK - len(head))):
            head += chunk
        document = name in DESCRIPTIONS or _is_document(name, head)
        # One of two members that looked like a layer would not be compared with the other.
        if self._documents.setdefault(name, document) != document:
            raise self._differs(name)
        if document:
            # Larger ones are reported when something asks for them; often nothing does.
            if member.size <= MAX_DOCUMENT:
                self._hold(member, head, body)
        elif sink is not None:
            digest = blob_digest(name)
            # An uncompressed layer under this digest is stored already: its bytes need not be compressed
            # again.
            known = sink.find(digest) if digest else None
            expected = ExpectedLayer(self.place(name), digest=digest, size=member.size)
            layer = known or sink.layer(PieceStream(chain((head,), iter(body.read, b""))), expected)
            if self.layers.setdefault(name, layer) != layer:
                raise self._differs(name)

    def _hold(self, member: Member, head: bytes, body: Body) -> None:
        name = member.name
        # SBOMs next to images may be many: what finds no space is missed only if something asks for it.
        if name not in self._held and name not in DESCRIPTIONS and member.size > self._space:
            self._space = 0
            return
        data = head + read_document(body, body.left, self.place(name))
        if name not in self._held:
            self._space -= member.size
        if self._held.setdefault(name, data) != data:
            raise self._differs(name)


def _named_like_layer(name: str) -> bool:
    """Return whether an engine names a layer so, in one of the two forms of its archives."""
    return name.startswith(BLOBS) or name.endswith(".tar")


def _is_document(name: str, head: bytes) -> bool:
    """Return whether a member that begins like this is JSON and not a layer."""
    if name.rpartition("/")[2] in _LEGACY:
        return False
    # A tar archive may begin with a file whose name starts with a brace.
    return head.lstrip()[:1] in (b"{", b"[") and sniff(head) == "tar" and head[257:262] != b"ustar"


class PieceStream:
    """A stream of pieces that come one after the other.

    Args:
        pieces: The pieces; empty ones are skipped.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = filter(None, pieces)
        self._piece = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; raise what making the next piece raises."""
        if self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
        # A piece may be large: it is never copied for the sake of what is left of it.
        chunk = self._piece[self._at : self._at + size]
        self._at += len(chunk)
        return chunk


# Size first: nothing is allocated for a document that is refused.
def read_document(stream: Readable, size: int, where: str) -> bytes:
    """Read a document whose size is known.

    Raises:
        UnfitInputError: It is too large, or it ends early.
    """
    if size > MAX_DOCUMENT:
        raise _too_large(size, where)
    data = b""
    while len(data) < size:
        chunk = stream.read(size - len(data))
        if not chunk:
            raise UnfitInputError(f"ends after {len(data)} of {size} bytes", where=where, hint=AGAIN)
        data += chunk
    return data


def _too_large(size: int, where: str) -> UnfitInputError:
    what = f"has {size} bytes; a document may have at most {MAX_DOCUMENT}"
    return UnfitInputError(what, where=where, hint=AGAIN)


def changed_while_read(where: str) -> UnfitInputError:
    """Return the error for a file that is not the one that was read before."""
    hint = "do not change the file while the bundle is created, and try again"
    return UnfitInputError("changed while it was read", where=where, hint=hint)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; refuse pipes and devices without waiting for them.

    Raises:
        UnfitInputError: It does not exist, is not readable, or is not a regular file.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnfitInputError(
            "does not exist", where=str(path), hint="check the path in bundle.yaml"
        ) from None
    except OSError as error:
        raise UnfitInputError(
            f"cannot be opened: {error.strerror}", where=str(path), hint="check its permissions"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitInputError("is not a regular file", where=str(path), hint="give the path of a file")
    # Unbuffered: layers are read in large chunks, and seeks would throw buffers away.
    return os.fdopen(descriptor, "rb", buffering=0)


def _identity(file: BinaryIO) -> tuple[int, int, int, int]:
    now = os.fstat(file.fileno())
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


def _seek(file: BinaryIO, count: int, length: int, where: str) -> None:
    # A seek beyond the end succeeds: a truncated archive would go unnoticed.
    if file.seek(count, os.SEEK_CUR) > length:
        raise UnfitInputError(
            f"ends at byte {length}, in the middle of a member",
            where=where,
            hint=AGAIN,
        )
