"""Small bundles made by code, good ones and bad ones: what the reader's and the attackers' tests start from.

A `Plan` is a bundle as plain data: a manifest and the members in their order, each of which may be changed at
will. `Plan.tar()` writes it out faithfully, lies included. `resealed` makes the lists fit again after the
manifest was changed, as somebody who has the key would.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.archive.head import make_sums
from bundler.signing.cosign import CosignSigner, generate
from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError, WaybillError
from installer.core.format import manifest_json
from installer.core.format.archive import RESERVED_SPACE, Bundle, open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import BundleSource, FileSource, StreamSource
from installer.core.format.manifest import MANIFEST, SUMS, FileEntry, LinkEntry, Manifest
from installer.core.format.member_names import encoded_name
from installer.core.format.payload import check_payload
from installer.core.format.tar_header import END, Header, encode, padding
from installer.core.trust.signatures import Signature
from installer.core.trust.verifier import pinned_key_trust
from tests.rig import independent

CREATED = 1_790_000_000
EXPIRES = CREATED + 180 * 86400
FILES: dict[str, bytes] = {
    "docs/CHANGELOG.md": b"# Changes\n\n## 1.4.0\n\nFaster.\n",
    "config/chatd.yaml.j2": b"listen: {{ port }}\n",
    "bin/linux-amd64/chatd": bytes(range(256)) * 3,
    "trees/web/empty": b"",
    "trees/web/index.html": b"<!doctype html>\n",
}
KINDS = {"docs": "doc", "config": "template", "bin": "binary", "trees": "tree"}


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a tar, as raw as it takes: `header` and `tail` are made where they are None."""

    name: str
    data: bytes
    mode: int = 0o644
    mtime: int = CREATED
    header: bytes | None = None
    tail: bytes | None = None

    def tar(self) -> bytes:
        """Gives the bytes of the member."""
        header = self.header or encode(Header(self.name, self.mode, len(self.data), self.mtime))
        tail = bytes(padding(len(self.data))) if self.tail is None else self.tail
        return header + self.data + tail


@dataclass(frozen=True, slots=True)
class Plan:
    """A bundle before it is written.

    Attributes:
        manifest: What bundle.json says.
        head: SHA256SUMS, signatures, room and bundle.json.
        payload: The files.
        tail: Approvals.
        end: What closes the archive.
    """

    manifest: Manifest
    head: tuple[Part, ...]
    payload: tuple[Part, ...]
    tail: tuple[Part, ...] = ()
    end: bytes = END

    @property
    def parts(self) -> tuple[Part, ...]:
        """All members in their order."""
        return (*self.head, *self.payload, *self.tail)

    def tar(self) -> bytes:
        """Gives the whole file."""
        return b"".join(part.tar() for part in self.parts) + self.end

    def offset(self, name: str) -> int:
        """Gives the offset of a member's header."""
        done = 0
        for part in self.parts:
            if part.name == name:
                return done
            done += len(part.tar())
        raise KeyError(name)

    def changed(self, name: str, **fields: Any) -> Plan:
        """Gives the plan with one member changed; the lists are not made to fit."""

        def each(parts: tuple[Part, ...]) -> tuple[Part, ...]:
            return tuple(replace(part, **fields) if part.name == name else part for part in parts)

        if name not in {part.name for part in self.parts}:
            raise KeyError(name)
        return replace(self, head=each(self.head), payload=each(self.payload), tail=each(self.tail))

    def without(self, name: str) -> Plan:
        """Gives the plan with a member left out."""

        def each(parts: tuple[Part, ...]) -> tuple[Part, ...]:
            return tuple(part for part in parts if part.name != name)

        return replace(self, head=each(self.head), payload=each(self.payload), tail=each(self.tail))

    def resealed(self, manifest: Manifest | None = None, document: bytes | None = None) -> Plan:
        """Gives the plan with bundle.json and SHA256SUMS made anew, from a manifest or a raw document."""
        chosen = manifest or self.manifest
        data = manifest_json.dump(chosen) if document is None else document
        changed = self.changed(MANIFEST, data=data).changed(SUMS, data=make_sums(chosen.files, data))
        return replace(changed, manifest=chosen)


def entry_for(path: str, data: bytes, **fields: Any) -> FileEntry:
    """Gives the entry of a file, its kind and mode as its section suggests."""
    top = path.split("/", 1)[0]
    mode = 0o755 if top == "bin" else 0o644
    values: dict[str, Any] = {
        "mode": mode,
        "kind": KINDS.get(top, "doc"),
        "member": encoded_name(path),
        **fields,
    }
    return FileEntry(path=path, size=len(data), sha256=sha256_hex(data), **values)


def plan(
    files: Mapping[str, bytes] = FILES,
    *,
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    signatures: Sequence[Part] = (),
    room: int = 1024,
    approvals: Sequence[Part] = (),
    **fields: Any,
) -> Plan:
    """Makes a good bundle.

    Args:
        files: Payload by path, in the order of the tar.
        entries: Fields of single files that are to differ from what `entry_for` gives.
        signatures: Signature members.
        room: Bytes of room; -1 for none at all.
        approvals: Members behind the payload.
        fields: Further fields of the manifest.
    """
    values: dict[str, Any] = {
        "product": "lan-chat",
        "version": "1.4.0",
        "sequence": 100_040_000_999,
        "created": CREATED,
        "expires": EXPIRES,
        "platforms": ("linux/amd64",),
        **fields,
    }
    listed = tuple(entry_for(path, data, **(entries or {}).get(path, {})) for path, data in files.items())
    manifest = Manifest(files=listed, **values)
    mtime = manifest.created
    rooms = () if room < 0 else (Part(RESERVED_SPACE, bytes(room), mtime=mtime),)
    head = (Part(SUMS, b"", mtime=mtime), *signatures, *rooms, Part(MANIFEST, b"", mtime=mtime))
    payload = tuple(
        Part(entry.tar_name, data, entry.mode & 0o755, mtime)
        for entry, data in zip(listed, files.values(), strict=True)
    )
    return Plan(manifest, head, payload, tuple(approvals)).resealed()


