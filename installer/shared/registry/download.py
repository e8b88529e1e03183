"""Downloads: read in order, hashed while they pass, bounded in time, continued after a broken connection."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from installer.core.limits import CHUNK
from installer.shared.http.session import LateError, in_time
from installer.shared.registry.connection import SLOWEST, TRIES, Connection
from installer.shared.registry.errors import RegistryError, lying

if TYPE_CHECKING:
    from requests import Response


class Download:
    """One file of a server.

    Args:
        connection: The server.
        path: Path of the file.
        where: How errors name it.
        size: Its size in bytes; None where the server says it.
        digest: `sha256:…`, compared at its end; empty where nobody has said it.
        timeout: Seconds until a piece has to begin to come.
    """

    def __init__(
        self, connection: Connection, path: str, where: str, size: int | None, digest: str, timeout: float
    ) -> None:
        self._connection, self._path, self._where = connection, path, where
        self._size, self._digest, self._timeout = size, digest, timeout
        self._hash, self._offset, self._failures = hashlib.sha256(), 0, 0
        self._response: Response | None = None

    def read(self, count: int) -> bytes:
        """Return at least one and at most `count` bytes; nothing at the end.

        Raises:
            RegistryError: The server fails, is too slow, or sends something else.
        """
        while self._size is None or self._offset < self._size:
            try:
                piece = self._piece(min(count, CHUNK))
            except (OSError, LateError, RegistryError) as error:
                self.close()
                # What the server has decided gets no better by asking again.
                if isinstance(error, RegistryError) and error.status:
                    raise
                self._failures += 1
                # Progress resets nothing: a server that breaks off each megabyte would never end.
                if self._failures >= TRIES:
                    raise self._broken(error) from None
                continue
            if piece:
                self._hash.update(piece)
                self._offset += len(piece)
                if self._size is not None and self._offset >= self._size:
                    self._end()
                return piece
            if self._size is None:
                return b""
            self.close()
            self._failures += 1
            if self._failures >= TRIES:
                raise self._broken(None)
        return b""

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _piece(self, count: int) -> bytes:
        from urllib3.exceptions import HTTPError

        response = self._response or self._open()
        # Not more than was announced: what comes after it is noticed by its digest, and never read.
        wanted = count if self._size is None else min(count, self._size - self._offset)
        seconds = self._timeout + wanted / SLOWEST

        def fetch() -> bytes:
            # As it is on the wire: what is decoded could become any size.
            return bytes(response.raw.read(wanted, decode_content=False))

        try:
            return in_time(fetch, seconds)
        except HTTPError as error:
            raise ConnectionError(str(error)) from None

    def _open(self) -> Response:
        headers = {"Range": f"bytes={self._offset}-"} if self._offset else {}
        found = self._connection.ask(
            "GET", self._path, self._where, ok=(200, 206), headers=headers, stream=True
        )
        self._response = found
        announced = found.headers.get("Content-Length", "")
        if self._size is None and announced.isdecimal():
            self._size = int(announced)
        # A server without ranges sends everything: what is known already is skipped.
        left = self._offset if found.status_code == 200 else 0
        while left:
            left -= len(self._skip(found, min(left, CHUNK)))
        return found

    def _skip(self, response: Response, count: int) -> bytes:
        piece = in_time(lambda: bytes(response.raw.read(count, decode_content=False)), self._timeout)
        if not piece:
            raise ConnectionError
        return piece

    def _end(self) -> None:
        self.close()
        if self._digest and f"sha256:{self._hash.hexdigest()}" != self._digest:
            what = "sends something else than what was stored there"
            raise lying(self._where, what, self._connection.server.kind)

    def _broken(self, error: BaseException | None) -> RegistryError:
        if isinstance(error, RegistryError):
            return error
        size = f" of {self._size}" if self._size is not None else ""
        why = "was too slow after" if isinstance(error, LateError) else "sent only"
        return RegistryError(
            f"the server {why} {self._offset}{size} bytes", where=self._where, hint="try again"
        )
