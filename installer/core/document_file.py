"""Documents that people carry to a host: read within a bound, and what the way there did to their text.

Mail programs, editors and version control systems change text files: line ends, encoding, a byte order mark.
What was signed is then no longer there, and the reader is told why, not only that it does not match.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from installer.core.errors import TamperedError

REMEDY = (
    "an editor, a mail program or a version control system changed the text of this file: bring the original "
    "again, inside a tar or zip archive, and do not open it on the way"
)
_ARMOR = re.compile(rb"\s*-----BEGIN (?:[A-Z0-9 ]{0,60}(?=PRIVATE KEY))?([A-Z ]{1,60})-----")
_ARMORED = {
    b"PUBLIC KEY": "a public key",
    b"PGP PUBLIC KEY BLOCK": "a public key",
    b"PRIVATE KEY": "a PRIVATE key",
    b"PRIVATE KEY BLOCK": "a PRIVATE key",
    b"PGP SIGNATURE": "a signature",
    b"CERTIFICATE": "a certificate",
}
_BOM = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def read_document(
    path: Path, limit: int, *, follow: bool = True, look: Callable[[bytes], None] = lambda _data: None
) -> bytes:
    """Read a whole document from media.

    Args:
        path: The file.
        limit: Largest size in bytes.
        follow: Whether a symbolic link in the last component is followed: yes for a file that somebody named,
            no for one that was found.
        look: Called with what was read before its size counts; it raises if that is something else.

    Returns:
        Its bytes.

    Raises:
        TamperedError: It is not a regular file, or is larger.
        OSError: It cannot be read.
    """
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            what = "is a symbolic link, which Waybill does not follow here"
            raise TamperedError(what, where=str(path), hint="copy the file itself") from None
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(path) from None
        raise
    with os.fdopen(fd, "rb") as file:
        if stat.S_ISDIR(mode := os.fstat(fd).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        # Devices and pipes have no end, and answer differently the second time.
        if not stat.S_ISREG(mode):
            raise _not_regular(path)
        # One byte more than allowed, so that a larger file is refused and not truncated.
        data = file.read(limit + 1)
    look(data)
    if len(data) > limit:
        raise TamperedError(f"is larger than {limit} bytes", where=str(path))
    return data


def _not_regular(path: Path) -> TamperedError:
    return TamperedError("is not a regular file", where=str(path), hint="give the path of the file itself")


def other_kind(data: bytes) -> str:
    """Return what a file is that was taken for a document or a key, in words; empty where it is not known.

    A file that was mixed up is not damaged: whoever reads "tampered" raises an alarm for a typing error.
    """
    if data[257:262] == b"ustar":
        return "a tar archive, such as a bundle"
    armor = _ARMOR.match(data)
    return _ARMORED.get(armor[1], "") if armor else ""


def encoding_damage(data: bytes) -> str:
    """Return how the encoding of a UTF-8 text was changed on its way, in words; empty where it was not."""
    if data.startswith(_BOM):
        return "begins with a byte order mark (BOM), which the original does not have"
    # Without a mark, text of ASCII letters has every second byte zero.
    if data[:2] in _UTF16 or (len(data) > 3 and b"\0" in data[:2] and data[:4].count(0) == 2):
        return "is UTF-16 text; the original is UTF-8"
    return ""


def text_damage(data: bytes) -> str:
    """Return how a text was changed on its way, line ends included, in words; empty where it was not.

    Not every change is a fault: only where a signature or fingerprint does not match, it is the likely cause.
    """
    if damage := encoding_damage(data):
        return damage
    return "has Windows line ends (CR LF), which the original does not have" if b"\r\n" in data else ""


def originals(data: bytes) -> Iterator[bytes]:
    """Return what a changed text may have been before: to compare with a digest, and never to use."""
    text = data.removeprefix(_BOM)
    with suppress(UnicodeDecodeError):
        if name := _UTF16.get(data[:2]):
            text = data[2:].decode(name).encode()
    lines = text.replace(b"\r\n", b"\n")
    for each in (text, lines, lines.removesuffix(b"\n"), lines + b"\n"):
        if each != data:
            yield each