def release_links() -> tuple[LinkEntry, ...]:
    """Gives a link that every good bundle may have."""
    return (LinkEntry("trees/web/start.html", "index.html"),)


@functools.cache
def key() -> tuple[CosignSigner, str]:
    """Gives a real cosign key, one for the whole run, with its public half as PEM."""
    _, signer = generate(b"")
    return signer, signer.public


def signed(base: Plan | None = None) -> Plan:
    """Gives a plan with a real signature of its list by `key`."""
    base = base or plan()
    signer, _ = key()
    sums = next(part.data for part in base.head if part.name == SUMS)
    made = base.manifest.created
    files = [
        Part(f"{SUMS}.{signer.keyid8}.{form}", data, mtime=made) for form, data in signer.sign(sums).items()
    ]
    rest = tuple(part for part in base.head[1:] if part.name in (RESERVED_SPACE, MANIFEST))
    return replace(base, head=(base.head[0], *files, *rest))


class BytesMedium:
    """A medium in memory that answers like a file; `fault` is asked before every read."""

    parallel = True

    def __init__(self, data: bytes, fault: Callable[[int, int], None] | None = None) -> None:
        self.name = "b.tar"
        self.whole = None if fault else data
        """What every reader would find; None where the answers change."""
        self.size: int | None = len(data)
        self._data = memoryview(data)
        self._fault = fault or (lambda _offset, _size: None)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fills `view`; see `BundleSource`."""
        from installer.core.format.bundle_source import truncated_error

        self._fault(offset, len(view))
        piece = self._data[offset : offset + len(view)]
        if len(piece) < len(view):
            raise truncated_error(self.name, len(self._data))
        view[:] = piece

    def at_end(self, offset: int) -> bool:
        """Says whether nothing follows; see `BundleSource`."""
        return offset >= len(self._data)

    def close(self) -> None:
        """Does nothing."""


def read(medium: BundleSource | bytes, workers: int = 1) -> Bundle:
    """Reads a bundle from its first to its last byte as every command does, without asking for a signature.

    Raises:
        WaybillError: It is refused.
    """
    with _compared(medium):
        bundle = open_bundle(_source(medium), unsafe_trust_anyone)
        check_payload(bundle, workers=workers)
    return bundle


def _source(medium: BundleSource | bytes) -> BundleSource:
    return BytesMedium(medium) if isinstance(medium, bytes) else medium


@contextmanager
def _compared(medium: BundleSource | bytes, pem: str | None = None) -> Iterator[None]:
    """Demands that the verifier of the documents says what the reader says; see `independent`."""
    data = medium if isinstance(medium, bytes) else getattr(medium, "whole", None)
    try:
        yield
    except WaybillError as error:
        if data is not None:
            independent.compare(bytes(data), error, pem)
        raise
    if data is not None:
        independent.compare(bytes(data), None, pem)


def verified(medium: BundleSource | bytes) -> Bundle:
    """Reads a bundle as `read` does, and trusts `key` alone to have signed it.

    Raises:
        WaybillError: It is refused.
    """
    trust = pinned_key_trust(key()[1])

    def decide(sums: bytes, files: Mapping[str, bytes]) -> None:
        trust.check_release(sums, [Signature.parse(name, data) for name, data in files.items()])

    with _compared(medium, key()[1]):
        bundle = open_bundle(_source(medium), decide)
        check_payload(bundle, workers=1)
    return bundle


def stream(data: bytes) -> StreamSource:
    """Gives a bundle as a pipe would; what is read from it is shown to the verifier of the documents, too."""
    source = StreamSource(io.BufferedReader(io.BytesIO(data)), "-")  # type: ignore[arg-type]
    source.whole = data  # type: ignore[attr-defined]
    return source


def on_disk(directory: Path, data: bytes, name: str = "b.tar") -> FileSource:
    """Gives a bundle as a file."""
    path = directory / name
    path.write_bytes(data)
    return FileSource(path)


def raw_header(header: bytes, **fields: bytes) -> bytes:
    """Changes fields of a header block by name and gives it the checksum that then is right."""
    places = {
        "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12),
        "mtime": (136, 12), "type": (156, 1), "link": (157, 100), "magic": (257, 8), "uname": (265, 32),
        "gname": (297, 32), "major": (329, 8), "minor": (337, 8), "prefix": (345, 155), "rest": (500, 12),
    }  # fmt: skip
    block = bytearray(header)
    for name, value in fields.items():
        start, length = places[name]
        block[start : start + length] = value.ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@dataclass
class Digests:
    """A sink that remembers what it was given."""

    found: dict[str, str] = field(default_factory=dict)

    def __call__(self, entry: FileEntry, chunks: Any) -> None:
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        self.found[entry.path] = digest.hexdigest()


def refusal(plan: Plan | bytes) -> TamperedError:
    """Reads as a file and as a pipe; both have to refuse."""
    import pytest

    data = plan.tar() if isinstance(plan, Plan) else plan
    with pytest.raises(TamperedError):
        read(stream(data))
    with pytest.raises(TamperedError) as caught:
        read(data)
    return caught.value
