"""Why a Vault gives no secrets: each reason in words of its own, with what to do.

Never a text of the server, which may repeat what it was sent.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from installer.secrets.store import StoreError
from installer.secrets.vault.settings import SETTINGS, Settings

_EXPIRED, _NOT_YET, _WRONG_NAME = 10, 9, (62, 63, 64)
"""Numbers of OpenSSL: X509_V_ERR_…"""
NO_NAMESPACE = ("the Vault does not know the namespace", f"check namespace in {SETTINGS}")
_STANDBY = (429, 472, 473)


def slow(settings: Settings) -> StoreError:
    """Return the error for an answer that did not come in time."""
    what = f"the Vault {settings.address} did not answer within {settings.timeout} s"
    return StoreError(what, f"check its load and the network; timeout in {SETTINGS} may be up to 120")


def slow_in_all(settings: Settings, seconds: float) -> StoreError:
    """Return the error for a server that answers each request in time, and is too slow for all of them."""
    what = f"the Vault {settings.address} took more than {seconds:.0f} s for the secrets before this one"
    return StoreError(
        what, "check its load and the network; keep secrets that belong together under one path"
    )


def lying(settings: Settings, what: str) -> StoreError:
    """Return the error for an answer that no Vault gives."""
    hint = f"check address in {SETTINGS}: something else than a Vault may answer there"
    return StoreError(f"what {settings.address} answers {what}", hint)


def redirected(settings: Settings) -> StoreError:
    """Return the error for a redirect: to follow it would send the token to wherever it leads."""
    what = f"{settings.address} is a standby, or no Vault: it sends its clients to another server"
    return StoreError(what, f"give the address of the active server, or of the load balancer, in {SETTINGS}")


def unable(settings: Settings, status: int, health: Mapping[str, Any]) -> StoreError:
    """Return why a server that answers cannot serve.

    Args:
        settings: How it is reached.
        status: The status of its answer.
        health: What it says of itself; empty if nothing.
    """
    name = f"the Vault {settings.address}"
    if status == 501 or health.get("initialized") is False:
        return StoreError(
            f"{name} is not initialised", "initialise it: bao operator init, or vault operator init"
        )
    if health.get("sealed") is True:
        return StoreError(f"{name} is sealed", "unseal it: bao operator unseal, or vault operator unseal")
    if status in _STANDBY[1:] or health.get("standby") is True:
        what = f"{name} is a standby and cannot reach its active server"
        return StoreError(what, "give the address of the active server, or start it")
    if status == 429:
        return StoreError(
            f"{name} refuses: too many requests", "try again later, or raise the quota of this client"
        )
    what = f"{name} failed (status {status})"
    return StoreError(what, "read the log of the server; then try again")


def unreachable(settings: Settings, error: BaseException) -> StoreError:
    """Return why there was no answer."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(settings, cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _no_tls(settings, cause)
    name = f"the Vault {settings.address}"
    via = f" through the proxy {settings.proxy}" if settings.proxy else ""
    for cause in causes:
        if isinstance(cause, TimeoutError):
            return slow(settings)
        if isinstance(cause, socket.gaierror):
            what = f"{name} cannot be reached{via}: its name is not known"
            return StoreError(what, f"check address in {SETTINGS}, and /etc/resolv.conf or /etc/hosts")
        if isinstance(cause, OSError) and cause.strerror:
            what = f"{name} cannot be reached{via}: {cause.strerror}"
            return StoreError(what, f"check address in {SETTINGS}, whether the server runs, and firewalls")
    what = f"{name} broke off the connection{via}, or did not answer in HTTP"
    return StoreError(what, f"check address in {SETTINGS}: https:// or http://, host and port")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those inside of it, which requests and urllib3 wrap in several ways."""
    pending, seen = [error], set[int]()
    while pending:
        each = pending.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inside = [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]
        pending += [inner for inner in inside if isinstance(inner, BaseException)]


def _untrusted(settings: Settings, error: ssl.SSLCertVerificationError) -> StoreError:
    name = f"the certificate of the Vault {settings.address}"
    if error.verify_code in (_EXPIRED, _NOT_YET):
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return StoreError(f"{name} {when}", "renew it on the server; check the clock of this host: `date -u`")
    if error.verify_code in _WRONG_NAME:
        host = urlsplit(settings.address).hostname
        return StoreError(f"{name} is not for {host}", f"use a name that it has in address in {SETTINGS}")
    if settings.ca_file:
        what = f"{name} was not issued by a CA in {settings.ca_file}"
        return StoreError(what, "put the certificate of the CA that issued it into that file")
    what = f"{name} was not issued by a CA that this host trusts"
    return StoreError(what, f"give ca_file in {SETTINGS}: the certificate of the CA that issued it")


def _no_tls(settings: Settings, error: ssl.SSLError) -> StoreError:
    reason = (error.reason or "").replace("_", " ").lower()
    if "wrong version number" in reason or "record layer failure" in reason:
        what = f"{settings.address} does not speak TLS"
        return StoreError(what, f"check the port of address in {SETTINGS}, and the listener of the server")
    if "certificate required" in reason or "bad certificate" in reason:
        what = f"the Vault {settings.address} refuses the certificate of this host, or wants one"
        return StoreError(
            what, f"use the method cert in {SETTINGS}, with a certificate that the server trusts"
        )
    what = f"no TLS connection to the Vault {settings.address}: {reason or 'the server broke it off'}"
    return StoreError(
        what, "compare the versions of TLS and the ciphers of the server: TLS 1.2 or later is needed"
    )
