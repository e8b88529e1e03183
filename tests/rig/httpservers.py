"""HTTP servers for probes: plain, with TLS or on a socket, as slow and as wrong as a test says."""

from __future__ import annotations

import http.server
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Page:
    """What a server answers.

    Attributes:
        status: The status.
        headers: Headers.
        body: The body.
        pause: Seconds between two bytes of the body.
        asked: The paths that were asked for.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pause: float = 0.0
    asked: list[str] = field(default_factory=list)


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def serving(
    page: Page, *, tls: tuple[Path, Path] | None = None, unix: Path | None = None, port: int = 0
) -> Iterator[int]:
    """Serve a page; yield the port.

    Args:
        page: The page; changes are seen by the next request.
        tls: Files with the certificate and its key; None for a server without TLS.
        unix: The socket to serve on; None for a port on 127.0.0.1.
        port: The port; 0 for a free one.
    """

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page.asked.append(self.path)
            self.send_response(page.status)
            for name, text in page.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            if not page.pause:
                self.wfile.write(page.body)
            for byte in page.body if page.pause else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(page.pause)

        def address_string(self) -> str:
            return "client"

        def log_message(self, *args: object) -> None:
            pass

    server: socketserver.BaseServer
    if unix is not None:
        server = _Unix(str(unix), Answer)
        number = 0
    else:
        web = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
        web.handle_error = lambda *_: None  # type: ignore[method-assign]
        number = web.server_address[1]
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, tls))
            web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
        server = web
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield number
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def saying(data: bytes) -> Iterator[int]:
    """Accept one connection, send some bytes, and keep it open; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def serve() -> None:
            try:
                held.append(listening.accept()[0])
                held[0].sendall(data)
            except OSError:
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        for each in held:
            each.close()


@contextmanager
def breaking(path: Path) -> Iterator[None]:
    """Serve on a socket: read what is asked, and close the connection."""

    class Break(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)

    with _Unix(str(path), Break) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
