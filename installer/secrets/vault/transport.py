"""HTTP to a Vault: its own certificates, no environment, one limit of time and size for each answer."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from installer.core.limits import MIB
from installer.host.host import Host
from installer.secrets.store import StoreError
from installer.secrets.vault.settings import SETTINGS, Settings
from installer.shared.terminal import interrupts

if TYPE_CHECKING:
    from requests import Session

T = TypeVar("T")
LARGEST_ANSWER = 4 * MIB
"""Bytes of one answer: a Vault stores at most 1 MiB under one path, and escapes may make more of it."""
HOST_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions have the certificates that a host trusts; the first that exists counts."""
_LARGEST_CERTIFICATES = 4 * MIB


class LateError(Exception):
    """There was no answer in time."""


class LargeError(Exception):
    """The answer is larger than any that a Vault has reason to give."""


def tls_context(host: Host, settings: Settings) -> ssl.SSLContext:
    """Return the TLS settings for the server: which certificates it may have, and that of this host.

    Raises:
        StoreError: A file cannot be used.
    """
    # Not the default one of Python: it reads variables of the environment.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.address.startswith("https:"):
        return context
    path, text = _certificates(host, settings)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        # ValueError: not one certificate in it.
        raise StoreError(f"{path} has no certificate in PEM", f"check ca_file in {SETTINGS}") from None
    return context


def _certificates(host: Host, settings: Settings) -> tuple[str, str]:
    paths = (settings.ca_file,) if settings.ca_file else HOST_CERTIFICATES
    for path in paths:
        try:
            return path, host.read(path, _LARGEST_CERTIFICATES, follow=True).decode("ascii", "replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read: {error.strerror}", f"see ca_file in {SETTINGS}"
            ) from error
    if settings.ca_file:
        raise StoreError(f"ca_file {settings.ca_file} does not exist", f"correct ca_file in {SETTINGS}")
    what = "this host has no list of certificates to trust"
    raise StoreError(what, f"give ca_file in {SETTINGS}: the certificate of the CA that issued the server's")


def new_session(settings: Settings, context: ssl.SSLContext) -> Session:
    """Return a session that reaches the server only as the settings say."""
    import requests
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        """Reads each answer whole, within the limits, and checks certificates by the context alone."""

        def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
            host_parameters, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
            return host_parameters, {"ssl_context": context}

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Leave the connection as the context has it."""

        def send(self, request: Any, *_args: Any, **given: Any) -> Any:
            def fetch() -> Any:
                answer = HTTPAdapter.send(
                    self, request, stream=True, timeout=settings.timeout, proxies=given.get("proxies")
                )
                # As it is on the wire: what is decoded could become any size.
                data = answer.raw.read(LARGEST_ANSWER + 1, decode_content=False)
                answer.raw.release_conn() if len(data) <= LARGEST_ANSWER else answer.close()
                return answer, data

            answer, data = _in_time(fetch, settings.timeout)
            if len(data) > LARGEST_ANSWER:
                raise LargeError
            answer._content, answer._content_consumed = data, True
            return answer

    session = requests.Session()
    # Neither proxies nor certificates nor logins (~/.netrc) from the environment.
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = "waybill"
    if settings.proxy:
        session.proxies = {"http": settings.proxy, "https": settings.proxy}
    session.mount("https://", Bounded())
    session.mount("http://", Bounded())
    return session


def _in_time(call: Callable[[], T], seconds: float) -> T:
    """Return what a call returns, or stop waiting for it.

    Time-outs of sockets start again with each byte, and looking up a name has none: only another thread
    bounds the whole. One that is still waiting ends with its socket, or with the process.
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
