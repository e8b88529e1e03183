"""A web server of a site that takes files by PUT and gives them by GET, with ranges, as stores do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.rig.registrygate import answers, breaks_off, listening


@dataclass
class FileStore:
    """The server.

    Attributes:
        files: What it has, by path.
        spoil: Is given each request; true if it has answered it.
        seen: Method and path of each request.
        dav: Whether it speaks WebDAV, and so can rename.
        grows: Whether a file has its name while it grows; else it gets it when it is complete.
        cut: Bytes of a file after which each connection breaks; 0 for never.
        login: The `Authorization` header that a PUT has to have; empty for none.
        name: `HOST:PORT`, while it serves.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    spoil: Callable[[Any], bool] = lambda _request: False
    seen: list[tuple[str, str]] = field(default_factory=list)
    dav: bool = False
    grows: bool = False
    cut: int = 0
    login: str = ""
    name: str = ""

    def put(self, request: Any) -> bool:
        """Take a file."""
        size = int(request.headers["Content-Length"])
        data = request.rfile.read(min(size, self.cut) if self.cut else size)
        if len(data) < size:
            if self.grows:
                self.files[request.path] = data
            return breaks_off(request)
        if self.login and request.headers.get("Authorization") != self.login:
            return answers(request, 401, {"WWW-Authenticate": 'Basic realm="files"'})
        self.files[request.path] = data
        return answers(request, 201)

    def get(self, request: Any) -> bool:
        """Give a file, or the rest of it."""
        data = self.files.get(request.path)
        if data is None:
            return answers(request, 404)
        if given := request.headers.get("Range"):
            return answers(request, 206, {}, data[int(given.removeprefix("bytes=").removesuffix("-")) :])
        return answers(request, 200, {}, data)

    def other(self, request: Any) -> bool:
        """Say that it speaks WebDAV, rename a file, or remove it."""
        if request.command == "OPTIONS" or not self.dav:
            return answers(request, 200 if self.dav else 405, {"DAV": "1"} if self.dav else {})
        if request.command == "DELETE":
            return answers(request, 204 if self.files.pop(request.path, None) is not None else 404)
        target = urlsplit(request.headers["Destination"])
        if target.path in self.files and request.headers["Overwrite"] == "F":
            return answers(request, 412)
        self.files[target.path] = self.files.pop(request.path)
        return answers(request, 201)

    @contextmanager
    def serve(self) -> Iterator[FileStore]:
        """Serve on loopback, on a port the kernel chooses."""
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                store.seen.append((self.command, self.path))
                if not store.spoil(self):
                    known = {"PUT": store.put, "GET": store.get, "HEAD": store.get}
                    known.get(self.command, store.other)(self)

            do_GET = do_HEAD = do_PUT = do_OPTIONS = do_MOVE = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        with listening(Handler) as self.name:
            yield self
