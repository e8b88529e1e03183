"""A gate in front of a registry, or of any other store: it counts what passes, and fails as a test says."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.rig.tlscerts import Authority

Spoil = Callable[[Any], bool]
"""Is given each request, an object of `BaseHTTPRequestHandler`; true if it has answered it."""


@dataclass
class Gate:
    """The gate.

    Attributes:
        behind: `HOST:PORT` of what is behind it.
        spoil: Called for each request before it passes.
        seen: Method, path and size of the body of each request.
        name: `HOST:PORT` of the gate, while it is open.
    """

    behind: str
    spoil: Spoil = lambda _request: False
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    name: str = ""

    def sent(self, *methods: str) -> int:
        """Return the bytes of the bodies of all requests, or of those of some methods."""
        return sum(size for method, _, size in self.seen if not methods or method in methods)

    def count(self, *methods: str) -> int:
        """Return how many requests of these methods came."""
        return sum(method in methods for method, _, _ in self.seen)

    @contextmanager
    def open(self, tls: ssl.SSLContext | None = None) -> Iterator[Gate]:
        """Let requests pass, on loopback, on a port the kernel chooses; with TLS where a context is given."""
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                gate.seen.append((self.command, self.path, size))
                if gate.spoil(self):
                    return
                body = self.rfile.read(size)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
                if tls is not None:
                    headers["X-Forwarded-Proto"] = "https"
                inner = http.client.HTTPConnection(gate.behind, timeout=60)
                inner.request(self.command, self.path, body, headers)
                answer = inner.getresponse()
                data = answer.read()
                answers(self, answer.status, dict(answer.getheaders()), data)
                inner.close()

            do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _pass  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        with listening(Handler, tls) as self.name:
            yield self


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None: ...


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on loopback, on a port the kernel chooses; yield `HOST:PORT`."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tls_of(authority: Authority, directory: Path) -> ssl.SSLContext:
    """Return the TLS settings of a server on loopback whose certificate an authority has issued."""
    authority.issue("127.0.0.1", directory / "cert.pem", directory / "key.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return tls


def answers(request: Any, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bool:
    """Answer a request; true, for `Spoil`."""
    request.send_response(status)
    kept = {key: value for key, value in (headers or {}).items() if key.lower() not in _OWN}
    length = (headers or {}).get("Content-Length", str(len(body))) if request.command == "HEAD" else len(body)
    for key, value in {**kept, "Content-Length": str(length)}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
    return True


_OWN = ("content-length", "connection", "transfer-encoding", "date", "server")


def breaks_off(request: Any, after: int = 0) -> bool:
    """Take some bytes of a request, and close the connection; true, for `Spoil`."""
    request.rfile.read(after)
    with suppress(OSError):
        request.connection.shutdown(socket.SHUT_RDWR)
    request.close_connection = True
    return True


def drips(request: Any, seconds: float) -> bool:
    """Answer a byte now and then; true, for `Spoil`."""
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    until = time.monotonic() + seconds
    with suppress(OSError):
        while time.monotonic() < until:
            request.wfile.write(b" ")
            time.sleep(0.05)
    return True
