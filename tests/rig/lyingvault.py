"""A server on loopback, with TLS, that answers what a Vault is asked as a test wants it to."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.rig.tlscerts import Authority

Reply = tuple[int, dict[str, str], bytes]
MOUNT = {"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}}
GOOD: dict[str, tuple[int, Any]] = {
    r"/v1/auth/approle/login$": (200, {"auth": {"client_token": "s.of-the-liar", "lease_duration": 600}}),
    r"/v1/sys/internal/ui/mounts/": (200, MOUNT),
    r"/v1/secret/data/app/db$": (
        200,
        {"data": {"data": {"password": "of-the-liar"}, "metadata": {"version": 1}}},
    ),
    r"/v1/auth/token/lookup-self$": (200, {"data": {}}),
    r"/v1/auth/token/revoke-self$": (204, None),
    r"/v1/sys/health": (200, {"initialized": True, "sealed": False, "standby": False}),
}


@dataclass
class LyingVault:
    """A server that answers as a Vault would, but for what a test spoils.

    Attributes:
        spoil: Answers for paths that match: a status and a JSON value, bytes, or a function of the request
            that answers by itself.
        seen: Method, path and headers of the requests that came.
    """

    spoil: dict[str, Any] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def _answer(self, request: BaseHTTPRequestHandler) -> Reply | None:
        for pattern, answer in [*self.spoil.items(), *GOOD.items()]:
            if not re.search(pattern, request.path):
                continue
            if callable(answer):
                answer(request)
                return None
            if isinstance(answer, bytes):
                return 200, {}, answer
            status, value = answer[:2]
            headers = answer[2] if len(answer) > 2 else {}
            return status, headers, b"" if value is None else json.dumps(value).encode()
        return 404, {}, b'{"errors":[]}'

    @contextmanager
    def serve(self, home: Path, *, authority: Authority | None = None, tls: bool = True) -> Iterator[None]:
        """Answer; the certificate of the authority that counts is `ca.crt` in `home`.

        Args:
            home: A directory for certificates.
            authority: What issues the certificate of the server; by default the one that counts.
            tls: Whether it speaks TLS.
        """
        lying, known = self, Authority("known")
        (home / "ca.crt").write_text(known.pem)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                lying.seen.append((self.command, self.path, dict(self.headers)))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if (reply := lying._answer(self)) is None:
                    self.close_connection = True
                    return
                status, headers, body = reply
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = _do  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that breaks off is what many of these tests are about."""

        server = Server(("127.0.0.1", 0), Handler)
        if tls:
            (authority or known).issue("127.0.0.1", home / "liar.crt", home / "liar.key")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(home / "liar.crt", home / "liar.key")
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def dribble(piece: bytes, pause: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer that comes a byte at a time, for ever; `pause` ends it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not pause.wait(0.1):
            request.wfile.write(piece)
            request.wfile.flush()

    return answer
