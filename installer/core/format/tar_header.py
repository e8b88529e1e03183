"""The one form of tar header that a bundle has: POSIX.1-1988 ustar, regular files, every field fixed.

Name, mode, size and mtime determine all 512 bytes. The writer encodes them; the reader encodes what it
expects and compares, so that nothing is interpreted. `decode` is for the few members that are read before the
manifest is known, and for error messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from installer.core.errors import TamperedError
from installer.core.format.member_names import path_fault, split_ustar

BLOCK = 512
END = bytes(2 * BLOCK)
OCTAL_LIMIT = 8**11
SIZE_LIMIT = 2**53


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a header: name, permission bits, bytes of payload, and seconds since 1970."""

    name: str
    mode: int
    size: int
    mtime: int


def padding(size: int) -> int:
    """Return the number of zero bytes that follow a payload of `size` bytes."""
    return -size % BLOCK


def extent(size: int) -> int:
    """Return the bytes a member takes in the tar: its header, its payload and the padding."""
    return BLOCK + size + padding(size)


def encode(header: Header) -> bytes:
    """Return the 512 bytes of a header.

    Args:
        header: With a name that `member_names.path_fault` accepts.

    Returns:
        The block, with its checksum.

    Raises:
        ValueError: The name does not fit, or a number is out of range: an error of the caller.
    """
    split = split_ustar(header.name)
    if split is None or not header.name.isascii():
        raise ValueError(f"not a valid ustar name: {header.name!r}")
    # Larger sizes would need pax headers, which the format does not have.
    if not 0 <= header.size <= SIZE_LIMIT or not 0 <= header.mtime < OCTAL_LIMIT:
        raise ValueError(f"out of range: {header}")
    prefix, name = split
    size = (
        b"%011o\0" % header.size if header.size < OCTAL_LIMIT else b"\x80" + header.size.to_bytes(11, "big")
    )
    block = b"".join(
        (
            name.encode().ljust(100, b"\0"),
            b"%07o\0" % (header.mode & 0o755),
            # Owner 0, like the link and device fields below: a bundle says nothing about users of the host.
            b"0000000\0" * 2,
            size,
            b"%011o\0" % header.mtime,
            b" " * 8,
            b"0",
            bytes(100),
            b"ustar\x0000",
            bytes(64),
            b"0000000\0" * 2,
            prefix.encode().ljust(155, b"\0"),
            bytes(12),
        )
    )
    # Most bytes are zeros, which do not change the sum: this is twice as fast.
    checksum = sum(block.translate(None, b"\0"))
    return block[:148] + b"%06o\0 " % checksum + block[156:]


def decode(block: bytes, where: str) -> Header:
    """Read a header that has exactly the form `encode` gives.

    Args:
        block: 512 bytes.
        where: How errors name the place.

    Returns:
        What it says.

    Raises:
        TamperedError: It has any other form.
    """

    def refuse(what: str, hint: str = "") -> TamperedError:
        return TamperedError(what, where=where, hint=hint)

    if block[257:263] != b"ustar\0":
        raise refuse("is not a ustar header", "a bundle is a plain tar made by `bundle create`")
    # No links, devices or directories: the installer creates directories and links from the manifest.
    if block[156:157] != b"0":
        raise refuse(f"has member type {block[156:157]!r}: a bundle has regular files only")
    try:
        raw_name = block[:100].rstrip(b"\0").decode("ascii")
        prefix = block[345:500].rstrip(b"\0").decode("ascii")
        # Base-256 is the usual extension for 8 GiB and more; smaller sizes must be octal, see below.
        size = _octal(block[124:136]) if block[124] != 0x80 else int.from_bytes(block[125:136], "big")
        mode, mtime = _octal(block[100:108]), _octal(block[136:148])
    except ValueError:
        raise refuse("has a field that is not ASCII or not octal") from None
    name = f"{prefix}/{raw_name}" if prefix else raw_name
    if fault := path_fault(name):
        raise refuse(f"member name {name!r:.80} {fault}")
    header = Header(name, mode, size, mtime)
    # Encoding again and comparing: whatever field was not read above cannot carry anything.
    if not 0 <= size <= SIZE_LIMIT or encode(header) != block:
        raise refuse(f"the header of {name} is not in the only form that the format allows")
    return header


def _octal(field: bytes) -> int:
    digits = field[:-1]
    # int() would also accept blanks, underscores and signs.
    if field[-1:] != b"\0" or not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise ValueError(field)
    return int(digits, 8)


def difference(block: bytes, expected: Header, where: str) -> str:
    """Return in words how a header block differs from the one that was expected.

    Args:
        block: The 512 bytes found.
        expected: What the signed manifest says.
        where: How errors name the place.

    Returns:
        One sentence without a full stop.
    """
    if not any(block):
        return f"the archive is incomplete: it ends before {expected.name}"
    try:
        found = decode(block, where)
    except TamperedError as error:
        return error.what
    if found.name != expected.name:
        return f"expected member {expected.name}, found member {found.name}"
    parts = [
        (
            f"{field} is {getattr(found, field):{form}}, but the signed value is "
            f"{getattr(expected, field):{form}}"
        )
        for field, form in (("size", "d"), ("mode", "04o"), ("mtime", "d"))
        if getattr(found, field) != getattr(expected, field)
    ]
    return f"header of {expected.name}: " + ("; ".join(parts) or "differs from the signed form")
