"""The strict reader: the only code that reads bundles, for both commands.

The order is what makes it safe. `open_bundle` reads the head (SHA256SUMS and its signatures), lets the caller
decide whether to trust these exact bytes, and only then parses them and bundle.json. From then on the signed
manifest determines every byte of the tar: `payload.check_payload` compares headers and padding byte for byte
and hashes every payload, with one read of each byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.approval_names import NAME, SIGNATURE_FORMS, is_known, signed_name
from installer.core.format.bundle_source import BundleSource, TruncatedError, truncated_error, zeros_after
from installer.core.format.checksums import check_sums, has_line, parse_sums
from installer.core.format.manifest import MANIFEST, SUMS, FileEntry, Manifest
from installer.core.format.partial_append import (
    FILES_PER_APPROVAL,
    ends_within,
    is_partial_append,
    is_partial_header,
)
from installer.core.format.tar_header import BLOCK, END, Header, decode, difference, encode, extent, padding
from installer.core.format.wrong_file import followed_error, wrong_file
from installer.core.limits import CHUNK, LIMITS

RESERVED_SPACE = SUMS + ".room"
"""A member of zero bytes after the signatures, where later signatures are added in place. It is not signed
and its content is never used."""
_SIGNATURE = re.compile(rf"SHA256SUMS\.[0-9a-f]{{8}}\.({'|'.join(map(re.escape, SIGNATURE_FORMS))})")
_STRAY = (
    "nobody signed this member: do not use it, and do not unpack the bundle; copy the bundle again from its "
    "source"
)
FILE_MODE = 0o644

HeadCheck = Callable[[bytes, Mapping[str, bytes]], None]
"""Takes the exact bytes of SHA256SUMS and the signature files by name; raises if not trusted."""


def unsafe_trust_anyone(_sums: bytes, _signatures: Mapping[str, bytes]) -> None:
    """Trust anyone: to inspect, compare or sign a bundle, never to install it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What precedes the payload.

    Attributes:
        sums: The exact bytes of SHA256SUMS.
        signatures: Signature files by name.
        reserved: Free bytes for further signatures, without the header of that member.
        manifest_offset: Where the header of bundle.json is.
        manifest_size: Bytes of bundle.json.
        mtime: Seconds since 1970, the same in all headers.
    """

    sums: bytes
    signatures: dict[str, bytes]
    reserved: int
    manifest_offset: int
    manifest_size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the manifest and the offset of its header in the tar."""

    entry: FileEntry
    offset: int


def read_exact(medium: BundleSource, offset: int, size: int) -> bytes:
    """Read `size` bytes; the caller has checked the size against a limit."""
    # In pieces: a size that a header only claims must not allocate memory before the bytes are there.
    pieces = []
    for begin in range(0, size, CHUNK):
        piece = bytearray(min(CHUNK, size - begin))
        medium.read_into(offset + begin, memoryview(piece))
        pieces.append(piece)
    return b"".join(pieces)


def _payload(medium: BundleSource, offset: int, header: Header, limit: int) -> bytes:
    where = f"{medium.name}@{offset}"
    # The limit before the read: the header is not signed, so any size can be in it.
    if header.size > limit:
        raise TamperedError(
            f"{header.name} has {header.size} bytes, at most {limit} are allowed", where=where
        )
    body = read_exact(medium, offset + BLOCK, header.size)
    # The list never has one: a transfer in text mode changed every line, and no signature fits any more.
    if header.name == SUMS and b"\r\n" in body:
        raise TamperedError(
            f"{SUMS} has Windows line ends (CR LF): the bundle was copied as a text",
            where=where,
            hint="copy the bundle again in binary mode",
        )
    # Padding is not in any digest: it must be zero, or a bundle could carry hidden bytes.
    if any(read_exact(medium, offset + BLOCK + header.size, padding(header.size))):
        raise TamperedError(f"the padding of {header.name} is not zero", where=where)
    return body


