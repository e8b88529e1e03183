"""A session that reaches one server: no environment, one limit of time and size for each answer."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from installer.core.limits import MIB
from installer.shared.terminal import interrupts

if TYPE_CHECKING:
    from requests import Session

T = TypeVar("T")
LARGEST_ANSWER = 4 * MIB
"""Bytes of an answer that is read as a whole."""
HOST_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions have the certificates that a host trusts; the first that exists counts."""
LARGEST_CERTIFICATES = 4 * MIB


class LateError(Exception):
    """There was no answer in time."""


class LargeError(Exception):
    """The answer is larger than any that the server has reason to give."""


def client_tls(certificates: str | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a client that trusts these certificates, in PEM, and no others; None: none.

    Raises:
        ValueError: There is not one certificate in it.
    """
    # Not the default one of Python: it reads variables of the environment.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificates is not None:
        try:
            context.load_verify_locations(cadata=certificates)
        except ssl.SSLError as error:
            raise ValueError(str(error)) from None
    return context


def new_session(context: ssl.SSLContext, timeout: float, proxy: str = "") -> Session:
    """Return a session that reaches a server only by these settings.

    Args:
        context: From `client_tls`.
        timeout: Seconds for a request as a whole, where the request has no time of its own.
        proxy: The URL of a proxy; empty for none.
    """
    import requests
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        """Reads each answer whole, within the limits, and checks certificates by the context alone.

        An answer that is asked for as a stream is handed on unread: its reader bounds it.
        """

        def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
            host_parameters, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
            return host_parameters, {"ssl_context": context}

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Leave the connection as the context has it."""

        def send(self, request: Any, *_args: Any, **given: Any) -> Any:
            seconds = given.get("timeout") or timeout

            def fetch() -> Any:
                answer = HTTPAdapter.send(
                    self, request, stream=True, timeout=seconds, proxies=given.get("proxies")
                )
                if given.get("stream"):
                    return answer, b""
                # As it is on the wire: what is decoded could become any size.
                data = answer.raw.read(LARGEST_ANSWER + 1, decode_content=False)
                answer.raw.release_conn() if len(data) <= LARGEST_ANSWER else answer.close()
                return answer, data

            answer, data = in_time(fetch, seconds)
            if given.get("stream"):
                return answer
            if len(data) > LARGEST_ANSWER:
                raise LargeError
            answer._content, answer._content_consumed = data, True
            return answer

    session = requests.Session()
    # Neither proxies nor certificates nor logins (~/.netrc) from the environment.
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = "waybill"
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    session.mount("https://", Bounded())
    session.mount("http://", Bounded())
    return session


def in_time(call: Callable[[], T], seconds: float) -> T:
    """Return what a call returns, or stop waiting for it.

    Time-outs of sockets start again with each byte, and looking up a name has none: only another thread
    bounds the whole. One that is still waiting ends with its socket, or with the process.

    Raises:
        LateError: It did not return in time.
    """
    done: list[Any] = []

    def work() -> None:
        try:
            done.append((call(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    with interrupts.waiting():
        thread.join(seconds)
    if not done:
        raise LateError
    result, error = done[0]
    if error is not None:
        raise error
    found: T = result
    return found
