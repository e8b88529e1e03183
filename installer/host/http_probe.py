"""HTTP request of a health check: no proxies, no redirects, a limited answer."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

BODY_LIMIT = 64 * 1024


def http_get(url: str, timeout: float) -> Answer:
    """Send one GET request.

    Args:
        url: `http://…` or `https://…`; the certificate of the latter must be valid.
        timeout: Seconds for each step of the connection.

    Returns:
        The status and the first bytes of the body.

    Raises:
        OSError: There was no answer, or one that is not HTTP.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "waybill", "Connection": "close"})
        # http.client by itself: urllib would use the proxy of the environment for a local service.
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(BODY_LIMIT))
    except http.client.HTTPException as error:
        raise OSError(f"the answer is not HTTP: {error or type(error).__name__}") from error
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an HTTP server: its status and the first bytes of the body."""

    status: int
    body: bytes