def _first_header(medium: BundleSource) -> Header:
    """Read the first header, or say what the file is instead of a bundle."""
    block, size = bytearray(BLOCK), BLOCK
    try:
        medium.read_into(0, memoryview(block))
        return decode(bytes(block), f"{medium.name}@0")
    except TruncatedError as error:
        size, refused = error.length, error
        # A file says where it ends before it reads; of a stream, these bytes are in the buffer already.
        if medium.parallel:
            medium.read_into(0, memoryview(block)[:size])
        raise wrong_file(bytes(block[:size]), medium.name) or refused from None
    except TamperedError as error:
        raise wrong_file(bytes(block), medium.name) or error from None


def read_head(medium: BundleSource) -> Head:
    """Read SHA256SUMS, its signatures, and the header of bundle.json.

    Raises:
        TamperedError: It does not start like a bundle.
        MediaError: Reading failed.
    """
    first = _first_header(medium)
    if first.name != SUMS or first.mode != FILE_MODE:
        raise TamperedError(
            f"the first member is {first.name} with mode {first.mode:04o}, not {SUMS} with {FILE_MODE:04o}",
            where=f"{medium.name}@0",
            hint="this is not a bundle",
        )
    sums = _payload(medium, 0, first, LIMITS.sums_bytes)
    offset, signatures, reserved, reserved_seen = extent(first.size), dict[str, bytes](), 0, False
    while True:
        where = f"{medium.name}@{offset}"
        header = decode(read_exact(medium, offset, BLOCK), where)
        # One time for all members: it is compared with the signed manifest once that is known.
        if header.mtime != first.mtime or header.mode != FILE_MODE:
            raise TamperedError(
                f"{header.name} has a time or mode that the format does not allow", where=where
            )
        if header.name == MANIFEST:
            return Head(sums, signatures, reserved, offset, header.size, first.mtime)
        if reserved_seen:
            raise TamperedError(f"expected {MANIFEST}, found {header.name}", where=where)
        if header.name == RESERVED_SPACE:
            reserved, reserved_seen = _skip_reserved(medium, offset, header), True
        else:
            # In the order in which they were added: adding one must not move the others.
            if not _SIGNATURE.fullmatch(header.name) or header.name in signatures:
                raise TamperedError(f"expected a signature or {MANIFEST}, found {header.name}", where=where)
            # Each signature costs a verification before anybody is trusted.
            if len(signatures) == LIMITS.signatures:
                raise TamperedError(f"has more than {LIMITS.signatures} signatures", where=where)
            signatures[header.name] = _payload(medium, offset, header, LIMITS.signature_bytes)
        offset += extent(header.size)


def _skip_reserved(medium: BundleSource, offset: int, header: Header) -> int:
    """Skip the reserved space: read over it in a stream, and never use its content."""
    if header.size > LIMITS.reserved_bytes or header.size % BLOCK:
        raise TamperedError(
            f"{RESERVED_SPACE} has {header.size} bytes, which the format does not allow",
            where=f"{medium.name}@{offset}",
        )
    if not medium.parallel:
        for begin in range(0, header.size, CHUNK):
            read_exact(medium, offset + BLOCK + begin, min(CHUNK, header.size - begin))
    return header.size


