"""Say what a file is that was given in place of a bundle, and what to do: by its first bytes alone.

Bundles are compressed, unpacked, packed again, and replaced by a login page or a signature on their way. None
of this is read any further; only the message depends on it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from installer.core.errors import TamperedError, UsageError

PEEK = 512
"""Bytes that are looked at."""
STANDARD_INPUT = "standard input"
"""How a bundle from a pipe is named."""


@dataclass(frozen=True, slots=True)
class _Packing:
    """A form of compression: how its files begin, and the command that undoes it for standard output."""

    magic: bytes
    name: str
    undo: str
    suffixes: tuple[str, ...]


_PACKINGS = (
    _Packing(b"\x1f\x8b", "gzip", "gzip -dc", (".gz", ".tgz")),
    _Packing(b"\xfd7zXZ\0", "xz", "xz -dc", (".xz", ".txz")),
    _Packing(b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc", (".zst", ".tzst")),
    _Packing(b"BZh", "bzip2", "bzip2 -dc", (".bz2", ".tbz2")),
    _Packing(b"\x04\x22\x4d\x18", "lz4", "lz4 -dc", (".lz4",)),
    _Packing(b"LZIP", "lzip", "lzip -dc", (".lz",)),
    _Packing(b"\x1f\x9d", "compress", "gzip -dc", (".Z",)),
    _Packing(b"PK\x03\x04", "zip", "unzip -p", (".zip",)),
    _Packing(b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x -so", (".7z",)),
)
_AGAIN = (
    "copy the bundle again from its source; its first file is SHA256SUMS, as `tar -tf FILE | head -n 1` shows"
)
_DISK = "a disk or an image of one: mount it, and give the path of the bundle file on it"
_SUMS = re.compile(rb"[0-9a-f]{64} [ *]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}\s*\Z")
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, hint)
    for pattern, what, hint in (
        (
            rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|\?xml)",
            "is a web page, not a bundle",
            (
                "the server sent an error or a login page: open the file in a browser to see which, log in, "
                "and download the bundle again"
            ),
        ),
        (
            rb"version https://git-lfs\.github\.com/",
            "is a Git LFS pointer, not the bundle itself",
            "run `git lfs pull` where it comes from, and copy the bundle again",
        ),
        (
            rb"-----BEGIN PGP (SIGNED )?(SIGNATURE|MESSAGE)",
            "is an OpenPGP signature, not a bundle",
            "give the path of the bundle itself, not of its signature",
        ),
        (
            rb"-----BEGIN [A-Z ]*(KEY|CERTIFICATE)",
            "is a key or a certificate, not a bundle",
            "give the path of the bundle itself",
        ),
        (rb"\x7fELF|#!", "is a program, not a bundle", "give the path of the bundle itself"),
        (rb"\s*[{\[][^\0]*\Z", "is a JSON document, not a bundle", "give the path of the bundle itself"),
        (rb"(\xeb.|\xe9)..?(EXFAT|NTFS|MSDOS|mkfs\.fat)", "is a file system, not a bundle", _DISK),
    )
)


def wrong_file(first: bytes, name: str) -> TamperedError | None:
    """Return the error for a file that is something else than a bundle.

    Args:
        first: Its first bytes, up to `PEEK`.
        name: How errors name it; a path, or `STANDARD_INPUT`.

    Returns:
        The error with the remedy; None where nothing is known about such a file.
    """
    # A copy of a bundle that was cut at its very beginning, or at once.
    if len(first) < PEEK and first[:10] == b"SHA256SUMS"[: len(first)]:
        return None
    for packing in _PACKINGS:
        if first.startswith(packing.magic):
            what = f"is compressed with {packing.name}; a bundle is a plain tar file"
            return _refused(what, name, _undo(packing, name))
    for pattern, what, hint in _OTHERS:
        if pattern.match(first):
            return _refused(what, name, hint)
    if _SUMS.match(first):
        return _refused("is a list of checksums, not a bundle", name, "give the path of the bundle itself")
    if _BASE64.match(first):
        return _refused(
            "is a signature, not a bundle",
            name,
            "give the path of the bundle itself, not of its signature",
        )
    if len(first) == PEEK and not any(first):
        return _refused(
            "begins with zeros: its content was never written",
            name,
            "the copy was interrupted, or the stick was removed too early: copy it again, then run sync",
        )
    if len(first) == PEEK and first[257:262] == b"ustar":
        return _other_tar(first, name)
    if first[-2:] == b"\x55\xaa" and len(first) == PEEK:
        return _refused("is a disk, not a bundle", name, _DISK)
    if _is_text(first):
        return _refused("is a text file, not a bundle", name, "give the path of the bundle itself")
    return None


def followed_error(name: str, end: int, zeros: int | None) -> TamperedError:
    """Return the error for bytes after the end of a bundle.

    Args:
        name: How errors name it.
        end: Where it should end.
        zeros: How many zero bytes follow it, and nothing else; None if it is something else.
    """
    where = f"{name}@{end}"
    if zeros is None:
        return TamperedError("the end of the archive is followed by other bytes", where=where)
    # The bytes are refused, not skipped: approvals are appended at the end, and sizes are compared.
    cut = f"… | head -c {end} | …" if name == STANDARD_INPUT else f"truncate -s {end} {_quoted(name)}"
    return TamperedError(
        f"the bundle is complete, but {zeros} zero bytes follow it, as `dd conv=sync`, tapes and images of "
        "disks add them",
        where=where,
        hint=f"cut them off, then try again: {cut}",
    )


def directory_error(path: Path, hint: str) -> UsageError:
    """Return the error for a directory in place of a bundle.

    Args:
        path: The directory.
        hint: What to give instead, where it does not hold one bundle alone.
    """
    name = str(path)
    try:
        found = sorted(each.name for each in path.iterdir())
    except OSError:
        found = []
    if "SHA256SUMS" in found and "bundle.json" in found:
        return UsageError(
            "is a directory with an unpacked bundle",
            where=name,
            hint="give the tar file that it was unpacked from: only that is verified as a whole",
        )
    tars = [each for each in found if each.endswith(".tar")]
    one = f"give the path of the file in it: {_quoted(str(path / tars[0]))}" if len(tars) == 1 else ""
    return UsageError("is a directory, not a bundle", where=name, hint=one or hint)


def _other_tar(first: bytes, name: str) -> TamperedError | None:
    begins = first[:100].rstrip(b"\0").decode("ascii", "replace")
    # A bundle whose own header was changed is told by the reader which field is wrong.
    if begins == "SHA256SUMS":
        if first[257:265] == b"ustar\x0000":
            return None
        what = "is a bundle that was unpacked and packed again by another program"
    elif begins.startswith(("./", "SHA256SUMS.")) or begins in ("bundle.json", "."):
        what = f"is a tar file that begins with {begins!r}, as of a bundle that was unpacked and packed again"
    elif begins in ("oci-layout", "index.json", "manifest.json") or begins.startswith("blobs/"):
        what = "is an archive of container images, not a bundle"
    elif first[257:265] == b"ustar\x0000":
        return None
    else:
        what = f"is a tar file that begins with {begins!r}, not a bundle"
    return _refused(what, name, _AGAIN.replace("FILE", _quoted(name)))


def _undo(packing: _Packing, name: str) -> str:
    if name == STANDARD_INPUT:
        return f"undo it in the pipe, before Waybill: … | {packing.undo} | …"
    # The copy goes next to the file, under the name that it had.
    target = next((name.removesuffix(end) for end in packing.suffixes if name.endswith(end)), name)
    if not target.endswith(".tar"):
        target += ".tar"
    if target == name:
        target = name.removesuffix(".tar") + ".plain.tar"
    return f"undo it, then use the new file: {packing.undo} {_quoted(name)} > {_quoted(target)}"


def _quoted(name: str) -> str:
    return "FILE" if name == STANDARD_INPUT else shlex.quote(name)


def _is_text(first: bytes) -> bool:
    try:
        # The last character may be cut.
        text = first[:-4].decode("utf-8") if len(first) > 8 else first.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _refused(what: str, where: str, hint: str) -> TamperedError:
    return TamperedError(what, where=where, hint=hint)
