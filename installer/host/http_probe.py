"""HTTP request of a health check: no proxies, no redirects, a limited answer in a limited time."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BODY_LIMIT = 64 * 1024
CA_LIMIT = 1024 * 1024
"""Bytes of a file with certificates."""


class TlsError(OSError):
    """A connection that is not secure, in words that say what to do about it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an HTTP server.

    Attributes:
        status: Its status.
        body: The first bytes of its body.
        headers: The values of its headers, by their names in lower case.
        is_cut: Whether the body has more bytes.
    """

    status: int
    body: bytes
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_cut: bool = False


def trust(pem: str = "") -> ssl.SSLContext:
    """Return what decides whether a server is trusted.

    Args:
        pem: The certificates, one of which has to have signed the server's own; empty for those of the host.

    Raises:
        TlsError: There is no certificate in it.
    """
    if not pem:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError("it has no certificate in PEM form that can be read") from error
    # A certificate in the file is trusted by itself, also if it is no CA: many sites have such a one.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not context.cert_store_stats()["x509"]:
        raise TlsError("it has no certificate in PEM form that can be read")
    return context


def http_get(url: str, timeout: float, ca: ssl.SSLContext | None = None, unix: str = "") -> Answer:
    """Send one GET request.

    Args:
        url: `http://…` or `https://…`; the certificate of the latter must be valid.
        timeout: Seconds until the answer has to be complete.
        ca: What decides whether the server is trusted; None: the certificates of the host.
        unix: The path of the socket of the server; empty for the address in the URL.

    Returns:
        The status, the headers and the first bytes of the body.

    Raises:
        TlsError: The server is not trusted, or does not speak TLS.
        OSError: There was no answer in time, or one that is not HTTP.
    """
    parts = urlsplit(url)
    # http.client by itself: urllib would use the proxy of the environment for a local service.
    is_https = parts.scheme == "https"
    port = http.client.HTTPS_PORT if is_https else http.client.HTTP_PORT
    connection = _Connection(parts.hostname or "", parts.port or port)
    connection.unix, connection.deadline, connection.default_port = unix, time.monotonic() + timeout, port
    connection.tls = (ca or trust()) if is_https else None
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "waybill", "Connection": "close"})
        answer = connection.getresponse()
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in answer.getheaders():
            headers[name.lower()] = (*headers.get(name.lower(), ()), value)
        body = answer.read(BODY_LIMIT + 1)
        return Answer(answer.status, body[:BODY_LIMIT], headers, len(body) > BODY_LIMIT)
    except ssl.SSLError as error:
        raise TlsError(_tls_fault(error, parts.hostname or "")) from error
    except TimeoutError as error:
        raise TimeoutError(f"no complete answer within {timeout:g} s") from error
    except http.client.HTTPException as error:
        raise OSError(f"the answer is not HTTP: {str(error)[:200] or type(error).__name__}") from error
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection whose requests end at a deadline, however slowly the server sends."""

    unix = ""
    deadline = 0.0
    tls: ssl.SSLContext | None = None

    def connect(self) -> None:
        if self.unix:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            plain.settimeout(_left(self.deadline))
            try:
                plain.connect(self.unix)
            except BaseException:
                plain.close()
                raise
        else:
            plain = socket.create_connection((self.host, self.port), _left(self.deadline))
        self.sock = plain
        plain.settimeout(_left(self.deadline))
        if self.tls is not None:
            self.sock = self.tls.wrap_socket(plain, server_hostname=self.host)
            self.sock.settimeout(_left(self.deadline))
        # http.client reads the answer from a file, which it asks for.
        self.sock = _Limited(self.sock, self.deadline)


class _Limited:
    """What http.client uses of a socket; reading ends at a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._deadline))

    def close(self) -> None:
        self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        # A file of its own: http.client closes the socket before it reads the body.
        self._file = sock.makefile("rb", buffering=0)
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        # The limit of a socket is for each call: a server that sends a byte now and then would never end.
        self._sock.settimeout(_left(self._deadline))
        return self._file.readinto(buffer) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _tls_fault(error: ssl.SSLError, host: str) -> str:
    """Return why a connection is not secure, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # Of OpenSSL: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
        words = {
            10: "its certificate has expired: renew it",
            9: "its certificate is not valid yet: compare the clocks of both hosts",
            18: "its certificate signs itself: name a file with it in `ca`",
            19: "its certificate is signed by an unknown CA: name a file with the CA's certificate in `ca`",
            20: "its certificate is signed by an unknown CA: name a file with the CA's certificate in `ca`",
            62: f"its certificate is not for {host}: use a name in the URL that the certificate has",
            64: f"its certificate is not for {host}: use a name in the URL that the certificate has",
        }
        why = words.get(error.verify_code, f"its certificate is not valid: {error.verify_message}")
        return f"the server is not trusted: {why}"
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "the server does not speak TLS: use http:// in the URL"
    reason = (error.reason or "the connection was closed").lower().replace("_", " ")
    return f"the TLS connection failed: {reason}"