class Bundle:
    """An opened bundle: its head is trusted, its manifest parsed and consistent with SHA256SUMS.

    Attributes:
        medium: What it is read from.
        head: SHA256SUMS and its signatures.
        identity: SHA-256 of SHA256SUMS, in hex: what approvals, receipts and logs name.
        manifest: bundle.json.
        manifest_bytes: Its exact bytes.
        members: Every file of the manifest with its offset.
        end: Offset after the last of them.
        tail_end: Offset after the last approval, once `read_tail` has read them.
        partial_append: Whether an append was interrupted there, once `read_tail` has looked.
    """

    def __init__(self, medium: BundleSource, head: Head, manifest_bytes: bytes, manifest: Manifest) -> None:
        self.medium = medium
        self.head = head
        self.identity = sha256_hex(head.sums)
        self.manifest = manifest
        self.manifest_bytes = manifest_bytes
        offset = head.manifest_offset + extent(head.manifest_size)
        members = []
        # Offsets follow from the signed sizes alone; no header is asked where the next member begins.
        for entry in manifest.files:
            members.append(Member(entry, offset))
            offset += extent(entry.size)
        self.members = tuple(members)
        self.end = offset
        self.tail_end = offset
        self.partial_append = False
        self._tail: dict[str, bytes] | None = None
        self._by_path: dict[str, Member] | None = None

    @property
    def payload_bytes(self) -> int:
        """Bytes of all payload files together."""
        return sum(member.entry.size for member in self.members)

    def expected_header(self, entry: FileEntry) -> Header:
        """Return the header that the format prescribes for a file."""
        return Header(entry.tar_name, entry.mode & 0o755, entry.size, self.manifest.created)

    def read_file(self, path: str) -> bytes:
        """Read and check one document by random access, for `inspect` and `diff`.

        Raises:
            TamperedError: It is not what the manifest says, or is larger than a document may be.
            KeyError: The manifest does not list it.
        """
        # Made when it is first asked for: a search for each of 250,000 documents would take hours.
        if self._by_path is None:
            self._by_path = {member.entry.path: member for member in self.members}
        member = self._by_path[path]
        where = f"{self.medium.name}@{member.offset}"
        if member.entry.size > LIMITS.document_bytes:
            raise TamperedError(
                f"{path} is larger than {LIMITS.document_bytes} bytes, the limit of a document", where=where
            )
        block = read_exact(self.medium, member.offset, BLOCK)
        self.check_header(block, member)
        data = read_exact(self.medium, member.offset + BLOCK, member.entry.size)
        if sha256_hex(data) != member.entry.sha256:
            raise wrong_digest_error(member, self.medium.name)
        return data

    def check_header(self, block: bytes | memoryview, member: Member) -> None:
        """Compare a header block with the one that the format prescribes.

        Raises:
            TamperedError: It differs; the message says how.
        """
        expected = self.expected_header(member.entry)
        if block != encode(expected):
            where = f"{self.medium.name}@{member.offset}"
            raise TamperedError(difference(bytes(block), expected, where), where=where)

    def read_tail(self) -> dict[str, bytes]:
        """Read what follows the payload: approvals, then the end of the archive.

        What an interrupted append left is not parsed; `partial_append` is then set. Every call returns the
        same.

        Returns:
            The files of approvals by name; only their form was checked.

        Raises:
            TamperedError: Something else follows, or follows the end.
        """
        # A stream can be read only once.
        if self._tail is None:
            whole = self.end + len(END)
            # The size is known at once: nobody has to wait for the payload to learn that it is not all there.
            if self.medium.size is not None and self.medium.size < whole:
                raise truncated_error(self.medium.name, self.medium.size, whole)
            found = dict[str, bytes]()
            offset, first = self._read_approvals(found)
            self._read_end(offset, first)
            self.tail_end, self._tail = offset, found
        return dict(self._tail)

    def _read_approvals(self, found: dict[str, bytes]) -> tuple[int, bytes]:
        """Read members into `found` up to a block that is not a header; return its offset and the block."""
        offset, approvals = self.end, 0
        while any(block := read_exact(self.medium, offset, BLOCK)):
            where = f"{self.medium.name}@{offset}"
            # An interrupted append wrote a part of its first header: the archive ends before it.
            if is_partial_header(block, self.manifest.created):
                break
            header = decode(block, where)
            # Only approvals may be outside of the signed list: they carry their own signatures.
            if not is_known(header.name):
                raise TamperedError(f"{header.name} {self._stray(header.name)}", where=where, hint=_STRAY)
            # Readers differ in which of the two counts: the first or the last.
            if header.name in found:
                raise TamperedError(f"{header.name} occurs twice", where=where)
            if header != Header(header.name, FILE_MODE, header.size, self.manifest.created):
                raise TamperedError(
                    f"{header.name} has a time or mode that the format does not allow", where=where
                )
            # At once: a flood of unsigned members would otherwise be held in memory.
            approvals += bool(NAME.fullmatch(header.name))
            if approvals > LIMITS.approvals or len(found) == FILES_PER_APPROVAL * LIMITS.approvals:
                raise TamperedError(
                    f"has more than {LIMITS.approvals} approvals, which is the most that are allowed",
                    where=where,
                    hint=_STRAY,
                )
            found[header.name] = _payload(self.medium, offset, header, LIMITS.approval_bytes)
            offset += extent(header.size)
        for name in found:
            # A signature without its statement says nothing, and nobody reads it.
            if (signed := signed_name(name)) and signed not in found:
                raise TamperedError(
                    f"{name} is a signature of {signed}, which is missing",
                    where=self.medium.name,
                    hint=_STRAY,
                )
        return offset, block

    def _stray(self, name: str) -> str:
        listed = name in (SUMS, MANIFEST) or any(member.entry.tar_name == name for member in self.members)
        if listed:
            return "is after the payload: it is a duplicate, or in the wrong place"
        return "is not in the signed list, and is neither an approval nor a signature of one"

    def _read_end(self, offset: int, first: bytes) -> None:
        """Check that the archive ends here, or with what an interrupted append leaves."""
        where, behind = f"{self.medium.name}@{offset}", offset + len(END)
        second = read_exact(self.medium, offset + BLOCK, BLOCK)
        self.partial_append = is_partial_append(first, second, self.manifest.created)
        if self.partial_append:
            if not ends_within(self.medium, behind):
                raise TamperedError(
                    "the archive is followed by extra data that is not a truncated append", where=where
                )
        elif any(first) or any(second):
            raise TamperedError("the end of the archive is not two zero blocks", where=where)
        # Bytes after the end are in no digest; tar ignores them, another program may not.
        elif (zeros := zeros_after(self.medium, behind)) != 0:
            raise followed_error(self.medium.name, behind, zeros)


