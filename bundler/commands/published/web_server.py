"""A bundle as one file of a web server: uploaded as a whole, and under its name when it is complete."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Literal, cast

from bundler.archive.checked_reading import UnchangedFile
from bundler.commands.published.server import as_media
from installer.core.errors import UnfitInputError
from installer.core.limits import CHUNK
from installer.shared.progress import Progress
from installer.shared.published.address import Address
from installer.shared.registry.connection import Connection
from installer.shared.registry.download import Download

OTHER = (
    "what is published is not replaced, because others may have it: publish the bundle under another name, "
    "or remove that one there first"
)
_STARTS_AGAIN = "run the same command again: it sends the file from its beginning"
_COMPLETES = "run the same command again: it sends the digest of the file, which is there"
_TIMEOUT = 30.0
_STORED = (200, 201, 204)
_NO_OPTIONS = (400, 403, 404, 405, 501)
_NO_MOVE = (400, 403, 404, 405, 409, 501, 502)
_EXISTS = 412


def store_file(
    connection: Connection, address: Address, path: Path, sha256: str, progress: Progress
) -> tuple[int, bool]:
    """Store a bundle and, next to it, its digest.

    Args:
        connection: The server.
        address: The name of the file there.
        path: The bundle.
        sha256: Its digest, in hex.
        progress: Receives the bytes that were sent.

    Returns:
        The bytes that were sent, and whether anything was stored.

    Raises:
        UnfitInputError: The name has other content.
        RegistryError: The server cannot be reached, refuses, or failed.
        MediaError: It broke off the upload, or the file was changed meanwhile.
    """
    size = path.stat().st_size
    line = f"{sha256}  {address.name}\n".encode()
    sums = f"{address.path}.sha256"
    there = connection.ask("HEAD", address.path, address.text, known=(404,)).status_code == 200
    remains = False
    if there:
        known = connection.ask("GET", sums, f"{address.text}.sha256", known=(404,))
        if known.status_code == 200:
            if bytes(known.content).split()[:1] != [sha256.encode()]:
                raise _other(address)
            return 0, False
        # An interrupted publication lacks the digest, which is written last: then the files are compared.
        found = _compare(connection, address, path)
        if found == "other":
            raise _other(address)
        # The beginning of this very bundle is of no use to anybody: nothing that was published is replaced.
        remains = found == "beginning"
    sent = 0
    if not there or remains:
        progress.start("publish", size)
        with as_media(address.text, _STARTS_AGAIN):
            sent = _upload(connection, address, path, sha256, replace=remains)
        progress.advance(size)
        progress.done()
    # After the file: whoever sees the digest can fetch what has it.
    with as_media(address.text, _COMPLETES):
        connection.ask("PUT", sums, f"{address.text}.sha256", ok=_STORED, data=line)
    return sent + len(line), True


def _upload(connection: Connection, address: Address, path: Path, sha256: str, *, replace: bool) -> int:
    """Upload a file with this digest; return the bytes that were sent.

    A server of WebDAV may show a file while it grows, and can rename: it gets another name first. Stores
    without WebDAV show what was stored completely.
    """
    size = path.stat().st_size
    part = f"{address.path}.{sha256[:16]}.part"
    sent = 0

    def source() -> BinaryIO:
        # Read again, minutes after it was checked: what comes then must be the same.
        return cast(BinaryIO, UnchangedFile(path, size, sha256))

    if _renames(connection, address):
        connection.send_file(part, address.text, source, size)
        sent = size
        if _rename(connection, address, part, replace=replace):
            return sent
    # Such a server can be told to forbid this method alone. Then the bytes are sent again.
    connection.send_file(address.path, address.text, source, size)
    return sent + size


def _renames(connection: Connection, address: Address) -> bool:
    answer = connection.ask("OPTIONS", address.path, address.text, ok=_STORED, known=_NO_OPTIONS)
    return answer.status_code in _STORED and bool(answer.headers.get("DAV"))


def _rename(connection: Connection, address: Address, part: str, *, replace: bool) -> bool:
    """Give an uploaded file its name; False where the server does not do that.

    Raises:
        UnfitInputError: Somebody else has published under this name meanwhile.
    """
    headers = {
        "Destination": f"{connection.server.address}{address.path}",
        "Overwrite": "T" if replace else "F",
    }
    known = (*_NO_MOVE, _EXISTS)
    answer = connection.ask("MOVE", part, address.text, ok=(201, 204), known=known, headers=headers, tries=1)
    if answer.status_code in (201, 204):
        return True
    connection.ask("DELETE", part, address.text, ok=_STORED, known=(403, 404, 405))
    if answer.status_code == _EXISTS:
        raise _other(address)
    return False


def _other(address: Address) -> UnfitInputError:
    return UnfitInputError("exists with other content", where=address.text, hint=OTHER)


def _compare(connection: Connection, address: Address, path: Path) -> Literal["same", "beginning", "other"]:
    """Compare the file that a server has with the bundle."""
    count = 0
    there = Download(connection, address.path, address.text, None, "", _TIMEOUT)
    with closing(there), path.open("rb") as file:
        while chunk := there.read(CHUNK):
            # Another file may be of any size: the first difference ends it.
            if file.read(len(chunk)) != chunk:
                return "other"
            count += len(chunk)
    return "same" if count == path.stat().st_size else "beginning"
