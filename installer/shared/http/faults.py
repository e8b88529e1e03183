"""Why a server of the site was not reached: each reason in words of its own, with what to do.

Never a text of the server, which may repeat what it was sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

_EXPIRED, _NOT_YET, _WRONG_NAME = 10, 9, (62, 63, 64)
"""Numbers of OpenSSL: X509_V_ERR_…"""
_LONGEST = 300
"""Characters of what an error says."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, as texts have it.

    Attributes:
        kind: What it is: `Vault`, `registry`.
        address: Its URL, or its host and port.
        host: The name or address by which its certificate is checked.
        setting: Where its address was given: `address in /etc/waybill/vault.yaml`.
        remedy: What to do about a certificate that nobody trusted here issued.
        ca_file: The file with the certificates that count; empty for those of the host.
        proxy: The URL of the proxy; empty for none.
        login: What to do if it wants a certificate of this host.
        settings: Where its login is, or should be; empty: next to `setting`.
    """

    kind: str
    address: str
    host: str
    setting: str
    remedy: str
    ca_file: str = ""
    proxy: str = ""
    login: str = "use a login with a certificate that the server trusts"
    settings: str = ""

    @property
    def by_login(self) -> str:
        """Where texts send people for its login."""
        return self.settings or f"next to {self.setting}"

    @property
    def name(self) -> str:
        """What texts call it."""
        return f"the {self.kind} {self.address}"


class SlowError(Exception):
    """The reason is time alone."""


def unreachable(server: Server, error: BaseException) -> tuple[str, str]:
    """Return why there was no answer, and what to do.

    Raises:
        SlowError: It did not come in time, which the caller has words for.
    """
    import socket

    # A certificate explains more than the broken connection that it led to, whichever of them is outside.
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(server, cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _no_tls(server, cause)
    via = f" through the proxy {server.proxy}" if server.proxy else ""
    for cause in causes:
        if isinstance(cause, TimeoutError):
            raise SlowError
        if isinstance(cause, socket.gaierror):
            what = f"{server.name} cannot be reached{via}: its name is not known"
            return what, f"check {server.setting}, and /etc/resolv.conf or /etc/hosts"
        if isinstance(cause, OSError) and cause.strerror:
            what = f"{server.name} cannot be reached{via}: {cause.strerror}"
            return what, f"check {server.setting}, whether the server runs, and firewalls"
    what = f"{server.name} broke off the connection{via}, or did not answer in HTTP"
    return what, f"check {server.setting}: https:// or http://, host and port"


def reason(error: BaseException) -> str:
    """Return why a request failed: of a connection in words of the system, else what the error says."""
    from http.client import HTTPException

    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, TimeoutError) or "timed out" in str(cause):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    if any(isinstance(cause, ConnectionError | HTTPException) for cause in causes):
        return "it broke off the connection, or did not answer in HTTP"
    return str(error)[:_LONGEST]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those inside of it, which requests and urllib3 wrap in several ways."""
    pending, seen = [error], set[int]()
    while pending:
        each = pending.pop(0)
        # An error can be among its own causes.
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inside = [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]
        pending += [inner for inner in inside if isinstance(inner, BaseException)]


def _untrusted(server: Server, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    name = f"the certificate of {server.name}"
    if error.verify_code in (_EXPIRED, _NOT_YET):
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return f"{name} {when}", "renew it on the server; check the clock of this host: `date -u`"
    if error.verify_code in _WRONG_NAME:
        return f"{name} is not for {server.host}", f"use a name that it has in {server.setting}"
    # With a file of the site, the certificates of the host do not count: the remedy is in that file.
    if server.ca_file:
        what = f"{name} was not issued by a CA in {server.ca_file}"
        return what, "put the certificate of the CA that issued it into that file"
    return f"{name} was not issued by a CA that this host trusts", server.remedy


def _no_tls(server: Server, error: ssl.SSLError) -> tuple[str, str]:
    reason = (error.reason or "").replace("_", " ").lower()
    # What OpenSSL calls an answer in plain text.
    if "wrong version number" in reason or "record layer failure" in reason:
        what = f"{server.address} does not speak TLS"
        return what, f"check the port of {server.setting}, and the listener of the server"
    if "certificate required" in reason or "bad certificate" in reason:
        what = f"{server.name} refuses the certificate of this host, or wants one"
        return what, server.login
    what = f"no TLS connection to {server.name}: {reason or 'the server broke it off'}"
    return what, "compare the versions of TLS and the ciphers of the server: TLS 1.2 or later is needed"