def wrong_digest_error(member: Member, medium: str) -> TamperedError:
    """Return the error for a payload that is not what was signed."""
    return TamperedError(
        f"the SHA-256 of {member.entry.path} does not match the signed list",
        where=f"{medium}@{member.offset + BLOCK}",
        hint="the bundle was changed or is damaged: copy it again from its source",
    )


def open_bundle(medium: BundleSource, decide: HeadCheck) -> Bundle:
    """Read the head of a bundle, let the caller decide about it, then parse it.

    Args:
        medium: What to read.
        decide: Raises if the head is not trusted; nothing is parsed before it returns.

    Returns:
        The bundle; its payload is not read yet.

    Raises:
        WaybillError: What `decide` raises.
        TamperedError: The head is not that of a bundle, or its parts contradict each other.
        NeedsNewerError: The manifest is one that only a later version understands.
        MediaError: Reading failed.
    """
    head = read_head(medium)
    # Before any parser sees a byte: an attacker without a key must not reach the JSON reader.
    decide(head.sums, head.signatures)
    header = Header(MANIFEST, FILE_MODE, head.manifest_size, head.mtime)
    data = _payload(medium, head.manifest_offset, header, LIMITS.manifest_bytes)
    digest = sha256_hex(data)
    # The digest of the manifest is looked up in the trusted list before the manifest is parsed.
    if not has_line(head.sums, digest, MANIFEST):
        # For the better error, if the list itself is malformed.
        parse_sums(head.sums)
        raise TamperedError(
            f"{MANIFEST} does not match its entry in {SUMS}", where=f"{medium.name}@{head.manifest_offset}"
        )
    manifest = manifest_json.parse(data)
    # Headers are not signed; this one field of them is not determined by the manifest otherwise.
    if manifest.created != head.mtime:
        raise TamperedError(
            "the time in the tar headers differs from the time in the manifest", where=medium.name
        )
    check_sums(head.sums, manifest.files, digest)
    return Bundle(medium, head, data, manifest)
