"""SHA256SUMS: the signed list, in the one form that the manifest gives it.

The manifest determines every byte of the list, so the list is compared, not interpreted. It is parsed only if
the two do not agree, to report why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from installer.core.digest import HEX
from installer.core.errors import TamperedError
from installer.core.format.manifest import MANIFEST, SUMS, FileEntry
from installer.core.format.member_names import path_fault
from installer.core.limits import LIMITS


def line(digest: str, path: str) -> bytes:
    """Return the line of one file, as sha256sum writes it."""
    return f"{digest}  {path}\n".encode("ascii")


def sum_lines(files: Iterable[FileEntry], manifest: str) -> Iterator[bytes]:
    """Return the lines of all files and of bundle.json, whose digest is `manifest`, sorted by path."""
    its_own = line(manifest, MANIFEST)
    for entry in sorted(files, key=lambda entry: entry.tar_name):
        if its_own and entry.tar_name > MANIFEST:
            yield its_own
            its_own = b""
        yield line(entry.sha256, entry.tar_name)
    if its_own:
        yield its_own


def has_line(data: bytes, digest: str, path: str) -> bool:
    """Return whether a list has exactly this line for a file."""
    wanted = line(digest, path)
    return data.startswith(wanted) or b"\n" + wanted in data


def check_sums(data: bytes, files: tuple[FileEntry, ...], manifest: str) -> None:
    """Refuse a list that is not the list of these files.

    Args:
        data: The list.
        files: The files of the manifest, which is valid.
        manifest: Digest of bundle.json, in hex.

    Raises:
        TamperedError: It has another form, lists other files, or other digests.
    """
    place = 0
    # Line by line, in the order of the list: no second list of 250,000 names in memory.
    for wanted in sum_lines(files, manifest):
        if not data.startswith(wanted, place):
            break
        place += len(wanted)
    else:
        if place == len(data):
            return
    found = parse_sums(data)
    listed = {entry.tar_name for entry in files} | {MANIFEST}
    if odd := sorted(listed.symmetric_difference(found)):
        raise TamperedError(
            f"{SUMS} and {MANIFEST} do not list the same files: {odd[0]} is in only one of them", where=SUMS
        )
    odd = [entry.tar_name for entry in files if found[entry.tar_name] != entry.sha256]
    raise TamperedError(
        f"{SUMS} and {MANIFEST} have different values for {(odd or [MANIFEST])[0]}", where=SUMS
    )


def parse_sums(data: bytes) -> dict[str, str]:
    """Parse SHA256SUMS, whose signature was checked before.

    Args:
        data: Lines of 64 hex digits, two spaces and a path, sorted bytewise by path.

    Returns:
        The digest in hex of each path.

    Raises:
        TamperedError: It has any other form.
    """
    found: dict[str, str] = {}
    last = ""
    # Other encodings could show a person another name than the one that is compared.
    if not data.isascii() or not data.endswith(b"\n"):
        raise TamperedError("is not ASCII, or does not end in a newline", where=SUMS)
    rows = data.decode("ascii").split("\n")[:-1]
    if len(rows) > LIMITS.members:
        raise TamperedError(f"lists {len(rows)} files, at most {LIMITS.members} are allowed", where=SUMS)
    for number, text in enumerate(rows, 1):
        digest, path = text[:64], text[66:]
        if not HEX.fullmatch(digest) or text[64:66] != "  " or path_fault(path):
            raise TamperedError("is not in the form `<sha256>  <path>`", where=f"{SUMS}:{number}")
        # Strictly rising: sorted and without duplicates in one comparison.
        if path <= last:
            raise TamperedError(f"is not sorted, or names {path} twice", where=f"{SUMS}:{number}")
        found[path], last = digest, path
    return found
